// Command stats-stdout is a stats plugin that prints the numbers of a server. The
// standard output of a plugin belongs to its handshake, so it prints to a file in
// its own directory. The file always has only the newest numbers, one line of JSON
// each, for grep and jq.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

func main() { plugin.Serve(stdout) }

// stdout describes the plugin: its name, its options and its constructor.
var stdout = plugin.Plugin{
	Name:    "stdout",
	Version: "1.0.0",
	Doc:     "Prints the numbers of a server to a file, one line of JSON each.",
	Schema: plugin.Schema{Attributes: []plugin.Attribute{
		{Name: "path", Type: plugin.String, Default: "numbers.jsonl", Doc: "The file, below the directory of the plugin."},
	}},
	Validate: func(cfg plugin.Config) error {
		_, err := configuredPath(cfg)
		return err
	},
	Stats: func(_ context.Context, cfg plugin.Config) (stats.Exporter, error) {
		path, err := configuredPath(cfg)
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(filepath.Dir(path)); err != nil {
			return nil, plugin.Invalid("The directory of the file does not exist", "Write the name alone.", "path")
		}
		return &printer{path}, nil
	},
}

// configuredPath returns the path in the configuration, or a diagnostic that the
// operator sees with its line. A schema cannot express this check: it knows only
// types, bounds and choices.
func configuredPath(cfg plugin.Config) (string, error) {
	var c struct {
		Path string `cty:"path"`
	}
	if err := cfg.Decode(&c); err != nil {
		return "", err
	}
	if !filepath.IsLocal(c.Path) || filepath.Clean(c.Path) == "." {
		return "", plugin.Invalid("The path does not name a file below the plugin's directory", `Write a name, such as "numbers.jsonl".`, "path")
	}
	return filepath.Join(cfg.Dir, c.Path), nil
}

// printer writes snapshots to a file. It keeps no state: each snapshot has
// everything that was counted since the server started.
type printer struct{ path string }

// line is a number as it is printed. Bounds of buckets are text because JSON has no
// number for infinity.
type line struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Unit    string            `json:"unit,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Value   *float64          `json:"value,omitempty"`   // of a counter or a gauge
	Count   *uint64           `json:"count,omitempty"`   // of a histogram, like the fields below
	Sum     *float64          `json:"sum,omitempty"`     // of all values
	Buckets []bucket          `json:"buckets,omitempty"` // how many values were at most a bound
}

type bucket struct {
	UpTo  string `json:"up_to"`
	Count uint64 `json:"count"`
}

// Export replaces the file as a whole, so that nobody reads half of it.
func (p *printer) Export(ctx context.Context, s stats.Snapshot) error {
	if err := errors.Join(ctx.Err(), s.Validate()); err != nil {
		return err
	}
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	for _, m := range s.Metrics {
		for _, point := range m.Points {
			if err := lines.Encode(lineOf(m, point)); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(p.path+".new", out.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(p.path+".new", p.path)
}

func lineOf(m stats.Metric, p stats.Point) line {
	l := line{Name: m.Name, Kind: m.Kind.String(), Unit: m.Unit, Labels: make(map[string]string)}
	for _, label := range p.Labels {
		l.Labels[label.Name] = label.Value
	}
	if m.Kind != stats.Histogram {
		l.Value = &p.Value
		return l
	}
	l.Count, l.Sum = &p.Count, &p.Sum
	for _, b := range p.Buckets {
		l.Buckets = append(l.Buckets, bucket{UpTo: strconv.FormatFloat(b.UpTo, 'g', -1, 64), Count: b.Count})
	}
	return l
}

// ForceFlush does nothing: Export returns when the numbers can be read.
func (p *printer) ForceFlush(ctx context.Context) error { return ctx.Err() }

func (p *printer) Close() error { return nil }
