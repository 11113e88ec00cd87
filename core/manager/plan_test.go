package manager

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

var testSchema = plugin.Schema{
	Attributes: []plugin.Attribute{
		{Name: "path", Type: plugin.String},
		{Name: "sync", Type: plugin.String, OneOf: []string{"full", "normal"}},
		{Name: "pages", Type: plugin.Int},
		{Name: "dirs", Type: plugin.StringList},
	},
	Blocks: []plugin.Block{
		{Name: "cache", Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "pages", Type: plugin.Int}}}},
		{Name: "shard", Schema: plugin.Schema{Blocks: []plugin.Block{
			{Name: "inner", Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "path", Type: plugin.String}}}},
		}}},
	},
}

// encodeSettings returns a configuration with some of the settings of testSchema.
func encodeSettings(t *testing.T, settings map[string]cty.Value) []byte {
	t.Helper()
	all := make(map[string]cty.Value)
	for name, kind := range testSchema.CtyType().AttributeTypes() {
		all[name] = cty.NullVal(kind)
		if v, ok := settings[name]; ok {
			all[name] = v
		}
	}
	data, err := testSchema.Encode(cty.ObjectVal(all))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pagesSetting(n int64) map[string]cty.Value {
	return map[string]cty.Value{"pages": cty.NumberIntVal(n)}
}

// brokenPlugin is the use of a plugin that cannot be started.
func brokenPlugin(t *testing.T, kind plugin.Kind, instance string, settings map[string]cty.Value) PluginConfig {
	name, _, _ := strings.Cut(instance, "#")
	return PluginConfig{
		Config: supervise.Config{
			Kind: kind, Name: name, Value: encodeSettings(t, settings),
			Command: func() (pluginproc.Command, error) { return pluginproc.Command{}, errors.New("there is no program") },
		},
		Instance: instance, Schema: testSchema, Fingerprint: map[string]string{"path": "/p", "args": "[]"}, Where: "f:1,1",
	}
}

// newManagerWith returns a manager with the servers of a configuration. Their plugins have
// all failed, and they are not published.
func newManagerWith(t *testing.T, cfg Config) *Manager {
	t.Helper()
	cfg.Logger, cfg.Level = slog.New(slog.DiscardHandler), &slog.LevelVar{}
	cfg.DataDir = t.TempDir()
	m := &Manager{cfg: cfg, log: cfg.Logger, closing: t.Context()}
	for _, c := range cfg.Servers {
		s := &server{name: c.Name, dir: t.TempDir(), limits: cfg.Limits}
		for i, p := range append([]PluginConfig{c.Storage}, c.Others...) {
			p.Logger, p.Dir = cfg.Logger, t.TempDir()
			in := &instance{cfg: p, plugin: supervise.Start(p.Config)}
			t.Cleanup(func() { in.plugin.Stop(t.Context()) })
			in.plugin.WaitReady(t.Context())
			if i == 0 {
				s.store = in
			} else {
				s.others = append(s.others, in)
			}
		}
		m.servers = append(m.servers, s)
	}
	return m
}

func TestPlan(t *testing.T) {
	some := limits.Limits{QueueRecords: 1, TokenBatch: 2}
	main := ServerConfig{
		Name: "main", Storage: brokenPlugin(t, plugin.KindStorage, "bolt", pagesSetting(1)),
		Others: []PluginConfig{brokenPlugin(t, plugin.KindStats, "a", pagesSetting(1)), brokenPlugin(t, plugin.KindStats, "a#2", nil), brokenPlugin(t, plugin.KindPeerSync, "a", nil)},
	}
	m := newManagerWith(t, Config{Path: "f", Limits: some, Servers: []ServerConfig{{Name: "attic", Storage: main.Storage}, main}})
	other := main
	other.Name = "other"
	main.Storage = brokenPlugin(t, plugin.KindStorage, "bolt", pagesSetting(2))
	main.Others = []PluginConfig{brokenPlugin(t, plugin.KindStats, "a", pagesSetting(1)), brokenPlugin(t, plugin.KindPeerSync, "a", nil), brokenPlugin(t, plugin.KindStats, "b", nil)}
	main.Others[1].Fingerprint = map[string]string{"path": "/q", "args": "[]", "env": "[]"}
	next := Config{Path: "f", DataDir: m.cfg.DataDir, Limits: some, LogLevel: slog.LevelDebug, Servers: []ServerConfig{other, main}}

	plan := m.makePlan(next)
	var got []string
	for _, s := range plan.Steps {
		got = append(got, s.String())
	}
	want := []string{
		"set log.level: debug",
		"stop server attic: its files stay in " + m.servers[0].dir,
		"reconfigure storage/bolt of server main (pages)",
		"stop stats/a#2 of server main: its files stay",
		"retry stats/a of server main: it has failed",
		"restart peersync/a of server main (env, path)",
		"start stats/b of server main",
		"start server main", // it is not published
		"start server other",
		"start stats/a of server other",
		"start stats/a#2 of server other",
		"start peersync/a of server other",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(plan.Refused) > 0 || plan.Applied {
		t.Errorf("the plan is %+v", plan)
	}
}

func TestPlanRefusesWhatNeedsARestart(t *testing.T) {
	servers := func(storage PluginConfig) []ServerConfig { return []ServerConfig{{Name: "main", Storage: storage}} }
	m := newManagerWith(t, Config{LogFormat: "text", Network: NetworkConfig{Settings: "a"}, Servers: servers(brokenPlugin(t, plugin.KindStorage, "bolt", nil))})
	same := m.cfg
	set := func(name string, v cty.Value) func(*Config) {
		return func(c *Config) {
			c.Servers = servers(brokenPlugin(t, plugin.KindStorage, "bolt", map[string]cty.Value{name: v}))
		}
	}
	text := cty.StringVal("x")
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // empty: not refused
	}{
		"nothing":       {func(*Config) {}, ""},
		"data_dir":      {func(c *Config) { c.DataDir = "/elsewhere" }, "data_dir is "},
		"network":       {func(c *Config) { c.Network.Settings = "b" }, "the network "},
		"console":       {func(c *Config) { c.Console.Settings = "other" }, "the console "},
		"log format":    {func(c *Config) { c.LogFormat = "json" }, "the format of the log "},
		"other storage": {func(c *Config) { c.Servers = servers(brokenPlugin(t, plugin.KindStorage, "sqlite", nil)) }, `storage "sqlite" cannot take the place of "bolt"`},
		"path":          {set("path", text), "path of storage"},
		"list":          {set("dirs", cty.ListVal([]cty.Value{text})), "dirs of storage"},
		"word":          {set("sync", cty.StringVal("full")), ""},
		"number":        {set("pages", cty.NumberIntVal(1)), ""},
		"block":         {set("cache", cty.ObjectVal(map[string]cty.Value{"pages": cty.NumberIntVal(1)})), ""},
		"path in block": {set("shard", cty.ObjectVal(map[string]cty.Value{"inner": cty.ObjectVal(map[string]cty.Value{"path": text})})), "shard of storage"},
		"no server":     {func(c *Config) { c.Servers = nil }, ""},
	} {
		next := same
		c.change(&next)
		plan := m.makePlan(next)
		switch {
		case c.want == "" && len(plan.Refused) > 0:
			t.Errorf("%s: refused: %+v", name, plan.Refused)
		case c.want != "" && (len(plan.Refused) != 1 || !strings.Contains(plan.Refused[0].What, c.want) || plan.Refused[0].Hint == ""):
			t.Errorf("%s: refused is %+v", name, plan.Refused)
		}
	}
}

func TestChangedLimits(t *testing.T) {
	got := changedLimits(limits.Limits{TokenBatch: 1, QueueBytes: 2}, limits.Limits{TokenBatch: 2, QueueBytes: 2, ConnectionsPerSecond: 1})
	if want := []string{"limits.connections_per_second", "limits.token_batch"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The values of settings may be secret.
func TestStepsNameNoValues(t *testing.T) {
	a, b := brokenPlugin(t, plugin.KindStats, "a", nil), brokenPlugin(t, plugin.KindStats, "a", map[string]cty.Value{"path": cty.StringVal("s3cret")})
	b.Fingerprint = map[string]string{"env": `["TOKEN=s3cret"]`}
	m := newManagerWith(t, Config{Servers: []ServerConfig{{Name: "main", Storage: brokenPlugin(t, plugin.KindStorage, "bolt", nil), Others: []PluginConfig{a}}}})
	next := m.cfg
	next.Servers = []ServerConfig{{Name: "main", Storage: brokenPlugin(t, plugin.KindStorage, "bolt", nil), Others: []PluginConfig{b}}}
	for _, s := range m.makePlan(next).Steps {
		if strings.Contains(s.String(), "s3cret") {
			t.Errorf("a step says %s", s)
		}
	}
}
