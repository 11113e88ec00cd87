package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docBlock is an indented block of a page of the manual.
type docBlock struct {
	page  string
	line  int // first line, from 1
	lines []string
}

func (b docBlock) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// readBlocks returns the indented blocks of a page, given by its path from the root
// of the repository.
func readBlocks(t *testing.T, page string) []docBlock {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []docBlock
	inside, before := false, ""
	for i, line := range strings.Split(string(text), "\n") {
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && !inside && before == "":
			blocks, inside = append(blocks, docBlock{page, i + 1, []string{code}}), true
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

// docStep is a command of a page and, in a transcript, its output.
type docStep struct {
	command string
	output  []string
}

// commandWord matches the beginning of a line to type.
var commandWord = regexp.MustCompile(`^(sudo|cwtch-\w+|(\.\./)?bin/cwtch-\w+|make|age|rm|cd) `)

// steps returns the commands of a block, or nil if it has none.
func (b docBlock) steps() []docStep {
	transcript := strings.HasPrefix(b.lines[0], "$ ")
	if !transcript && !commandWord.MatchString(b.lines[0]) {
		return nil
	}
	var steps []docStep
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
			steps = append(steps, docStep{command: typed})
		}
		continued = strings.HasSuffix(line, `\`)
	}
	return steps
}

// isSynopsis reports whether a line describes a command rather than being one.
func isSynopsis(command string) bool {
	return strings.Contains(command, " [-") || strings.Contains(command, " …")
}

// TestManualNamesRealCommands compares every command of our programs in the manual with
// the output of -help: the command exists and has these flags. It checks the targets of
// make, too.
func TestManualNamesRealCommands(t *testing.T) {
	usages := make(map[string]commandFlags)
	for _, program := range []string{"cwtch-relay", "cwtch-plugin", "cwtch-group"} {
		usages[program] = readUsage(t, program)
	}
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
					if why := usages[m[1]].findMisuse(strings.Fields(m[2])); why != "" {
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
	relayCommand = regexp.MustCompile(`(?:^|\$ |bin/|\s|\()(cwtch-relay|cwtch-plugin|cwtch-group)((?: [^|;()#&>]+)?)`)
	userOfRelay  = regexp.MustCompile(`-[uog] cwtch-relay\b`)
	makeTarget   = regexp.MustCompile(`^(?:\$ )?make ([a-z][a-z-]*)`)
	flagOfUsage  = regexp.MustCompile(`(?:^|[ \[])(-[a-z][a-z-]*)`)
)

// codeOf returns the code of a line: all of an indented line, and the code spans of
// others.
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

// commandFlags holds the flags of each command of a program, and under "" those without a
// command. A family such as "server" has none.
type commandFlags map[string]map[string]bool

var (
	listedCommand = regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z-]+)?) {2,}\S`)
	listedFlag    = regexp.MustCompile(`(?m)^  (-[a-z][a-z-]*)`)
)

// readUsage asks a program for its commands, and each command for its flags.
func readUsage(t *testing.T, program string) commandFlags {
	t.Helper()
	if program == "cwtch-group" {
		return readGroupUsage(t)
	}
	help := readHelp(t, program, "-help")
	u := commandFlags{"": flagsIn(help)}
	for _, m := range listedCommand.FindAllStringSubmatch(help, -1) {
		words := strings.Fields(m[1])
		u[m[1]] = flagsIn(readHelp(t, program, append(words, "-help")...))
		if len(words) > 1 {
			u[words[0]] = flagsIn(readHelp(t, program, words[0], "-help"))
		}
	}
	if len(u) < 5 {
		t.Fatalf("%s -help lists hardly any commands:\n%s", program, help)
	}
	return u
}

func readHelp(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(bin, program), args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return string(out)
}

// flagsIn returns the flags that the help of a command describes.
func flagsIn(help string) map[string]bool {
	flags := make(map[string]bool)
	for _, m := range listedFlag.FindAllStringSubmatch(help, -1) {
		flags[m[1]] = true
	}
	return flags
}

// readGroupUsage reads the help of cwtch-group, which has all commands with their flags. Those
// without a command are common to all.
func readGroupUsage(t *testing.T) commandFlags {
	t.Helper()
	u := commandFlags{"": {"-help": true}}
	for _, line := range strings.Split(readHelp(t, "cwtch-group", "-help"), "\n") {
		name := ""
		if command, ok := strings.CutPrefix(line, "  cwtch-group "); ok {
			words := strings.Fields(command)
			if !strings.HasPrefix(strings.TrimPrefix(words[0], "["), "-") { // [-config FILE]
				name = words[0]
			}
			if u[name] == nil {
				u[name] = make(map[string]bool)
			}
			line = command
		} else if strings.HasPrefix(line, "        ") {
			continue // says what the command does
		}
		for _, m := range flagOfUsage.FindAllStringSubmatch(line, -1) {
			u[name][m[1]] = true
		}
	}
	for _, flags := range u {
		maps.Copy(flags, u[""])
	}
	return u
}

// commandName returns the name of the command in a command line: "" to run the relay, or two
// words as in "plugin test".
func (u commandFlags) commandName(words []string) string {
	if len(words) == 0 || strings.HasPrefix(strings.TrimPrefix(words[0], "["), "-") {
		return ""
	}
	isFamily := slices.ContainsFunc(slices.Collect(maps.Keys(u)), func(name string) bool { return strings.HasPrefix(name, words[0]+" ") })
	if isFamily && len(words) > 1 {
		return words[0] + " " + words[1]
	}
	return words[0]
}

// findMisuse says what is wrong with the arguments of a command, or returns "".
func (u commandFlags) findMisuse(words []string) string {
	name := u.commandName(words)
	flags, ok := u[name]
	switch {
	case name == "plugin-serve": // internal, not a command for operators
		return ""
	case strings.HasPrefix(name, "help"):
		return ""
	case name != "" && !regexp.MustCompile(`^[a-z-]+( [a-z-]+)?$`).MatchString(name):
		return "" // the sentence goes on
	case !ok:
		return "there is no such command"
	}
	for _, m := range flagOfUsage.FindAllStringSubmatch(strings.Join(words, " "), -1) {
		if !flags[m[1]] {
			return "it has no flag " + m[1]
		}
	}
	return ""
}
