package manager

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// planner compares what runs with a configuration.
type planner struct {
	m    *Manager
	next Config
	plan Plan

	// change is the change of one server that an operator asks for; nil for a reload.
	change *change
}

// makePlan plans how to get from what runs to next; the caller holds changing.
func (m *Manager) makePlan(next Config) *Plan {
	p := m.newPlanner(next)
	p.planRelay()
	for _, s := range m.servers {
		if !s.deleting && !slices.ContainsFunc(next.Servers, func(c ServerConfig) bool { return c.Name == s.name }) {
			p.planRemoval(s)
		}
	}
	p.planLimits()
	var added []ServerConfig
	for _, c := range next.Servers {
		if s := m.findServer(c.Name); s != nil {
			p.planExisting(s, c)
		} else {
			added = append(added, c)
		}
	}
	for _, c := range added {
		p.planNewServer(c)
	}
	for _, c := range added {
		if !c.NoAutostart {
			p.planPluginsOfNewServer(c)
		}
	}
	return &p.plan
}

// makePlanFor plans what a change of one server does to it, and nothing else.
func (m *Manager) makePlanFor(c *change, next Config) *Plan {
	p := m.newPlanner(next)
	p.change = c
	s := m.findServer(c.name)
	i := slices.IndexFunc(next.Servers, func(sc ServerConfig) bool { return sc.Name == c.name })
	switch {
	case i < 0:
		p.planRemoval(s)
	case s == nil:
		p.planNewServer(next.Servers[i])
	case c.wish == wishStop:
		p.planStop(s, next.Servers[i])
	default:
		p.planExisting(s, next.Servers[i])
	}
	return &p.plan
}

func (m *Manager) newPlanner(next Config) *planner {
	return &planner{m: m, next: next, plan: Plan{Config: next.Path, Refused: []Refusal{}, Steps: []Step{}}}
}

// planRemoval plans the end of a server that the configuration no longer has.
func (p *planner) planRemoval(s *server) {
	p.addStep(Step{Action: ActionStop, Server: s.name, Note: "its files stay in " + s.dir,
		do: func(ctx context.Context) error { return p.m.dropServer(ctx, s) }})
}

// planNewServer plans a server that the configuration has not had.
func (p *planner) planNewServer(c ServerConfig) {
	if !c.NoAutostart || p.wishesStart() {
		p.planAdding(ActionStart, c, "")
		return
	}
	p.addStep(Step{Action: ActionAdd, Server: c.Name, Note: "it is not started, since its autostart is off", do: func(ctx context.Context) error {
		return p.m.haltServer(ctx, c, StateStopped)
	}})
}

// planExisting plans a server that the configuration has had.
func (p *planner) planExisting(s *server, c ServerConfig) {
	if s.deleting {
		return
	}
	if p.editsStorage() {
		if refused := refuseOtherStore(s.cfg, c); refused != nil {
			p.plan.Refused = append(p.plan.Refused, *refused)
			return
		}
	}
	p.planLabels(s, c)
	switch {
	case s.halted != "" && p.wishesStart():
		p.planAdding(ActionStart, c, "")
	case s.halted == StateLocked && len(c.Passphrase) > 0:
		p.planAdding(ActionRetry, c, "it is locked, and the configuration has its passphrase now")
	case s.halted != "": // adoptSharedSettings keeps c for its next start
	case s.cfg.Fault != nil && c.Fault == nil: // its file was mended
		p.planNewServer(c)
	case s.problem != "":
		p.planAdding(ActionRetry, c, "it does not run")
	case s.boardHasFailed():
		p.planAdding(ActionRetry, c, "it has stopped serving")
	case s.pending != nil && !s.pending.limits.Live(p.next.Limits):
		p.planAdding(ActionRestart, c, "it is being published")
	default:
		p.planServer(s, c)
	}
}

// planStop plans the end of a server that stays in the configuration.
func (p *planner) planStop(s *server, c ServerConfig) {
	if s.halted == StateStopped {
		return
	}
	p.addStep(Step{Action: ActionStop, Server: s.name, do: func(ctx context.Context) error {
		return p.m.haltServer(ctx, c, StateStopped)
	}})
}

// editsStorage reports whether the change writes another storage block. What a person has written
// is left to the reload and to the start, which refuse the wrong store of a server.
func (p *planner) editsStorage() bool { return p.change != nil && p.change.storage }

