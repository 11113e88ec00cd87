// Package plugin is for authors of plugins of cwtch-relay: it turns an
// implementation of a kind, a [storage.Store], a [stats.Exporter] or a
// [peersync.Replicator], into a process that a relay starts, configures and
// watches.
//
// A whole plugin is its implementation and this main:
//
//	func main() {
//		plugin.Serve(plugin.Plugin{
//			Name:    "bolt",
//			Version: "1.0.0",
//			Schema: plugin.Schema{Attributes: []plugin.Attribute{
//				{Name: "path", Type: plugin.String, Default: "messages.db", Doc: "The database."},
//			}},
//			Storage: func(ctx context.Context, cfg plugin.Config) (storage.Store, error) {
//				var c struct { Path string `cty:"path"` }
//				if err := cfg.Decode(&c); err != nil {
//					return nil, err
//				}
//				return open(filepath.Join(cfg.Dir, c.Path), cfg.Logger)
//			},
//		})
//	}
//
// # The life of a plugin process
//
// The relay starts the binary with an almost empty environment, nothing on
// standard input and its own process group; the two shake hands and speak gRPC
// over a unix socket with mutual TLS. The relay asks for the description,
// hands over the configuration, and from then on calls the implementation
// and asks every few seconds whether the plugin is well. When the relay wants
// it to end, it lets no new call begin, waits for those under way, and closes
// the implementation. It may as well be killed at any moment, as may the
// machine; what an implementation promised to keep it has to have kept by then.
//
// When the operator changes the configuration, the implementation is closed in
// the same way and another one opened in its place, by the same constructor. There
// is never more than one at a time.
//
// The process ends when the relay does, however that came about: it holds the
// read end of a pipe whose other end only the relay has. Signals meant for the
// relay (SIGINT, SIGTERM) are ignored while that pipe is open.
//
// # What a plugin must not do
//
// Standard output belongs to the handshake, so print nothing; log through
// [Config.Logger]. Keep all files below [Config.Dir]. Log no identifiers,
// ciphertexts or tokens: the relay passes lines on as they are. The relay confines
// the process to that, where the kernel lets it.
//
// # Health
//
// A plugin whose process answers is taken to be well, and one in which a call
// panicked is started anew. An implementation that knows more, such as a disk that
// is nearly full, says so as a [HealthReporter].
//
// # By hand
//
// Started with the single argument "describe", the binary prints its
// description and schema as JSON and ends. With "debug" it waits for a relay to
// attach to it, as under a debugger, and prints the line to set for that relay.
package plugin

import (
	"context"
	"log/slog"

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Plugin is what an author provides. Exactly one of the constructors Storage,
// Stats and PeerSync is set, and makes the plugin one of its kind.
//
// A constructor is called with a configuration that keeps the schema, and again
// with another one when what it returned has been closed. A fault that the
// operator can mend in the configuration is returned as [Diagnostics]; every other
// error is shown as it is, so it should name the file and say what to do. The
// context ends when the relay no longer waits for the answer.
//
// An error is final: the plugin has failed until the operator reloads, unless it had
// been ready with the same configuration before. One that may pass by itself, as of a
// database that is away, wraps the ErrUnavailable of its kind; the relay then starts
// the plugin again, as after any end. That the address of a listener is taken concerns no
// constructor: the relay opens it before, and tries until it is free.
type Plugin struct {
	// Name is how a configuration names the plugin: a letter, then letters,
	// digits and underscores, all lower case.
	Name string
	// Version is shown to operators; semantic versions are usual.
	Version string
	// Doc says in a sentence what the plugin does.
	Doc string
	// Schema describes the configuration.
	Schema Schema
	// Network says in a sentence why the plugin must open network connections,
	// for the operator who has to grant it. Empty: it needs none, and gets none.
	Network string
	// Capabilities are what the implementation offers beyond the obligatory calls
	// of its kind, in whatever configuration. Every one that is listed must be
	// implemented. Anything that is not listed is never called.
	Capabilities []Capability

	Storage  func(ctx context.Context, cfg Config) (storage.Store, error)
	Stats    func(ctx context.Context, cfg Config) (stats.Exporter, error)
	PeerSync func(ctx context.Context, cfg Config, host peersync.HostServices) (peersync.Replicator, error)

	// Validate, where set, looks for faults that the schema cannot express,
	// and touches nothing. It may be called at any time, also instead of
	// a constructor.
	Validate func(cfg Config) error
}

// HealthReporter is implemented by a [storage.Store], [stats.Exporter] or
// [peersync.Replicator] that can tell how well it is.
type HealthReporter interface {
	// Health returns why the operator should look after the plugin although it
	// serves, in a sentence, or nothing when all is well. It is called every few
	// seconds, also while other calls are under way, and answers within a second.
	Health(ctx context.Context) (degraded string)
}

// Config is what a plugin is configured with.
type Config struct {
	// Dir is the plugin's own directory, absolute; the relay has created it.
	// Relative paths in a configuration are below it.
	Dir string
	// Logger goes to the log of the relay, under the name of the plugin.
	Logger *slog.Logger

	value cty.Value // complete and checked
}
