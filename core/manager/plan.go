package manager

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/limits"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Plan is what a reload does, or would do. No step deletes data.
type Plan struct {
	Config string `json:"config"` // the path of the file
	// Applied tells whether the steps were tried; not in a dry run, nor when
	// anything is refused.
	Applied bool `json:"applied"`
	// Refused is what a running relay cannot change to.
	Refused []Refusal `json:"refused"`
	Steps   []Step    `json:"steps"`
	// Down is what does not run in the end although no step that failed is about it.
	Down []Down `json:"down,omitempty"`
}

// Failed counts the steps that were tried in vain, and what is down besides.
func (p *Plan) Failed() (n int) {
	n = len(p.Down)
	for _, s := range p.Steps {
		if s.Error != "" {
			n++
		}
	}
	return n
}

// Refusal is a change that takes more than a reload.
type Refusal struct {
	Where string `json:"where,omitempty"` // in the file: "server.hcl:7,3"
	What  string `json:"what"`
	Hint  string `json:"hint"` // what to do instead
}

// Action is what a step does.
type Action string

const (
	ActionStart       Action = "start"
	ActionStop        Action = "stop"
	ActionRestart     Action = "restart"     // stop and start; what depends on it waits meanwhile
	ActionReconfigure Action = "reconfigure" // in the same process
	ActionRetry       Action = "retry"       // a plugin that has failed, or a server that does not run
	ActionSet         Action = "set"         // in place, without stopping anything
)

// Step is one part of a plan.
type Step struct {
	Action Action `json:"action"`
	Server string `json:"server,omitempty"` // empty: the relay as a whole
	Plugin string `json:"plugin,omitempty"` // "stats/prometheus"; empty: the server itself
	// Settings are the names of what has changed, never the values, which may be
	// secret.
	Settings []string `json:"settings,omitempty"`
	Note     string   `json:"note,omitempty"`
	Done     bool     `json:"done"`
	Bundle   string   `json:"bundle,omitempty"` // of a server that was started: what clients import
	Error    string   `json:"error,omitempty"`  // why it is not done

	do    func(context.Context) error
	taken bool // the error is that an address cannot be had
}

// String says what the step does: "restart stats/prometheus of server main
// (checksum)".
func (s Step) String() string {
	text := string(s.Action)
	switch {
	case s.Plugin != "":
		text += fmt.Sprintf(" %s of server %s", s.Plugin, s.Server)
	case s.Server != "":
		text += " server " + s.Server
	}
	if len(s.Settings) > 0 {
		list := strings.Join(s.Settings, ", ")
		if s.Action != ActionSet {
			list = "(" + list + ")"
		}
		text += " " + list
	}
	if s.Note != "" {
		text += ": " + s.Note
	}
	return text
}

// planner compares what runs with a configuration.
type planner struct {
	m    *Manager
	next Config
	plan Plan
}

// makePlan makes the plan that leads from what runs to next; m.changing is held.
func (m *Manager) makePlan(next Config) *Plan {
	p := &planner{m: m, next: next, plan: Plan{Config: next.Path, Refused: []Refusal{}, Steps: []Step{}}}
	p.planRelay()
	for _, s := range m.servers {
		if !slices.ContainsFunc(next.Servers, func(c ServerConfig) bool { return c.Name == s.name }) {
			p.addStep(Step{Action: ActionStop, Server: s.name, Note: "its files stay in " + s.dir,
				do: func(ctx context.Context) error { return m.dropServer(ctx, s) }})
		}
	}
	p.planLimits()
	for _, c := range next.Servers {
		introduce := func(ctx context.Context) error { return m.addServer(ctx, c, next.Limits, next.Explain) }
		switch s := m.findServer(c.Name); {
		case s == nil:
		case s.problem != "":
			p.addStep(Step{Action: ActionRetry, Server: c.Name, Note: "it does not run", do: introduce})
		case s.gaveUp():
			p.addStep(Step{Action: ActionRetry, Server: c.Name, Note: "it has stopped serving", do: introduce})
		default:
			p.planServer(s, c)
		}
	}
	for _, c := range next.Servers {
		if m.findServer(c.Name) == nil {
			p.addStep(Step{Action: ActionStart, Server: c.Name, do: func(ctx context.Context) error { return m.addServer(ctx, c, next.Limits, next.Explain) }})
		}
	}
	for _, c := range next.Servers {
		if m.findServer(c.Name) == nil {
			p.joining(c)
		}
	}
	return &p.plan
}

