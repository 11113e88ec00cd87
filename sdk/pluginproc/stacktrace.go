package pluginproc

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// maxTrace bounds the lines of one stack trace that are shown.
const maxTrace = 64

// stackTrace filters the lines of a process. It keeps the reason of a stack trace, the names of
// functions and their places. It drops what could show memory: arguments, registers, words of
// the stack, and lines of source.
type stackTrace struct {
	format *traceFormat // nil until a trace begins
	kept   int          // lines of it
}

// traceFormat describes the stack traces of a language.
type traceFormat struct {
	begin *regexp.Regexp
	// keep matches the lines to show. If it has groups, only they are shown.
	keep *regexp.Regexp
	// last means that the process ends with the trace: nothing but keep is shown from then
	// on. Otherwise a line that is not indented is the reason, and ends the trace.
	last bool
}

var (
	goTrace = &traceFormat{
		begin: regexp.MustCompile(`^(panic: |fatal error: |runtime/cgo: |runtime: |unexpected fault address|SIG[A-Z]+: |goroutine \d+ )`),
		keep: regexp.MustCompile(`^(?:` + strings.Join([]string{
			`(\s*panic: .*|fatal error: .*|runtime/cgo: .*|runtime: [^{]*|unexpected fault address|SIG[A-Z]+: [a-z ]+|runtime stack:|\.\.\.additional frames elided\.\.\.)`,
			`(goroutine \d+) (?:[a-z]+=\S+ )*(\[[^\]]*\]:?).*`,
			`([A-Za-z_][^\s(]*(?:\(\*?[^\s()]*\)[^\s(]*)*)\([0-9a-fx{}, .?_]*\)`, // a function and its arguments
			`(\s+\S.*\.[a-zA-Z]+:\d+)(?: .*)?`,                                   // its place, and the registers
			`(created by \S+(?: in goroutine \d+)?)`,
			`(\[signal SIG[A-Z]+: [a-z ]+).*`,
		}, `|`) + `)$`),
		last: true,
	}
	traceFormats = []*traceFormat{
		goTrace,
		{ // C and C++, the JVM, sanitizers
			begin: regexp.MustCompile(`^(\*\*\* |==\d+==|terminate called|# A fatal error|# *$|Segmentation fault|Aborted|.*: Assertion .* failed)`),
			keep:  regexp.MustCompile(`^(?:(\*\*\* .*|==\d+==ERROR.*|terminate called.*|#.*|.*: Assertion .* failed.*)|( *what\(\): .*)|(\s+#\d+ .* in .*))$`),
			last:  true,
		},
		{ // Python
			begin: regexp.MustCompile(`^(Traceback \(most recent call last\):|Fatal Python error: |Current thread |Thread 0x)`),
			keep:  regexp.MustCompile(`^(\s+File "[^"]*", line \d+(?:,? in \S+)?)`),
		},
		{ // Node, before the reason: the place, the line of source and a mark
			begin: regexp.MustCompile(`^(?:node:|file:|/)\S*:\d+$`),
			keep:  regexp.MustCompile(`^$`),
		},
		{ // Java, Node, Rust
			begin: regexp.MustCompile(`^(Exception in thread |Caused by: |Uncaught |[\w.$]*(?:Error|Exception)\b|(?:.* )?thread '.*' .*panicked at |stack backtrace:|-+ .*stack ?trace|FATAL ERROR: )`),
			keep:  regexp.MustCompile(`^(?:(\s+at [^{]*).*|(\s*\d+: +[^{]*)|(\s+\.\.\. \d+ more))$`),
		},
	}
)

// sourceTrace has lines of source that are not indented. An empty line ends it.
var sourceTrace = traceFormats[3]

