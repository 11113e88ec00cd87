// Package config reads the file that says what a relay does: server.hcl. The daemon
// and its commands get plain Go values. The people who write the file get errors that
// say where to look and what to write.
//
// # Errors
//
// [Load] reports everything that is wrong with a file at once, as an [Error]. For each
// mistake it has the file, the line and the column, the line itself, and what would be
// right. That includes the bodies of plugin blocks, whose schema comes from the plugin,
// and what a plugin finds wrong with its configuration, see [PluginUse.Diagnose].
//
// # One table
//
// One table has all options with their types, defaults, bounds and documentation: see
// options.go, and package limits for the limits. Decoding, [Template] and [Markdown] use
// this table and cannot contradict each other.
//
// # Expressions
//
// Values are literals, lists, string templates and calls of two functions, which keep
// secrets out of the file. env("NAME") is an environment variable, which must be set.
// file("path") is the content of a file of at most 64 KiB, without the newlines at its
// end. A relative path starts at the directory of the file in which it stands.
//
// # Bounds
//
// A file has at most 256 KiB and nests at most 64 levels deep, and its functions return
// at most 1 MiB together. Loops are refused. No text makes Load panic, or use memory or
// time out of proportion to these bounds.
//
// # Caveats
//
// Error texts quote the line at fault. Secrets belong in files and in the environment,
// whose content is never shown.
package config

import (
	"iter"
	"log/slog"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Config is a whole file, checked and with defaults filled in. All paths are
// absolute.
type Config struct {
	// DataDir holds everything the relay writes. It belongs to this user and nobody else
	// can write to it, or it does not exist yet and can be made.
	DataDir string
	Network Network
	Log     Log
	Limits  limits.Limits
	// Plugins are the external ones, in the order of the file.
	Plugins []External
	// Servers has at least one server, in the order of the file. No two have the same
	// name.
	Servers []Server
}

// Network says how servers are reached. Exactly one of its pointers is set.
type Network struct {
	Tor      *Tor
	Loopback *Loopback
	Range    Range // header of the block
}

// Tor is the Tor network.
type Tor struct {
	// Path is the program, an absolute path or a name to look up in PATH.
	Path string
	// Torrc has lines to add to the configuration of tor.
	Torrc []string
	// Control is the control port of a tor that runs already: "127.0.0.1:9051" or
	// "unix:/run/tor/control". If it is empty, the relay starts a tor of its own.
	Control string
	// ControlUser is the user of that tor, and ControlCookie the absolute path of its
	// cookie. Both may be empty.
	ControlUser   string
	ControlCookie string
	// DataDir is for the tor that the relay starts. It is empty if Control is set.
	DataDir string
}

// Loopback is a network on this machine, for development and tests.
type Loopback struct {
	Registry string // directory in which services find one another
}

// Log says what is logged.
type Log struct {
	Level slog.Level
	JSON  bool // else text
}

// External is a plugin that is not built in.
type External struct {
	Kind plugin.Kind
	Name string
	Path string
	// Checksum of the file at Path: "sha256:" and 64 hexadecimal digits. It may
	// be empty with Dev.
	Checksum string
	Args     []string
	Env      []string // "NAME=value", no name twice
	Dev      bool     // the file changes; its checksum is not checked
	Sandbox  Sandbox
	Range    Range // header of the block
}

// Sandbox says what an external plugin may do. One without the block has the
// defaults of its options; so have those that are built in.
type Sandbox struct {
	Off       bool     // the plugin may do whatever the user of the relay may
	Network   bool     // it may open network connections, as it asked for
	Sockets   []string // directories whose unix sockets it may connect to, as it asked for; absolute
	Listen    bool     // others than this machine may connect to it
	Read      []string // files and directories that it may read; absolute
	Processes bool     // it may start others
	Memory    int64    // bytes
	Files     int      // open at once
	Tasks     int      // threads, and processes, at once
}

// Server is one hosted server.
type Server struct {
	Name        string // 1 to 64 of a-z, 0-9 and -
	Description string // for the operator; may be empty
	Dir         string // where it keeps its files, below DataDir
	Retention   limits.Retention
	Storage     PluginUse
	Stats       []PluginUse // in the order of the file
	PeerSync    []PluginUse // one if there are peers
	Peers       []Peer
	Roaming     bool  // clients may have positions of other replicas
	Range       Range // header of the block
}

// Plugins returns all plugins that the server uses, the store first.
func (s *Server) Plugins() iter.Seq[*PluginUse] {
	return func(yield func(*PluginUse) bool) {
		if !yield(&s.Storage) {
			return
		}
		for _, list := range [][]PluginUse{s.Stats, s.PeerSync} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// Plugins says which plugins there are, and what they take.
type Plugins struct {
	// BuiltIn plugins need no block of their own in the file.
	BuiltIn []plugin.Description
	// Describe asks an external plugin what it is. It is called once for every
	// external plugin that a server uses, and its error is shown to the operator.
	// Nil: files that use external plugins are refused.
	Describe func(External) (plugin.Description, error)
	// Validate asks a plugin for faults that its schema cannot express. It is
	// called for every block whose body keeps the schema. Faults that it returns
	// as [plugin.Diagnostics] are shown where they are, any other error at the
	// header of the block. May be nil.
	Validate func(PluginUse) error
	// KeepFaults leaves a plugin that cannot be asked, and a server whose directory
	// cannot be used, to the servers concerned; see [PluginUse.Fault]. The file
	// is refused for that only when no server is left, or when it has other errors.
	KeepFaults bool
}
