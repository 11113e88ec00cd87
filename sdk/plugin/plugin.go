// Package plugin is for authors of plugins. It turns an implementation, a [storage.Store], a
// [stats.Exporter] or a [peersync.Replicator], into a process that a cwtch-relay starts,
// configures and watches.
//
// A plugin consists of its implementation and this main function:
//
//	func main() {
//		plugin.Serve(plugin.Plugin{
//			Name:    "bolt",
//			Version: "1.0.0",
//			Schema: plugin.Schema{Attributes: []plugin.Attribute{
//				{Name: "path", Type: plugin.String, Default: "messages.db", Doc: "The database."},
//			}},
//			Storage: func(ctx context.Context, cfg plugin.Config) (storage.Store, error) {
//				var options struct { Path string `cty:"path"` }
//				if err := cfg.Decode(&options); err != nil {
//					return nil, err
//				}
//				return open(filepath.Join(cfg.Dir, options.Path), cfg.Logger)
//			},
//		})
//	}
//
// # The life of a plugin process
//
// The relay starts the binary in a process group of its own, with an almost empty
// environment and nothing on standard input. Relay and plugin shake hands and speak gRPC over
// a unix socket with mutual TLS. The relay asks for the description and hands over the
// configuration. From then on it calls the implementation, and asks for its health every few
// seconds. To stop the plugin, it lets no new call begin, waits for those under way, and
// closes the implementation. The process may also be killed at any moment, and the machine
// may lose power: what an implementation has promised to keep must be durable by then.
//
// When the operator changes the configuration, the implementation is closed in the same way
// and the constructor opens another one. There is never more than one at a time.
//
// The process ends when the relay does, for whatever reason: it reads from a pipe whose other
// end only the relay has, the lifeline. While that is open, it ignores SIGINT and SIGTERM,
// which are meant for the relay.
//
// # What a plugin must not do
//
// It must not print: standard output belongs to the handshake. Log through [Config.Logger].
// It must keep its files below [Config.Dir]. It must not log identifiers, ciphertexts or
// tokens: the relay logs its lines as they are. As far as the kernel allows, the relay
// confines the process to these rules.
//
// # Health
//
// A plugin whose process answers counts as ready, and one in which a call panicked is started
// again. An implementation that knows more, for example that its disk is nearly full, is a
// [HealthReporter].
//
// # By hand
//
// With the single argument "describe", the binary prints its description and schema as JSON.
// With "debug", it waits for a relay to attach, for example under a debugger, and prints the
// variable to set for that relay.
package plugin

import (
	"context"
	"log/slog"

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Plugin is what an author provides. Exactly one of the constructors Storage, Stats and
// PeerSync is set, and decides the kind of the plugin.
//
// The relay calls the constructor with a configuration that matches the schema, and calls it
// again with another one after it has closed the implementation. The context ends when the
// relay no longer waits for the answer.
//
// Return a fault that the operator can mend in the configuration as [Diagnostics]. Any other
// error is shown as it is, so it should name the file and say what to do.
//
// After either, the plugin has failed until the operator reloads, unless it was ready with
// the same configuration before. If the error may pass by itself, for example because a
// database cannot be reached, wrap the ErrUnavailable of the kind: the relay then starts the
// plugin again after a delay. A constructor need not care whether the address of a listener
// is taken: the relay opens listeners first, and tries until the address is free.
type Plugin struct {
	// Name is the plugin's name in a configuration: a letter, then letters, digits and
	// underscores, all lower case.
	Name string
	// Version is shown to operators; semantic versions are usual.
	Version string
	// Doc says in a sentence what the plugin does.
	Doc string
	// Schema describes the configuration.
	Schema Schema
	// Network says in a sentence why the plugin has to open connections: to the network, or to
	// unix sockets of other programs. The operator reads it before allowing either. Empty means
	// that it needs none and gets none.
	Network string
	// Capabilities are the optional calls that the implementation offers in every
	// configuration. It has to implement all of them, apart from [Check]. Calls of others
	// are never made.
	Capabilities []Capability

	Storage  func(ctx context.Context, cfg Config) (storage.Store, error)
	Stats    func(ctx context.Context, cfg Config) (stats.Exporter, error)
	PeerSync func(ctx context.Context, cfg Config, host peersync.HostServices) (peersync.Replicator, error)

	// Validate, when set, checks what the schema cannot express, without touching any
	// file. It may be called at any time, also if no constructor is called.
	Validate func(cfg Config) error
}

// HealthReporter may be implemented by a [storage.Store], [stats.Exporter] or
// [peersync.Replicator].
type HealthReporter interface {
	// Health returns a sentence that says why the operator should look after the plugin
	// although it serves, or "" if all is well. It is called every few seconds, also
	// while other calls are under way, and has to return within a second.
	Health(ctx context.Context) (degraded string)
}

// Config is the configuration of a plugin.
type Config struct {
	// Dir is the absolute path of the plugin's own directory, which exists. Relative
	// paths in a configuration are below it.
	Dir string
	// Logger writes to the log of the relay, with the name of the plugin.
	Logger *slog.Logger
	// Inspect opens a store to be looked at as it is, see [storage.Checker]. It is only
	// set for a plugin with the capability [Check].
	Inspect bool

	value cty.Value // complete and checked
}
