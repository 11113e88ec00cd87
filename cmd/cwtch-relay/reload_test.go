package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// TestReloadTellsWhatIsDown shows that both outputs and the exit status report a plugin
// that does not run after the reload, whatever the steps were.
func TestReloadTellsWhatIsDown(t *testing.T) {
	down := []manager.DownPlugin{{Server: "main", Plugin: "stats/page", State: supervise.Backoff, Error: "its disk is full"}}
	done := manager.Step{Action: manager.ActionStart, Server: "kitchen", Done: true}
	failed := manager.Step{Action: manager.ActionStart, Server: "attic", Error: "no keys"}
	for name, c := range map[string]struct {
		plan manager.Plan
		want string // empty: no error
	}{
		"nothing":          {manager.Plan{Applied: true, Steps: []manager.Step{done}}, ""},
		"down alone":       {manager.Plan{Applied: true, Down: down}, "1 plugin did not stay up"},
		"down after steps": {manager.Plan{Applied: true, Steps: []manager.Step{done}, Down: down}, "1 plugin did not stay up"},
		"down and failed":  {manager.Plan{Applied: true, Steps: []manager.Step{done, failed}, Down: down}, "1 of 2 steps failed, and 1 plugin besides did not stay up"},
		"failed alone":     {manager.Plan{Applied: true, Steps: []manager.Step{done, failed}}, "1 of 2 steps failed"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if err := writePlan(&stdout, "server.hcl", &c.plan); err != nil {
				t.Fatal(err)
			}
			err := planError(&c.plan, &stderr)
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			isDown := len(c.plan.Down) > 0
			if strings.Contains(stdout.String(), "FAILED  stats/page of server main does not run, it is in state backoff") != isDown ||
				strings.Contains(stdout.String(), "nothing in it has changed") {
				t.Errorf("it prints\n%s", &stdout)
			}
			if strings.Contains(stderr.String(), "error: stats/page of server main does not run: its disk is full") != isDown {
				t.Errorf("it says\n%s", &stderr)
			}
		})
	}
}
