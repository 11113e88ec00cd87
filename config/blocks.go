package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/hcl/v2"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

var (
	serverName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	pluginName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`) // as in package plugin
	checksum   = regexp.MustCompile(`^sha256:[0-9a-fA-F]{64}$`)

	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

// loadNetwork reads the network block.
func (l *loader) loadNetwork(blocks hcl.Blocks, dataDir string) (n Network) {
	if len(blocks) == 0 {
		return n
	}
	l.refuseRepeated(blocks)
	b := blocks[0]
	n.Range = rangeOf(b.DefRange)
	switch kind := b.Labels[0]; kind {
	case "tor":
		sec, _ := l.openSection(b.Body, b.DefRange, torOptions)
		n.Tor = l.loadTor(sec, dataDir)
	case "loopback":
		sec, _ := l.openSection(b.Body, b.DefRange, loopbackOptions)
		n.Loopback = &Loopback{Registry: l.pathOption(sec, "registry")}
		l.checkDirectory(sec.rangeOf("registry"), n.Loopback.Registry, false)
	default:
		l.addFault(b.LabelRanges[0], fmt.Sprintf("unknown network %.80q", kind),
			schema.Suggest(kind, "networks", []string{"tor", "loopback"}))
	}
	return n
}

func (l *loader) loadTor(sec section, dataDir string) *Tor {
	t := &Tor{Path: sec.textOf("path"), Torrc: sec.listOf("torrc"), Control: sec.textOf("control")}
	for _, line := range t.Torrc {
		if strings.ContainsFunc(line, unicode.IsControl) {
			l.addFault(sec.rangeOf("torrc"), "torrc holds a line break or another control character", "Write each line as a string of its own.")
			break
		}
	}
	if t.Control != "" {
		if path, ok := strings.CutPrefix(t.Control, "unix:"); ok && l.refuseUnexpandedSocket(sec, path) {
			return t
		}
		if !validControl(t.Control) {
			l.addFault(sec.rangeOf("control"), "control is not the address of a control port on this machine",
				`Write an address such as "127.0.0.1:9051", or "unix:" and an absolute path.`)
		}
		t.ControlUser = sec.textOf("control_user")
		if sec.textOf("control_cookie") != "" {
			t.ControlCookie = l.pathOption(sec, "control_cookie")
		} else if validControl(t.Control) && !strings.HasPrefix(t.Control, "unix:") {
			l.addFault(sec.rangeOf("control"), "control is a TCP port, and control_cookie does not name the cookie of tor: whoever listens there while tor does not would get the keys of all servers",
				`Better write control = "unix:/run/tor/control" here, and ControlSocket /run/tor/control in torrc. Or write control_cookie = "/run/tor/control.authcookie" here, and in torrc CookieAuthentication 1 and CookieAuthFile /run/tor/control.authcookie. If tor runs as a user of its own, add control_user = "debian-tor".`)
		}
		return t
	}
	if strings.Contains(t.Path, "/") || t.Path == "" || pathname.Check(t.Path) != nil {
		t.Path = l.pathOption(sec, "path")
	}
	if t.DataDir = filepath.Join(dataDir, "tor"); sec.textOf("data_dir") != "" {
		t.DataDir = l.pathOption(sec, "data_dir")
		l.checkDirectory(sec.rangeOf("data_dir"), t.DataDir, true)
	}
	return t
}

// refuseUnexpandedSocket is refuseUnexpanded for the path of a control socket.
func (l *loader) refuseUnexpandedSocket(sec section, path string) bool {
	var found *pathname.UnexpandedError
	if !errors.As(pathname.Check(path), &found) {
		return false
	}
	l.addFault(sec.rangeOf("control"), fmt.Sprintf("the path of control begins with %s, which is not expanded here", found.Begin),
		fmt.Sprintf("Write control = %s.", schema.Literal("unix:"+found.Instead)))
	return true
}

// validControl accepts only addresses of this machine. The control port is not encrypted,
// and whoever can reach it controls tor.
func validControl(address string) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return filepath.IsAbs(path) && !strings.Contains(path, "\x00")
	}
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().IsLoopback() && at.Port() != 0
}

func (l *loader) loadLog(sec section) Log {
	log := Log{JSON: sec.textOf("format") == "json"}
	if level := sec.textOf("level"); level != "" {
		if err := log.Level.UnmarshalText([]byte(level)); err != nil {
			panic("config: the table of options has a level that slog has not: " + level)
		}
	}
	return log
}

func (l *loader) loadLimits(sec section) (all limits.Limits) {
	for _, limit := range limits.Table {
		limit.Set(&all, sec.numberOf(limit.Name))
	}
	return all
}

// refuseOverfilling refuses limits that let in more than a server can hold: it would be full
// of messages that its min_age keeps, and refuse posts until they are old enough.
func (l *loader) refuseOverfilling(sec section, cfg *Config) {
	for _, c := range []struct {
		option, of string
		set        int64
		most       func(limits.Retention) int64
		text       func(int64) string
	}{
		{"posts_per_hour", "max_count", int64(cfg.Limits.PostsPerHour), limits.Retention.MostPosts, func(n int64) string { return strconv.FormatInt(n, 10) }},
		{"bytes_per_day", "max_bytes", cfg.Limits.BytesPerDay, limits.Retention.MostBytes, func(n int64) string { return fmt.Sprintf(`"%dMiB"`, n>>20) }},
	} {
		for _, s := range cfg.Servers {
			if most := c.most(s.Retention); c.set > most && most > 0 && !s.Storage.cannotPrune {
				at := sec.rangeOf(c.option)
				if s.File != l.path {
					at = l.names[s.Name] // it stops this server alone
				}
				l.addFault(at, fmt.Sprintf("%s lets more into server %q than its %s holds within its min_age, so it could be full and refuse posts for days", c.option, s.Name, c.of),
					fmt.Sprintf("Write at most %s, or leave it out. To take more, give the retention of the server a shorter min_age or a larger %s.", c.text(most), c.of))
				if s.File == l.path { // one is enough
					break
				}
			}
		}
	}
}

// loadExternals reads the plugin blocks. Those with errors are among the result,
// so that servers that use them are not blamed.
func (l *loader) loadExternals(blocks hcl.Blocks) (externals []External) {
	for _, b := range blocks {
		faults := len(l.diags)
		sec, blocks := l.openSection(b.Body, b.DefRange, externalOptions, hcl.BlockHeaderSchema{Type: "sandbox"})
		confined := l.singleBlock(blocks, sandboxOptions)
		e := External{
			Kind: plugin.Kind(b.Labels[0]), Name: b.Labels[1],
			Path: l.pathOption(sec, "path"), Checksum: sec.textOf("checksum"),
			Args: sec.listOf("args"), Env: l.loadEnvironment(sec), Dev: sec.flagOf("dev"),
			Sandbox: l.loadSandbox(confined),
			Range:   rangeOf(b.DefRange),
		}
		switch {
		case checksum.MatchString(e.Checksum):
		case e.Checksum != "":
			l.addFault(sec.rangeOf("checksum"), "checksum is not a SHA-256", `Write "sha256:" and 64 hexadecimal digits, as sha256sum prints them.`)
		case !e.Dev && !sec.hasError("checksum") && !sec.hasError("dev"):
			l.addFault(sec.rangeOf("checksum"), "plugin without a checksum",
				`Paste the line that "cwtch-relay plugin sum PATH" prints. While developing it: dev = true.`)
		}
		l.nameExternal(b, e)
		externals = append(externals, e)
		l.declared = append(l.declared, &declared{External: e, header: b.DefRange, sandbox: confined, sound: len(l.diags) == faults})
	}
	return externals
}

// loadEnvironment reads the variables for a plugin. What is wrong with one is reported
// by its name alone, since the value may be a secret.
func (l *loader) loadEnvironment(sec section) []string {
	list := sec.listOf("env")
	seen := make(map[string]bool)
	for i, variable := range list {
		name, value, ok := strings.Cut(variable, "=")
		switch {
		case !ok || !variableName.MatchString(name):
			l.addFault(sec.rangeOf("env"), fmt.Sprintf("element %d of env is not a variable", i+1), `Write each as "NAME=value".`)
		case strings.Contains(value, "\x00"):
			l.addFault(sec.rangeOf("env"), fmt.Sprintf("the variable %.80s holds a zero byte", name), "Write it without.")
		case name == "PATH" || strings.HasPrefix(name, "PLUGIN_") || strings.HasPrefix(name, "CWTCH_RELAY_"):
			l.addFault(sec.rangeOf("env"), fmt.Sprintf("the variable %.80s is set by the relay", name), "Leave it out.")
		case seen[name]:
			l.addFault(sec.rangeOf("env"), fmt.Sprintf("the variable %.80s is there twice", name), "Leave one out.")
		}
		seen[name] = true
	}
	return list
}

func (l *loader) loadSandbox(sec section) Sandbox {
	s := Sandbox{
		Off:     sec.isSet("enabled") && !sec.flagOf("enabled"),
		Network: sec.flagOf("network"), Listen: sec.flagOf("listen"), Processes: sec.flagOf("processes"),
		Memory: sec.numberOf("memory"), Files: int(sec.numberOf("files")),
		Tasks: int(sec.numberOf("tasks")),
	}
	s.Read, s.Sockets = l.grantedPaths(sec, "read"), l.grantedPaths(sec, "sockets")
	return s
}

// grantedPaths returns the absolute paths that an option grants.
func (l *loader) grantedPaths(sec section, option string) (paths []string) {
	for _, path := range sec.listOf(option) {
		path = l.absolutePath(sec, option, path)
		l.refuseKeyPath(sec, option, path)
		paths = append(paths, path)
	}
	return paths
}

// refuseKeyPath complains of a grant of what the sandbox is there to keep from a plugin: the
// keys of the servers, and the keys and sockets of tor. An empty path has been reported.
func (l *loader) refuseKeyPath(sec section, option, path string) {
	for _, private := range l.private {
		if path != "" && private != "" && (isWithin(path, private) || isWithin(private, path)) {
			l.addFault(sec.rangeOf(option), fmt.Sprintf("%s is not apart from %s, where the keys are", path, private),
				"Grant less, or move what the plugin needs to elsewhere. Whoever trusts it with the keys can write enabled = false.")
			return
		}
	}
}

// nameExternal checks the labels of a plugin block against what is there.
func (l *loader) nameExternal(b *hcl.Block, e External) {
	switch {
	case !slices.Contains(plugin.Kinds(), e.Kind):
		l.addFault(b.LabelRanges[0], fmt.Sprintf("unknown kind of plugin %.80q", e.Kind),
			schema.Suggest(string(e.Kind), "kinds of plugins", kindNames()))
	case !pluginName.MatchString(e.Name):
		l.addFault(b.LabelRanges[1], "the name of a plugin is at most 64 of a-z, 0-9 and _, a letter first", "Use the name that the plugin gives itself.")
	case l.builtIn(e.Kind, e.Name) != nil:
		l.addFault(b.LabelRanges[1], fmt.Sprintf("plugin %q is built in", e.Name), "Leave this block out, or use a plugin of another name.")
	}
	for _, other := range l.declared {
		if other.Kind == e.Kind && other.Name == e.Name {
			l.addFault(b.LabelRanges[1], fmt.Sprintf("second plugin %q %.80q", e.Kind, e.Name),
				fmt.Sprintf("There is one already, on line %d.", other.Range.Line))
		}
	}
}

// loadRetention reads the retention block of a server and refuses what contradicts itself,
// or what the store of the server cannot do.
func (l *loader) loadRetention(sec section, store *PluginUse) (p limits.Retention) {
	p = limits.Retention{
		MaxAge: time.Duration(sec.numberOf("max_age")), MinAge: time.Duration(sec.numberOf("min_age")),
		MaxBytes: uint64(sec.numberOf("max_bytes")), MaxCount: uint64(sec.numberOf("max_count")), KeepFree: uint64(sec.numberOf("keep_free")),
	}
	isWritten := func(name string) bool { return sec.rangeOf(name) != sec.header }
	if p.MinAge > p.MaxAge && p.MaxAge > 0 {
		if isWritten("min_age") {
			l.addFault(sec.rangeOf("min_age"), "min_age is longer than max_age", "What is older than max_age goes in any case. Write a shorter min_age, or leave it out.")
		}
		p.MinAge = p.MaxAge
	}
	for _, name := range []string{"max_age", "max_bytes", "max_count"} {
		if store.cannotPrune && isWritten(name) {
			l.addFault(sec.rangeOf(name), fmt.Sprintf("storage plugin %q cannot remove envelopes, so %s would have no effect", store.Name, name),
				"Leave it out, and everything is kept; or use a storage plugin with the capability "+string(plugin.Prune)+".")
			break
		}
	}
	return p
}

// kindNames returns the kinds of plugins as strings.
func kindNames() (names []string) {
	for _, kind := range plugin.Kinds() {
		names = append(names, string(kind))
	}
	return names
}

// pluginBlocks returns the blocks in which a server names its plugins.
func pluginBlocks() (headers []hcl.BlockHeaderSchema) {
	for _, kind := range kindNames() {
		headers = append(headers, hcl.BlockHeaderSchema{Type: kind, LabelNames: []string{"name"}})
	}
	return headers
}
