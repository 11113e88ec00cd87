package pluginproc

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// crashes are programs that end with a secret in their arguments, registers, stack, locals and
// source. The log shows the reason and the functions.
var crashes = []struct {
	name    string
	program []string // the file is appended
	file    string
	source  string
	want    []string // in this order
}{
	{"Go", []string{"go", "run"}, "main.go", `package main
type key [8]uint64
//go:noinline
func (k *key) open(a, b uint64, s [2]uint32) { if a > 1 { panic("no such box") } }
func main() { new(key).open(0x5ec2e75ec2e7, 0x5ec2e7, [2]uint32{0x5ec2e7}) }
`, []string{"panic: no such box", "goroutine 1 [running]", "main.(*key).open", "main.go:4", "main.main", "main.go:5"}},
	{"Go, by a signal", []string{"go", "run"}, "main.go", `package main
//go:noinline
func read(p *int, b uint64) int { return *p }
func main() { go func() { println(read(nil, 0x5ec2e7)) }(); select {} }
`, []string{"panic: runtime error: invalid memory address or nil pointer dereference", "[signal SIGSEGV: segmentation violation", "main.read", "main.go:3", "created by main.main in goroutine 1", "main.go:4"}},
	{"Go, its runtime", []string{"env", "GOTRACEBACK=crash", "go", "run"}, "main.go", `package main
//go:noinline
func deep(n, b uint64) uint64 { return deep(n+1, b) + b }
func main() { deep(0, 0x5ec2e7) }
`, []string{"fatal error: stack overflow", "main.deep", "main.go:3"}},
	{"Python", []string{"python3"}, "main.py", `
def open_box(key):
    raise ValueError("no such box") # 5ec2e7
def main():
    open_box("5ec2e7")
main()
`, []string{"Traceback", `main.py", line 6, in <module>`, `line 5, in main`, `line 3, in open_box`, "ValueError: no such box"}},
	{"Node", []string{"node"}, "main.js", `
function open(key) {
throw Object.assign(new Error("no such box"), {key}) // 5ec2e7
}
open("5ec2e7")
`, []string{"main.js:3", "Error: no such box", "at open (", "main.js:3:"}},
}

func TestTracesShowNoMemory(t *testing.T) {
	for _, c := range crashes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			program := c.program[len(c.program)-1]
			if c.program[0] != "env" {
				program = c.program[0]
			}
			if _, err := exec.LookPath(program); err != nil {
				t.Skip("this machine has no " + program)
			}
			path := t.TempDir() + "/" + c.file
			if err := os.WriteFile(path, []byte(c.source), 0o600); err != nil {
				t.Fatal(err)
			}
			said, err := exec.Command(c.program[0], append(c.program[1:], path)...).CombinedOutput()
			if err == nil || !bytes.Contains(said, []byte("5ec2e7")) && !bytes.Contains(said, []byte("addr=0x")) {
				t.Fatalf("the test shows nothing: %v\n%s", err, said)
			}
			shown := logText(t, string(said))
			if strings.Contains(shown, "5ec2e7") || regexp.MustCompile(`0x[0-9a-f]`).MatchString(shown) {
				t.Errorf("the secret or a value from memory is in the log:\n%s", shown)
			}
			rest := shown
			for _, want := range c.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("%q is missing in\n%s\nof\n%s", want, shown, said)
				}
				rest = after
			}
			if n := strings.Count(shown, "\n"); n > maxTrace+2 {
				t.Errorf("%d lines", n)
			}
		})
	}
}

