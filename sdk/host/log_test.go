package host

import (
	"log/slog"
	"testing"
)

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
		if got := w.fault(); got != step.fault {
			t.Errorf("after %q the fault is %q, want %q", step.line, got, step.fault)
		}
		if got := w.lastWords(); got != step.words {
			t.Errorf("after %q the last words are %q, want %q", step.line, got, step.words)
		}
	}
}
