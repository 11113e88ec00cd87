package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// statsOutput is where a stats plugin shows its numbers, for the suite to look at.
type statsOutput struct {
	at     string // a URL, or a file below the directory of the plugin
	prefix string // of each name
}

// Bounds on what a plugin shows: the largest snapshot takes some 10 MiB as text.
const (
	maxShown     = 64 << 20
	shownTimeout = 30 * time.Second
)

// reader returns the Read of a statstest.Opener, nil without -shows.
func (s *statsOutput) reader() func(testing.TB, string, *plugintest.Opened) []stats.Metric {
	if s.at == "" {
		return nil
	}
	return func(tb testing.TB, dir string, _ *plugintest.Opened) []stats.Metric {
		text, err := s.readText(tb.Context(), dir)
		if err != nil {
			tb.Fatalf("read what the plugin shows: %v", err)
		}
		metrics, err := s.parse(text)
		if err != nil {
			tb.Fatalf("%s does not hold what a stats plugin shows: %v", s.at, err)
		}
		return metrics
	}
}

// validate refuses flags that make no sense, before anything runs.
func (s *statsOutput) validate(kind plugin.Kind) error {
	switch {
	case s.at != "" && kind != plugin.KindStats:
		return command.UsageError{Text: fmt.Sprintf("-shows is for stats plugins, and this is a %s plugin", kind)}
	case s.at != "" && !s.isURL() && (!filepath.IsLocal(s.at) || strings.Contains(s.at, "://")):
		return command.UsageError{Text: "-shows takes a URL that begins with http://, or a file below the directory of the plugin"}
	case s.at == "" && s.prefix != "":
		return command.UsageError{Text: "-prefix says how the names begin that -shows reads"}
	}
	return nil
}

// isURL reports whether the numbers are fetched over HTTP.
func (s *statsOutput) isURL() bool { return strings.HasPrefix(s.at, "http://") }

// readText reads what is shown now. A file that does not exist yet shows nothing.
func (s *statsOutput) readText(ctx context.Context, dir string) ([]byte, error) {
	var from io.ReadCloser
	var err error
	if s.isURL() {
		from, err = s.fetchPage(ctx)
	} else {
		from, err = openBelow(dir, s.at)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer from.Close()
	text, err := io.ReadAll(io.LimitReader(from, maxShown+1))
	if err == nil && len(text) > maxShown {
		err = fmt.Errorf("more than %d MiB", maxShown>>20)
	}
	return text, err
}

// openBelow opens a file below dir. It follows no link of the plugin to elsewhere.
func openBelow(dir, path string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // nothing was written
	return root.Open(path)
}

func (s *statsOutput) fetchPage(ctx context.Context) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.at, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/plain;version=0.0.4")
	client := http.Client{
		Timeout:       shownTimeout,
		Transport:     &http.Transport{DisableKeepAlives: true}, // the next may be another process
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s answers %s", s.at, response.Status)
	}
	return response.Body, nil
}

// parse parses one of the two known formats.
func (s *statsOutput) parse(text []byte) ([]stats.Metric, error) {
	if filepath.Ext(s.at) == ".jsonl" {
		return parseJSONLines(text)
	}
	return s.parsePrometheus(text)
}

// parsePrometheus parses the text format of Prometheus. It leaves out names with another
// prefix, such as those that a library has for its own process.
func (s *statsOutput) parsePrometheus(text []byte) (metrics []stats.Metric, err error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	kinds := map[dto.MetricType]stats.Kind{dto.MetricType_COUNTER: stats.Counter, dto.MetricType_GAUGE: stats.Gauge, dto.MetricType_HISTOGRAM: stats.Histogram}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), s.prefix)
		if !ours {
			continue
		}
		m := stats.Metric{Name: name, Kind: kinds[f.GetType()]}
		if m.Kind == stats.Counter {
			m.Name = strings.TrimSuffix(name, "_total")
		}
		for _, p := range f.GetMetric() {
			m.Points = append(m.Points, pointOf(p))
		}
		metrics = append(metrics, m)
	}
	return metrics, nil
}

func pointOf(p *dto.Metric) stats.Point {
	out := stats.Point{Value: p.GetCounter().GetValue() + p.GetGauge().GetValue()}
	for _, l := range p.GetLabel() {
		out.Labels = append(out.Labels, stats.Label{Name: l.GetName(), Value: l.GetValue()})
	}
	out.Labels = removeServerLabel(out.Labels)
	if h := p.GetHistogram(); h != nil {
		out.Count, out.Sum = h.GetSampleCount(), h.GetSampleSum()
		for _, b := range h.GetBucket() {
			out.Buckets = append(out.Buckets, stats.Bucket{UpTo: b.GetUpperBound(), Count: b.GetCumulativeCount()})
		}
	}
	return out
}

// removeServerLabel removes the label that the exporter adds.
func removeServerLabel(labels []stats.Label) []stats.Label {
	return slices.DeleteFunc(labels, func(l stats.Label) bool { return l.Name == "server" })
}

// jsonLine is one number. Bounds are text, since JSON cannot express the last, infinity.
type jsonLine struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Labels  map[string]string `json:"labels"`
	Value   float64           `json:"value"`
	Count   uint64            `json:"count"`
	Sum     float64           `json:"sum"`
	Buckets []struct {
		UpTo  string `json:"up_to"`
		Count uint64 `json:"count"`
	} `json:"buckets"`
}

// parseJSONLines parses lines of JSON, each with one number.
func parseJSONLines(text []byte) (metrics []stats.Metric, err error) {
	kinds := map[string]stats.Kind{"counter": stats.Counter, "gauge": stats.Gauge, "histogram": stats.Histogram}
	index := make(map[string]int)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxShown)
	for n := 1; lines.Scan(); n++ {
		var l jsonLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		p, err := l.toPoint()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		i, ok := index[l.Name]
		if !ok {
			i = len(metrics)
			index[l.Name] = i
			metrics = append(metrics, stats.Metric{Name: l.Name, Kind: kinds[l.Kind]})
		}
		metrics[i].Points = append(metrics[i].Points, p)
	}
	return metrics, lines.Err()
}

func (l jsonLine) toPoint() (stats.Point, error) {
	p := stats.Point{Value: l.Value, Count: l.Count, Sum: l.Sum}
	for name, value := range l.Labels {
		p.Labels = append(p.Labels, stats.Label{Name: name, Value: value})
	}
	p.Labels = removeServerLabel(p.Labels)
	for _, b := range l.Buckets {
		bound, err := strconv.ParseFloat(b.UpTo, 64)
		if err != nil || math.IsNaN(bound) {
			return p, fmt.Errorf("the bound %.40q is not a number", b.UpTo)
		}
		p.Buckets = append(p.Buckets, stats.Bucket{UpTo: bound, Count: b.Count})
	}
	return p, nil
}
