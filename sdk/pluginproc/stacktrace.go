package pluginproc

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// maxTrace bounds the lines of one stack trace that are shown.
const maxTrace = 64

// trace reads the lines of a process, and keeps of stack traces the reason, the
// names of functions, and where they are. It drops what a trace tells of memory:
// arguments, registers, words of the stack, and lines of source.
type trace struct {
	style *traceStyle // nil: no trace has begun
	kept  int         // lines of it
}

// traceStyle is how the traces of a language look.
type traceStyle struct {
	begin *regexp.Regexp
	// keep are the lines to be kept. What its group matches is shown, or else all.
	keep *regexp.Regexp
	// last: the process ends with the trace, so that nothing but keep is shown
	// any more. Otherwise a line that is not indented ends the trace, and is its reason.
	last bool
}

var (
	goStyle = &traceStyle{
		begin: regexp.MustCompile(`^(panic: |fatal error: |runtime/cgo: |runtime: |unexpected fault address|SIG[A-Z]+: |goroutine \d+ )`),
		keep: regexp.MustCompile(`^(?:` + strings.Join([]string{
			`(\s*panic: .*|fatal error: .*|runtime/cgo: .*|runtime: [^{]*|unexpected fault address|SIG[A-Z]+: [a-z ]+|runtime stack:|\.\.\.additional frames elided\.\.\.)`,
			`(goroutine \d+) (?:[a-z]+=\S+ )*(\[[^\]]*\]:?).*`,
			`([A-Za-z_][^\s(]*(?:\(\*?[^\s()]*\)[^\s(]*)*)\([0-9a-fx{}, .?_]*\)`, // a function and its arguments
			`(\s+\S.*\.[a-zA-Z]+:\d+)(?: .*)?`,                                   // where it is, and the registers
			`(created by \S+(?: in goroutine \d+)?)`,
			`(\[signal SIG[A-Z]+: [a-z ]+).*`,
		}, `|`) + `)$`),
		last: true,
	}
	styles = []*traceStyle{
		goStyle,
		{ // C and C++, the JVM, sanitizers
			begin: regexp.MustCompile(`^(\*\*\* |==\d+==|terminate called|# A fatal error|# *$|Segmentation fault|Aborted|.*: Assertion .* failed)`),
			keep:  regexp.MustCompile(`^(?:(\*\*\* .*|==\d+==ERROR.*|terminate called.*|#.*|.*: Assertion .* failed.*)|( *what\(\): .*)|(\s+#\d+ .* in .*))$`),
			last:  true,
		},
		{ // Python
			begin: regexp.MustCompile(`^(Traceback \(most recent call last\):|Fatal Python error: |Current thread |Thread 0x)`),
			keep:  regexp.MustCompile(`^(\s+File "[^"]*", line \d+(?:,? in \S+)?)`),
		},
		{ // Node, before the reason: the file, its line and a mark
			begin: regexp.MustCompile(`^(?:node:|file:|/)\S*:\d+$`),
			keep:  regexp.MustCompile(`^$`),
		},
		{ // Java, Node, Rust
			begin: regexp.MustCompile(`^(Exception in thread |Caused by: |Uncaught |[\w.$]*(?:Error|Exception)\b|(?:.* )?thread '.*' .*panicked at |stack backtrace:|-+ .*stack ?trace|FATAL ERROR: )`),
			keep:  regexp.MustCompile(`^(?:(\s+at [^{]*).*|(\s*\d+: +[^{]*)|(\s+\.\.\. \d+ more))$`),
		},
	}
)

// sourceStyle has lines of source that are not indented, until an empty one.
var sourceStyle = styles[3]

// filterLine is what may be shown of a line, and whether any of it is.
func (t *trace) filterLine(text string) (string, bool) {
	for _, s := range styles {
		if t.isFinal() || t.style == sourceStyle && t.kept > 0 {
			break
		}
		if s.begin.MatchString(text) {
			if s != t.style {
				t.style, t.kept = s, 0
			}
			break
		}
	}
	if t.style == nil {
		return withoutMemory(text), true
	}
	text, ok := t.ofTrace(text)
	if ok {
		t.kept++
		ok = t.kept <= maxTrace
	}
	return withoutMemory(text), ok
}

// isFinal tells that nothing but a trace can follow.
func (t *trace) isFinal() bool { return t.style != nil && t.style.last }

// ofTrace is what may be shown of a line in a trace.
func (t *trace) ofTrace(text string) (string, bool) {
	empty := strings.TrimSpace(text) == ""
	switch {
	case t.style == sourceStyle:
		if empty {
			t.style = nil
		}
		return text, t.kept == 0 && !empty
	case empty:
		return "", false
	}
	if parts := t.style.keep.FindStringSubmatch(text); parts != nil {
		return strings.TrimRight(strings.Join(nonEmpty(parts[1:]), " "), " "), true
	}
	begins := t.style.begin.MatchString(text)
	if t.style.last || text[0] == ' ' || text[0] == '\t' {
		return text, begins
	}
	if !begins {
		t.style = nil // that was the reason
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

// minBase64 is less than a key of 32 bytes takes.
const minBase64 = 40

// memory matches what formatting makes of addresses and of the bytes of a key:
// hexadecimal, in one or with something between, a list in decimal, escapes, base64.
var memory = regexp.MustCompile(strings.Join([]string{
	`0[xX][0-9a-fA-F]+`,
	`[0-9a-fA-F]{16,}`,
	`\b[0-9a-fA-F]{2}(?:[ :,-]+[0-9a-fA-F]{2}){7,}\b`,
	`\b\d{1,3}(?:,? +\d{1,3}){7,}\b|\b\d{1,3}(?:,\d{1,3}){7,}\b`,
	`\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}|[abfnrtv])(?:[^\\\s]{0,3}\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}|[abfnrtv])){3,}`,
	fmt.Sprintf(`[A-Za-z0-9+/_-]{%d,}={0,2}`, minBase64),
}, `|`))

// withoutMemory leaves that out. Paths and names have the form of base64 as well, but
// are made of words.
func withoutMemory(text string) string {
	return memory.ReplaceAllStringFunc(text, func(found string) string {
		if len(found) >= minBase64 && likeBase64.MatchString(found) && !looksRandom(found) {
			return found
		}
		return "0x?"
	})
}

var likeBase64 = regexp.MustCompile(`^[A-Za-z0-9+/_-]+=*$`)

// looksRandom reports whether letters of both kinds, digits and others take turns as
// in base64, where the kind changes at two places of three. In words it does at two of
// five at most.
func looksRandom(text string) bool {
	changes := 0
	for i := 1; i < len(text); i++ {
		if kindOf(text[i]) != kindOf(text[i-1]) {
			changes++
		}
	}
	hexadecimal := !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEFxX", r) })
	return hexadecimal || changes*2 > len(text)
}

func kindOf(c byte) int {
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

// cleanLines makes a text fit to be shown as rpc.Clean does. Of one of several
// lines, as a stack is, it keeps what may be shown of a trace.
func cleanLines(text string, limit int) string {
	if !strings.Contains(text, "\n") {
		return rpc.Clean(text, limit)
	}
	var t trace
	var lines []string
	for line := range strings.SplitSeq(text[:min(len(text), maxLine)], "\n") {
		if line, ok := t.filterLine(line); ok {
			lines = append(lines, line)
		}
	}
	return rpc.Clean(strings.Join(lines, "\n"), limit)
}
