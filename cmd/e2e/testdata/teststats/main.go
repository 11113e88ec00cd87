// Command teststats is a stats plugin for tests. It writes the numbers to a file,
// one per line, and fails on demand.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

func main() {
	plugin.Serve(plugin.Plugin{
		Name:    "teststats",
		Version: "0.0.1",
		Doc:     "Writes numbers to a file.",
		Schema: plugin.Schema{Attributes: []plugin.Attribute{
			{Name: "file", Type: plugin.String, Default: "numbers", Doc: "The file, below the directory of the plugin."},
			{Name: "pages", Type: plugin.Int, Default: "4", Doc: "Must be even, which only the plugin knows."},
			{Name: "listen", Type: plugin.String, Listener: true, Doc: "Where the numbers are served."},
			{Name: "open", Type: plugin.Bool, Default: "true", Doc: "Whether the exporter opens. Nobody knows before it is opened."},
		}},
		Stats: openExporter,
		Validate: func(cfg plugin.Config) error {
			c, err := decodeOptions(cfg)
			if err == nil && c.Pages%2 != 0 {
				return plugin.Invalid("Pages come in pairs", fmt.Sprintf("Write %d.", c.Pages+1), "pages")
			}
			return err
		},
	})
}

type options struct {
	File   string `cty:"file"`
	Pages  int    `cty:"pages"`
	Listen string `cty:"listen"`
	Open   bool   `cty:"open"`
}

func decodeOptions(cfg plugin.Config) (c options, err error) {
	err = cfg.Decode(&c)
	return c, err
}

func openExporter(_ context.Context, cfg plugin.Config) (stats.Exporter, error) {
	c, err := decodeOptions(cfg)
	if err != nil {
		return nil, err
	}
	if !c.Open {
		return nil, plugin.Invalid("It cannot be opened", "Write true.", "open")
	}
	e := &exporter{path: filepath.Join(cfg.Dir, c.File), log: cfg.Logger, written: make(chan struct{})}
	if c.Listen != "" {
		l, err := cfg.Listener("listen")
		if err != nil {
			return nil, err
		}
		e.server = &http.Server{Handler: e}
		go e.server.Serve(l) //nolint:errcheck // ends with Close
	}
	return e, nil
}

type exporter struct {
	path   string
	log    *slog.Logger
	server *http.Server // nil when it does not listen

	written chan struct{} // closed when there are numbers
	first   sync.Once
	numbers atomic.Pointer[[]byte]
}

// ServeHTTP serves the last numbers. It waits for the first ones.
func (e *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-e.written:
		w.Write(*e.numbers.Load()) //nolint:errcheck // the client has gone
	case <-r.Context().Done():
	}
}

func (e *exporter) Export(_ context.Context, s stats.Snapshot) error {
	if err := s.Validate(); err != nil {
		return err
	}
	var b bytes.Buffer
	for _, m := range s.Metrics {
		for _, p := range m.Points {
			fmt.Fprintf(&b, "%s", m.Name)
			for _, l := range p.Labels {
				fmt.Fprintf(&b, " %s=%s", l.Name, l.Value)
			}
			fmt.Fprintf(&b, " %v\n", p.Value)
		}
	}
	if err := os.WriteFile(e.path, b.Bytes(), 0o600); err != nil {
		return errors.New("cannot write the numbers")
	}
	e.numbers.Store(new(b.Bytes()))
	e.first.Do(func() { close(e.written) })
	e.log.Info("numbers written", "file", filepath.Base(e.path))
	return nil
}

func (e *exporter) ForceFlush(context.Context) error {
	e.log.Info("numbers flushed")
	return nil
}

func (e *exporter) Close() error {
	if e.server == nil {
		return nil
	}
	return e.server.Close()
}
