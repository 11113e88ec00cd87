// Package config reads the files that say what a relay does: server.hcl, and one file for
// each server in a directory beside it. The daemon and its commands get plain Go values. The
// people who write the files get errors that say where to look and what to write.
//
// # Files
//
// A server stands in server.hcl, or in a file of its own in servers_dir: NAME.hcl, which has
// the block server "NAME" and nothing else. People write both. The console and the commands
// add files, and change both; see [ServerFiles]. Whoever can write to servers_dir decides
// what the relay runs, so it belongs to the user of the relay or to root, and so do the files
// in it. Links are refused.
//
// What is wrong with a file of a server stops this server and no other, see [Server.Fault].
// What is wrong with server.hcl is an error of the whole configuration.
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
// at most 1 MiB together. A file in servers_dir has at most 64 KiB, and so have the results
// of its functions; there are at most 256 of them. Loops are refused. No text makes Load panic, or use memory or
// time out of proportion to these bounds.
//
// # Caveats
//
// Error texts quote the line at fault, except what follows passphrase. Secrets belong in
// files and in the environment, whose content is never shown.
package config

import (
	"iter"
	"log/slog"

	"github.com/hashicorp/hcl/v2"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Config is a whole file, checked and with defaults filled in. All paths are
// absolute.
type Config struct {
	// DataDir holds everything the relay writes. It belongs to this user and nobody else
	// can write to it, or it does not exist yet and can be made.
	DataDir string
	// ServersDir has the files of servers. It may not exist.
	ServersDir string
	Network    Network
	Console    *Console // nil: none
	Log        Log
	Limits     limits.Limits
	// Plugins are the external ones, in the order of the file.
	Plugins []External
	// Servers are those of the file, in its order, and then those of ServersDir, by name. No
	// two have the same name. There may be none.
	Servers []Server
	// UnusedFiles are the files of ServersDir that make no server, with Plugins.KeepFaults.
	UnusedFiles []UnusedFile
}

// UnusedFile is a file whose name cannot be that of a server, or is that of a server of the
// main file.
type UnusedFile struct {
	File  string // an absolute path
	Fault error  // an [*Error]
}

// Console says where the pages for the operator are.
type Console struct {
	// Listen is a loopback address with a port, of which 0 stands for any, or "unix:" and
	// an absolute path.
	Listen string
	// Onion publishes the pages as an onion service too, for OnionClients alone: the public
	// keys of clients, 52 characters in base32.
	Onion        bool
	OnionClients []string
	Range        Range // header of the block

	header hcl.Range
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
	Description string // for the operator; printable, at most 1000 characters, may be empty
	Dir         string // where it keeps its files, below DataDir
	File        string // where its block stands, an absolute path
	Autostart   bool   // start it with the relay
	Passphrase  Secret // opens its keys; empty: none is configured
	// Fault is what is wrong with its file in ServersDir, an [*Error], with
	// Plugins.KeepFaults. All but Name, Description, Dir, File and Range is meaningless then,
	// and Storage.Fault has the same fault.
	Fault     error
	Retention limits.Retention
	Storage   PluginUse
	Stats     []PluginUse // in the order of the file
	PeerSync  []PluginUse // one if there are peers
	Peers     []Peer
	Roaming   bool  // clients may have positions of other replicas
	Range     Range // header of the block
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
	// KeepFaults leaves a plugin that cannot be asked, a server whose directory cannot be
	// used, and a broken file in ServersDir to the servers concerned; see [PluginUse.Fault]
	// and [Server.Fault]. The configuration is refused for that only when no server is left
	// and there is no console, or when the file has other errors.
	KeepFaults bool

	keepAll bool // with KeepFaults, and even when no server is left
}
