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

// TestOperationsPage runs every block of docs/operations.md, from top to bottom, on
// a simulated machine: /etc, /var/lib and /usr/local/bin are in a temporary
// directory, the relay is on the loopback network, and the line of the unit starts
// the service. Stubs replace what changes a machine: users, packages, systemd.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.root = filepath.Join(m.dir, "r")
	m.replacePrograms(machineStubs)
	for _, dir := range []string{"/etc/systemd/system", "/var/lib", "/usr/local/bin"} {
		m.makeDir(m.localPath(dir))
	}
	m.doPage()
}

// TestOperationsUnderSystemd does the same as root, with a real systemd, real users
// and a private Tor network. Stubs replace only what needs the public network.
func TestOperationsUnderSystemd(t *testing.T) {
	if os.Getenv("CWTCH_RELAY_CHANGE_THIS_MACHINE") != "1" {
		t.Skip("it makes users and services of the machine: make systemd-test runs it on a copy")
	}
	m := newMachine(t)
	m.torrc = tornet.ForTest(t).ClientTorrc()
	m.doPage()
}

// testMachine is the machine on which the test follows the page.
type testMachine struct {
	*testing.T
	dir   string   // temporary
	home  string   // working directory of the commands
	root  string   // replaces /; empty if it is /
	torrc []string // keeps tor on a private network; nil is the loopback network
	env   []string
	relay *process // the simulated service; nil while it is stopped
	posts int      // posted so far; none may be missing after a start
	done  []string // commands
}

const (
	unitPath   = "/etc/systemd/system/cwtch-relay.service"
	configPath = "/etc/cwtch-relay/server.hcl"
)

// networkStubs replace programs that need the public network or may be missing, by
// name.
var networkStubs = map[string]string{
	"apt-get": "",
	"make":    `mkdir -p bin && cp "$BIN"/cwtch-relay "$BIN"/cwtch-group bin/`,
	"age":     `if [ "$1" = -d ]; then cat "$4"; else cat; fi`,
	"sudo": `if [ "$1" = -u ]; then user=$2; shift 2; [ "$ROOT" ] || exec runuser -u "$user" -- "$@"; fi
		exec "$@"`,
}

// machineStubs replace programs that change the machine.
var machineStubs = map[string]string{
	"adduser":         "",
	"deluser":         "",
	"chown":           "",
	"journalctl":      "",
	"cwtch-relay.new": `exec "$ROOT"/usr/local/bin/cwtch-relay.new "$@"`,
	"install": `for a; do shift; case $a in -[og]) user=1;; *) [ "$user" ] || set -- "$@" "$a"; user=;; esac; done
		exec /usr/bin/install "$@"`,
}

func newMachine(t *testing.T) *testMachine {
	dir, err := os.MkdirTemp("", "page-") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &testMachine{T: t, dir: dir, home: filepath.Join(dir, "home")}
	m.makeDir(m.home)
	m.replacePrograms(networkStubs)
	t.Cleanup(func() {
		if m.relay != nil {
			m.relay.kill()
		}
	})
	return m
}

func (m *testMachine) makeDir(dir string) {
	m.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.Fatal(err)
	}
}

func (m *testMachine) writeFile(file, text string, mode os.FileMode) {
	m.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		m.Fatal(err)
	}
}

// replacePrograms writes scripts that run in place of programs.
func (m *testMachine) replacePrograms(scripts map[string]string) {
	shims := filepath.Join(m.dir, "bin")
	m.makeDir(shims)
	for name, script := range scripts {
		m.writeFile(filepath.Join(shims, name), "#!/bin/bash\n"+script+"\n", 0o755)
	}
	m.env = append(os.Environ(), "BIN="+bin, "ROOT="+m.root, "PATH="+shims+":"+os.Getenv("PATH"),
		"HOME="+m.home, "XDG_CONFIG_HOME=", "CWTCH_GROUP_PROFILE=")
}

