package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/plugins/peersync/mesh"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/sqlite"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// builtInPlugins are the plugins that come with the relay.
func builtInPlugins() []plugin.Plugin {
	return []plugin.Plugin{bolt.Plugin(), sqlite.Plugin(), mesh.Plugin()}
}

func builtInDescriptions() (out []plugin.Description) {
	for _, p := range builtInPlugins() {
		out = append(out, p.Describe())
	}
	return out
}

// pluginMode is the command that makes the relay's binary a built-in plugin. People do not
// need it, so the help does not list it.
const pluginMode = "plugin-serve"

func servePlugin(args []string) error {
	if len(args) < 2 {
		return command.UsageError{Text: pluginMode + " takes a kind and a name"}
	}
	for _, p := range builtInPlugins() {
		if d := p.Describe(); string(d.Kind) == args[0] && d.Name == args[1] {
			os.Args = slices.Delete(os.Args, 1, 4) // the plugin reads what follows, such as "debug"
			plugin.Serve(p)
			return nil
		}
	}
	return command.UsageError{Text: fmt.Sprintf("no built-in %s plugin %q", args[0], args[1])}
}
