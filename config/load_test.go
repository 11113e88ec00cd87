package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// testPlugins has one plugin with every feature of a schema built in, and
// describes any external one in the same way; one of the name "caller" asks
// for the network.
var testPlugins = Plugins{
	BuiltIn: []plugin.Description{{
		Kind: plugin.KindStorage, Name: "bolt", Version: "1", Doc: "Keeps messages in one file.", Schema: testSchema,
		Capabilities: []plugin.Capability{plugin.Prune},
	}},
	Describe: func(e External) (plugin.Description, error) {
		d := plugin.Description{Kind: e.Kind, Name: e.Name, Version: "1", Schema: testSchema}
		if e.Name == "caller" {
			d.Network = "It keeps messages in a database on another machine."
		}
		return d, nil
	},
}

var testSchema = plugin.Schema{
	Attributes: []plugin.Attribute{
		{Name: "path", Type: plugin.String, Default: "messages.db", Doc: "The file."},
		{Name: "size", Type: plugin.Bytes, Default: "1GiB", Min: new(int64(1 << 20))},
		{Name: "wait", Type: plugin.Duration, Max: new(int64(time.Hour))},
		{Name: "sync", Type: plugin.Bool, Default: "true"},
	},
	Blocks: []plugin.Block{
		{Name: "cache", Schema: plugin.Schema{Attributes: []plugin.Attribute{
			{Name: "pages", Type: plugin.Int, Required: true, Min: new(int64(1))},
		}}},
		{Name: "shard", Repeated: true, Schema: plugin.Schema{Attributes: []plugin.Attribute{
			{Name: "dirs", Type: plugin.StringList},
		}}},
		{Name: "peer", Labelled: true, Schema: plugin.Schema{Attributes: []plugin.Attribute{
			{Name: "mode", Type: plugin.String, OneOf: []string{"read", "write"}, Default: "read"},
		}}},
	},
}

// writeConfig puts a configuration into a directory of its own and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var defaultLimits = limits.Limits{
	Connections: 4096, ConnectionsPerSecond: 500,
	HandshakeTimeout: 30 * time.Second, IdleTimeout: 2 * time.Hour,
	OutstandingPosts: 64, QueueRecords: 8192, QueueBytes: 64 << 20, PostTimeout: 10 * time.Second,
	TokenBatchesPerSecond: 10, TokenBatch: 150,
	ReaderBuffer: 256 << 10, StuckReader: 5 * time.Minute,
}

var defaultRetention = limits.Retention{
	MaxAge: 365 * 24 * time.Hour, MinAge: 30 * 24 * time.Hour, MaxBytes: 2 << 30, MaxCount: 1_000_000,
}

