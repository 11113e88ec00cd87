package config

import (
	"fmt"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// manualBlock is a block of the file, as the template and the manual show it.
type manualBlock struct {
	header  string // as it is written; empty for the top of the file
	doc     string
	options plugin.Schema
	// optional blocks are there for some, and commented out in the template.
	optional bool
}

var manualBlocks = []manualBlock{{
	doc:     "At the top of the file, outside of all blocks.",
	options: fileOptions,
}, {
	header:  `network "tor"`,
	doc:     "The servers are onion services of the Tor network. A file has exactly one network block.",
	options: torOptions,
}, {
	header:   `network "loopback"`,
	doc:      "Replaces Tor for development and tests. The servers can be reached from this machine only, and nothing is hidden.",
	options:  loopbackOptions,
	optional: true,
}, {
	header:   "console",
	doc:      "Pages in the browser on which the operator adds, changes and watches servers. Without this block there are none.",
	options:  consoleOptions,
	optional: true,
}, {
	header:  "log",
	doc:     "The log of the relay.",
	options: logOptions,
}, {
	header:  "limits",
	doc:     "What strangers can make one server do. Each limit applies to each server separately. The table says what the relay does at a limit; the status counts how often it did.",
	options: limits.Schema(),
}, {
	header:   `plugin "KIND" "NAME"`,
	doc:      "A plugin that is not built in. Any number of servers may use it. KIND is storage, stats or peersync, and NAME is the name that the plugin gives itself: \"cwtch-relay plugin describe PATH\" shows both.",
	options:  externalBlock,
	optional: true,
}}

// externalBlock has the sandbox as a block of its schema, as schemas of plugins have. It is
// for the manual; the file is decoded in two steps.
var externalBlock = plugin.Schema{Attributes: externalOptions.Attributes, Blocks: []plugin.Block{{
	Name: "sandbox", Schema: sandboxOptions,
	Doc: "What the plugin may do. Every plugin is confined; built-in plugins have the defaults below. A plugin has its own directory and no network. A stats plugin is reached at loopback addresses, where the relay listens for it. The log at every start and the status say what the kernel cannot enforce.",
}}}

// kindDocs describe the blocks in which a server names its plugins.
var kindDocs = map[plugin.Kind]string{
	plugin.KindStorage:  "Where the server keeps its messages. At most one block; if it is left out, it is storage \"" + defaultStorage + "\" with its defaults.",
	plugin.KindStats:    "Where the metrics of the server go every ten seconds, for example to a monitoring system. docs/metrics.md lists them. Any number of blocks.",
	plugin.KindPeerSync: "Keeps the server in step with its replicas on other relays, which are peer blocks. A server with peers has one block.",
}

const retentionDoc = "How long messages stay, and how large the server gets. Without this block, a message stays for a year, and the oldest go earlier once there are 2 GiB or a million of them. But a server that has messages from a release that removed nothing, or from a backup, keeps them all until this block is written, even if it is empty; the status says so. Messages go in whole hours, the oldest first, and cannot be brought back. Spent tokens stay. \"cwtch-relay reload -dry-run\" shows what a change would delete. To keep all, write max_age = \"36500d\" and limits that are larger than your disk."

// serverBlock is the last block of the manual: it contains the blocks of plugins.
var serverBlock = manualBlock{
	header:  `server "NAME"`,
	doc:     "A server: one board with an address of its own. There may be any number of servers. A name has 1 to 64 of a-z, 0-9 and -. It is also the name of the directory of the server: another name makes another server.",
	options: serverManual,
}

// serverManual has the retention as a block of its schema; see externalBlock.
var serverManual = plugin.Schema{Attributes: serverOptions.Attributes, Blocks: []plugin.Block{{
	Name: "retention", Schema: limits.RetentionSchema(), Doc: retentionDoc,
}, {
	Name: "peer", Labelled: true, Schema: peerOptions, Doc: peerDoc,
}}}

const templateIntro = `What this relay does. A line that starts with # and a name shows an option with its default (null: not set); ` +
	`remove the # to change it. "cwtch-relay validate" checks this file without starting anything.

Durations are written "90s", "10m", "1h30m" or "90d", sizes "512KiB", "64MiB" or "2GiB". Relative paths start at the directory of this file. ` +
	`env("NAME") is the value of an environment variable, and file("path") the content of a file; use them for secrets.`

// Template returns a configuration that works as it is. Every option is explained and shown
// with its default, commented out. Removing the # from any of them changes nothing.
func Template(builtIn []plugin.Description) string {
	var t template
	t.writeComment(templateIntro)
	for _, c := range manualBlocks {
		t.writeLine("")
		if c.header == "" {
			t.writeOptions(c.options)
			continue
		}
		t.writeComment(c.doc)
		t.writeBlock(c.header, c.optional, func(t *template) { t.writeOptions(c.options) })
	}
	t.writeLine("")
	t.writeComment(serverBlock.doc)
	t.writeBlock(`server "main"`, false, func(t *template) {
		t.writeOptions(serverOptions)
		t.writeLine("")
		t.writeComment(retentionDoc)
		t.writeBlock("retention", false, func(t *template) { t.writeOptions(limits.RetentionSchema()) })
		for _, kind := range plugin.Kinds() {
			t.writePlugins(kind, builtIn)
		}
		t.writeLine("")
		t.writeComment(peerDoc)
		t.writeBlock(`peer "NAME"`, true, func(t *template) { t.writeOptions(peerOptions) })
	})
	return t.String()
}

// writePlugins writes the blocks of a kind that a server can have. The options of plugins
// that are not built in are not known here.
func (t *template) writePlugins(kind plugin.Kind, builtIn []plugin.Description) {
	t.writeLine("")
	t.writeComment(kindDocs[kind])
	found := false
	for _, b := range builtIn {
		if b.Kind != kind {
			continue
		}
		found = true
		t.writeLine("")
		t.writeComment(b.Doc)
		t.writeBlock(fmt.Sprintf("%s %q", kind, b.Name), kind != plugin.KindStorage || b.Name != defaultStorage, func(t *template) { t.writeOptions(b.Schema) })
	}
	if !found {
		t.writeBlock(fmt.Sprintf("%s %q", kind, "NAME"), true, func(t *template) {
			t.writeComment("None is built in. NAME is the name of a plugin block; the plugin defines the options.")
		})
	}
}

// template is a file that is being written.
type template struct {
	strings.Builder
	prefix string // of each line
}

func (t *template) writeLine(text string) {
	t.WriteString(strings.TrimRight(t.prefix+text, " ") + "\n")
}

// writeComment writes a text in lines of about 80 characters.
func (t *template) writeComment(text string) {
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := "#"
		for word := range strings.FieldsSeq(paragraph) {
			if len(t.prefix)+len(line)+1+len(word) > 80 && line != "#" {
				t.writeLine(line)
				line = "#"
			}
			line += " " + word
		}
		t.writeLine(line)
	}
}

