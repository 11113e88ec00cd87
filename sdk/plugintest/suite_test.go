package plugintest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestEvaluate(t *testing.T) {
	var order []string
	var dir string
	note := func(what string) func() { return func() { order = append(order, what) } }
	checks := []Check{
		{"Passes", "a", func(tb testing.TB) {
			dir = tb.TempDir()
			tb.Cleanup(note("first"))
			tb.Cleanup(note("last"))
			tb.Log("not shown")
		}},
		{"Fails", "b", func(tb testing.TB) {
			for i := range 2 * maxLogLines {
				fmt.Fprintln(tb.Output(), "line", i)
			}
			tb.Errorf("one")
			tb.Fatalf("two\nlines")
			tb.Error("never")
		}},
		{"Skips", "c", func(tb testing.TB) { tb.Skip("no such thing here") }},
		{"Panics", "d", func(tb testing.TB) { panic("oh") }},
		{"FailsInCleanup", "e", func(tb testing.TB) { tb.Cleanup(func() { tb.Fatal("late") }) }},
		{"Ends", "f", func(tb testing.TB) { tb.Cleanup(func() { <-tb.Context().Done() }) }},
	}
	want := []struct {
		verdict Verdict
		output  []string
	}{{Passed, nil}, {Failed, []string{"one", "two", "lines"}}, {Skipped, []string{"no such thing here"}}, {Failed, nil}, {Failed, []string{"late"}}, {Passed, nil}}
	n := 0
	failed := Evaluate(t.Context(), checks, func(r Result) {
		w := want[n]
		if r.Check.Name != checks[n].Name || r.Verdict != w.verdict {
			t.Errorf("%s: %s, want %s", r.Check.Name, r.Verdict, w.verdict)
		}
		if r.Check.Name == "Panics" {
			if !strings.Contains(r.Output[0], "panic: oh") {
				t.Errorf("a panic says %q", r.Output[0])
			}
		} else if !slices.Equal(r.Output, w.output) {
			t.Errorf("%s says %q, want %q", r.Check.Name, r.Output, w.output)
		}
		if r.Check.Name == "Fails" && (len(r.Logged) != maxLogLines || r.Logged[maxLogLines-1] != "line 39") {
			t.Errorf("the log of a plugin comes as %q", r.Logged)
		}
		n++
	})
	if failed != 3 || n != len(checks) {
		t.Errorf("%d of %d failed", failed, n)
	}
	if !slices.Equal(order, []string{"last", "first"}) {
		t.Errorf("cleanups ran in the order %q", order)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory of a check is still there: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	Evaluate(ended, checks, func(r Result) { t.Errorf("%s ran though the context had ended", r.Check.Name) })
}
