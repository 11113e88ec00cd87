package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

const twoServers = `
	network "loopback" { registry = "reg" }
	plugin "storage" "sqlite" {
	  path = "sqlite"
	  dev  = true
	}
	server "a" {
	  storage "bolt" { path = "a.db" }
	}
	server "b" {}
`

func storagePath(t *testing.T, p PluginUse) string {
	t.Helper()
	v, err := p.Schema.Decode(p.Msgpack)
	if err != nil {
		t.Fatal(err)
	}
	return v.GetAttr("path").AsString()
}

func TestLoadStores(t *testing.T) {
	path := writeConfig(t, twoServers)
	for _, c := range []struct {
		server, text      string
		dir, plugin, file string
	}{
		{"", `server "a"`, "a", "bolt", "a.db"},
		{"b", ` server "a" {} `, "a", "bolt", "a.db"},
		{"", `server "b"`, "b", "bolt", "messages.db"},
		{"", `server "b" storage "sqlite" { path = "b.sqlite" }`, "b", "sqlite", "b.sqlite"},
		{"", `server "b" storage "sqlite"`, "b", "sqlite", "messages.db"},
		{"a", "server \"b\" {\n  storage \"sqlite\" {}\n}\n", "b", "sqlite", "messages.db"},
		{"a", `storage "sqlite"`, "a", "sqlite", "messages.db"},
		{"a", "storage \"sqlite\" {\n  path = \"x\"\n}\n", "a", "sqlite", "x"},
		{"b", `storage "bolt" { path = "y" }`, "b", "bolt", "y"},
	} {
		cfg, stores, err := LoadStores(path, testPlugins, c.server, Text{"-from", c.text}, Text{"-to", `server "b"`})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		s := stores[0]
		if want := filepath.Join(cfg.DataDir, "servers", c.dir); s.Name != c.dir || s.Dir != want {
			t.Errorf("%s is of the server %s in %s, want %s", c.text, s.Name, s.Dir, want)
		}
		if got := storagePath(t, s.Storage); s.Storage.Kind != plugin.KindStorage || s.Storage.Name != c.plugin || got != c.file {
			t.Errorf("%s is the storage %q with the file %s, want %q with %s", c.text, s.Storage.Name, got, c.plugin, c.file)
		}
		if external := s.Storage.External != nil; external != (c.plugin == "sqlite") {
			t.Errorf("%s: external %t", c.text, external)
		}
		if stores[1].Name != "b" {
			t.Errorf("the second store is %s", stores[1].Name)
		}
	}
}

func TestLoadStoresRefused(t *testing.T) {
	path := writeConfig(t, twoServers)
	for _, c := range []struct{ server, text, want string }{
		{"", ``, "-from line 1"},
		{"", `server "a" {} server "b" {}`, "-from line 1"},
		{"", `bolt`, "-from line 1"},
		{"", `storage "bolt"`, "several servers"},
		{"c", `storage "bolt"`, `no server "c"`},
		{"", `server "c"`, `no server "c"`},
		{"a", `storage "bold"`, `unknown storage plugin "bold"`},
		{"a", `storage "bolt" { paht = "x" }`, `Did you mean "path"`},
		{"a", `storage "bolt" { path = 7 }`, "on -from line 1, column 25, in storage \"bolt\":\n  1: storage \"bolt\" { path = 7 }"},
		{"a", `storage "bolt" {} storage "bolt" {}`, "-from line 1"},
		{"", "server \"a\" {\n storage \"bolt\" {}\n storage \"bolt\" {}\n}", "second storage block"},
		{"", `server "a" storage`, "does not say where"},
		{"", `server "c" storage "bolt"`, `no server "c"`},
		{"", `server "a" stats "x"`, "does not say where"},
		{"", `server "a" { description = "x" }`, `unknown option "description"`},
		{"", "server \"a\" {\n stats \"x\" {}\n}", "-from line 2"},
		{"", `server`, "-from line 1"},
		{"", `stats "prometheus" {}`, "-from line 1"},
		{"", `data_dir = "x"`, "-from line 1"},
		{"", strings.Repeat(" x", maxStoreText), "longer than"},
	} {
		_, stores, err := LoadStores(path, testPlugins, c.server, Text{"-from", c.text})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: %v, %.400v, want %q", c.text, stores, err, c.want)
		}
	}
	broken := writeConfig(t, `network "loopback" {}`)
	if _, _, err := LoadStores(broken, testPlugins, "", Text{"-from", `server "a"`}); err == nil || !strings.Contains(err.Error(), "server.hcl line") {
		t.Errorf("a broken file: %v", err)
	}
}

func FuzzLoadStores(f *testing.F) {
	f.Add(`server "a"`)
	f.Add(`server "b" storage "sqlite" { path = "b.sqlite" }`)
	f.Add(`storage "bolt" { cache { pages = env("X") } }`)
	f.Fuzz(func(t *testing.T, text string) {
		path := writeConfig(t, twoServers)
		_, stores, err := LoadStores(path, testPlugins, "a", Text{"-from", text})
		if err == nil && (len(stores) != 1 || stores[0].Dir == "" || stores[0].Storage.Schema.Attributes == nil) {
			t.Errorf("%+v", stores)
		}
	})
}
