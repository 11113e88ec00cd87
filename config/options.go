package config

import "github.com/cwtch-relay/cwtch-relay/sdk/plugin"

// The table of all options, but for the limits, which are in package limits. Names and
// defaults are a promise to operators.

var fileOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "data_dir", Type: plugin.String, Default: "data",
	Doc: "Directory for everything the relay writes: keys, envelopes, the state of tor. It is made with mode 0700 and must belong to the user that runs the relay. Whoever can read it can impersonate the servers.",
}, {
	Name: "servers_dir", Type: plugin.String,
	Doc: "Directory with servers in files of their own: NAME.hcl has the block server \"NAME\" and nothing else. The console and the commands add servers there. It may be missing. The directory and the files must belong to the user that runs the relay or to root, and nobody else may write to them. If it is left out, it is the directory servers.d in the data_dir.",
}}}

// defaultServersDir is the servers_dir in the data_dir.
const defaultServersDir = "servers.d"

var torOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "path", Type: plugin.String, Default: "tor",
	Doc: "The tor program: a path, or a name to look up in PATH.",
}, {
	Name: "torrc", Type: plugin.StringList, Max: new(int64(256)),
	Doc: "Lines to add to the configuration of tor, such as \"Bridge …\".",
}, {
	Name: "control", Type: plugin.String,
	Doc: "Control socket or port of a tor that runs already: \"unix:/run/tor/control\" or \"127.0.0.1:9051\". The relay must be able to read the authentication cookie of this tor. If control is left out or empty, the relay starts a tor of its own and watches over it. The options path, torrc and data_dir have no effect on a tor that runs already. This tor gets the keys of the servers, so the relay refuses anybody else who listens there. The socket and the directories above it must belong to root, the user of the relay or control_user; a port needs control_cookie.",
}, {
	Name: "control_user", Type: plugin.String,
	Doc: "User of the tor at control, by name or number, such as \"debian-tor\". Root and the user of the relay need not be named. The relay trusts every process of this user with the keys of the servers.",
}, {
	Name: "control_cookie", Type: plugin.String,
	Doc: "File with the authentication cookie of the tor at control, the CookieAuthFile in its torrc. Required if control is a port: tor must prove that it knows the cookie before it gets anything. The file must belong to root, the user of the relay or control_user, and not everybody may read it.",
}, {
	Name: "data_dir", Type: plugin.String,
	Doc: "Directory of the tor that the relay starts. If it is left out or empty, it is the directory tor in the data_dir of the relay.",
}}}

var loopbackOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "registry", Type: plugin.String, Required: true,
	Doc: "Directory in which the programs of this machine find each other. It has one file for each service.",
}}}

var consoleOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "listen", Type: plugin.String, Default: "127.0.0.1:7480",
	Doc: "Where the pages are: a loopback address with a port, of which 0 stands for any, or \"unix:\" and the path of a socket. Whoever has the address needs a key besides, which the relay gives to its user alone. To see the pages from another machine, use ssh -L.",
}, {
	Name: "onion", Type: plugin.Bool, Default: "false",
	Doc: "Have the pages at an onion service of their own, too. Only the clients in onion_clients find it.",
}, {
	Name: "onion_clients", Type: plugin.StringList, Max: new(int64(64)),
	Doc: "Public keys of the clients that may reach the onion service, each 52 characters in base32, as in an .auth file of tor. The private key, which is in an .auth_private file, stays with the client.",
}}}

var logOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "level", Type: plugin.String, Default: "info", OneOf: []string{"debug", "info", "warn", "error"},
	Doc: "The least important entries to write. No level shows keys, tokens, messages or who is connected.",
}, {
	Name: "format", Type: plugin.String, Default: "text", OneOf: []string{"text", "json"},
	Doc: "Format of the entries. They go to standard error.",
}}}

var serverOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "description", Type: plugin.String,
	Doc: "A note for the operator. It never leaves this machine.",
}, {
	Name: "autostart", Type: plugin.Bool, Default: "true",
	Doc: "Start the server with the relay.",
}, {
	Name: "passphrase", Type: plugin.String,
	Doc: "Opens the keys of a protected server when it starts. Write file(\"PATH\") or env(\"NAME\"), so that the passphrase is not in this file. If it is left out, the relay starts and the server stays locked until you unlock it.",
}, {
	Name: "roaming_clients", Type: plugin.Bool, Default: "false",
	Doc: "For replicas: let clients go from one replica to another with one position. A replay then begins up to two days of messages earlier, which strangers notice. Not needed for cwtch-group, which has a position for each host, nor for clients that stay at one server.",
}}}

var externalOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "path", Type: plugin.String, Required: true,
	Doc: "The plugin program.",
}, {
	Name: "checksum", Type: plugin.String,
	Doc: "SHA-256 of the program: \"sha256:\" and 64 hexadecimal digits. \"cwtch-relay plugin sum PATH\" prints the line to write. Required unless dev is true.",
}, {
	Name: "args", Type: plugin.StringList, Max: new(int64(256)),
	Doc: "Arguments for the program.",
}, {
	Name: "env", Type: plugin.StringList, Max: new(int64(256)),
	Doc: "Environment of the program, each variable as \"NAME=value\". The program gets no others, except PATH and those that the relay sets. Every process of the same user can read the environment, so keep secrets in a file in the directory of the plugin.",
}, {
	Name: "dev", Type: plugin.Bool, Default: "false",
	Doc: "Run the program without checking its checksum. For plugin authors: whoever can write the file can then read and change everything the plugin can.",
}}}

var sandboxOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "enabled", Type: plugin.Bool, Default: "true",
	Doc: "Confine the plugin. If this is false, the plugin can do everything the user of the relay can: read the keys of all servers, and connect to anybody. The relay warns of that at every start.",
}, {
	Name: "network", Type: plugin.Bool, Default: "false",
	Doc: "Let the plugin open network connections. Only for a plugin that asks for it; \"cwtch-relay plugin describe\" shows what for. Everybody it connects to sees the address of this machine.",
}, {
	Name: "sockets", Type: plugin.StringList, Max: new(int64(16)),
	Doc: "Directories with unix sockets of other programs, such as \"/run/postgresql\", to which the plugin may connect. It is narrower than network: the plugin reaches no network, and no other sockets as far as the kernel can tell them apart. Only for a plugin that asks for connections. Whatever listens in these directories has to tell friend from foe by itself, so grant one that has only the sockets meant. It must be there when the plugin starts, and stay when that program starts anew. The data_dir, and everything in it or above it, is refused.",
}, {
	Name: "listen", Type: plugin.Bool, Default: "false",
	Doc: "Let other machines reach the listeners of a stats plugin. If this is false, the relay opens them at loopback addresses only. Whoever can connect learns that a relay runs here.",
}, {
	Name: "read", Type: plugin.StringList, Max: new(int64(64)),
	Doc: "Files and directories that the plugin may read, in addition to those of the system and its own directory. For example, an interpreter and its libraries. The data_dir, and everything in it or above it, is refused.",
}, {
	Name: "processes", Type: plugin.Bool, Default: "false",
	Doc: "Let the plugin start other programs. They are confined in the same way.",
}, {
	Name: "memory", Type: plugin.Bytes, Default: "512MiB", Min: new(int64(32 << 20)), Max: new(int64(1 << 40)),
	Doc: "Memory of the plugin. A plugin that takes more is ended and restarted. A runtime with a garbage collector must be told how much it may take, see docs/plugin-protocol.md.",
}, {
	Name: "files", Type: plugin.Int, Default: "1024", Min: new(int64(64)), Max: new(int64(1 << 20)),
	Doc: "Files and connections that the plugin may have open at the same time.",
}, {
	Name: "tasks", Type: plugin.Int, Default: "256", Min: new(int64(24)), Max: new(int64(1 << 15)),
	Doc: "Threads that the plugin may have at the same time, including those of programs that it starts. A plugin that makes more is ended and restarted.",
}}}

// defaultStorage is the plugin of a server without a storage block.
const defaultStorage = "bolt"
