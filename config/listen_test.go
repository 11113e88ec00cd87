package config

import (
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// listeningPlugins is a stats plugin that listens at two addresses. The first has a default.
var listeningPlugins = Plugins{BuiltIn: []plugin.Description{
	{Kind: plugin.KindStorage, Name: "bolt"},
	{Kind: plugin.KindStats, Name: "page", Schema: plugin.Schema{
		Attributes: []plugin.Attribute{{Name: "listen", Type: plugin.String, Default: "127.0.0.1:9464", Listener: true}},
		Blocks: []plugin.Block{{Name: "admin", Schema: plugin.Schema{Attributes: []plugin.Attribute{
			{Name: "listen", Type: plugin.String, Listener: true},
		}}}},
	}},
}}

// TestListenersApart: of two listeners at one address the second is an error, at the
// line where its address stands, or at its block where that is the default.
func TestListenersWithOneAddressAreRefused(t *testing.T) {
	const network = "network \"loopback\" { registry = \"reg\" }\n"
	for name, c := range map[string]struct {
		file string
		want []string // none: it is valid
	}{
		"of two servers": {network + "server \"a\" {\n stats \"page\" { listen = \"127.0.0.1:9000\" }\n}\nserver \"b\" {\n stats \"page\" { listen = \"127.0.0.1:9000\" }\n}", []string{
			"error: stats \"page\" of server \"b\" cannot listen at 127.0.0.1:9000, where stats \"page\" of server \"a\" does already",
			"on server.hcl line 6, column 26, in server \"b\", stats \"page\"",
			"hint: That is on line 3. Each listener needs a port of its own. For example: listen = \"127.0.0.1:9001\".",
		}},
		"defaults": {network + "server \"a\" {\n stats \"page\" {}\n}\nserver \"b\" {\n stats \"page\" {}\n}", []string{
			"line 6, column 2, in server \"b\", stats \"page\"", "listen = \"127.0.0.1:9465\""}},
		"of one server":     {network + "server \"a\" {\n stats \"page\" {}\n stats \"page\" { listen = \"127.0.0.1:9464\" }\n}", []string{"line 4, column 26"}},
		"of one block":      {network + "server \"a\" {\n stats \"page\" {\n admin { listen = \"127.0.0.1:9464\" }\n }\n}", []string{"line 4, column 19", "admin"}},
		"all addresses":     {network + "server \"a\" {\n stats \"page\" {}\n stats \"page\" { listen = \"[::]:9464\" }\n}", []string{"cannot listen at [::]:9464", "listen = \"[::]:9465\""}},
		"all, first":        {network + "server \"a\" {\n stats \"page\" { listen = \"0.0.0.0:9464\" }\n stats \"page\" { listen = \"[::1]:9464\" }\n}", []string{"cannot listen at [::1]:9464"}},
		"another spelling":  {network + "server \"a\" {\n stats \"page\" {}\n stats \"page\" { listen = \"[::ffff:127.0.0.1]:9464\" }\n}", []string{"cannot listen at 127.0.0.1:9464"}},
		"three":             {network + "server \"a\" {\n stats \"page\" {}\n stats \"page\" { listen = \"127.0.0.1:9465\" }\n stats \"page\" {}\n stats \"page\" {}\n}", []string{"line 5, column 2", "listen = \"127.0.0.1:9466\"", "line 6, column 2", "listen = \"127.0.0.1:9467\""}},
		"the last port":     {network + "server \"a\" {\n stats \"page\" { listen = \"127.0.0.1:65535\" }\n stats \"page\" { listen = \"127.0.0.1:65535\" }\n}", []string{"listen = \"127.0.0.1:1024\""}},
		"tor":               {"network \"tor\" {\n control = \"127.0.0.1:9051\"\n control_cookie = \"/c\"\n}\nserver \"a\" {\n stats \"page\" { listen = \"127.0.0.1:9051\" }\n}", []string{"where the control port of tor does already", "That is on line 1."}},
		"other ports":       {network + "server \"a\" {\n stats \"page\" {}\n stats \"page\" { listen = \"127.0.0.1:9465\" }\n}", nil},
		"other addresses":   {network + "server \"a\" {\n stats \"page\" {}\n stats \"page\" { listen = \"127.0.0.2:9464\" }\n stats \"page\" { listen = \"[::1]:9464\" }\n}", nil},
		"none":              {network + "server \"a\" {\n stats \"page\" { listen = \"\" }\n stats \"page\" { listen = \"\" }\n}", nil},
		"that is not valid": {network + "server \"a\" {\n stats \"page\" { listen = \"x\" }\n stats \"page\" { listen = \"x\" }\n}", []string{"listen must be"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			path := writeConfig(t, c.file+"\n")
			_, err := Load(path, listeningPlugins)
			if len(c.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is valid")
			}
			for _, want := range c.want {
				if !strings.Contains(strings.ReplaceAll(err.Error(), path, "server.hcl"), want) {
					t.Errorf("got\n%v\nwant %s", err, want)
				}
			}
		})
	}
}
