package host

import (
	"log/slog"
	"strings"
	"testing"
)

// TestFatalLines: the reason for which a runtime ends the process is what an operator
// is shown, and not the trace that follows it or what was said before.
func TestFatalLines(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"Node": {[]string{
			"<--- Last few GCs --->", "", "[4711:0x5e0]    12034 ms: Mark-Compact 253.1 (257.5) -> 252.4 (258.0) MB", "",
			"<--- JS stacktrace --->", "",
			"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
			"----- Native stack trace -----", "", " 1: 0xe13fde node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]",
		}, "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"},
		"Python": {[]string{
			"Traceback (most recent call last):", `  File "store.py", line 7, in append`, "    rows = bytes(1 << 40)", "MemoryError",
		}, "MemoryError"},
		"Python, its interpreter": {[]string{
			"Fatal Python error: _Py_HashRandomization_Init: failed to get random numbers", "Python runtime state: preinitialized",
		}, "Fatal Python error: _Py_HashRandomization_Init: failed to get random numbers"},
		"Java": {[]string{
			`Exception in thread "main" java.lang.OutOfMemoryError: Java heap space`, "\tat java.base/java.lang.OutOfMemoryError.<init>(Unknown Source)", "\tat Store.append(Store.java:12)",
		}, `Exception in thread "main" java.lang.OutOfMemoryError: Java heap space`},
		".NET": {[]string{
			"Unhandled exception. System.OutOfMemoryException: Insufficient memory to continue the execution of the program.", "   at Store.Append() in /src/Store.cs:line 12",
		}, "Unhandled exception. System.OutOfMemoryException: Insufficient memory to continue the execution of the program."},
		"C++": {[]string{
			"terminate called after throwing an instance of 'std::bad_alloc'", "  what():  std::bad_alloc",
		}, "what(): std::bad_alloc"},
		"Rust": {[]string{
			"memory allocation of 1099511627776 bytes failed",
		}, "memory allocation of 1099511627776 bytes failed"},
		"Rust, a panic": {[]string{
			"thread 'main' panicked at src/main.rs:4:5:", "no such box", "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
		}, "thread 'main' panicked at src/main.rs:4:5:"},
		"talk":             {[]string{"ready", "served a request without errors", "Errors: 0"}, ""},
		"a terminal":       {[]string{"FATAL \x1b[2J\u202e all is well"}, "FATAL  [2J  all is well"},
		"a line that long": {[]string{"FATAL " + strings.Repeat("x y ", 10000)}, "FATAL " + strings.Repeat("x y ", 10000)[:maxReason-len("FATAL ")]},
	} {
		t.Run(name, func(t *testing.T) {
			w := newLogWriter(t.Context(), slog.New(slog.DiscardHandler))
			for _, line := range c.lines {
				w.Write([]byte(line))
				w.Write([]byte{'\n'})
			}
			if got := strings.Join(strings.Fields(w.lastError()), " "); got != strings.Join(strings.Fields(c.want), " ") {
				t.Errorf("the fault is %q, want %q", got, c.want)
			}
		})
	}
}

// TestFault: what a panic says is of use to an operator, the end of its trace is
// not. Plain text is no fault, but the last of it is what a program ends with
// that never was a plugin.
func TestFault(t *testing.T) {
	w := newLogWriter(t.Context(), slog.New(slog.DiscardHandler))
	for _, step := range []struct{ line, fault, words string }{
		{`{"@level":"info","@message":"hello"}`, "", ""},
		{"plain text", "", "plain text"},
		{"", "", "plain text"},
		{`{"@level":"error","@message":"no disk"}`, "no disk", "no disk"},
		{`{"@level":"warn","@message":"slow disk"}`, "no disk", "no disk"},
		{"more plain text", "no disk", "no disk"},
		{"fatal error: out of memory", "fatal error: out of memory", "fatal error: out of memory"},
		{"goroutine 1 [running]:", "fatal error: out of memory", "fatal error: out of memory"},
	} {
		w.Write([]byte(step.line))
		w.Write([]byte{'\n'})
		if got := w.lastError(); got != step.fault {
			t.Errorf("after %q the fault is %q, want %q", step.line, got, step.fault)
		}
		if got := w.lastWords(); got != step.words {
			t.Errorf("after %q the last words are %q, want %q", step.line, got, step.words)
		}
	}
}
