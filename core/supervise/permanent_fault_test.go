package supervise

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// TestFaultsThatLast shows that a fault which another try would meet again is a failure at
// once, confined or not, and also with RetryForever.
func TestFaultsThatLast(t *testing.T) {
	text := func(mode os.FileMode, content string) func(*testing.T, *setup) {
		return func(t *testing.T, c *setup) {
			path := filepath.Join(t.TempDir(), "plugin")
			if err := os.WriteFile(path, []byte(content), mode); err != nil {
				t.Fatal(err)
			}
			c.Command = func() (pluginproc.Command, error) { return pluginproc.Command{Path: path}, nil }
		}
	}
	for name, test := range map[string]struct {
		fault func(*testing.T, *setup)
		want  string
	}{
		"no such program": {func(_ *testing.T, c *setup) {
			c.Command = func() (pluginproc.Command, error) { return pluginproc.Command{Path: "/nowhere/plugin"}, nil }
		}, "no such file"},
		"not executable": {text(0o600, "#!/bin/sh\n"), "permission denied"},
		"no program":     {text(0o700, "\x00\x01 not a program"), "exec format error"},
		"no interpreter": {text(0o700, "#!/nowhere/sh\n"), "interpreter that cannot be read: stat /nowhere/sh: no such file"},
		"no TMPDIR": {func(t *testing.T, c *setup) {
			t.Setenv("TMPDIR", "/nowhere")
			c.SocketDir = ""
		}, "TMPDIR has to name a directory"},
	} {
		for _, how := range []string{"confined", "not confined"} {
			t.Run(name+", "+how, func(t *testing.T) {
				r := startSupervised(t, func(c *setup) {
					if how == "confined" {
						withSandbox(c)
					}
					c.RetryForever = true
					test.fault(t, c)
				}, "good")
				err := r.WaitReady(r.ctx())
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want an error with %q", err, test.want)
				}
				if s := r.Status(); s.State != Failed || s.Incarnation != 1 {
					t.Errorf("status %+v", s)
				}
			})
		}
	}
}