// doPage runs the blocks of the page, in order.
func (m *testMachine) doPage() {
	for _, b := range readBlocks(m.T, "docs/operations.md") {
		switch {
		case b.lines[0] == "[Unit]":
			m.installUnit(b)
		case strings.HasSuffix(b.lines[0], "{") && !strings.Contains(strings.Join(b.lines, ""), "…"):
			m.validateConfig(b)
		}
		for _, s := range b.steps() {
			if !isSynopsis(s.command) {
				m.runStep(b, s)
			}
		}
	}
	for _, path := range []string{"/var/lib/cwtch-relay", "/etc/cwtch-relay", "/usr/local/bin/cwtch-relay", unitPath} {
		if _, err := os.Lstat(m.localPath(path)); !os.IsNotExist(err) {
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

// places matches the absolute paths of the page, and its configuration where the
// page gives no path.
var places = regexp.MustCompile(`/(etc|var/lib|usr/local/bin)\b|-C /( |$)|-config server\.hcl`)

// localPath rewrites a command or path of the page for this machine.
func (m *testMachine) localPath(text string) string {
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

// runStep runs a command and compares its output with the page.
func (m *testMachine) runStep(b docBlock, s docStep) {
	m.Helper()
	m.done = append(m.done, s.command)
	words := strings.Fields(s.command)
	var out string
	var err error
	switch {
	case strings.HasPrefix(s.command, "sudo systemctl "):
		out, err = m.systemctl(words[2], words[len(words)-1], s.command)
	case len(words) == 3 && words[0] == "cwtch-relay" && words[1] == "-config":
		err = m.runForeground(words[2])
	default:
		out, err = m.runCommand(m.asOwner(m.localPath(s.command)))
	}
	if strings.Contains(s.command, " storage accept ") && strings.Contains(out, "there is nothing to accept") {
		err = nil // the page shows it for a store that is not the last one
	}
	if err == nil && strings.Contains(s.command, " init ") {
		err = m.leavePublicTor()
	}
	if err != nil {
		m.Fatalf("%s: %s: %v\n%s", b, s.command, err, out)
	}
	if strings.Contains(s.command, "-dry-run") { // the plan depends on the reader's changes
		return
	}
	if m.torrc == nil { // one line of the status differs without tor
		out = loopbackLine.ReplaceAllString(out, "tor$1, version 0,")
	}
	printed := make(map[string]bool)
	for line := range strings.SplitSeq(out, "\n") {
		printed[normalizeLine(line)] = true
	}
	for _, line := range s.output {
		if strings.TrimSpace(line) != "…" && line != "" && !printed[normalizeLine(line)] {
			m.Errorf("%s: %s does not print %q, but\n%s", b, s.command, line, out)
		}
	}
}

func (m *testMachine) runCommand(command string) (string, error) {
	cmd := exec.Command("bash", "-o", "pipefail", "-c", command)
	cmd.Dir, cmd.Env = m.home, m.env
	out, err := cmd.CombinedOutput()
	text := string(out)
	if m.root != "" {
		text = strings.ReplaceAll(text, m.root, "")
	}
	return text, err
}

// asOwner makes a command about the service run as its user, where the page leaves
// that out.
func (m *testMachine) asOwner(command string) string {
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

// normalizeLine removes what differs between two runs.
func normalizeLine(line string) string {
	line = plural.ReplaceAllString(varying.ReplaceAllString(line, "N"), "")
	return strings.Join(strings.Fields(line), " ")
}

// systemctl runs a systemctl command of the page. After a start it checks that
// nothing is lost.
func (m *testMachine) systemctl(verb, unit, command string) (out string, err error) {
	if unit != "cwtch-relay" && m.root != "" {
		return "", nil // no other service matters
	}
	if m.root != "" {
		err = m.actAsSystemd(verb)
	} else {
		out, err = m.runCommand(command)
	}
	if err != nil || unit != "cwtch-relay" || verb == "stop" || verb == "disable" {
		return out, err
	}
	if err = m.awaitStatus(`2 of 2 services published`); err == nil && m.posts == 0 {
		err = m.postMessage()
	}
	return out, errors.Join(err, m.awaitStatus(fmt.Sprintf(`\n  stored +%d envelopes`, m.posts)))
}

// actAsSystemd does to the service what systemd would.
func (m *testMachine) actAsSystemd(verb string) error {
	switch verb {
	case "disable", "stop":
		return m.stopService()
	case "restart":
		if err := m.stopService(); err != nil {
			return err
		}
	case "enable", "start":
	default:
		return fmt.Errorf("nothing stands in for systemctl %s", verb)
	}
	unit, err := os.ReadFile(m.localPath(unitPath))
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

func (m *testMachine) stopService() error {
	if m.relay == nil {
		return nil
	}
	relay := m.relay
	m.relay = nil
	return relay.terminate()
}

// runForeground starts a relay, waits until it has announced its servers, and stops
// it.
func (m *testMachine) runForeground(config string) error {
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", config)
	cmd.Dir, cmd.Env = m.home, m.env
	relay, err := startRelay(cmd)
	if err != nil {
		return err
	}
	return relay.terminate()
}

// awaitStatus waits until the status of the service matches. Under systemd, no line
// may say that the kernel or the unit weakens the sandbox.
func (m *testMachine) awaitStatus(pattern string) error {
	like := regexp.MustCompile(pattern)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for {
		out, err := m.runCommand(m.asOwner("cwtch-relay status -config " + m.localPath(configPath)))
		switch {
		case err == nil && m.root == "" && strings.Contains(out, "mounts of its own"):
			return fmt.Errorf("under the unit of the page, plugins have no mounts of their own:\n%s", out)
		case err == nil && like.MatchString(out):
			return nil
		}
		select {
		case <-tick.C:
		case <-end:
			log, _ := m.runCommand("sudo journalctl -n 30 -u cwtch-relay")
			return fmt.Errorf("the status does not come to %q: %w\n%s\n%s", pattern, err, out, log)
		}
	}
}

// postMessage posts to the server of the service.
func (m *testMachine) postMessage() error {
	m.posts = 2
	bundle, err := m.runCommand(m.asOwner("cwtch-relay bundle -config " + m.localPath(configPath)))
	if err != nil {
		return fmt.Errorf("bundle: %w\n%s", err, bundle)
	}
	m.writeFile(filepath.Join(m.home, "torrc"), strings.Join(m.torrc, "\n"), 0o600)
	m.env = append(m.env, "CWTCH_GROUP_TORRC="+filepath.Join(m.home, "torrc"))
	if m.torrc == nil {
		m.env = append(m.env, "CWTCH_GROUP_NETWORK=loopback:"+m.registryDir())
	}
	out, err := m.runCommand("cwtch-group import-server " + strings.TrimSpace(bundle) +
		" && cwtch-group create club && cwtch-group post club one && cwtch-group post club two")
	if err != nil {
		return fmt.Errorf("post: %w\n%s", err, out)
	}
	return nil
}

// registryDir is the directory of the loopback network.
func (m *testMachine) registryDir() string { return filepath.Join(m.dir, "net") }

// torBlock matches the network block that init writes.
var torBlock = regexp.MustCompile(`(?s)\nnetwork "tor" \{.*?\n\}\n`)

// leavePublicTor puts the configuration of init on a private network.
func (m *testMachine) leavePublicTor() error {
	network := fmt.Sprintf("\nnetwork \"loopback\" { registry = %q }\n", m.registryDir())
	if m.torrc != nil {
		network = "\nnetwork \"tor\" {\ntorrc = [\n"
		for _, line := range m.torrc {
			network += strconv.Quote(line) + ",\n"
		}
		network += "]\n}\n"
	}
	for _, file := range []string{m.localPath(configPath), filepath.Join(m.home, "my-server/server.hcl")} {
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

// installUnit writes the unit and has systemd verify it, where there is one.
func (m *testMachine) installUnit(b docBlock) {
	text := m.localPath(strings.Join(b.lines, "\n") + "\n")
	m.writeFile(m.localPath(unitPath), text, 0o644)
	if strings.Contains(text, "\nWatchdogSec=") && !strings.Contains(text, "\nWatchdogSignal=SIGKILL\n") {
		m.Errorf("%s: the watchdog writes what the relay has in memory to the journal: Go has a trace for every SIGABRT", b)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		m.Logf("%s: the unit is not verified: %v", b, err)
		return
	}
	if out, err := m.runCommand("systemd-analyze verify --man=no " + m.localPath(unitPath)); err != nil || out != "" {
		m.Errorf("%s: systemd-analyze verify: %v\n%s", b, err, out)
	}
}

// validateConfig validates a piece of configuration, completed with what it needs.
func (m *testMachine) validateConfig(b docBlock) {
	text := strings.Join(b.lines, "\n") + "\n"
	for begin, rest := range map[string]string{"network ": "network \"loopback\" { registry = \"net\" }\n", "server ": "server \"main\" {}\n"} {
		if !strings.HasPrefix(text, begin) {
			text += rest
		}
	}
	file := filepath.Join(m.dir, "piece.hcl")
	m.writeFile(file, text, 0o600)
	if out, err := m.runCommand("cwtch-relay validate -config " + file); err != nil {
		m.Errorf("%s: %v\n%s", b, err, out)
	}
}

// TestReadmePage runs the blocks of README.md that host a server and talk through
// it. The script plugin_new has those for plugin authors.
func TestReadmePage(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.root = filepath.Join(m.dir, "r")
	m.replacePrograms(machineStubs)
	m.env = append(m.env, "CWTCH_GROUP_NETWORK=loopback:"+m.registryDir())
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
				m.runStep(b, docStep{command: command})
			}
			if err != nil {
				t.Fatalf("%s: %s: %v", b, command, err)
			}
		}
	}
	if m.relay == nil {
		t.Fatal("no block of the page runs a relay")
	}
	if err := m.stopService(); err != nil {
		t.Error(err)
	}
	if n := len(m.done); n < 8 {
		t.Errorf("the page has %d commands, and should have more: are its blocks still found?", n)
	}
}
