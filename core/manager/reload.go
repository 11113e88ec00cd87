package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"
)

// Times of a reload.
const (
	loadTimeout = 2 * time.Minute // external plugins are asked about their blocks
	stepTimeout = 3 * time.Minute // onion services are published within that, or not at all
)

// ErrBusy: the relay is starting or ending, or at another reload that takes long.
var ErrBusy = errors.New("the relay is starting, ending, or at another reload: try again when that is done")

// Reload reads the configuration again and changes what runs accordingly, or
// only says what it would change. The error is that of a configuration that is not
// valid; then, and when the plan has anything refused, nothing has changed.
// Steps that failed say so in the plan. It waits for its turn until ctx ends, and
// once it has begun it does not stop halfway but for the end of the relay.
func (m *Manager) Reload(ctx context.Context, dryRun bool) (*Plan, error) {
	if m.changing.Acquire(ctx, 1) != nil {
		return nil, ErrBusy
	}
	defer m.changing.Release(1)
	if m.closing.Err() != nil {
		return nil, ErrBusy
	}
	if !dryRun && m.cfg.OnReload != nil {
		defer m.cfg.OnReload()()
	}
	next, err := m.loadConfig()
	if err == nil {
		err = m.newFault(next)
	}
	if err != nil {
		m.log.Error("the configuration is not valid, and nothing was changed", "file", m.cfg.Path)
		return nil, err
	}
	plan := m.makePlan(next)
	if dryRun {
		return plan, nil
	}
	for _, r := range plan.Refused {
		m.log.Error("the configuration was not reloaded", "at", r.Where, "refused", r.What, "hint", r.Hint)
	}
	if len(plan.Refused) > 0 {
		return plan, nil
	}
	plan.Applied = true
	for i := range plan.Steps {
		m.applyStep(&plan.Steps[i], next)
	}
	m.applyTaken(plan, next)
	m.adoptConfig(next)
	m.bundles(plan)
	m.findDown(plan)
	m.logReloaded(plan)
	return plan, nil
}

// logReloaded says what came of a reload.
func (m *Manager) logReloaded(plan *Plan) {
	for _, d := range plan.Down {
		m.log.Error("reload: a plugin of the configuration does not run", "server", d.Server, "plugin", d.Plugin, "state", d.State, "error", d.Error)
	}
	level := slog.LevelInfo
	if plan.Failed() > 0 {
		level = slog.LevelError
	}
	m.log.Log(context.Background(), level, "configuration reloaded", "steps", len(plan.Steps), "failed", plan.Failed())
}

func (m *Manager) loadConfig() (Config, error) {
	ctx, cancel := context.WithTimeout(m.closing, loadTimeout)
	defer cancel()
	return m.cfg.Load(ctx)
}

// applyStep takes one step. What it does and what it leaves undone is in the step
// and in the log.
func (m *Manager) applyStep(step *Step, next Config) {
	ctx, cancel := context.WithTimeoutCause(m.closing, stepTimeout, fmt.Errorf("gave up after %v", stepTimeout))
	defer cancel()
	err := ctx.Err()
	if err == nil {
		err = step.do(ctx)
	}
	if err == nil {
		step.Done, step.Error = true, ""
		m.log.Info("reload: " + step.String())
		return
	}
	step.taken = isTaken(err)
	if next.Explain != nil {
		err = next.Explain(err)
	}
	step.Error = err.Error()
	m.log.Error("reload: could not "+step.String(), "error", err)
}

// bundles puts the bundles of servers that were started into the plan.
func (m *Manager) bundles(plan *Plan) {
	for _, s := range m.Servers() {
		for i, step := range plan.Steps {
			if step.Action == ActionStart && step.Server == s.Name && step.Plugin == "" && step.Done {
				plan.Steps[i].Bundle = s.Bundle.String()
			}
		}
	}
}

// adoptConfig takes over what is not of one server, and the order of the servers.
func (m *Manager) adoptConfig(next Config) {
	order := func(s *server) int {
		return slices.IndexFunc(next.Servers, func(c ServerConfig) bool { return c.Name == s.name })
	}
	m.updateShared(func() {
		m.cfg.Limits, m.cfg.Servers, m.cfg.Explain = next.Limits, next.Servers, next.Explain
		m.servers = slices.SortedStableFunc(slices.Values(m.servers), func(a, b *server) int { return order(a) - order(b) })
	})
}

// dropServer withdraws a server and ends it. Its files stay.
func (m *Manager) dropServer(ctx context.Context, s *server) error {
	err := m.closeServer(ctx, s)
	m.updateShared(func() {
		m.servers = slices.DeleteFunc(slices.Clone(m.servers), func(other *server) bool { return other == s })
	})
	return err
}

// sameFile tells whether the relay runs with the file at path.
func (m *Manager) sameFile(path string) error {
	mine, err := os.Stat(m.cfg.Path)
	if err != nil {
		return fmt.Errorf("look at the file that the relay runs with: %w", err)
	}
	if given, err := os.Stat(path); err != nil || !os.SameFile(mine, given) {
		return fmt.Errorf("the relay on this data directory runs with another file, %s", m.cfg.Path)
	}
	return nil
}
