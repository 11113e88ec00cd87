package manager

import (
	"context"
	"errors"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// Down is a plugin that does not run.
type Down struct {
	Server string          `json:"server"`
	Plugin string          `json:"plugin"` // "stats/prometheus"
	State  supervise.State `json:"state"`
	Error  string          `json:"error"`
}

// findDown adds to a plan that was applied which plugins do not run in the end and are
// in no step that says so: one that ended meanwhile, or was just being started when the
// plan was made. The latter are waited for, until their try has ended.
func (m *Manager) findDown(plan *Plan) {
	ctx, cancel := context.WithTimeout(m.closing, stepTimeout)
	defer cancel()
	for _, s := range m.servers {
		for _, i := range s.instances() {
			said := slices.ContainsFunc(plan.Steps, func(step Step) bool {
				return step.Error != "" && step.Server == s.name && (step.Plugin == "" || step.Plugin == i.cfg.String())
			})
			if said {
				continue
			}
			if err := i.plugin.WaitTried(ctx); err != nil {
				plan.Down = append(plan.Down, Down{s.name, i.cfg.String(), i.plugin.Status().State, err.Error()})
			}
		}
	}
}

// instances are all plugins of a server that there are.
func (s *server) instances() []*instance {
	if s.store == nil {
		return s.others
	}
	return append([]*instance{s.store}, s.others...)
}

// triedInVain reports whether a plugin does not run although that was tried.
func (i *instance) triedInVain() bool {
	state := i.plugin.Status().State
	return state == supervise.Failed || state == supervise.Backoff
}

// applyTaken takes the steps once more that failed because another plugin still had
// their address, for as long as that helps: the other may have given it up in a later
// step.
func (m *Manager) applyTaken(plan *Plan, next Config) {
	for again := true; again; {
		again = false
		for i := range plan.Steps {
			if step := &plan.Steps[i]; step.taken && !step.Done {
				m.applyStep(step, next)
				again = again || step.Done
			}
		}
	}
}

func isTaken(err error) bool {
	_, taken := errors.AsType[*pluginproc.ListenError](err)
	return taken
}
