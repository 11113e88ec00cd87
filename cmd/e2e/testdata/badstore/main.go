// Command badstore is a storage plugin for tests: a store of the bolt plugin
// that misbehaves whenever a file tells it to, and how. It shows as well what
// an external plugin looks like from the first line to the last.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func main() {
	plugin.Serve(plugin.Plugin{
		Name:    "badstore",
		Version: "0.0.1",
		Doc:     "Keeps messages, and misbehaves as it is told.",
		Schema: plugin.Schema{Attributes: []plugin.Attribute{{
			Name: "fault",
			Type: plugin.String,
			Doc:  "A file with the word for what to do wrong at the moment, relative to the directory of the plugin: crash, die, hang, count, rewind, forget, flood, print. While there is none, all is well.",
		}, {
			Name: "pages",
			Type: plugin.Int, Default: "4",
			Doc: "For the configuration to have a fault that only the plugin sees: it has to be even.",
		}}},
		Storage: open,
	})
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

// badStore is a good store most of the time.
type badStore struct {
	*bolt.Store
	path  string
	fault string
	log   *slog.Logger
}

// word is what the plugin has been told to do.
func (s *badStore) word() string {
	word, _ := os.ReadFile(s.fault) // there is none while all is well
	return string(word)
}

func (s *badStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	switch s.word() {
	case "crash":
		os.Exit(3)
	case "die": // once, and late: all is stored and nobody knows
		s.Store.Append(ctx, records)
		os.Remove(s.fault)
		os.Exit(3)
	case "hang": // and answers when nobody waits any more
		for s.word() == "hang" {
			time.Sleep(10 * time.Millisecond)
		}
	case "count": // claims more than it was given
		return make([]storage.Outcome, len(records)+1), nil
	case "rewind": // stores, and then says that it was long ago
		outcomes, err := s.Store.Append(ctx, records)
		for i := range outcomes {
			outcomes[i].Seq = 1
		}
		return outcomes, err
	case "forget": // loses everything and comes back
		os.Remove(s.path)
		os.Exit(3)
	case "flood":
		go func() {
			for i := range 20_000 {
				s.log.Warn("a flood of words "+strings.Repeat("blah ", 20), "line", i)
			}
		}()
	case "print":
		for range 1000 {
			fmt.Println("to standard output, which is not for plugins")
		}
	}
	return s.Store.Append(ctx, records)
}