// filterLine returns the part of a line that may be shown. ok is false if there is none.
func (t *stackTrace) filterLine(text string) (shown string, ok bool) {
	for _, s := range traceFormats {
		if t.isFinal() || t.format == sourceTrace && t.kept > 0 {
			break
		}
		if s.begin.MatchString(text) {
			if s != t.format {
				t.format, t.kept = s, 0
			}
			break
		}
	}
	if t.format == nil {
		return redactMemory(text), true
	}
	text, ok = t.filterTraceLine(text)
	if ok {
		t.kept++
		ok = t.kept <= maxTrace
	}
	return redactMemory(text), ok
}

// isFinal reports whether nothing but the trace can follow.
func (t *stackTrace) isFinal() bool { return t.format != nil && t.format.last }

// filterTraceLine is filterLine inside a trace.
func (t *stackTrace) filterTraceLine(text string) (string, bool) {
	empty := strings.TrimSpace(text) == ""
	switch {
	case t.format == sourceTrace:
		if empty {
			t.format = nil
		}
		return text, t.kept == 0 && !empty
	case empty:
		return "", false
	}
	if parts := t.format.keep.FindStringSubmatch(text); parts != nil {
		return strings.TrimRight(strings.Join(nonEmpty(parts[1:]), " "), " "), true
	}
	begins := t.format.begin.MatchString(text)
	if t.format.last || text[0] == ' ' || text[0] == '\t' {
		return text, begins
	}
	if !begins {
		t.format = nil // this line is the reason
	}
	return text, true
}

func nonEmpty(parts []string) (out []string) {
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

// minBase64 is shorter than a key of 32 bytes in base64.
const minBase64 = 40

// memoryPattern matches addresses and the bytes of a key in the usual formats: hexadecimal
// with or without separators, a decimal list, escapes, base64.
var memoryPattern = regexp.MustCompile(strings.Join([]string{
	`0[xX][0-9a-fA-F]+`,
	`[0-9a-fA-F]{16,}`,
	`\b[0-9a-fA-F]{2}(?:[ :,-]+[0-9a-fA-F]{2}){7,}\b`,
	`\b\d{1,3}(?:,? +\d{1,3}){7,}\b|\b\d{1,3}(?:,\d{1,3}){7,}\b`,
	`\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}|[abfnrtv])(?:[^\\\s]{0,3}\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}|[abfnrtv])){3,}`,
	fmt.Sprintf(`[A-Za-z0-9+/_-]{%d,}={0,2}`, minBase64),
}, `|`))

// redactMemory replaces what memoryPattern matches. Paths and long names look like base64
// as well, but consist of words, and stay.
func redactMemory(text string) string {
	return memoryPattern.ReplaceAllStringFunc(text, func(found string) string {
		if len(found) >= minBase64 && likeBase64.MatchString(found) && !looksRandom(found) {
			return found
		}
		return "0x?"
	})
}

var likeBase64 = regexp.MustCompile(`^[A-Za-z0-9+/_-]+=*$`)

// looksRandom reports whether text is hexadecimal, or changes between upper case, lower case,
// digits and others as often as base64 does: at two of three places. Words change at
// two of five at most.
func looksRandom(text string) bool {
	changes := 0
	for i := 1; i < len(text); i++ {
		if charClass(text[i]) != charClass(text[i-1]) {
			changes++
		}
	}
	hexadecimal := !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEFxX", r) })
	return hexadecimal || changes*2 > len(text)
}

func charClass(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return 0
	case 'A' <= c && c <= 'Z':
		return 1
	case '0' <= c && c <= '9':
		return 2
	}
	return 3
}

// cleanLines is rpc.Clean for texts of several lines, which may be stack traces: it keeps
// only what may be shown of them.
func cleanLines(text string, limit int) string {
	if !strings.Contains(text, "\n") {
		return rpc.Clean(text, limit)
	}
	var t stackTrace
	var lines []string
	for line := range strings.SplitSeq(text[:min(len(text), maxLine)], "\n") {
		if line, ok := t.filterLine(line); ok {
			lines = append(lines, line)
		}
	}
	return rpc.Clean(strings.Join(lines, "\n"), limit)
}
