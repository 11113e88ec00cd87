package config

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// The table of all options. Names and defaults are a promise to operators.

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

var limitOptions = plugin.Schema{Attributes: []plugin.Attribute{
	limitOption(plugin.Int, "connections", "4096", 1, 1<<16,
		"Connections that are open at once at each of the two onion services of a server. At the limit, a new one takes the place of the oldest whose client has not asked for anything yet; where those have less than a quarter of the places, that of the one whose client has not asked for anything for the longest time. The token service has no more than it can serve within 10 s, should each buy 10 tokens, and closes a new one when all have paid."),
	limitOption(plugin.Int, "connections_per_second", "500", 1, 100_000,
		"Clients whose keys the board looks at in a second, which takes some 0.6 ms of a processor each. Of those above it the newest is next, 256 may wait, and who waits longer than 5 s is closed. Connections on which no keys have come do not count."),
	limitOption(plugin.Duration, "handshake_timeout", "30s", int64(time.Second), int64(10*time.Minute),
		"Time for each step until a client is authenticated. A client that takes longer is closed."),
	limitOption(plugin.Duration, "idle_timeout", "2h", int64(time.Minute), int64(7*24*time.Hour),
		"Time without a packet in either direction after which a connection is closed. A client that has not asked for anything yet is given 2m at most."),
	limitOption(plugin.Int, "outstanding_posts", "64", 1, 4096,
		"Posts of one connection that wait for their result. At the limit, nothing more is read from that connection until one is done."),
	limitOption(plugin.Int, "queue_records", "8192", 256, 1<<20,
		"Posts of all connections that wait to be stored. A post that finds no room before post_timeout is refused."),
	limitOption(plugin.Bytes, "queue_bytes", "64MiB", 1<<20, 16<<30,
		"Memory of the posts that wait to be stored. The answer at the limit is that of queue_records."),
	limitOption(plugin.Duration, "post_timeout", "10s", int64(100*time.Millisecond), int64(10*time.Minute),
		"Time that a post waits for room in the queue, and again for the storage plugin. A post that waits longer is refused; its author may try again."),
	limitOption(plugin.Int, "token_batches_per_second", "10", 1, 100_000,
		"Full batches of tokens signed in a second. Tokens are what is counted: this many times token_batch are signed in a second, in more batches if they are smaller. Purchases above it wait their turn, those of up to 10 tokens before larger ones. Together with token_batch it bounds how fast strangers can fill the disk."),
	limitOption(plugin.Int, "token_batch", "150", 1, 150,
		"Tokens signed in one batch. A client that asks for more is closed; clients ask for 10."),
	limitOption(plugin.Bytes, "reader_buffer", "256KiB", 16<<10, 64<<20,
		"Memory for what is on its way to one reader. At the limit, the relay waits for the reader, and reads on from storage where it stopped."),
	limitOption(plugin.Duration, "stuck_reader", "5m", int64(time.Second), int64(24*time.Hour),
		"Time after which a reader that takes nothing is closed."),
}}

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

// limitOption is an option of limitOptions; min and max are in nanoseconds or bytes
// where these are its unit.
func limitOption(t plugin.Type, name, def string, min, max int64, doc string) plugin.Attribute {
	return plugin.Attribute{Name: name, Type: t, Default: def, Min: &min, Max: &max, Doc: doc}
}

// defaultStorage is the plugin of a server without a storage block.
const defaultStorage = "bolt"
