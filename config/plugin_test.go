package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

const nested = `network "tor" {}
server "main" {
  storage "bolt" {
    path = "x"
    cache {
      pages = 3
    }
    shard {}
    shard {
      dirs = ["a"]
    }
    peer "alice" {}
    peer "bob" {
      mode = "read"
    }
  }
}
server "other" {}
`

func TestLocatePath(t *testing.T) {
	cfg, err := Load(writeConfig(t, nested), testPlugins)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]int{
		"":                    {3, 3},
		"path":                {4, 12},
		"sync":                {3, 3}, // not written
		"nothing.of.the.kind": {3, 3},
		"cache":               {5, 5},
		"cache.pages":         {6, 15},
		"cache.none":          {5, 5},
		"shard":               {8, 5},
		"shard.0.dirs":        {8, 5}, // not written
		"shard.1":             {9, 5},
		"shard.1.dirs":        {10, 14},
		"shard.2.dirs":        {3, 3},
		"shard.-1":            {3, 3},
		"shard.x":             {3, 3},
		"peer.bob.mode":       {14, 14},
		"peer.bob":            {13, 5},
		"peer.alice.mode":     {12, 5},
		"peer.carol.mode":     {3, 3},
	} {
		var steps []string
		if path != "" {
			steps = strings.Split(path, ".")
		}
		r := rangeOf(cfg.Servers[0].Storage.locatePath(steps))
		if r.Line != want[0] || r.Column != want[1] {
			t.Errorf("%q is at %v, want line %d, column %d", path, r, want[0], want[1])
		}
	}
	if r := rangeOf(cfg.Servers[1].Storage.locatePath([]string{"path"})); r.Line != 18 {
		t.Errorf("the block that is left out is at %v, want the header of its server", r)
	}
}

func TestDiagnose(t *testing.T) {
	cfg, err := Load(writeConfig(t, nested), testPlugins)
	if err != nil {
		t.Fatal(err)
	}
	storage := cfg.Servers[0].Storage
	if err := storage.Diagnose(nil); err != nil {
		t.Errorf("nothing is wrong, and yet: %v", err)
	}
	err = storage.Diagnose(append(
		plugin.Invalid("Too many pages\x1b[2J", "Write fewer.", "cache", "pages"),
		plugin.Invalid("Not this file", "", "path")...))
	want := `error: not this file
  on FILE line 4, column 12, in server "main", storage "bolt":
  4:     path = "x"

error: too many pages�[2J
  on FILE line 6, column 15, in server "main", storage "bolt", cache:
  6:       pages = 3
  hint: Write fewer.`
	if got := strings.ReplaceAll(err.Error(), storage.Range.File, "FILE"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What plugins find is reported together with everything else.
func TestFaultsOfPluginsAreShownInPlace(t *testing.T) {
	plugins := testPlugins
	plugins.Validate = func(p PluginUse) error {
		if p.Range.Line == 18 { // of server "other"
			return errors.New("no reason given")
		}
		return plugin.Invalid("Not this file", "Write another.", "path")
	}
	_, err := Load(writeConfig(t, strings.Replace(nested, "network", "net", 1)), plugins)
	failure, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("the error is %v", err)
	}
	var got []string
	for _, d := range failure.Diagnostics {
		got = append(got, d.Summary)
	}
	want := `no network block; unknown block "net"; not this file; plugin "bolt" refuses its configuration: no reason given`
	if strings.Join(got, "; ") != want {
		t.Errorf("got %q", got)
	}
}

func TestExternalPluginsAreAskedOnce(t *testing.T) {
	text := `network "tor" {}
plugin "storage" "sqlite" {
  path = "sqlite"
  dev  = true
}
server "a" {
  storage "sqlite" {}
}
server "b" {
  storage "sqlite" {}
}
`
	calls := 0
	describe := func(s plugin.Schema, err error) Plugins {
		calls = 0
		return Plugins{BuiltIn: testPlugins.BuiltIn, Describe: func(e External) (plugin.Description, error) {
			calls++
			if e.Name != "sqlite" || !e.Dev {
				t.Errorf("asked of %+v", e)
			}
			return plugin.Description{Kind: e.Kind, Name: e.Name, Version: "1", Schema: s}, err
		}}
	}
	for name, c := range map[string]struct {
		plugins Plugins
		want    string // in the only error
	}{
		"works":             {describe(testSchema, nil), ""},
		"does not start":    {describe(plugin.Schema{}, errors.New("exec format error")), "exec format error"},
		"schema is invalid": {describe(plugin.Schema{Attributes: []plugin.Attribute{{Name: "A"}}}, nil), "is not a name"},
		"none are allowed":  {Plugins{BuiltIn: testPlugins.BuiltIn}, "not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			calls = 0
			_, err := Load(writeConfig(t, text), c.plugins)
			if c.plugins.Describe != nil && calls != 1 {
				t.Errorf("the plugin was asked %d times, want once", calls)
			}
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			failure, ok := errors.AsType[*Error](err)
			if !ok || len(failure.Diagnostics) != 1 || !strings.Contains(failure.Diagnostics[0].Summary, c.want) {
				t.Errorf("the error is %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestSocketsAreGranted shows that directories of sockets are enough for a plugin that asks for
// connections, and that they are absolute.
func TestSocketsAreGranted(t *testing.T) {
	path := writeConfig(t, `
network "tor" {}
plugin "storage" "caller" {
  path = "caller"
  dev  = true
  sandbox { sockets = ["run", "/run/postgresql"] }
}
server "main" {
  storage "caller" {}
}
`)
	cfg, err := Load(path, testPlugins)
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.Plugins[0].Sandbox
	if want := []string{filepath.Join(filepath.Dir(path), "run"), "/run/postgresql"}; !slices.Equal(got.Sockets, want) || got.Network {
		t.Errorf("the grant is %+v, want sockets in %q and no network", got, want)
	}
}
