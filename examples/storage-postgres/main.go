// Command storage-postgres is a storage plugin that keeps envelopes in PostgreSQL. Several
// relays may use one database at a time: with the same identity and the same schema they
// serve one board, and with schemas of their own they serve a board each.
//
// # One log, several writers
//
// Every transaction that changes something first locks the only row of the table state. So
// the transactions of one board follow one another, whoever makes them, and the sequence
// numbers that they draw from that row have no gaps and rise in the order of the commits.
// A sequence of PostgreSQL would do neither.
//
// # Durable
//
// An Append returns after its COMMIT, with synchronous_commit on. A server that does not
// sync is refused.
package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func main() { plugin.Serve(newPlugin()) }

// options are the configuration of the plugin.
type options struct {
	Socket       string `cty:"socket"`
	Port         int    `cty:"port"`
	Database     string `cty:"database"`
	User         string `cty:"user"`
	PasswordFile string `cty:"password_file"`
	Schema       string `cty:"schema"`
	MaxConns     int    `cty:"max_connections"`
}

var postgresSchema = plugin.Schema{Attributes: []plugin.Attribute{
	{Name: "socket", Type: plugin.String, Default: "/run/postgresql", Doc: "The directory of the socket of PostgreSQL, its unix_socket_directories."},
	{Name: "port", Type: plugin.Int, Default: "5432", Min: new(int64(1)), Max: new(int64(65535)), Doc: "The port of PostgreSQL, which is in the name of the socket."},
	{Name: "database", Type: plugin.String, Default: "cwtch_relay", Doc: "The database."},
	{Name: "user", Type: plugin.String, Default: "cwtch_relay", Doc: "The role to connect as."},
	{Name: "password_file", Type: plugin.String, Doc: "A file below the directory of the plugin that has the password of the role on its first line. Left out, PostgreSQL has to accept the role without one, as it does with peer authentication."},
	{Name: "schema", Type: plugin.String, Default: "cwtch_relay", Doc: "The schema of the board. Relays that serve one board have the same one, and boards in one database have one each."},
	{Name: "max_connections", Type: plugin.Int, Default: "12", Min: new(int64(2)), Max: new(int64(100)), Doc: "Connections to use at the most, beside one that waits for what other relays append."},
}}

func newPlugin() plugin.Plugin {
	return plugin.Plugin{
		Name:         "postgres",
		Version:      "1.0.0",
		Doc:          "Keeps envelopes in PostgreSQL, for one relay or for several that serve one board.",
		Network:      "It connects to the socket of PostgreSQL. No other connection is needed.",
		Capabilities: []plugin.Capability{plugin.Watch, plugin.Ledger, plugin.Prune, plugin.Index},
		Schema:       postgresSchema,
		Validate: func(cfg plugin.Config) error {
			_, err := readOptions(cfg)
			return err
		},
		Storage: func(ctx context.Context, cfg plugin.Config) (storage.Store, error) {
			o, err := readOptions(cfg)
			if err != nil {
				return nil, err
			}
			return openStore(ctx, o, cfg.Logger)
		},
	}
}

// schemaName bounds names that need no quotes and fit the name of a channel.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

// readOptions returns the configuration, with PasswordFile as a path.
func readOptions(cfg plugin.Config) (o options, err error) {
	if err := cfg.Decode(&o); err != nil {
		return o, err
	}
	if !filepath.IsAbs(o.Socket) {
		return o, plugin.Invalid("The directory of the socket is not an absolute path",
			"PostgreSQL is reached by a unix socket only. For a server on another machine, forward its port to a socket here.", "socket")
	}
	if !schemaName.MatchString(o.Schema) || len(o.Schema) >= 3 && o.Schema[:3] == "pg_" {
		return o, plugin.Invalid("The name of the schema is not one that every tool can write",
			"Use at most 48 of a-z, 0-9 and _, no digit first, and not pg_ first.", "schema")
	}
	if o.PasswordFile != "" {
		o.PasswordFile, err = cfg.File(o.PasswordFile, "password_file")
	}
	return o, err
}

const (
	// pollEvery is how often a Watch looks at the log although nothing wakes it. A
	// notification may be lost with a connection.
	pollEvery = 2 * time.Second
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 5 * time.Second
	// connectPause is the time between two attempts of what has to connect.
	connectPause = time.Second
)

// socketPath is the socket that PostgreSQL listens at.
func (o options) socketPath() string {
	return filepath.Join(o.Socket, fmt.Sprintf(".s.PGSQL.%d", o.Port))
}
