package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// TestOperationsPage does everything that docs/operations.md has in its blocks, from
// top to bottom, on a stand-in of a machine: /etc, /var/lib and /usr/local/bin are
// in a temporary directory, the relay is on the loopback network, and its service
// is started by the line of the unit. What needs a machine of its own (users,
// packages, systemd) is replaced.
func TestOperationsPage(t *testing.T) {
	m := newMachine(t)
	m.root = filepath.Join(m.dir, "r")
	m.standIn(ofMachine)
	for _, dir := range []string{"/etc/systemd/system", "/var/lib", "/usr/local/bin"} {
		m.make(m.real(dir))
	}
	m.doPage()
}

// TestOperationsUnderSystemd does the same as root, with a systemd and users, and over
// a private Tor network. Only what needs the public network is replaced.
func TestOperationsUnderSystemd(t *testing.T) {
	if os.Getenv("CWTCH_RELAY_CHANGE_THIS_MACHINE") != "1" {
		t.Skip("it makes users and services of the machine: make systemd-test runs it on a copy")
	}
	m := newMachine(t)
	m.torrc = tornet.ForTest(t).ClientTorrc()
	m.doPage()
}

// machine is where an operator does what the page says.
type machine struct {
	*testing.T
	dir   string   // temporary
	home  string   // where commands are typed
	root  string   // what stands for /; empty if that is it
	torrc []string // keeps tor on a private network; nil is the loopback network
	env   []string
	relay *process // the service of a stand-in; nil while it is stopped
	posts int      // made so far; none may be missing after a start
	done  []string // commands
}

const (
	unitPath   = "/etc/systemd/system/cwtch-relay.service"
	configPath = "/etc/cwtch-relay/server.hcl"
)

// ofNetwork are stand-ins for programs that need the public network, by name, and for
// those that are not everywhere.
var ofNetwork = map[string]string{
	"apt-get": "",
	"make":    `mkdir -p bin && cp "$BIN"/cwtch-relay "$BIN"/cwtch-group bin/`,
	"age":     `if [ "$1" = -d ]; then cat "$4"; else cat; fi`,
	"sudo": `if [ "$1" = -u ]; then user=$2; shift 2; [ "$ROOT" ] || exec runuser -u "$user" -- "$@"; fi
		exec "$@"`,
}

// ofMachine are stand-ins for those that change the machine.
var ofMachine = map[string]string{
	"adduser":         "",
	"deluser":         "",
	"chown":           "",
	"journalctl":      "",
	"cwtch-relay.new": `exec "$ROOT"/usr/local/bin/cwtch-relay.new "$@"`,
	"install": `for a; do shift; case $a in -[og]) user=1;; *) [ "$user" ] || set -- "$@" "$a"; user=;; esac; done
		exec /usr/bin/install "$@"`,
}

func newMachine(t *testing.T) *machine {
	dir, err := os.MkdirTemp("", "page-") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{T: t, dir: dir, home: filepath.Join(dir, "home")}
	m.make(m.home)
	m.standIn(ofNetwork)
	t.Cleanup(func() {
		if m.relay != nil {
			m.relay.kill()
		}
	})
	return m
}

func (m *machine) make(dir string) {
	m.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) write(file, text string, mode os.FileMode) {
	m.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		m.Fatal(err)
	}
}

// standIn has scripts take the place of programs.
func (m *machine) standIn(scripts map[string]string) {
	shims := filepath.Join(m.dir, "bin")
	m.make(shims)
	for name, script := range scripts {
		m.write(filepath.Join(shims, name), "#!/bin/bash\n"+script+"\n", 0o755)
	}
	m.env = append(os.Environ(), "BIN="+bin, "ROOT="+m.root, "PATH="+shims+":"+os.Getenv("PATH"),
		"HOME="+m.home, "XDG_CONFIG_HOME=", "CWTCH_GROUP_PROFILE=")
}