func (p *planner) wishesStart() bool { return p.change != nil && p.change.wish == wishStart }

// planLabels plans what the file says of a server that changes nothing while it runs.
func (p *planner) planLabels(s *server, c ServerConfig) {
	var names []string
	note := ""
	if s.cfg.Description != c.Description {
		names = append(names, "description")
	}
	if s.cfg.NoAutostart != c.NoAutostart {
		names, note = append(names, "autostart"), "autostart takes effect when the relay starts the next time"
	}
	if len(names) == 0 || c.Fault != nil {
		return
	}
	p.addStep(Step{Action: ActionSet, Server: s.name, Settings: names, Note: note, do: func(context.Context) error { return nil }})
}

// planAdding plans to start a server that is new, or that has to be started again.
func (p *planner) planAdding(action Action, c ServerConfig, note string) {
	p.addStep(Step{Action: action, Server: c.Name, Note: note, do: func(ctx context.Context) error {
		if p.change != nil {
			return p.m.addServerInBackground(ctx, c, p.change.keys, p.next.Explain)
		}
		return p.m.addServer(ctx, c, p.next.Limits, p.next.Explain)
	}})
}

func (p *planner) addStep(s Step) { p.plan.Steps = append(p.plan.Steps, s) }

func (p *planner) addRefusal(where, what, hint string) {
	p.plan.Refused = append(p.plan.Refused, Refusal{where, what, hint})
}

const restartHint = "restart the relay for that, or change it back"

