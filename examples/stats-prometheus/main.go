// Command stats-prometheus is a stats plugin that serves the numbers of a server to
// Prometheus, and to everything else that reads its text format or OpenMetrics. Each
// server has its own process and address. The label "server" tells them apart.
package main

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

func main() { plugin.Serve(prometheusPlugin) }

// prometheusPlugin describes the plugin: its name, its options and its constructor.
var prometheusPlugin = plugin.Plugin{
	Name:    "prometheus",
	Version: "1.0.0",
	Doc:     "Shows the numbers of a server to Prometheus, at /metrics.",
	Schema: plugin.Schema{Attributes: []plugin.Attribute{
		{Name: "listen", Type: plugin.String, Required: true, Listener: true, Doc: "Where Prometheus fetches the numbers, such as \"127.0.0.1:9464\". Each server needs a port of its own."},
	}},
	Validate: func(cfg plugin.Config) error {
		_, err := configuredAddress(cfg)
		return err
	},
	Stats: openExporter,
}

// configuredAddress returns the address in the configuration. It refuses an empty
// one, which the schema allows as "no listener".
func configuredAddress(cfg plugin.Config) (string, error) {
	var c struct {
		Listen string `cty:"listen"`
	}
	if err := cfg.Decode(&c); err != nil {
		return "", err
	}
	if c.Listen == "" {
		return "", plugin.Invalid("Without an address nobody can fetch the numbers", `Write one, such as "127.0.0.1:9464".`, "listen")
	}
	return c.Listen, nil
}

// Limits for clients: any program of the machine can connect.
const (
	maxScrapes   = 4
	scrapeTime   = 10 * time.Second
	maxHeader    = 8 << 10
	keepIdleTime = 2 * time.Minute // Prometheus returns within a minute
)

func openExporter(_ context.Context, cfg plugin.Config) (stats.Exporter, error) {
	if _, err := configuredAddress(cfg); err != nil {
		return nil, err
	}
	listener, err := cfg.Listener("listen")
	if err != nil {
		return nil, err
	}
	e := &exporter{listener: listener}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(e)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	}))
	e.server = &http.Server{
		Handler: mux, MaxHeaderBytes: maxHeader,
		ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime, IdleTimeout: keepIdleTime,
	}
	go func() {
		if err := e.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("the numbers are not shown any more", "error", err)
		}
	}()
	return e, nil
}

// exporter serves the last snapshot until the next one comes.
type exporter struct {
	listener net.Listener
	server   *http.Server
	last     atomic.Pointer[stats.Snapshot] // nil before the first
}

// Export keeps a copy: the snapshot belongs to the caller.
func (e *exporter) Export(ctx context.Context, s stats.Snapshot) error {
	if err := errors.Join(ctx.Err(), s.Validate()); err != nil {
		return err
	}
	e.last.Store(new(s.Clone()))
	return nil
}

// ForceFlush does nothing: every fetch from now on gets the last snapshot.
func (e *exporter) ForceFlush(ctx context.Context) error { return ctx.Err() }

// Close also closes the listener: the server may not know it yet.
func (e *exporter) Close() error {
	err := e.server.Close()
	e.listener.Close()
	return err
}

// Describe sends nothing: the metrics are unknown before the first snapshot.
func (e *exporter) Describe(chan<- *prometheus.Desc) {}

// Collect is called for every scrape.
func (e *exporter) Collect(out chan<- prometheus.Metric) {
	s := e.last.Load()
	if s == nil {
		return
	}
	for _, m := range s.Metrics {
		sendMetric(out, s.Server, m)
	}
}

// prefix begins every name, so that names of other programs do not collide.
const prefix = "cwtch_"

func sendMetric(out chan<- prometheus.Metric, server string, m stats.Metric) {
	name, kind := prefix+m.Name, prometheus.GaugeValue // the name has its unit at the end
	if m.Kind == stats.Counter {
		name, kind = name+"_total", prometheus.CounterValue
	}
	for _, p := range m.Points {
		labels := []string{"server"}
		values := []string{server}
		for _, l := range p.Labels {
			labels, values = append(labels, l.Name), append(values, l.Value)
		}
		desc := prometheus.NewDesc(name, m.Doc, labels, nil)
		if m.Kind == stats.Histogram {
			out <- prometheus.MustNewConstHistogram(desc, p.Count, p.Sum, finiteBuckets(p), values...)
		} else {
			out <- prometheus.MustNewConstMetric(desc, kind, p.Value, values...)
		}
	}
}

// finiteBuckets returns all buckets but the last one, which the library adds.
func finiteBuckets(p stats.Point) map[float64]uint64 {
	out := make(map[float64]uint64)
	for _, b := range p.Buckets {
		if !math.IsInf(b.UpTo, 1) {
			out[b.UpTo] = b.Count
		}
	}
	return out
}