// joining plans the plugins of a server that is new and can do without them. They start
// with the server, and these steps say what became of them.
func (p *planner) joining(c ServerConfig) {
	for _, o := range c.Others {
		p.addStep(Step{Action: ActionStart, Server: c.Name, Plugin: o.String(), do: func(ctx context.Context) error {
			s := p.m.findServer(c.Name)
			if s == nil || s.relay == nil {
				return fmt.Errorf("server %s was not started", c.Name)
			}
			return p.m.addAndAwait(ctx, s, o)
		}})
	}
}

func (m *Manager) findServer(name string) *server {
	i := slices.IndexFunc(m.servers, func(s *server) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return m.servers[i]
}

func (p *planner) addStep(s Step) { p.plan.Steps = append(p.plan.Steps, s) }

func (p *planner) addRefusal(where, what, hint string) {
	p.plan.Refused = append(p.plan.Refused, Refusal{where, what, hint})
}

const restartHint = "restart the relay for that, or change it back"

// planRelay plans changes that concern the whole relay.
func (p *planner) planRelay() {
	now, next := p.m.cfg, p.next
	if now.DataDir != next.DataDir {
		p.addRefusal("", fmt.Sprintf("data_dir is %s while the relay runs, and cannot become %s", now.DataDir, next.DataDir),
			"stop the relay, move the files, and start it again")
	}
	if now.Network.Settings != next.Network.Settings {
		p.addRefusal(next.Network.Where, "the network cannot change while the relay runs", restartHint)
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

// planLimits plans the limits that running servers can go over to.
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
			if s.relay != nil { // it may be gone with the new configuration
				s.relay.SetLimits(p.next.Limits)
				p.m.updateShared(func() { s.limits = p.next.Limits })
			}
		}
		return nil
	}})
}

// changedLimits names the limits that differ, as the file does.
func changedLimits(a, b limits.Limits) (names []string) {
	for _, name := range limits.Changed(a, b) {
		names = append(names, "limits."+name)
	}
	return names
}

// planServer plans what becomes of a server that stays.
func (p *planner) planServer(s *server, c ServerConfig) {
	m := p.m
	p.planStore(s, c.Storage)
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
			return m.fail(s, err, p.next.Explain)
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

// planStore plans the store of a server that stays, and refuses what would put the
// server on other data: readers would be sent what they do not know, or nothing,
// and tokens could be spent twice.
func (p *planner) planStore(s *server, c PluginConfig) {
	now := s.store.cfg
	copied := fmt.Sprintf(`stop the relay, copy the data with "cwtch-relay storage copy", and start it with the new block; or give this block to another server than %s`, s.name)
	if now.Name != c.Name {
		p.addRefusal(c.Where, fmt.Sprintf("server %s: storage %q cannot take the place of %q while the relay runs", s.name, c.Name, now.Name), copied)
		return
	}
	if names := changedLocations(now, c); len(names) > 0 {
		p.addRefusal(c.Where, fmt.Sprintf("server %s: %s of storage %q may lead to other data and cannot change while the relay runs", s.name, strings.Join(names, ", "), c.Name), copied)
		return
	}
	p.planPlugin(s, s.store, c)
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
		step.Action, step.Note = ActionRetry, "it is in state "+state.String()
	default:
		return
	}
	p.addStep(step)
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

// changedSettings names what is different in two values: attributes and blocks
// of the schema.
func changedSettings(a, b PluginConfig) (names []string) {
	if slices.Equal(a.Value, b.Value) {
		return nil
	}
	x, errX := a.Schema.Decode(a.Value)
	y, errY := b.Schema.Decode(b.Value)
	if errX != nil || errY != nil {
		return []string{"configuration"} // of two schemas, then
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

// changedLocations names the settings of a store that have changed and may say where
// its data is: texts that are not words of a list, such as paths and addresses.
func changedLocations(a, b PluginConfig) (names []string) {
	for _, name := range changedSettings(a, b) {
		if isLocation(b.Schema, name) {
			names = append(names, name)
		}
	}
	return names
}

// isLocation tells whether a setting of a schema is, or holds, such a text.
func isLocation(s plugin.Schema, name string) bool {
	for _, a := range s.Attributes {
		if a.Name == name {
			return (a.Type == plugin.String || a.Type == plugin.StringList) && len(a.OneOf) == 0
		}
	}
	for _, b := range s.Blocks {
		if b.Name == name {
			return b.Labelled || slices.ContainsFunc(b.Schema.Attributes, func(a plugin.Attribute) bool { return isLocation(b.Schema, a.Name) }) ||
				slices.ContainsFunc(b.Schema.Blocks, func(inner plugin.Block) bool { return isLocation(b.Schema, inner.Name) })
		}
	}
	return true // of a schema that has changed
}