// doPage does the blocks of the page, in their order.
func (m *machine) doPage() {
	for _, b := range readBlocks(m.T, "docs/operations.md") {
		switch {
		case b.lines[0] == "[Unit]":
			m.install(b)
		case strings.HasSuffix(b.lines[0], "{") && !strings.Contains(strings.Join(b.lines, ""), "…"):
			m.validate(b)
		}
		for _, s := range b.steps() {
			if !synopsis(s.command) {
				m.do(b, s)
			}
		}
	}
	for _, path := range []string{"/var/lib/cwtch-relay", "/etc/cwtch-relay", "/usr/local/bin/cwtch-relay", unitPath} {
		if _, err := os.Lstat(m.real(path)); !os.IsNotExist(err) {
			m.Errorf("after the page was done to its end, %s is left: %v", path, err)
		}
	}
	done := strings.Join(m.done, "\n")
	for command, least := range map[string]int{"systemctl": 15, "bundle": 1, "storage copy": 1, "age -d": 2} {
		if n := strings.Count(done, command); n < least {
			m.Errorf("the page has %d commands with %q, and should have %d: are its blocks still found?", n, command, least)
		}
	}
}

// places are the absolute paths of the page, and its configuration where that is
// named without one.
var places = regexp.MustCompile(`/(etc|var/lib|usr/local/bin)\b|-C /( |$)|-config server\.hcl`)

// real returns a command or path of the page as it is on this machine.
func (m *machine) real(text string) string {
	return places.ReplaceAllStringFunc(text, func(place string) string {
		switch {
		case strings.HasPrefix(place, "-C"):
			return "-C " + m.root + strings.TrimPrefix(place, "-C ")
		case strings.HasPrefix(place, "-config"):
			return "-config " + m.root + configPath
		}
		return m.root + place
	})
}

// do runs a command and compares what it prints.
func (m *machine) do(b block, s step) {
	m.Helper()
	m.done = append(m.done, s.command)
	words := strings.Fields(s.command)
	var out string
	var err error
	switch {
	case strings.HasPrefix(s.command, "sudo systemctl "):
		out, err = m.systemctl(words[2], words[len(words)-1], s.command)
	case len(words) == 3 && words[0] == "cwtch-relay" && words[1] == "-config":
		err = m.foreground(words[2])
	default:
		out, err = m.run(m.asOwner(m.real(s.command)))
	}
	if strings.Contains(s.command, " storage accept ") && strings.Contains(out, "there is nothing to accept") {
		err = nil // the page has it for a store that is not the last one
	}
	if err == nil && strings.Contains(s.command, " init ") {
		err = m.leavePublicTor()
	}
	if err != nil {
		m.Fatalf("%s: %s: %v\n%s", b, s.command, err, out)
	}
	if strings.Contains(s.command, "-dry-run") { // depends on what the reader has changed
		return
	}
	if m.torrc == nil { // one line of the status differs
		out = loopbackLine.ReplaceAllString(out, "tor$1, version 0,")
	}
	printed := make(map[string]bool)
	for line := range strings.SplitSeq(out, "\n") {
		printed[shape(line)] = true
	}
	for _, line := range s.output {
		if strings.TrimSpace(line) != "…" && line != "" && !printed[shape(line)] {
			m.Errorf("%s: %s does not print %q, but\n%s", b, s.command, line, out)
		}
	}
}

func (m *machine) run(command string) (string, error) {
	cmd := exec.Command("bash", "-o", "pipefail", "-c", command)
	cmd.Dir, cmd.Env = m.home, m.env
	out, err := cmd.CombinedOutput()
	text := string(out)
	if m.root != "" {
		text = strings.ReplaceAll(text, m.root, "")
	}
	return text, err
}

// asOwner has a command about the service run as its user, where the page leaves
// that out.
func (m *machine) asOwner(command string) string {
	if strings.HasPrefix(command, "cwtch-relay ") && strings.Contains(command, configPath) {
		return "sudo -u cwtch-relay " + command
	}
	return command
}

var (
	varying      = regexp.MustCompile(`[a-z2-7]{56}|[0-9a-f]{64}|\d+ days|(\d+m)?\d+s\b|\d+(\.\d+)*( [KMG]iB)?`)
	plural       = regexp.MustCompile(`s\b`)
	loopbackLine = regexp.MustCompile(`(?m)^loopback( +ready since \w+),`)
)

