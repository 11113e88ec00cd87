package host

import (
	"log/slog"
	"testing"
)

// TestFault: what a panic says is of use to an operator, the end of its trace is
// not.
func TestFault(t *testing.T) {
	w := newLogWriter(t.Context(), slog.New(slog.DiscardHandler))
	for _, step := range []struct{ line, fault string }{
		{"plain text", ""},
		{`{"@level":"error","@message":"no disk"}`, "no disk"},
		{`{"@level":"warn","@message":"slow disk"}`, "no disk"},
		{"fatal error: out of memory", "fatal error: out of memory"},
		{"goroutine 1 [running]:", "fatal error: out of memory"},
	} {
		w.Write([]byte(step.line))
		w.Write([]byte{'\n'})
		if got := w.fault(); got != step.fault {
			t.Errorf("after %q the fault is %q, want %q", step.line, got, step.fault)
		}
	}
}