// planRelay plans relay-wide changes.
func (p *planner) planRelay() {
	now, next := p.m.cfg, p.next
	if now.DataDir != next.DataDir {
		p.addRefusal("", fmt.Sprintf("data_dir is %s while the relay runs, and cannot become %s", now.DataDir, next.DataDir),
			"stop the relay, move the files, and start it again")
	}
	if now.Network.Settings != next.Network.Settings {
		p.addRefusal(next.Network.Where, "the network cannot change while the relay runs", restartHint)
	}
	if now.Console.Settings != next.Console.Settings {
		where := next.Console.Where
		if where == "" {
			where = now.Console.Where // of the block that was removed
		}
		p.addRefusal(where, "the console cannot change while the relay runs", restartHint)
	}
	if now.LogFormat != next.LogFormat {
		p.addRefusal("", fmt.Sprintf("the format of the log is %q while the relay runs, and cannot become %q", now.LogFormat, next.LogFormat), restartHint)
	}
	if now.LogLevel != next.LogLevel {
		p.addStep(Step{Action: ActionSet, Settings: []string{"log.level"}, Note: levelName(next.LogLevel), do: func(context.Context) error {
			p.m.cfg.Level.Set(next.LogLevel)
			p.m.updateShared(func() { p.m.cfg.LogLevel = next.LogLevel })
			return nil
		}})
	}
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

// planLimits plans the limits that running servers can adopt in place.
func (p *planner) planLimits() {
	var live []*server
	var from limits.Limits
	for _, s := range p.m.servers {
		if s.relay != nil && s.limits != p.next.Limits && s.limits.Live(p.next.Limits) {
			live, from = append(live, s), s.limits
		}
	}
	if len(live) == 0 {
		return
	}
	p.addStep(Step{Action: ActionSet, Settings: changedLimits(from, p.next.Limits), do: func(context.Context) error {
		for _, s := range live {
			if s.relay != nil { // the server may have been stopped by an earlier step
				s.relay.SetLimits(withBudget(p.next.Limits, s.retention))
				p.m.updateShared(func() { s.limits = p.next.Limits })
			}
		}
		return nil
	}})
}

// changedLimits names the limits that differ, in the words of the file.
func changedLimits(a, b limits.Limits) (names []string) {
	for _, name := range limits.Changed(a, b) {
		names = append(names, "limits."+name)
	}
	return names
}

// planServer plans what happens to a server that stays.
func (p *planner) planServer(s *server, c ServerConfig) {
	m := p.m
	p.planStore(s, c.Storage)
	p.planRetention(s, c.Retention)
	p.planPeers(s, c.Peers)
	p.planRoaming(s, c.Roaming)
	if s.isComingUp() { // adoptSharedSettings keeps the other plugins for when it is published
		return
	}
	for _, i := range s.others {
		if !slices.ContainsFunc(c.Others, func(o PluginConfig) bool { return o.String() == i.cfg.String() }) {
			p.addStep(Step{Action: ActionStop, Server: s.name, Plugin: i.cfg.String(), Note: "its files stay",
				do: func(ctx context.Context) error { return m.removePlugin(ctx, s, i) }})
		}
	}
	for _, o := range c.Others {
		n := slices.IndexFunc(s.others, func(i *instance) bool { return i.cfg.String() == o.String() })
		if n >= 0 {
			p.planPlugin(s, s.others[n], o)
			continue
		}
		p.addStep(Step{Action: ActionStart, Server: s.name, Plugin: o.String(), do: func(ctx context.Context) error { return m.addAndAwait(ctx, s, o) }})
	}
	publish := func(ctx context.Context) error {
		if err := m.publishServer(ctx, s, p.next.Limits); err != nil {
			return m.failServer(s, err, p.next.Explain)
		}
		return nil
	}
	switch {
	case s.relay == nil:
		p.addStep(Step{Action: ActionStart, Server: s.name, do: publish})
	case !s.limits.Live(p.next.Limits):
		p.addStep(Step{Action: ActionRestart, Server: s.name, Settings: changedLimits(s.limits, p.next.Limits), do: func(ctx context.Context) error {
			if err := m.withdrawServer(ctx, s); err != nil {
				m.log.Warn("server was not withdrawn in good order", "server", s.name, "error", err)
			}
			return publish(ctx)
		}})
	}
}

// planStore plans the store of a server that stays. It refuses what would put the server
// on other data: readers would get envelopes that they do not know, or none, and tokens
// could be spent twice.
func (p *planner) planStore(s *server, c PluginConfig) {
	if what := otherStore(s.name, s.store.cfg, c); what != "" {
		p.addRefusal(c.Where, what+" while the relay runs", fmt.Sprintf(`stop the relay, copy the data with "cwtch-relay storage copy", and start it with the new block; or give this block to another server than %s`, s.name))
		return
	}
	p.planPlugin(s, s.store, c)
}

// otherStore says why another storage block may put a server on other data; empty if it does not.
func otherStore(name string, now, next PluginConfig) string {
	if now.Name != next.Name {
		return fmt.Sprintf("server %s: storage %q cannot take the place of %q", name, next.Name, now.Name)
	}
	if names := changedLocations(now, next); len(names) > 0 {
		return fmt.Sprintf("server %s: %s of storage %q may lead to other data and cannot change", name, strings.Join(names, ", "), next.Name)
	}
	return ""
}

// refuseOtherStore refuses an edit that may put a server on other data, whether it runs or not,
// once its store has been used. It allows a store that "storage copy" has made, and any after
// "storage accept": a start checks that it is the right one. It allows to go back to the plugin
// that the server ran on last, too.
func refuseOtherStore(now, next ServerConfig) *Refusal {
	known, used, err := loadMark(now.Dir)
	back := known.Plugin == next.Storage.Name && known.Plugin != now.Storage.Name
	if !used || err == nil && (known.Copy != nil || back) || now.Fault != nil {
		return nil
	}
	what := otherStore(now.Name, now.Storage, next.Storage)
	if what == "" {
		return nil
	}
	return &Refusal{next.Storage.Where, what + ", since the server has messages there",
		fmt.Sprintf(`stop the relay and copy them with "cwtch-relay storage copy" first; or, to go on without them, run "cwtch-relay storage accept -server %s" first`, now.Name)}
}

// previewTimeout bounds how long a plan waits for a store to say what would be deleted.
const previewTimeout = 10 * time.Second

// planRetention plans the retention of a server that stays.
func (p *planner) planRetention(s *server, next limits.Retention) {
	names := limits.ChangedRetention(s.retention, next)
	decides := s.keeper != nil && s.keeper.Undecided() && next.Written
	if len(names) == 0 && !decides {
		return
	}
	for i := range names {
		names[i] = "retention." + names[i]
	}
	if len(names) == 0 {
		names = []string{"retention"} // the defaults, which are kept from now on
	}
	note := ""
	if decides {
		note = "what exceeds its limits is removed from now on"
	}
	step := Step{Action: ActionSet, Server: s.name, Settings: names, Note: note, do: func(context.Context) error {
		p.m.updateShared(func() { s.retention = next })
		if s.keeper != nil { // an earlier step may have stopped the server
			s.keeper.SetRetention(next)
			s.relay.SetLimits(withBudget(s.limits, next))
		}
		return nil
	}}
	if s.keeper != nil {
		ctx, cancel := context.WithTimeout(p.m.closing, previewTimeout)
		defer cancel()
		preview, err := s.keeper.Preview(ctx, next)
		if err != nil {
			step.Note = fmt.Sprintf("what that deletes is not known (%v)", err)
		}
		step.Deletes = newDeletion(preview.Now)
		if later := newDeletion(preview.Later); later != nil {
			step.DeletesLater = &LaterDeletion{*later, preview.Waits.Round(time.Hour).String()}
		}
	}
	p.addStep(step)
}

// planPlugin plans a plugin that stays.
func (p *planner) planPlugin(s *server, i *instance, c PluginConfig) {
	step := Step{Server: s.name, Plugin: c.String(), do: func(ctx context.Context) error { return p.m.reconfigurePlugin(ctx, s, i, c) }}
	state := i.plugin.Status().State
	program, settings := changedNames(i.cfg.Fingerprint, c.Fingerprint), changedSettings(i.cfg, c)
	step.Settings = slices.Concat(program, settings)
	switch {
	case len(program) > 0:
		step.Action = ActionRestart
	case len(settings) > 0:
		step.Action = ActionReconfigure
	case state == supervise.Failed || state == supervise.Backoff:
		step.Action, step.Note = ActionRetry, "it has failed"
	default:
		return
	}
	p.addStep(step)
}

// planPluginsOfNewServer plans the plugins of a new server that are not its store. They start
// with the server; these steps report their success or failure.
func (p *planner) planPluginsOfNewServer(c ServerConfig) {
	for _, o := range c.Others {
		p.addStep(Step{Action: ActionStart, Server: c.Name, Plugin: o.String(), do: func(ctx context.Context) error {
			s := p.m.findServer(c.Name)
			switch {
			case s != nil && s.isComingUp() && s.problem == "":
				return nil
			case s == nil || s.relay == nil:
				return fmt.Errorf("server %s was not started", c.Name)
			}
			return p.m.addAndAwait(ctx, s, o)
		}})
	}
}

func changedNames(a, b map[string]string) (names []string) {
	for name := range a {
		if a[name] != b[name] {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// changedSettings names the attributes and blocks of the schema whose values differ.
func changedSettings(a, b PluginConfig) (names []string) {
	if slices.Equal(a.Value, b.Value) {
		return nil
	}
	x, errX := a.Schema.Decode(a.Value)
	y, errY := b.Schema.Decode(b.Value)
	if errX != nil || errY != nil {
		return []string{"configuration"} // the schema has changed
	}
	was, is := x.AsValueMap(), y.AsValueMap()
	for name, v := range is {
		if old, ok := was[name]; ok && !old.RawEquals(v) || !ok && !v.IsNull() {
			names = append(names, name)
		}
	}
	for name, old := range was {
		if _, ok := is[name]; !ok && !old.IsNull() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// changedLocations names the changed settings of a store that may say where its data is.
func changedLocations(a, b PluginConfig) (names []string) {
	for _, name := range changedSettings(a, b) {
		if mayBeLocation(b.Schema, name) {
			names = append(names, name)
		}
	}
	return names
}

// mayBeLocation reports whether a setting is or holds free text, such as a path or an
// address. A text out of a list of words is not a location.
func mayBeLocation(s plugin.Schema, name string) bool {
	for _, a := range s.Attributes {
		if a.Name == name {
			return (a.Type == plugin.String || a.Type == plugin.StringList) && len(a.OneOf) == 0
		}
	}
	for _, b := range s.Blocks {
		if b.Name == name {
			return b.Labelled || slices.ContainsFunc(b.Schema.Attributes, func(a plugin.Attribute) bool { return mayBeLocation(b.Schema, a.Name) }) ||
				slices.ContainsFunc(b.Schema.Blocks, func(inner plugin.Block) bool { return mayBeLocation(b.Schema, inner.Name) })
		}
	}
	return true // the schema has changed
}
