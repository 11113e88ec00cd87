package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats/statstest"
)

func TestMain(m *testing.M) { plugintest.Main(m, stdout) }

// TestContract checks every sentence of the contract, and reads each snapshot back
// from the file.
func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, stdout) {
		t.Run(transport.Name, func(t *testing.T) {
			statstest.Run(t, statstest.Opener{
				Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) { return transport.Open(tb, dir, nil) },
				Read: func(tb testing.TB, dir string, _ *plugintest.Opened) []stats.Metric {
					return readNumbers(tb, filepath.Join(dir, "numbers.jsonl"))
				},
			})
		})
	}
}

// TestPathOutsideDirectory shows that a path outside the directory of the plugin is
// a diagnostic.
func TestPathOutsideDirectory(t *testing.T) {
	for _, path := range []string{"", ".", "../numbers", "/tmp/numbers", "missing/numbers"} {
		_, err := plugintest.Transports(t, stdout)[0].Open(t, t.TempDir(), map[string]any{"path": path})
		if faults := (plugin.Diagnostics)(nil); !errors.As(err, &faults) {
			t.Errorf("path %q: %v, want a diagnostic", path, err)
		}
	}
}

// readNumbers reads what a printer has written.
func readNumbers(tb testing.TB, path string) (metrics []stats.Metric) {
	tb.Helper()
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	kinds := map[string]stats.Kind{"counter": stats.Counter, "gauge": stats.Gauge, "histogram": stats.Histogram}
	for lines := json.NewDecoder(file); ; {
		var l line
		if err := lines.Decode(&l); errors.Is(err, io.EOF) {
			return metrics
		} else if err != nil {
			tb.Fatal(err)
		}
		if n := len(metrics); n == 0 || metrics[n-1].Name != l.Name {
			metrics = append(metrics, stats.Metric{Name: l.Name, Unit: l.Unit, Kind: kinds[l.Kind]})
		}
		m := &metrics[len(metrics)-1]
		m.Points = append(m.Points, l.toPoint(tb))
	}
}

func (l line) toPoint(tb testing.TB) (p stats.Point) {
	tb.Helper()
	for name, value := range l.Labels {
		p.Labels = append(p.Labels, stats.Label{Name: name, Value: value})
	}
	if l.Value != nil {
		p.Value = *l.Value
		return p
	}
	p.Count, p.Sum = *l.Count, *l.Sum
	for _, b := range l.Buckets {
		bound, err := strconv.ParseFloat(b.UpTo, 64)
		if err != nil {
			tb.Fatal(err)
		}
		p.Buckets = append(p.Buckets, stats.Bucket{UpTo: bound, Count: b.Count})
	}
	return p
}
