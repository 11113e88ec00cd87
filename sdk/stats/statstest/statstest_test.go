package statstest

import (
	"context"
	"encoding/gob"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// fileExporter is an exporter that keeps the last snapshot in a file.
type fileExporter string

var filePlugin = plugin.Plugin{
	Name: "file", Version: "1",
	Stats: func(_ context.Context, cfg plugin.Config) (stats.Exporter, error) { return fileExporter(cfg.Dir), nil },
}

func (dir fileExporter) Export(ctx context.Context, s stats.Snapshot) error {
	if err := errors.Join(s.Validate(), ctx.Err()); err != nil {
		return err
	}
	next, err := os.CreateTemp(string(dir), "next")
	if err != nil {
		return err
	}
	if err := errors.Join(gob.NewEncoder(next).Encode(s.Metrics), next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), filepath.Join(string(dir), "last"))
}

func (dir fileExporter) ForceFlush(ctx context.Context) error { return ctx.Err() }
func (dir fileExporter) Close() error                         { return nil }

func readFile(tb testing.TB, dir string, _ *plugintest.Opened) (metrics []stats.Metric) {
	tb.Helper()
	f, err := os.Open(filepath.Join(dir, "last"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if err := gob.NewDecoder(f).Decode(&metrics); err != nil {
		tb.Fatal(err)
	}
	return metrics
}

func TestMain(m *testing.M) { plugintest.Main(m, filePlugin) }

func TestFileExporterPassesOverEveryTransport(t *testing.T) {
	for _, transport := range plugintest.Transports(t, filePlugin) {
		t.Run(transport.Name, func(t *testing.T) {
			t.Cleanup(func() {
				goleak.VerifyNone(t, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
			})
			Run(t, Opener{
				Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) { return transport.Open(tb, dir, nil) },
				Read: readFile,
			})
		})
	}
}

// openMemory returns an Opener that opens a new Memory each time, changed by wrap.
func openMemory(wrap func(*Memory) stats.Exporter) Opener {
	read := make(map[*plugintest.Opened]*Memory)
	return Opener{
		Open: func(testing.TB, string) (*plugintest.Opened, error) {
			m := NewMemory()
			e := wrap(m)
			o := &plugintest.Opened{Exporter: e, Close: e.Close}
			read[o] = m
			return o, nil
		},
		Read: func(_ testing.TB, _ string, o *plugintest.Opened) []stats.Metric { return read[o].Last().Metrics },
	}
}

func TestMemoryPasses(t *testing.T) {
	o := openMemory(func(m *Memory) stats.Exporter { return m })
	Run(t, o)
	o.Read = nil
	t.Run("Unread", func(t *testing.T) { Run(t, o) })
}
