package bolt

import (
	"context"
	"runtime/debug"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Version is the version of the plugin.
const Version = "1.0.0"

// inspectionGCPercent is how much garbage there may be beside the catalog of an inspection, which
// is large and has no pointers. It is set for the process, which does nothing else.
const inspectionGCPercent = 20

// Plugin is the store as a plugin.
func Plugin() plugin.Plugin { return newPlugin(Options{}) }

func newPlugin(opts Options) plugin.Plugin {
	return plugin.Plugin{
		Name:         "bolt",
		Version:      Version,
		Capabilities: []plugin.Capability{plugin.Ledger, plugin.Prune, plugin.Index, plugin.Compact, plugin.Check},
		Doc:          "Keeps the messages of a server in one file.",
		Schema: plugin.Schema{Attributes: []plugin.Attribute{{
			Name:    "path",
			Type:    plugin.String,
			Default: "messages.db",
			Doc: "The file, below the directory of the plugin, which can use no other. " +
				"It must be on a local file system and belong to the user that the relay runs as; one store has one file.",
		}}},
		Validate: func(cfg plugin.Config) error {
			_, err := storefile.Path(cfg)
			return err
		},
		Storage: func(ctx context.Context, cfg plugin.Config) (storage.Store, error) {
			path, err := storefile.Path(cfg)
			if err != nil {
				return nil, err
			}
			if cfg.Inspect {
				debug.SetGCPercent(inspectionGCPercent)
				return Inspect(path)
			}
			withLog := opts
			withLog.Logger = cfg.Logger
			return Open(path, withLog)
		},
	}
}
