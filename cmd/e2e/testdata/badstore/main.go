// Command badstore is a storage plugin for tests: a bolt store that misbehaves as a
// file instructs it. It is also an example of a complete external plugin.
//
// There are two such files, each with one word. The file of the option "fault" is
// about calls, see store.go. The file named by the first argument is about the
// handshake, see start.go.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func main() {
	p := plugin.Plugin{
		Name:    "badstore",
		Version: "0.0.1",
		Doc:     "Keeps messages and misbehaves on demand.",
		Schema: plugin.Schema{Attributes: []plugin.Attribute{{
			Name: "fault",
			Type: plugin.String,
			Doc:  "A file that names the current fault, relative to the directory of the plugin. Without the file, the plugin works.",
		}, {
			Name: "pages",
			Type: plugin.Int, Default: "4",
			Doc: "Must be even, which only the plugin knows.",
		}}},
		Capabilities: []plugin.Capability{plugin.Ledger, plugin.Prune, plugin.Index},
		Storage:      openStore,
	}
	if len(os.Args) == 2 && filepath.IsAbs(os.Args[1]) {
		misbehaveAtStart(readInstruction(os.Args[1]), p)
	}
	plugin.Serve(p)
}

func openStore(_ context.Context, cfg plugin.Config) (storage.Store, error) {
	var c struct {
		Fault string `cty:"fault"`
		Pages int    `cty:"pages"`
	}
	if err := cfg.Decode(&c); err != nil {
		return nil, err
	}
	if c.Pages%2 != 0 {
		return nil, plugin.Invalid("Pages come in pairs", fmt.Sprintf("Write %d.", c.Pages+1), "pages")
	}
	if !filepath.IsAbs(c.Fault) {
		c.Fault = filepath.Join(cfg.Dir, c.Fault)
	}
	path := filepath.Join(cfg.Dir, "messages.db")
	store, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return nil, err
	}
	return &badStore{Store: store, path: path, fault: c.Fault, log: cfg.Logger}, nil
}

// readInstruction returns the word in an instruction file, or "".
func readInstruction(path string) string {
	word, _ := os.ReadFile(path) // no file, no fault
	return strings.TrimSpace(string(word))
}
