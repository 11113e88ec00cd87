package pluginproc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logLines writes lines to a logWriter as go-plugin does, and returns what it logs.
func logLines(t *testing.T, lines ...string) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	w := newLogWriter(t.Context(), slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug - 4})))
	for _, line := range lines {
		w.Write([]byte(line))
		w.Write([]byte{'\n'})
	}
	w.reportOmitted()
	var records []map[string]any
	for d := json.NewDecoder(&out); d.More(); {
		var r map[string]any
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

func TestLogLines(t *testing.T) {
	got := logLines(t,
		`{"@level":"warn","@message":"slow disk","@timestamp":"2026-01-02T03:04:05Z","took":1.5,"path":"x.db","nested":{"a":1},"plugin":"other/name","server":"other","instance":"x#2","level":"x"}`,
		`plain text`, `{"not":"ours"}`, `panic: oh`, `goroutine 1 [running]:`,
	)
	want := []struct{ level, msg string }{
		{"WARN", "slow disk"}, {"INFO", "plain text"}, {"INFO", `{"not":"ours"}`}, {"ERROR", "panic: oh"}, {"ERROR", "goroutine 1 [running]:"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, w := range want {
		if got[i]["level"] != w.level || got[i]["msg"] != w.msg {
			t.Errorf("got %v, want %v", got[i], w)
		}
	}
	if r := got[0]; r["took"] != 1.5 || r["path"] != "x.db" || r["nested"] != "map[a:1]" || r["plugin"] != nil || r["server"] != nil || r["instance"] != nil || r["@timestamp"] != nil {
		t.Errorf("got %v", r)
	}
}

func TestLongLogLine(t *testing.T) {
	got := logLines(t, strings.Repeat("x.", maxLine), "short", `{"@message":"`+strings.Repeat("y.", maxLine/2)+`"}`)
	if len(got) != 3 || len(got[0]["msg"].(string)) != maxText || got[0]["cut"] != true || got[1]["msg"] != "short" || len(got[2]["msg"].(string)) != maxText {
		t.Errorf("%d lines", len(got))
	}
}

func TestLogRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		for i := range 3 * logBurst {
			lines = append(lines, fmt.Sprint("line ", i))
		}
		got := logLines(t, lines...)
		last := got[len(got)-1]
		if len(got) != logBurst+1 || last["dropped"] != float64(2*logBurst) {
			t.Errorf("%d lines, then %v", len(got), last)
		}
	})
}

func TestFloodIsReadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newLogWriter(ctx, slog.New(slog.DiscardHandler))
		flood := func() time.Duration {
			begin := time.Now()
			for range 3 * readBurst / (1 << 10) {
				w.Write(make([]byte, 1<<10))
				w.Write([]byte{'\n'})
			}
			return time.Since(begin)
		}
		if took := flood(); took < 2*readBurst/readRate*time.Second {
			t.Errorf("read within %v", took)
		}
		cancel() // the process is dead: the rest is read at once
		if took := flood(); took != 0 {
			t.Errorf("read within %v after the end", took)
		}
	})
}

func FuzzLogLine(f *testing.F) {
	f.Add([]byte(`{"@level":"info","@message":"x","a":[1,{"b":null}]}`))
	f.Add([]byte("panic: x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		w := newLogWriter(t.Context(), slog.New(slog.DiscardHandler))
		w.line = line
		if r, _ := w.parseLine(); len(r.message) > maxText || len(r.attrs) > maxAttrs || strings.ContainsAny(r.message, "\n\r\x1b") {
			t.Errorf("%d bytes, %d attributes", len(r.message), len(r.attrs))
		}
	})
}

// TestLastErrorIsWhatTheRuntimeWrites: operators see why a runtime ended the process, not the
// trace after it or lines before it.
func TestLastErrorIsWhatTheRuntimeWrites(t *testing.T) {
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
		"a line that long": {[]string{"FATAL " + strings.Repeat("x y ", 10000)}, "FATAL " + strings.Repeat("x y ", 10000)[:maxErrorText-len("FATAL ")]},
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

// TestLastErrorIsThatOfThePanic: operators see the message of a panic, not the end of its
// trace. Plain text is no error, but its last line is why a program that never was a plugin
// ended.
func TestLastErrorIsThatOfThePanic(t *testing.T) {
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
		if got := w.faultOrLastLine(); got != step.words {
			t.Errorf("after %q the last words are %q, want %q", step.line, got, step.words)
		}
	}
}
