// Command badstore is a storage plugin for tests: a store of the bolt plugin
// that misbehaves whenever a file tells it to, and how. It shows as well what
// an external plugin looks like from the first line to the last.
//
// There are two such files. The one of the option "fault" says what to do wrong
// in calls, see store.go; the one that is the argument of the process says what
// to do wrong before there are any, see start.go. Each has one word.
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
		Doc:     "Keeps messages, and misbehaves as it is told.",
		Schema: plugin.Schema{Attributes: []plugin.Attribute{{
			Name: "fault",
			Type: plugin.String,
			Doc:  "A file with the word for what to do wrong at the moment, relative to the directory of the plugin. While there is none, all is well.",
		}, {
			Name: "pages",
			Type: plugin.Int, Default: "4",
			Doc: "For the configuration to have a fault that only the plugin sees: it has to be even.",
		}}},
		Storage: open,
	}
	if len(os.Args) == 2 && filepath.IsAbs(os.Args[1]) {
		begin(wordIn(os.Args[1]), p)
	}
	plugin.Serve(p)
}

func open(_ context.Context, cfg plugin.Config) (storage.Store, error) {
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

// wordIn is what the plugin has been told to do.
func wordIn(path string) string {
	word, _ := os.ReadFile(path) // there is none while all is well
	return strings.TrimSpace(string(word))
}
