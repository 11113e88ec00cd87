package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

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

// TestReloadTellsWhatItDeletes shows the line for what goes at once, for what goes when the
// clock is believed, and for nothing.
func TestReloadTellsWhatItDeletes(t *testing.T) {
	gone := manager.Deletion{Hours: 2, Envelopes: 3, Bytes: 1 << 20, Newest: time.Unix(0, 0).UTC()}
	later := &manager.LaterDeletion{Deletion: gone, After: "24h0m0s"}
	for _, c := range []struct {
		step       manager.Step
		dry, after string // the ends of the outputs
	}{
		{manager.Step{}, "\nno data would be deleted\n", "\nno data was deleted\n"},
		{manager.Step{Deletes: &gone}, "UTC\nthe envelopes above would be deleted, and nothing else; they cannot be brought back\n", "\nthe envelopes above are being deleted, and nothing else\n"},
		{
			manager.Step{DeletesLater: later},
			"from 1970-01-01 00:00 UTC, after the relay has run for another 24h0m0s, since the clock of this machine is far ahead and not believed yet; if it is wrong, set it\nno data would be deleted at once; the envelopes above would be later, and nothing else; they cannot be brought back\n",
			"\nno data was deleted yet; the envelopes above will be, and nothing else\n",
		},
		{manager.Step{Deletes: &gone, DeletesLater: later}, "\nthe envelopes above would be deleted, and nothing else; they cannot be brought back\n", "\nthe envelopes above are being deleted, and nothing else\n"},
	} {
		for applied, want := range map[bool]string{false: c.dry, true: c.after} {
			c.step.Action, c.step.Server, c.step.Done = manager.ActionSet, "main", applied
			var out bytes.Buffer
			if err := writePlan(&out, "f", &manager.Plan{Applied: applied, Steps: []manager.Step{c.step}}); err != nil || !strings.HasSuffix(out.String(), want) {
				t.Errorf("applied %v: it prints\n%s%v", applied, &out, err)
			}
		}
	}
}
