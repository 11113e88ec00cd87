package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats/statstest"
)

func TestMain(m *testing.M) { plugintest.Main(m, prometheusPlugin) }

// TestContract checks every sentence of the contract, and fetches each snapshot
// back.
func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, prometheusPlugin) {
		t.Run(transport.Name, func(t *testing.T) {
			address := freeAddress(t)
			statstest.Run(t, statstest.Opener{
				Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
					return transport.Open(tb, dir, map[string]any{"listen": address})
				},
				Read: func(tb testing.TB, _ string, _ *plugintest.Opened) []stats.Metric {
					return parseMetrics(tb, fetchPage(tb, address, "text/plain"))
				},
			})
		})
	}
}

// TestFormats checks both formats, and lints the text format as "promtool check
// metrics" does.
func TestFormats(t *testing.T) {
	address := freeAddress(t)
	opened, err := plugintest.Transports(t, prometheusPlugin)[0].Open(t, t.TempDir(), map[string]any{"listen": address})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := stats.Snapshot{Server: "book-club", Epoch: stats.NewEpoch(), Seq: 1, Metrics: []stats.Metric{
		{Name: "posts", Doc: "Posts.", Kind: stats.Counter, Points: []stats.Point{{Labels: []stats.Label{{Name: "result", Value: "stored"}}, Value: 3}}},
		{Name: "stored_bytes", Unit: "bytes", Doc: "Room.", Kind: stats.Gauge, Points: []stats.Point{{Value: 4096}}},
		{Name: "append_seconds", Unit: "seconds", Doc: "Time.", Kind: stats.Histogram, Points: []stats.Point{
			{Count: 2, Sum: 3, Buckets: []stats.Bucket{{UpTo: 1, Count: 1}, {UpTo: math.Inf(1), Count: 2}}},
		}},
	}}
	if err := opened.Exporter.Export(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	text := fetchPage(t, address, "text/plain")
	for _, line := range []string{
		`cwtch_posts_total{result="stored",server="book-club"} 3`,
		`cwtch_stored_bytes{server="book-club"} 4096`,
		`cwtch_append_seconds_bucket{server="book-club",le="1"} 1`,
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("there is no line %s in\n%s", line, text)
		}
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promtool check metrics would say %v, %v", problems, err)
	}
	open := fetchPage(t, address, "application/openmetrics-text; version=1.0.0")
	for _, lines := range []string{
		"# TYPE cwtch_posts counter\ncwtch_posts_total{result=\"stored\",server=\"book-club\"} 3.0\n", // a counter has the suffix, its family has not
		"# TYPE cwtch_append_seconds histogram\n",
		"cwtch_append_seconds_count{server=\"book-club\"} 2\n# ",
		"\n# EOF\n",
	} {
		if !strings.Contains(string(open), lines) {
			t.Errorf("this is not OpenMetrics, for want of %q:\n%s", lines, open)
		}
	}
}

// TestAddressIsRequired shows that a missing or wrong address is a diagnostic, which
// the operator sees with its line.
func TestAddressIsRequired(t *testing.T) {
	for _, values := range []map[string]any{{"listen": ""}, {"listen": "localhost:9464"}, {}} {
		_, err := plugintest.Transports(t, prometheusPlugin)[0].Open(t, t.TempDir(), values)
		if faults := (plugin.Diagnostics)(nil); !errors.As(err, &faults) {
			t.Errorf("%v: %v, want a diagnostic", values, err)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func fetchPage(tb testing.TB, address, format string) []byte {
	tb.Helper()
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		tb.Fatal(err)
	}
	request.Header.Set("Accept", format)
	response, err := client.Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), strings.Split(format, ";")[0]) {
		tb.Fatalf("%s, %q, %v: %s", response.Status, response.Header.Get("Content-Type"), err, text)
	}
	return text
}

// parseMetrics turns a fetched page back into metrics.
func parseMetrics(tb testing.TB, text []byte) (metrics []stats.Metric) {
	tb.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	kinds := map[dto.MetricType]stats.Kind{dto.MetricType_COUNTER: stats.Counter, dto.MetricType_GAUGE: stats.Gauge, dto.MetricType_HISTOGRAM: stats.Histogram}
	for _, f := range families {
		m := stats.Metric{Name: strings.TrimSuffix(strings.TrimPrefix(f.GetName(), prefix), "_total"), Kind: kinds[f.GetType()]}
		for _, p := range f.GetMetric() {
			m.Points = append(m.Points, pointOf(p))
		}
		metrics = append(metrics, m)
	}
	return metrics
}

func pointOf(p *dto.Metric) stats.Point {
	out := stats.Point{Value: p.GetCounter().GetValue() + p.GetGauge().GetValue()}
	for _, l := range p.GetLabel() {
		out.Labels = append(out.Labels, stats.Label{Name: l.GetName(), Value: l.GetValue()})
	}
	out.Labels = slices.DeleteFunc(out.Labels, func(l stats.Label) bool { return l.Name == "server" })
	if h := p.GetHistogram(); h != nil {
		out.Count, out.Sum = h.GetSampleCount(), h.GetSampleSum()
		for _, b := range h.GetBucket() {
			out.Buckets = append(out.Buckets, stats.Bucket{UpTo: b.GetUpperBound(), Count: b.GetCumulativeCount()})
		}
	}
	return out
}
