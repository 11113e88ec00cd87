// Package plugin is for authors of plugins of cwtch-relay: it turns an
// implementation of a kind, such as a [storage.Store], into a process that a
// relay starts, configures and watches.
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
// hands over the configuration once, and from then on calls the implementation
// and asks every few seconds whether the plugin is well. When the relay wants
// it to end, it lets no new call begin, waits for those under way, and closes
// the implementation. It may as well be killed at any moment, as may the
// machine; what an implementation promised to keep it has to have kept by then.
//
// The process ends when the relay does, however that came about: it holds the
// read end of a pipe whose other end only the relay has. Signals meant for the
// relay (SIGINT, SIGTERM) are ignored while that pipe is open.
//
// # What a plugin must not do
//
// Standard output belongs to the handshake, so print nothing; log through
// [Config.Logger]. Keep all files below [Config.Dir]. Log no identifiers,
// ciphertexts or tokens: the relay passes lines on as they are.
//
// # By hand
//
// Started with the single argument "describe", the binary prints its
// description and schema as JSON and ends.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Kind is what a plugin is for.
type Kind string

// KindStorage plugins implement [storage.Store].
const KindStorage Kind = "storage"

// Plugin is what an author provides. Exactly one of the implementations is
// set, and makes the plugin one of its kind.
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

	// Storage opens the store. It is called once in the life of a process, with
	// a configuration that keeps the schema. A fault that the operator can mend
	// in the configuration is returned as [Diagnostics]; every other error is
	// shown as it is, so it should name the file and say what to do. ctx ends
	// when the relay no longer waits for the answer.
	Storage func(ctx context.Context, cfg Config) (storage.Store, error)

	// Validate, where set, looks for faults that the schema can not express,
	// and touches nothing. It may be called at any time, also instead of
	// Storage.
	Validate func(cfg Config) error
}

// Description is what a plugin says about itself.
type Description struct {
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Doc     string `json:"doc,omitempty"`
	Schema  Schema `json:"schema"`
}

// Describe gives the description of the plugin.
func (p Plugin) Describe() Description {
	d := Description{Name: p.Name, Version: p.Version, Doc: p.Doc, Schema: p.Schema}
	if p.Storage != nil {
		d.Kind = KindStorage
	}
	return d
}

// Validate reports whether the description keeps its rules: names and versions
// that can be printed, and a valid schema.
func (d Description) Validate() error {
	if d.Kind != KindStorage {
		return fmt.Errorf("plugin: %.40q is not a kind of plugin", string(d.Kind))
	}
	if err := checkName(d.Name); err != nil {
		return fmt.Errorf("plugin: name: %w", err)
	}
	if d.Version == "" || len(d.Version) > maxVersionLength {
		return fmt.Errorf("plugin %s: version is empty or longer than %d bytes", d.Name, maxVersionLength)
	}
	if err := errors.Join(checkText(d.Version), checkText(d.Doc)); err != nil {
		return fmt.Errorf("plugin %s: %w", d.Name, err)
	}
	if err := d.Schema.Validate(); err != nil {
		return fmt.Errorf("plugin %s: %w", d.Name, err)
	}
	return nil
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
