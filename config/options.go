package config

import "github.com/cwtch-relay/cwtch-relay/sdk/plugin"

// The table of all options, but for the limits, which are in package limits. Names and
// defaults are a promise to operators.

var fileOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "data_dir", Type: plugin.String, Default: "data",
	Doc: "Directory of everything the relay writes: keys, envelopes, the state of tor. It is made with mode 0700, and has to belong to the user that runs the relay. Whoever can read it can impersonate the servers.",
}}}

var torOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "path", Type: plugin.String, Default: "tor",
	Doc: "The tor program: a path, or a name that is looked up in PATH.",
}, {
	Name: "torrc", Type: plugin.StringList, Max: new(int64(256)),
	Doc: "Lines to add to the configuration of tor, such as \"Bridge …\".",
}, {
	Name: "control", Type: plugin.String,
	Doc: "Control socket or port of a tor that runs already, as \"unix:/run/tor/control\" or \"127.0.0.1:9051\"; the relay has to be able to read its authentication cookie. Left out or empty, the relay starts a tor of its own and watches over it. Path, torrc and data_dir have no effect on a tor that runs already. It gets the keys of the servers: the relay refuses whoever else listens there. The socket and the directories above it have to belong to root, the user of the relay or control_user; a port needs control_cookie.",
}, {
	Name: "control_user", Type: plugin.String,
	Doc: "User that the tor at control runs as, by name or number, such as \"debian-tor\". Root and the user of the relay need not be named. The relay trusts every process of this user with the keys of the servers.",
}, {
	Name: "control_cookie", Type: plugin.String,
	Doc: "File with the authentication cookie of the tor at control, as CookieAuthFile in its torrc. Required if control is a port: tor then has to prove that it knows the cookie before it gets anything. The file has to belong to root, the user of the relay or control_user, and not everybody may read it.",
}, {
	Name: "data_dir", Type: plugin.String,
	Doc: "Directory of the tor that the relay starts. Left out or empty, it is the directory tor below the data_dir of the relay.",
}}}

var loopbackOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "registry", Type: plugin.String, Required: true,
	Doc: "Directory in which the programs of this machine find one another: one file for each service.",
}}}

var logOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "level", Type: plugin.String, Default: "info", OneOf: []string{"debug", "info", "warn", "error"},
	Doc: "The least important messages to write. No level shows keys, tokens, messages or who is connected.",
}, {
	Name: "format", Type: plugin.String, Default: "text", OneOf: []string{"text", "json"},
	Doc: "Form of the messages; they go to standard error.",
}}}

var serverOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "description", Type: plugin.String,
	Doc: "A note for the operator. It stays on this machine.",
}}}

var externalOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "path", Type: plugin.String, Required: true,
	Doc: "The plugin program.",
}, {
	Name: "checksum", Type: plugin.String,
	Doc: "SHA-256 of the program, as \"sha256:\" and 64 hexadecimal digits; \"cwtch-relay plugin sum PATH\" prints the line. Required unless dev is true.",
}, {
	Name: "args", Type: plugin.StringList, Max: new(int64(256)),
	Doc: "Arguments for the program.",
}, {
	Name: "env", Type: plugin.StringList, Max: new(int64(256)),
	Doc: "Environment of the program, each variable as \"NAME=value\". It gets no other, but for PATH and what the relay tells it. Every process of the same user can read it: secrets are better off in a file, in the directory of the plugin.",
}, {
	Name: "dev", Type: plugin.Bool, Default: "false",
	Doc: "Run the program whatever its checksum. For plugin authors: anyone who can write the file can then read and change everything the plugin can.",
}}}

var sandboxOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "enabled", Type: plugin.Bool, Default: "true",
	Doc: "Confine the plugin. Without it the plugin can do whatever the user of the relay can: read the keys of all servers, and connect to anybody. The relay warns of that at every start.",
}, {
	Name: "network", Type: plugin.Bool, Default: "false",
	Doc: "Let the plugin open network connections. Only for one that asks for it; \"cwtch-relay plugin describe\" shows what for. Whom it connects to sees the address of this machine.",
}, {
	Name: "listen", Type: plugin.Bool, Default: "false",
	Doc: "Let other machines reach the listeners of a stats plugin. Without it the relay opens them at loopback addresses only. Whoever can connect learns that a relay runs here.",
}, {
	Name: "read", Type: plugin.StringList, Max: new(int64(64)),
	Doc: "Files and directories that the plugin may read, beside those of the system and its own directory, as an interpreter with its libraries. Neither the data_dir, nor anything in it or above it.",
}, {
	Name: "processes", Type: plugin.Bool, Default: "false",
	Doc: "Let the plugin start other programs, which are confined as it is.",
}, {
	Name: "memory", Type: plugin.Bytes, Default: "512MiB", Min: new(int64(32 << 20)), Max: new(int64(1 << 40)),
	Doc: "Memory of the plugin. One that takes more is ended and started again. A runtime with a garbage collector has to be told how much it may take, see docs/plugin-protocol.md.",
}, {
	Name: "files", Type: plugin.Int, Default: "1024", Min: new(int64(64)), Max: new(int64(1 << 20)),
	Doc: "Files and connections that the plugin may have open at once.",
}, {
	Name: "tasks", Type: plugin.Int, Default: "256", Min: new(int64(24)), Max: new(int64(1 << 15)),
	Doc: "Threads that the plugin may have at once, those of programs that it starts included. One that makes more is ended and started again.",
}}}

// defaultStorage is the plugin of a server without a storage block.
const defaultStorage = "bolt"