// TestRetention shows what becomes of the options that are left out.
func TestRetention(t *testing.T) {
	hours := func(n int) time.Duration { return time.Duration(n) * time.Hour }
	for text, want := range map[string]limits.Retention{
		"":                                     defaultRetention,
		"retention {}":                         {MaxAge: hours(365 * 24), MinAge: hours(30 * 24), MaxBytes: 2 << 30, MaxCount: 1_000_000, Written: true},
		"retention {\n max_age = \"1d12h\"\n}": {MaxAge: hours(36), MinAge: hours(36), MaxBytes: 2 << 30, MaxCount: 1_000_000, Written: true},
		"retention {\n max_age = \"90d\"\n max_bytes = \"3GiB\"\n max_count = 5000\n min_age = \"2d\"\n keep_free = \"16MiB\"\n}": {
			MaxAge: hours(90 * 24), MinAge: hours(48), MaxBytes: 3 << 30, MaxCount: 5000, KeepFree: 16 << 20, Written: true},
	} {
		cfg, err := Load(writeConfig(t, "network \"tor\" {}\nserver \"main\" {\n"+text+"\n}\n"), testPlugins)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := cfg.Servers[0].Retention; got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

func TestDefaultsOfAMinimalFile(t *testing.T) {
	path := writeConfig(t, "network \"tor\" {}\nserver \"main\" {}\n")
	dir := filepath.Dir(path)
	cfg, err := Load(path, testPlugins)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := testSchema.Encode(defaultStorageValue())
	if err != nil {
		t.Fatal(err)
	}
	storage := cfg.Servers[0].Storage
	if !reflect.DeepEqual(storage.Msgpack, encoded) || storage.Name != "bolt" || storage.External != nil {
		t.Errorf("storage is %q with %x, want bolt with %x", storage.Name, storage.Msgpack, encoded)
	}
	cfg.Servers[0].Storage = PluginUse{}
	want := &Config{
		DataDir:    filepath.Join(dir, "data"),
		ServersDir: filepath.Join(dir, "data", "servers.d"),
		Network: Network{
			Tor:   &Tor{Path: "tor", DataDir: filepath.Join(dir, "data", "tor")},
			Range: Range{path, 1, 1, 1, 14},
		},
		Log:    Log{Level: slog.LevelInfo},
		Limits: defaultLimits,
		Servers: []Server{{
			Name: "main", Dir: filepath.Join(dir, "data", "servers", "main"), File: path, Autostart: true, Retention: defaultRetention, Range: Range{path, 2, 1, 2, 14},
		}},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v\nwant\n%+v", cfg, want)
	}
}

func defaultStorageValue() cty.Value {
	attrs := testSchema.CtyType().AttributeTypes()
	return cty.ObjectVal(map[string]cty.Value{
		"path":  cty.StringVal("messages.db"),
		"size":  cty.NumberIntVal(1 << 30),
		"wait":  cty.NullVal(cty.Number),
		"sync":  cty.True,
		"cache": cty.NullVal(attrs["cache"]),
		"shard": cty.ListValEmpty(attrs["shard"].ElementType()),
		"peer":  cty.MapValEmpty(attrs["peer"].ElementType()),
	})
}

func TestEveryOptionIsRead(t *testing.T) {
	t.Setenv("CWTCH_RELAY_TEST", "debug")
	path := writeConfig(t, `
		data_dir    = "d"
		servers_dir = "servers"
		network "loopback" { registry = "reg" }
		console {
		  listen        = "unix:console.sock"
		  onion         = true
		  onion_clients = ["descriptor:x25519:`+strings.Repeat("a", 52)+`"]
		}
		log {
		  level  = env("CWTCH_RELAY_TEST")
		  format = "json"
		}
		limits {
		  connections              = 1
		  connections_per_second   = 2
		  handshake_timeout        = "3s"
		  idle_timeout             = "4m"
		  outstanding_posts        = 5
		  queue_records            = 600
		  queue_bytes              = "7MiB"
		  post_timeout             = "8s"
		  posts_per_hour           = 100
		  bytes_per_day            = "40MiB"
		  token_batches_per_second = 9
		  token_batch              = 10
		  reader_buffer            = "11MiB"
		  stuck_reader             = "12s"
		}
		server "one" {
		  description = file("note")
		  autostart   = false
		  passphrase  = file("note")
		  storage "sqlite" {
		    path = "x"
		    wait = "90s"
		    cache { pages = 3 }
		    shard { dirs = ["a", "b"] }
		    shard {}
		    peer "alice" { mode = "write" }
		  }
		}
		server "two" {
		  peersync "mesh" {}
		  stats "prometheus" { path = "a" }
		  stats "prometheus" { path = "b" }
		}
		plugin "storage" "sqlite" {
		  path     = "bin/sqlite"
		  checksum = "sha256:00000000000000000000000000000000000000000000000000000000000000ff"
		  args     = ["-v"]
		  env      = ["A=b", "EMPTY="]
		  sandbox {
		    read      = ["lib", "/opt/lib"]
		    processes = true
		    memory    = "1GiB"
		    files     = 100
		    tasks     = 50
		  }
		}
		plugin "stats" "prometheus" {
		  path = "prometheus"
		  dev  = true
		}
		plugin "peersync" "mesh" {
		  path    = "mesh"
		  dev     = true
		  sandbox { enabled = false }
		}`)
	dir := filepath.Dir(path)
	if err := os.WriteFile(filepath.Join(dir, "note"), []byte("reading group\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path, testPlugins)
	if err != nil {
		t.Fatal(err)
	}

	wantExternal := External{
		Kind: "storage", Name: "sqlite", Path: filepath.Join(dir, "bin/sqlite"),
		Checksum: "sha256:00000000000000000000000000000000000000000000000000000000000000ff", Args: []string{"-v"}, Env: []string{"A=b", "EMPTY="},
		Sandbox: Sandbox{Read: []string{filepath.Join(dir, "lib"), "/opt/lib"}, Processes: true, Memory: 1 << 30, Files: 100, Tasks: 50},
		Range:   cfg.Plugins[0].Range,
	}
	storage := cfg.Servers[0].Storage
	got, err := testSchema.Decode(storage.Msgpack)
	if err != nil {
		t.Fatal(err)
	}
	strs := func(s ...string) cty.Value {
		list := make([]cty.Value, len(s))
		for i := range s {
			list[i] = cty.StringVal(s[i])
		}
		return cty.ListVal(list)
	}
	fields := defaultStorageValue().AsValueMap()
	fields["path"] = cty.StringVal("x")
	fields["wait"] = cty.NumberIntVal(int64(90 * time.Second))
	fields["cache"] = cty.ObjectVal(map[string]cty.Value{"pages": cty.NumberIntVal(3)})
	fields["shard"] = cty.ListVal([]cty.Value{
		cty.ObjectVal(map[string]cty.Value{"dirs": strs("a", "b")}),
		cty.ObjectVal(map[string]cty.Value{"dirs": cty.NullVal(cty.List(cty.String))}),
	})
	fields["peer"] = cty.MapVal(map[string]cty.Value{
		"alice": cty.ObjectVal(map[string]cty.Value{"mode": cty.StringVal("write")}),
	})
	if want := cty.ObjectVal(fields); !got.RawEquals(want) {
		t.Errorf("storage is configured with\n%#v\nwant\n%#v", got, want)
	}
	if storage.External == nil || !reflect.DeepEqual(*storage.External, wantExternal) {
		t.Errorf("storage is %+v, want %+v", storage.External, wantExternal)
	}
	if two := cfg.Servers[1].Storage; two.Name != "bolt" || two.Range != cfg.Servers[1].Range {
		t.Errorf("the storage left out is %q at %v", two.Name, two.Range)
	}

	var uses []string
	for p := range cfg.Servers[1].Plugins() {
		uses = append(uses, fmt.Sprintf("%s %s %s", p.Kind, p.Name, p.Instance))
	}
	if want := []string{"storage bolt bolt", "stats prometheus prometheus", "stats prometheus prometheus#2", "peersync mesh mesh"}; !slices.Equal(uses, want) {
		t.Errorf("the plugins in use are %q, want %q", uses, want)
	}
	if a, b := cfg.Servers[1].Stats[0], cfg.Servers[1].Stats[1]; slices.Equal(a.Msgpack, b.Msgpack) || a.External != &cfg.Plugins[1] {
		t.Errorf("the two uses of a plugin are %+v and %+v", a, b)
	}
	if off := cfg.Plugins[2].Sandbox; !off.Off || off.Memory != 512<<20 || off.Files != 1024 {
		t.Errorf("a sandbox that is off is %+v", off)
	}
	cfg.Plugins = cfg.Plugins[:1]

	names := []string{cfg.Servers[0].Name, cfg.Servers[0].Description, cfg.Servers[1].Name}
	if one, two := cfg.Servers[0], cfg.Servers[1]; one.Autostart || !two.Autostart || one.Passphrase != "reading group" || one.File != path {
		t.Errorf("the start of the servers is %+v and %+v", one, two)
	}
	for i := range cfg.Servers {
		cfg.Servers[i] = Server{}
	}
	if want := []string{"one", "reading group", "two"}; !reflect.DeepEqual(names, want) {
		t.Errorf("servers are %q, want %q", names, want)
	}
	want := &Config{
		DataDir:    filepath.Join(dir, "d"),
		ServersDir: filepath.Join(dir, "servers"),
		Network:    Network{Loopback: &Loopback{Registry: filepath.Join(dir, "reg")}, Range: cfg.Network.Range},
		Console: &Console{
			Listen: "unix:" + filepath.Join(dir, "console.sock"), Onion: true, OnionClients: []string{strings.Repeat("A", 52)},
			Range: cfg.Console.Range, header: cfg.Console.header,
		},
		Log: Log{Level: slog.LevelDebug, JSON: true},
		Limits: limits.Limits{
			Connections: 1, ConnectionsPerSecond: 2, HandshakeTimeout: 3 * time.Second, IdleTimeout: 4 * time.Minute,
			OutstandingPosts: 5, QueueRecords: 600, QueueBytes: 7 << 20, PostTimeout: 8 * time.Second,
			PostsPerHour: 100, BytesPerDay: 40 << 20,
			TokenBatchesPerSecond: 9, TokenBatch: 10, ReaderBuffer: 11 << 20, StuckReader: 12 * time.Second,
		},
		Plugins: []External{wantExternal},
		Servers: make([]Server, 2),
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v\nwant\n%+v", cfg, want)
	}
}

// What is wrong elsewhere in a file does not keep a command from finding the
// relay that runs with it.
func TestDataDir(t *testing.T) {
	path := writeConfig(t, "data_dir = \"d\"\nwrong = 1\nserver \"A\" {\n  stats \"none\" {}\n}\n")
	if dir, err := DataDir(path); err != nil || dir != filepath.Join(filepath.Dir(path), "d") {
		t.Errorf("got %q, %v", dir, err)
	}
	if dir, err := DataDir(writeConfig(t, "")); err != nil || filepath.Base(dir) != "data" {
		t.Errorf("without the option it is %q, %v", dir, err)
	}
	for _, text := range []string{"data_dir = \"\"", "data_dir = 1", "data_dir = \"a", "data_dir = env(\"CWTCH_RELAY_UNSET\")"} {
		if dir, err := DataDir(writeConfig(t, text)); err == nil {
			t.Errorf("%s gives %q", text, dir)
		}
	}
}
