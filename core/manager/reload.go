package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

const (
	loadTimeout = 2 * time.Minute // to load the configuration: external plugins are asked about their blocks
	stepTimeout = 3 * time.Minute // for one step: onion services are published within that, or not at all
)

// ErrBusy: the relay is starting or ending, or another change takes long.
var ErrBusy = errors.New("the relay is starting, ending, or at another change: try again when that is done")

// Reload reads the configuration again and changes what runs accordingly; a dry run
// only says what it would change. The error is that of an invalid configuration. After
// an error, and if the plan refuses anything, nothing has changed. A failed step is
// reported in the plan. Reload waits for its turn until ctx ends; once it has begun,
// only the end of the relay stops it halfway.
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
		err = m.findNewFault(next)
	}
	if err != nil {
		m.log.Error("the configuration is not valid, and nothing was changed", "file", m.cfg.Path)
		return nil, err
	}
	plan := m.makePlan(next)
	if dryRun {
		return plan, nil
	}
	select {
	case m.openNow <- struct{}{}:
	default: // nobody waits for it, or it is known already
	}
	for _, r := range plan.Refused {
		m.log.Error("the configuration was not reloaded", "at", r.Where, "refused", r.What, "hint", r.Hint)
	}
	if len(plan.Refused) > 0 {
		return plan, nil
	}
	plan.Applied = true
	for i := range plan.Steps {
		m.applyStep(&plan.Steps[i], next, "reload")
	}
	m.retryListening(plan, next)
	m.adoptSharedSettings(next)
	m.addBundles(plan)
	m.addDownPlugins(plan)
	m.logReloaded(plan)
	return plan, nil
}

func (m *Manager) loadConfig() (Config, error) {
	ctx, cancel := context.WithTimeout(m.closing, loadTimeout)
	defer cancel()
	return m.cfg.Load(ctx)
}

// findNewFault returns the fault of a plugin in next. It passes over plugins and servers
// that do not run anyway.
func (m *Manager) findNewFault(next Config) error {
	for _, c := range next.Servers {
		s := m.findServer(c.Name)
		if s != nil && (s.halted != "" || s.problem != "" || s.boardHasFailed()) {
			continue
		}
		if c.Fault != nil {
			return c.Fault
		}
		if c.Storage.Fault != nil {
			return c.Storage.Fault
		}
		for _, o := range c.Others {
			known := func(i *instance) bool { return i.cfg.String() == o.String() && i.cfg.Fault != nil }
			if o.Fault != nil && (s == nil || !slices.ContainsFunc(s.others, known)) {
				return o.Fault
			}
		}
	}
	return nil
}

// applyStep takes one step, and notes the result in the step and in the log, which says of what
// the step is.
func (m *Manager) applyStep(step *Step, next Config, what string) {
	ctx, cancel := context.WithTimeoutCause(m.closing, stepTimeout, fmt.Errorf("gave up after %v", stepTimeout))
	defer cancel()
	err := ctx.Err()
	if err == nil {
		err = step.do(ctx)
	}
	if err == nil {
		step.Done, step.Error = true, ""
		m.log.Info(what + ": " + step.String())
		return
	}
	step.listenFailed = isListenError(err)
	if next.Explain != nil {
		err = next.Explain(err)
	}
	step.Error = err.Error()
	m.log.Error(what+": could not "+step.String(), "error", err)
}

// retryListening takes those steps again that failed because another plugin still had the
// address: that one may have given it up in a later step. It goes on as long as that helps.
func (m *Manager) retryListening(plan *Plan, next Config) {
	for helped := true; helped; {
		helped = false
		for i := range plan.Steps {
			if step := &plan.Steps[i]; step.listenFailed && !step.Done {
				m.applyStep(step, next, "reload")
				helped = helped || step.Done
			}
		}
	}
}

func isListenError(err error) bool {
	_, ok := errors.AsType[*pluginproc.ListenError](err)
	return ok
}

// adoptSharedSettings takes over the settings that all servers share, and the order of the
// servers.
func (m *Manager) adoptSharedSettings(next Config) {
	order := func(s *server) int {
		return slices.IndexFunc(next.Servers, func(c ServerConfig) bool { return c.Name == s.name })
	}
	for _, s := range m.servers {
		if i := order(s); i >= 0 && next.Servers[i].Fault == nil {
			m.updateShared(func() { s.adoptLabels(next.Servers[i]) })
		}
	}
	m.updateShared(func() {
		m.cfg.Limits, m.cfg.Servers, m.cfg.Explain = next.Limits, next.Servers, next.Explain
		m.servers = slices.SortedStableFunc(slices.Values(m.servers), func(a, b *server) int { return order(a) - order(b) })
	})
}

// adoptLabels takes over what changes nothing while a server runs, what it starts when it is
// published, and all of the configuration of one that is not to run.
func (s *server) adoptLabels(c ServerConfig) {
	if s.halted != "" {
		s.cfg = c
	}
	if s.isComingUp() {
		s.cfg.Others = c.Others
	}
	s.cfg.Description, s.cfg.NoAutostart, s.cfg.File, s.cfg.Passphrase = c.Description, c.NoAutostart, c.File, c.Passphrase
}

// addBundles adds the bundles of the servers that were started to the plan.
func (m *Manager) addBundles(plan *Plan) {
	for _, s := range m.Servers() {
		for i, step := range plan.Steps {
			if step.Action == ActionStart && step.Server == s.Name && step.Plugin == "" && step.Done {
				plan.Steps[i].Bundle = s.Bundle.String()
			}
		}
	}
}

// addDownPlugins adds to an applied plan the plugins that do not run in the end and that no
// failed step names: a plugin that ended meanwhile, or that was being started when the
// plan was made. It waits for the latter until their attempt has ended.
func (m *Manager) addDownPlugins(plan *Plan) {
	ctx, cancel := context.WithTimeout(m.closing, stepTimeout)
	defer cancel()
	for _, s := range m.servers {
		for _, i := range s.instances() {
			named := slices.ContainsFunc(plan.Steps, func(step Step) bool {
				return step.Error != "" && step.Server == s.name && (step.Plugin == "" || step.Plugin == i.cfg.String())
			})
			if named {
				continue
			}
			if err := i.plugin.WaitTried(ctx); err != nil {
				plan.Down = append(plan.Down, DownPlugin{s.name, i.cfg.String(), i.plugin.Status().State, err.Error()})
			}
		}
	}
}

// logReloaded logs the result of a reload.
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

// checkSameFile refuses a path that is not the configuration file of this relay.
func (m *Manager) checkSameFile(path string) error {
	mine, err := os.Stat(m.cfg.Path)
	if err != nil {
		return fmt.Errorf("find the configuration file of the relay: %w", err)
	}
	if given, err := os.Stat(path); err != nil || !os.SameFile(mine, given) {
		return fmt.Errorf("the relay on this data directory runs with another file, %s", m.cfg.Path)
	}
	return nil
}