// shape is what is the same in two runs, whatever is counted.
func shape(line string) string {
	line = plural.ReplaceAllString(varying.ReplaceAllString(line, "N"), "")
	return strings.Join(strings.Fields(line), " ")
}

// systemctl runs that command of the page, and after a start looks whether all is
// there.
func (m *machine) systemctl(verb, unit, command string) (out string, err error) {
	if unit != "cwtch-relay" && m.root != "" {
		return "", nil // there are no others
	}
	if m.root != "" {
		err = m.standInFor(verb)
	} else {
		out, err = m.run(command)
	}
	if err != nil || unit != "cwtch-relay" || verb == "stop" || verb == "disable" {
		return out, err
	}
	if err = m.awaitStatus(`2 of 2 services published`); err == nil && m.posts == 0 {
		err = m.post()
	}
	return out, errors.Join(err, m.awaitStatus(fmt.Sprintf(`\n  stored +%d envelopes`, m.posts)))
}

// standInFor does what systemd would with the service.
func (m *machine) standInFor(verb string) error {
	switch verb {
	case "disable", "stop":
		return m.stop()
	case "restart":
		if err := m.stop(); err != nil {
			return err
		}
	case "enable", "start":
	default:
		return fmt.Errorf("nothing stands in for systemctl %s", verb)
	}
	unit, err := os.ReadFile(m.real(unitPath))
	if err != nil {
		return err
	}
	_, line, _ := strings.Cut(string(unit), "\nExecStart=")
	line, _, _ = strings.Cut(line, "\n")
	words := strings.Fields(line)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = m.env
	m.relay, err = startRelay(cmd)
	return err
}

func (m *machine) stop() error {
	if m.relay == nil {
		return nil
	}
	relay := m.relay
	m.relay = nil
	return relay.terminate()
}

// foreground runs a relay until it has announced its servers, and ends it.
func (m *machine) foreground(config string) error {
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", config)
	cmd.Dir, cmd.Env = m.home, m.env
	relay, err := startRelay(cmd)
	if err != nil {
		return err
	}
	return relay.terminate()
}

// awaitStatus waits until the status of the service is like that. With a systemd, no
// line of it may say that the kernel or the unit withholds something from plugins.
func (m *machine) awaitStatus(pattern string) error {
	like := regexp.MustCompile(pattern)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for {
		out, err := m.run(m.asOwner("cwtch-relay status -config " + m.real(configPath)))
		switch {
		case err == nil && m.root == "" && strings.Contains(out, "mounts of its own"):
			return fmt.Errorf("under the unit of the page, plugins have no mounts of their own:\n%s", out)
		case err == nil && like.MatchString(out):
			return nil
		}
		select {
		case <-tick.C:
		case <-end:
			log, _ := m.run("sudo journalctl -n 30 -u cwtch-relay")
			return fmt.Errorf("the status does not come to %q: %w\n%s\n%s", pattern, err, out, log)
		}
	}
}

// post has somebody post to the server of the service.
func (m *machine) post() error {
	m.posts = 2
	bundle, err := m.run(m.asOwner("cwtch-relay bundle -config " + m.real(configPath)))
	if err != nil {
		return fmt.Errorf("bundle: %w\n%s", err, bundle)
	}
	m.write(filepath.Join(m.home, "torrc"), strings.Join(m.torrc, "\n"), 0o600)
	m.env = append(m.env, "CWTCH_GROUP_TORRC="+filepath.Join(m.home, "torrc"))
	if m.torrc == nil {
		m.env = append(m.env, "CWTCH_GROUP_NETWORK=loopback:"+m.registry())
	}
	out, err := m.run("cwtch-group import-server " + strings.TrimSpace(bundle) +
		" && cwtch-group create club && cwtch-group post club one && cwtch-group post club two")
	if err != nil {
		return fmt.Errorf("post: %w\n%s", err, out)
	}
	return nil
}

// registry is the loopback network.
func (m *machine) registry() string { return filepath.Join(m.dir, "net") }

