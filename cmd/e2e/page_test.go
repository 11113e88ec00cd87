package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is an indented block of a page of the manual.
type block struct {
	page  string
	line  int // where it begins, from 1
	lines []string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// readBlocks returns the indented blocks of a page, which is a path from the root
// of the repository.
func readBlocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	inside, before := false, ""
	for i, line := range strings.Split(string(text), "\n") {
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && !inside && before == "":
			blocks, inside = append(blocks, block{page, i + 1, []string{code}}), true
		case inside && (indented || line == ""):
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, code)
		default:
			inside = false
		}
		before = line
	}
	for i := range blocks {
		b := &blocks[i]
		for b.lines[len(b.lines)-1] == "" {
			b.lines = b.lines[:len(b.lines)-1]
		}
	}
	return blocks
}

// step is a command of a page and, in a transcript, what it is said to print.
type step struct {
	command string
	output  []string
}

// commandWord begins a line that somebody is to type.
var commandWord = regexp.MustCompile(`^(sudo|cwtch-\w+|(\.\./)?bin/cwtch-\w+|make|age|rm|cd) `)

// steps returns the commands of a block; nil if it has none.
func (b block) steps() []step {
	transcript := strings.HasPrefix(b.lines[0], "$ ")
	if !transcript && !commandWord.MatchString(b.lines[0]) {
		return nil
	}
	var steps []step
	continued := false
	for _, line := range b.lines {
		typed, prompt := strings.CutPrefix(line, "$ ")
		switch {
		case continued:
			last := &steps[len(steps)-1].command
			*last = strings.TrimSuffix(*last, `\`) + strings.TrimSpace(line)
		case transcript && !prompt:
			last := &steps[len(steps)-1]
			last.output = append(last.output, line)
			continue
		case typed == "":
			continue
		default:
			steps = append(steps, step{command: typed})
		}
		continued = strings.HasSuffix(line, `\`)
	}
	return steps
}

// synopsis reports whether a line shows how a command is formed, and is not one.
func synopsis(command string) bool {
	return strings.Contains(command, " [-") || strings.Contains(command, " …")
}

// TestOperationsPage does everything that docs/operations.md has in its blocks, from
// top to bottom, on a stand-in of a machine: /etc, /var/lib and /usr/local/bin are
// in a temporary directory, the relay is on the loopback network, and its service
// is started by the line of the unit. What needs a machine of its own (users,
// packages, systemd) is replaced.
func TestOperationsPage(t *testing.T) {
	m := newMachine(t)
	for _, b := range readBlocks(t, "docs/operations.md") {
		switch {
		case b.lines[0] == "[Unit]":
			m.install(b)
		case strings.HasSuffix(b.lines[0], "{"):
			m.validate(b)
		}
		for _, s := range b.steps() {
			if !synopsis(s.command) {
				m.do(b, s)
			}
		}
	}
	if _, err := os.Stat(m.real("/var/lib/cwtch-relay")); !os.IsNotExist(err) {
		t.Errorf("after the page was done to its end: %v; want that the directory is gone", err)
	}
	for command, done := range map[string]int{"systemctl": 15, "bundle": 1, "storage copy": 1, "age -d": 2} {
		if n := strings.Count(strings.Join(m.done, "\n"), command); n < done {
			t.Errorf("the page has %d commands with %q, and should have %d: are its blocks still found?", n, command, done)
		}
	}
}

// machine is the stand-in of an operator's machine.
type machine struct {
	*testing.T
	root  string   // what stands for /
	home  string   // where commands are typed
	relay *process // the service; nil while it is stopped
	posts int      // made so far; none may be missing after a start
	env   []string
	done  []string // commands
}

const unitPath = "/etc/systemd/system/cwtch-relay.service"

// standIns replace programs that change the machine, by name.
var standIns = map[string]string{
	"sudo":            `while [ "$1" = -u ]; do shift 2; done; exec "$@"`,
	"adduser":         "",
	"deluser":         "",
	"chown":           "",
	"apt-get":         "",
	"journalctl":      "",
	"make":            `mkdir -p bin && cp "$BIN"/cwtch-relay "$BIN"/cwtch-group bin/`,
	"age":             `if [ "$1" = -d ]; then cat "$4"; else cat; fi`,
	"install":         `for a; do shift; case $a in -o|-g) skip=1;; *) [ "$skip" ] || set -- "$@" "$a"; skip=;; esac; done; exec /usr/bin/install "$@"`,
	"cwtch-relay.new": `exec "$ROOT"/usr/local/bin/cwtch-relay.new "$@"`,
}

func newMachine(t *testing.T) *machine {
	dir, err := os.MkdirTemp("", "page-") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{T: t, root: filepath.Join(dir, "r"), home: filepath.Join(dir, "home")}
	shims := filepath.Join(dir, "bin")
	for _, d := range []string{shims, m.home, m.real("/etc/systemd/system"), m.real("/var/lib"), m.real("/usr/local/bin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range standIns {
		if err := os.WriteFile(filepath.Join(shims, name), []byte("#!/bin/bash\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.env = append(os.Environ(), "BIN="+bin, "ROOT="+m.root, "PATH="+shims+":"+os.Getenv("PATH"))
	t.Cleanup(func() {
		if m.relay != nil {
			m.relay.kill()
		}
	})
	return m
}

// places are the absolute paths of the page, and where its configuration is when
// it is named without one.
var places = regexp.MustCompile(`/(etc|var/lib|usr/local/bin)\b|-C /( |$)|-config server\.hcl`)

// real returns a command or path of the page as it is on the stand-in.
func (m *machine) real(text string) string {
	return places.ReplaceAllStringFunc(text, func(place string) string {
		switch {
		case strings.HasPrefix(place, "-C"):
			return "-C " + m.root + strings.TrimPrefix(place, "-C /")
		case strings.HasPrefix(place, "-config"):
			return "-config " + m.root + "/etc/cwtch-relay/server.hcl"
		}
		return m.root + place
	})
}

// do runs a command and compares its output.
func (m *machine) do(b block, s step) {
	m.Helper()
	m.done = append(m.done, s.command)
	words := strings.Fields(s.command)
	var out string
	var err error
	switch {
	case len(words) > 2 && words[0] == "sudo" && words[1] == "systemctl":
		err = m.systemctl(words[2], words[len(words)-1])
	case len(words) == 3 && words[0] == "cwtch-relay" && words[1] == "-config":
		err = m.foreground(words[2])
	default:
		cmd := exec.Command("bash", "-o", "pipefail", "-c", m.real(s.command))
		cmd.Dir, cmd.Env = m.home, m.env
		var text []byte
		text, err = cmd.CombinedOutput()
		out = strings.ReplaceAll(string(text), m.root, "")
		out = loopbackLine.ReplaceAllString(out, "tor$1, version 0,") // the one line of a status that differs
	}
	if err == nil && strings.Contains(s.command, " init ") {
		err = m.leaveTor()
	}
	if err != nil {
		m.Fatalf("%s: %s: %v\n%s", b, s.command, err, out)
	}
	// A plan depends on what the reader has changed.
	if strings.Contains(s.command, "-dry-run") {
		return
	}
	printed := make(map[string]bool)
	for _, line := range strings.Split(out, "\n") {
		printed[shape(line)] = true
	}
	for _, line := range s.output {
		if strings.TrimSpace(line) != "…" && line != "" && !printed[shape(line)] {
			m.Errorf("%s: %s does not print %q, but\n%s", b, s.command, line, out)
		}
	}
}

// varying is what differs from one run to the next.
var varying = regexp.MustCompile(`[a-z2-7]{56}|[0-9a-f]{64}|\d+(\.\d+)*( [KMG]iB)?`)

var loopbackLine = regexp.MustCompile(`(?m)^loopback( +ready since \w+),`)

var plural = regexp.MustCompile(`s\b`)

// shape is what is the same in two runs, whatever is counted.
func shape(line string) string {
	line = plural.ReplaceAllString(varying.ReplaceAllString(line, "N"), "")
	return strings.Join(strings.Fields(line), " ")
}

// systemctl does what systemd would with the service. Of other units there are none.
func (m *machine) systemctl(verb, unit string) error {
	if unit != "cwtch-relay" {
		return nil
	}
	switch verb {
	case "disable", "stop":
		return m.stop()
	case "restart":
		if err := m.stop(); err != nil {
			return err
		}
	case "enable", "start":
	default:
		return fmt.Errorf("no stand-in for systemctl %s", verb)
	}
	unitText, err := os.ReadFile(m.real(unitPath))
	if err != nil {
		return err
	}
	_, line, _ := strings.Cut(string(unitText), "\nExecStart=")
	line, _, _ = strings.Cut(line, "\n")
	words := strings.Fields(m.real(line))
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = m.env
	if m.relay, err = startRelay(cmd); err != nil || m.posts > 0 {
		return errors.Join(err, m.lookForPosts())
	}
	return m.post()
}

// post has somebody post to the server of the service.
func (m *machine) post() error {
	const script = `
		cwtch-group import-server "$(cwtch-relay bundle -config "$ROOT"/etc/cwtch-relay/server.hcl)" &&
		cwtch-group create club && cwtch-group post club one && cwtch-group post club two`
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(m.env, "CWTCH_GROUP_NETWORK=loopback:"+filepath.Join(m.root, "net"), "CWTCH_GROUP_PROFILE="+filepath.Join(m.home, "profile"))
	m.posts = 2
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("post: %w\n%s", err, out)
	}
	return m.lookForPosts()
}

// lookForPosts fails when the service has not all that was posted.
func (m *machine) lookForPosts() error {
	out, err := exec.Command(filepath.Join(bin, "cwtch-relay"), "status", "-config", m.real("/etc/cwtch-relay/server.hcl")).CombinedOutput()
	if want := fmt.Sprintf("stored             %d envelopes", m.posts); err == nil && !strings.Contains(string(out), want) {
		err = fmt.Errorf("want %q", want)
	}
	if err != nil {
		return fmt.Errorf("status: %w\n%s", err, out)
	}
	return nil
}

func (m *machine) stop() error {
	if m.relay == nil {
		return nil
	}
	relay := m.relay
	m.relay = nil
	return relay.terminate()
}

// foreground runs a relay until it has announced its servers, and ends it with ^C.
func (m *machine) foreground(config string) error {
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", config)
	cmd.Dir, cmd.Env = m.home, m.env
	relay, err := startRelay(cmd)
	if err != nil {
		return err
	}
	return relay.terminate()
}

// torBlock is the network of a configuration that init wrote.
var torBlock = regexp.MustCompile(`(?s)\nnetwork "tor" \{.*?\n\}\n`)

// leaveTor puts what init wrote on the loopback network.
func (m *machine) leaveTor() error {
	registry := fmt.Sprintf("\nnetwork \"loopback\" { registry = %q }\n", filepath.Join(m.root, "net"))
	for _, file := range []string{m.real("/etc/cwtch-relay/server.hcl"), filepath.Join(m.home, "my-server/server.hcl")} {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, torBlock.ReplaceAll(text, []byte(registry)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// install writes the unit, and has systemd look at it where it is.
func (m *machine) install(b block) {
	text := strings.Join(b.lines, "\n") + "\n"
	if err := os.WriteFile(m.real(unitPath), []byte(text), 0o644); err != nil {
		m.Fatal(err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		m.Logf("%s: the unit is not verified: %v", b, err)
		return
	}
	// The programs that it names have to exist.
	unit := filepath.Join(m.TempDir(), "cwtch-relay.service")
	if err := os.WriteFile(unit, []byte(m.real(text)), 0o644); err != nil {
		m.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		m.Errorf("%s: systemd-analyze verify: %v\n%s", b, err, out)
	}
}

// validate checks a piece of configuration, with what it needs around it.
func (m *machine) validate(b block) {
	text := strings.Join(b.lines, "\n") + "\n"
	if !strings.Contains(text, "network ") {
		text += "network \"loopback\" { registry = \"net\" }\n"
	}
	if !strings.Contains(text, "\nserver ") {
		text += "server \"main\" {}\n"
	}
	file := filepath.Join(m.TempDir(), "server.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(bin, "cwtch-relay"), "validate", "-config", file).CombinedOutput(); err != nil {
		m.Errorf("%s: %v\n%s", b, err, out)
	}
}

// TestPagesNameCommands holds every command of cwtch-relay and cwtch-group that the
// manual names, in a block or within a sentence, to what -help says: there is such
// a command, and it has these flags. So with the targets of make.
func TestPagesNameCommands(t *testing.T) {
	usages := map[string]usage{"cwtch-relay": readUsage(t, "cwtch-relay"), "cwtch-group": readUsage(t, "cwtch-group")}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(append(pages, examples...), "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, code := range codeOf(line) {
				code = userOfRelay.ReplaceAllString(code, "")
				for _, m := range relayCommand.FindAllStringSubmatch(code, -1) {
					found++
					if why := usages[m[1]].refuse(strings.Fields(m[2])); why != "" {
						t.Errorf("%s:%d: %s: %s", page, i+1, m[0], why)
					}
				}
				for _, m := range makeTarget.FindAllStringSubmatch(code, -1) {
					found++
					if !strings.Contains(string(makefile), "\n"+m[1]+":") {
						t.Errorf("%s:%d: %s: the Makefile has no such target", page, i+1, code)
					}
				}
			}
		}
	}
	if found < 60 {
		t.Errorf("the pages name %d commands, and should name more: are they still found?", found)
	}
}

var (
	codeSpan     = regexp.MustCompile("`([^`]+)`")
	relayCommand = regexp.MustCompile(`(?:^|\$ |bin/|\s|\()(cwtch-relay|cwtch-group)((?: [^|;()#&>]+)?)`)
	userOfRelay  = regexp.MustCompile(`-[uog] cwtch-relay\b`)
	makeTarget   = regexp.MustCompile(`^(?:\$ )?make ([a-z]+)`)
	flagOfUsage  = regexp.MustCompile(`(?:^|[ \[])(-[a-z][a-z-]*)`)
)

// codeOf returns what a line of a page has as code: all of an indented one, and the
// spans of others.
func codeOf(line string) []string {
	if code, ok := strings.CutPrefix(line, "    "); ok {
		return []string{code}
	}
	var spans []string
	for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
		spans = append(spans, m[1])
	}
	return spans
}

// usage is what a program says of its commands: the flags of each, and under ""
// those of all.
type usage map[string]map[string]bool

func readUsage(t *testing.T, program string) usage {
	t.Helper()
	out, err := exec.Command(filepath.Join(bin, program), "-help").Output()
	if err != nil {
		t.Fatal(err)
	}
	u := usage{"": {"-help": true}}
	for _, line := range strings.Split(string(out), "\n") {
		name := ""
		if command, ok := strings.CutPrefix(line, "  "+program+" "); ok {
			if name = commandName(strings.Fields(command)); u[name] == nil {
				u[name] = make(map[string]bool)
			}
			line = command
		} else if strings.HasPrefix(line, "        ") {
			continue // says what the command does
		}
		for _, m := range flagOfUsage.FindAllStringSubmatch(line, -1) {
			u[name][m[1]] = true
		}
		if strings.Contains(line, "GRANTS") {
			for _, grant := range []string{"-read", "-network", "-processes", "-no-sandbox"} {
				u[name][grant] = true
			}
		}
	}
	return u
}

// commandName is that of a command: "" to run the relay, "plugin test" of two words.
func commandName(words []string) string {
	switch {
	case len(words) == 0 || strings.HasPrefix(words[0], "-"):
		return ""
	case (words[0] == "plugin" || words[0] == "storage") && len(words) > 1:
		return words[0] + " " + words[1]
	}
	return words[0]
}

// refuse says what is wrong with the words behind the name of the program.
func (u usage) refuse(words []string) string {
	name := commandName(words)
	flags, ok := u[name]
	switch {
	case name == "plugin-serve": // the relay's own, no command of the operator
		return ""
	case name != "" && !regexp.MustCompile(`^[a-z-]+( [a-z-]+)?$`).MatchString(name):
		return "" // a sentence that goes on
	case !ok:
		return "there is no such command"
	}
	for _, m := range flagOfUsage.FindAllStringSubmatch(strings.Join(words, " "), -1) {
		if !flags[m[1]] && !u[""][m[1]] {
			return "it has no flag " + m[1]
		}
	}
	return ""
}