// writeBlock writes a block. If it is commented out, each line begins with # and a space.
func (t *template) writeBlock(header string, out bool, body func(*template)) {
	outer := t.prefix
	if out {
		t.prefix += "# "
	}
	inner := t.prefix
	t.writeLine(header + " {")
	t.prefix = inner + "  "
	body(t)
	t.prefix = inner
	t.writeLine("}")
	t.prefix = outer
}

func (t *template) writeOptions(s plugin.Schema) {
	for i, a := range s.Attributes {
		if i > 0 {
			t.writeLine("")
		}
		t.writeComment(explainOption(a))
		switch {
		case a.Required:
			t.writeLine(a.Name + " = " + schema.Example(a))
		default:
			t.writeLine("#" + a.Name + " = " + schema.Default(a))
		}
	}
	for _, b := range s.Blocks {
		t.writeLine("")
		if b.Doc != "" {
			t.writeComment(b.Doc)
		}
		t.writeBlock(nestedHeader(b), true, func(t *template) { t.writeOptions(b.Schema) })
	}
}

// explainOption describes an option and its values. The values of strings and truth values
// need no description.
func explainOption(a plugin.Attribute) string {
	accepts := schema.Accepts(a)
	plain := a.Type == plugin.Bool || a.Type == plugin.String && len(a.OneOf) == 0
	if plain && a.Doc != "" {
		return a.Doc
	}
	return strings.TrimSpace(a.Doc + " " + strings.ToUpper(accepts[:1]) + accepts[1:] + ".")
}

func nestedHeader(b plugin.Block) string {
	if b.Labelled {
		return b.Name + ` "NAME"`
	}
	return b.Name
}