// torBlock is the network of a configuration that init wrote.
var torBlock = regexp.MustCompile(`(?s)\nnetwork "tor" \{.*?\n\}\n`)

// leavePublicTor puts what init wrote on a private network.
func (m *machine) leavePublicTor() error {
	network := fmt.Sprintf("\nnetwork \"loopback\" { registry = %q }\n", m.registry())
	if m.torrc != nil {
		network = "\nnetwork \"tor\" {\ntorrc = [\n"
		for _, line := range m.torrc {
			network += strconv.Quote(line) + ",\n"
		}
		network += "]\n}\n"
	}
	for _, file := range []string{m.real(configPath), filepath.Join(m.home, "my-server/server.hcl")} {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, torBlock.ReplaceAllLiteral(text, []byte(network)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// install writes the unit, and has systemd look at it where it is.
func (m *machine) install(b block) {
	text := m.real(strings.Join(b.lines, "\n") + "\n")
	m.write(m.real(unitPath), text, 0o644)
	if strings.Contains(text, "\nWatchdogSec=") && !strings.Contains(text, "\nWatchdogSignal=SIGKILL\n") {
		m.Errorf("%s: the watchdog writes what the relay has in memory to the journal: Go has a trace for every SIGABRT", b)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		m.Logf("%s: the unit is not verified: %v", b, err)
		return
	}
	if out, err := m.run("systemd-analyze verify --man=no " + m.real(unitPath)); err != nil || out != "" {
		m.Errorf("%s: systemd-analyze verify: %v\n%s", b, err, out)
	}
}

// validate checks a piece of configuration, with what it needs around it.
func (m *machine) validate(b block) {
	text := strings.Join(b.lines, "\n") + "\n"
	for begin, rest := range map[string]string{"network ": "network \"loopback\" { registry = \"net\" }\n", "server ": "server \"main\" {}\n"} {
		if !strings.HasPrefix(text, begin) {
			text += rest
		}
	}
	file := filepath.Join(m.dir, "piece.hcl")
	m.write(file, text, 0o600)
	if out, err := m.run("cwtch-relay validate -config " + file); err != nil {
		m.Errorf("%s: %v\n%s", b, err, out)
	}
}

// TestReadmePage does the blocks of README.md that host a server and talk through it.
// Those of plugin authors are in the script plugin_new.
func TestReadmePage(t *testing.T) {
	m := newMachine(t)
	m.root = filepath.Join(m.dir, "r")
	m.standIn(ofMachine)
	m.env = append(m.env, "CWTCH_GROUP_NETWORK=loopback:"+m.registry())
	bundle := ""
	for _, b := range readBlocks(t, "README.md") {
		if b.lines[0] != "make build" && !strings.HasPrefix(b.lines[0], "bin/cwtch-group ") {
			continue
		}
		for _, s := range b.steps() {
			command, _, _ := strings.Cut(s.command, "  #")
			command = strings.Replace(strings.TrimSpace(command), "server:…", bundle, 1)
			cmd := exec.Command("bash", "-c", "exec "+command)
			cmd.Dir, cmd.Env = m.home, m.env
			var err error
			switch {
			case strings.HasPrefix(command, "bin/cwtch-relay -config"):
				if m.relay, err = startRelay(cmd); err == nil {
					bundle = regexp.MustCompile(`server:\S+`).FindString(m.relay.stdout.String())
				}
			case strings.HasPrefix(command, "bin/cwtch-group follow"):
				var follower *process
				if follower, err = start(cmd); err == nil {
					_, err = follower.stdout.await("hello")
					follower.kill()
				}
			default:
				m.do(b, step{command: command})
			}
			if err != nil {
				t.Fatalf("%s: %s: %v", b, command, err)
			}
		}
	}
	if m.relay == nil {
		t.Fatal("no block of the page runs a relay")
	}
	if err := m.stop(); err != nil {
		t.Error(err)
	}
	if n := len(m.done); n < 8 {
		t.Errorf("the page has %d commands, and should have more: are its blocks still found?", n)
	}
}
