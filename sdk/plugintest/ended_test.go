package plugintest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// self is a plugin that is this binary.
func self() plugintest.Transport {
	return plugintest.External("self", func(string) (pluginproc.Command, error) { return pluginproc.Command{Path: "/proc/self/exe"}, nil })
}

// TestFailureSaysHowTheProcessEnded: in a check, in Configure and at the end.
func TestFailureSaysHowTheProcessEnded(t *testing.T) {
	const reason = "the process ended: signal: killed: the heap is full"
	for when, check := range map[string]func(testing.TB){
		"in a call": func(tb testing.TB) {
			opened, err := self().Open(tb, tb.TempDir(), map[string]any{"die": "call"})
			if err != nil {
				tb.Fatal(err)
			}
			if _, err := opened.Store.Info(tb.Context()); err != nil {
				tb.Fatal(err)
			}
		},
		"in Configure": func(tb testing.TB) {
			if _, err := self().Open(tb, tb.TempDir(), map[string]any{"die": "configure"}); err != nil {
				tb.Fatal(err)
			}
		},
		"in Close": func(tb testing.TB) {
			opened, err := self().Open(tb, tb.TempDir(), map[string]any{"die": "close"})
			if err != nil {
				tb.Fatal(err)
			}
			if err := opened.Close(); err != nil {
				tb.Fatal(err)
			}
		},
	} {
		t.Run(when, func(t *testing.T) {
			plugintest.Evaluate(t.Context(), []plugintest.Check{{Name: when, Run: check}}, func(r plugintest.Result) {
				if r.Verdict != plugintest.Failed || !strings.Contains(strings.Join(r.Output, "\n"), reason) {
					t.Errorf("%s: %q, want %q", r.Verdict, r.Output, reason)
				}
				if !slices.ContainsFunc(r.Logged, func(line string) bool { return strings.Contains(line, "the heap is full") }) {
					t.Errorf("the log is %q", r.Logged)
				}
			})
		})
	}
}