// logText returns what is logged of lines on standard error.
func logText(t *testing.T, text string) string {
	t.Helper()
	var log bytes.Buffer
	w := newLogWriter(t.Context(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	for line := range strings.SplitSeq(text, "\n") {
		w.Write([]byte(line))
		w.Write([]byte{'\n'})
	}
	w.reportOmitted()
	return strings.ReplaceAll(log.String(), `\"`, `"`)
}

// TestTracesOfOtherLanguages has traces of languages that the machine may lack.
func TestTracesOfOtherLanguages(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{"plain text\n\tindented", "plain text|\tindented"},
		{"plain text with 0xc000012345", "plain text with 0x?"},
		{"thread 'main' panicked at src/main.rs:2:5:\nno such box\nstack backtrace:\n   0:     0x55d5c5ec2e75 - rust_begin_unwind\n             at /rustc/90/library/std.rs:645:5\nnote: all is well",
			"thread 'main' panicked at src/main.rs:2:5:|no such box|stack backtrace:|   0:     0x? - rust_begin_unwind|             at /rustc/90/library/std.rs:645:5|note: all is well"},
		{"Exception in thread \"main\" java.lang.Exception: no\n\tat a.B.c(B.java:3)\nCaused by: x.Y: z\n\t... 2 more\nwell", "Exception in thread \"main\" java.lang.Exception: no|\tat a.B.c(B.java:3)|Caused by: x.Y: z|\t... 2 more|well"},
		{"*** stack smashing detected ***: terminated\n7ffc5ec2e7 00 00\nRAX: 5ec2e7", "*** stack smashing detected ***: terminated"},
		{"==9==ERROR: AddressSanitizer: overflow on 0x5ec2e7 at pc 0x5ec2e7\n    #0 0x5ec2e7 in f a.c:3\n=>0x5ec2e7: 00 00", "==9==ERROR: AddressSanitizer: overflow on 0x? at pc 0x?|    #0 0x? in f a.c:3"},
		{"goroutine 7 gp=0xc000 m=0 mp=0x5e [running, locked to thread]:\nmain.f[...](0x5e, {0x1?, _}, ...)\n\t/a b/c.go:3 +0x1d fp=0xc0 sp=0xc1 pc=0x5e\nstack: frame={sp:0x5e}\n0x000000c00007dd10:  0x0000 0x0000 \n\nrax    0x0\nplain",
			"goroutine 7 [running, locked to thread]:|main.f[...]|\t/a b/c.go:3"},
	} {
		var tr stackTrace
		var got []string
		for line := range strings.SplitSeq(c.said, "\n") {
			if text, ok := tr.filterLine(line); ok {
				got = append(got, text)
			}
		}
		if text := strings.Join(got, "|"); text != c.want {
			t.Errorf("%q:\n%s\nwant\n%s", c.said, text, c.want)
		}
	}
}

// The message of a panic can have a key in it, in any of the forms in which
// programs write bytes. Its words stay.
func TestReasonsShowNoKeys(t *testing.T) {
	key := []byte("\x5e\xc2\xe7\x01\x93\xfa\x0b\xd4k\x88\x9d\xf1\x00\xa7\xee\x91\x3c\xb5\x7f\x80\x1d\xcb\x66\xe2\x99\x04\xd8\xba\x52\xf7\xc0\x8e")
	for _, form := range []string{"%x", "%X", "%#x", "%#X", "% x", "% X", "%# x", "%v", "%#v", "%q", "%+q"} {
		testReason(t, fmt.Sprintf(form, key))
	}
	var list, colons []string
	for _, b := range key {
		list, colons = append(list, fmt.Sprint(b)), append(colons, fmt.Sprintf("%02x", b))
	}
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
		strings.Join(list, ","), strings.Join(list, ", "), strings.Join(colons, ":"), strings.Join(colons, ", "),
		"key_" + hex.EncodeToString(key), "x" + hex.EncodeToString(key) + "h",
	} {
		testReason(t, text)
	}
}

func testReason(t *testing.T, key string) {
	t.Helper()
	for _, said := range []string{"panic: open box with %s: no such box\n\ngoroutine 1 [running]:", "Traceback (most recent call last):\nValueError: open box with %s: no such box", "Error: open box with %s: no such box"} {
		shown := logText(t, fmt.Sprintf(said, key))
		for part := range strings.SplitSeq(key, " ") {
			if len(part) > 3 && strings.Contains(shown, part) {
				t.Errorf("%q of the key %q is shown in %s", part, key, shown)
				break
			}
		}
		if strings.Contains(shown, "194 231") || strings.Contains(shown, "c2 e7") || !strings.Contains(shown, "open box with ") || !strings.Contains(shown, "no such box") {
			t.Errorf("%q is shown as %s", key, shown)
		}
	}
}

func TestPathsAndNamesAreShown(t *testing.T) {
	for _, text := range []string{
		"panic: /usr/lib/python3/dist-packages/somewhere/else/entirely: no such file",
		"open /home/user/go/pkg/mod/github.com/cwtch-relay/cwtch-relay/core/board/commit.go",
		"the option AnOptionWithAVeryLongNameThatSomebodyMadeUp is unknown",
		"listens at 127.0.0.1:9464, 3 of 10 in 250 ms on 2026-11-28 10:11:12",
		"AN_ENVIRONMENT_VARIABLE_WITH_A_VERY_LONG_NAME_INDEED is not set",
		"exit status 2 after 1, 2, 3 attempts",
	} {
		if got := redactMemory(text); got != text {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestTraceIsBounded(t *testing.T) {
	text := "panic: x\n" + strings.Repeat("main.f(0x1)\n", 1000)
	if n := strings.Count(logText(t, text), "main.f"); n != maxTrace-1 {
		t.Errorf("%d lines, want %d", n, maxTrace-1)
	}
}

// A stack as an attribute of a record is one as well.
func TestTraceInAJSONLine(t *testing.T) {
	shown := logText(t, fmt.Sprintf(`{"@level":"error","@message":"panic","stack":%q}`, "goroutine 7 [running]:\nmain.f(0x5ec2e7)\n\t/a.go:3 +0x1\n"))
	if strings.Contains(shown, "5ec2e7") || !strings.Contains(shown, "main.f") || !strings.Contains(shown, "/a.go:3") {
		t.Error(shown)
	}
}
