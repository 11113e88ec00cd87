package statstest

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

var refusalChecks = []check{
	{"Invalid", "A snapshot that Validate rejects is refused with ErrInvalid and changes nothing", checkInvalid},
	{"EndedContext", "A method whose context has ended before the call returns the context's error and does nothing", checkEndedContext},
	{"GivenUp", "The methods are called one at a time, even if the relay has given up a call", checkGivenUp},
}

// invalidSnapshots returns changes of a valid snapshot that break one rule each.
func invalidSnapshots() map[string]func(*stats.Snapshot) {
	point := func(kind stats.Kind, p stats.Point) func(*stats.Snapshot) {
		return func(s *stats.Snapshot) {
			s.Metrics = append(s.Metrics, stats.Metric{Name: "x", Kind: kind, Points: []stats.Point{p}})
		}
	}
	metric := func(m stats.Metric) func(*stats.Snapshot) {
		return func(s *stats.Snapshot) { s.Metrics = append(s.Metrics, m) }
	}
	labelled := func(labels ...stats.Label) func(*stats.Snapshot) {
		return point(stats.Gauge, stats.Point{Labels: labels})
	}
	inf := math.Inf(1)
	return map[string]func(*stats.Snapshot){
		"no epoch":          func(s *stats.Snapshot) { s.Epoch = stats.Epoch{} },
		"long server":       func(s *stats.Snapshot) { s.Server = strings.Repeat("s", stats.MaxValue+1) },
		"line in server":    func(s *stats.Snapshot) { s.Server = "a\nb" },
		"no sequence":       func(s *stats.Snapshot) { s.Seq = 0 },
		"metric twice":      func(s *stats.Snapshot) { s.Metrics = append(s.Metrics, s.Metrics[0]) },
		"many metrics":      func(s *stats.Snapshot) { s.Metrics = make([]stats.Metric, stats.MaxMetrics+1) },
		"too large":         tooLarge,
		"no name":           metric(stats.Metric{Kind: stats.Gauge}),
		"bad name":          metric(stats.Metric{Name: "a-b", Kind: stats.Gauge}),
		"upper case":        metric(stats.Metric{Name: "aB", Kind: stats.Gauge}),
		"digit first":       metric(stats.Metric{Name: "1a", Kind: stats.Gauge}),
		"long name":         metric(stats.Metric{Name: strings.Repeat("a", stats.MaxName+1), Kind: stats.Gauge}),
		"long doc":          metric(stats.Metric{Name: "a", Kind: stats.Gauge, Doc: strings.Repeat("a", stats.MaxText+1)}),
		"line in doc":       metric(stats.Metric{Name: "a", Kind: stats.Gauge, Doc: "a\nb"}),
		"unit not in name":  metric(stats.Metric{Name: "a", Kind: stats.Gauge, Unit: "bytes"}),
		"unit is the name":  metric(stats.Metric{Name: "bytes", Kind: stats.Gauge, Unit: "bytes"}),
		"line in unit":      metric(stats.Metric{Name: "a_b", Kind: stats.Gauge, Unit: "b\n"}),
		"name of a total":   metric(stats.Metric{Name: "a_total", Kind: stats.Counter}),
		"name of a bucket":  metric(stats.Metric{Name: "a_bucket", Kind: stats.Gauge}),
		"no kind":           metric(stats.Metric{Name: "a"}),
		"unknown kind":      metric(stats.Metric{Name: "a", Kind: stats.Histogram + 1}),
		"many points":       metric(stats.Metric{Name: "a", Kind: stats.Gauge, Points: make([]stats.Point, stats.MaxPoints+1)}),
		"same labels":       metric(stats.Metric{Name: "a", Kind: stats.Gauge, Points: make([]stats.Point, 2)}),
		"other labels":      metric(stats.Metric{Name: "a", Kind: stats.Gauge, Points: []stats.Point{{}, {Labels: makeLabels("l", "v")}}}),
		"many labels":       labelled(make([]stats.Label, stats.MaxLabels+1)...),
		"label without":     labelled(stats.Label{Value: "v"}),
		"label server":      labelled(stats.Label{Name: "server", Value: "v"}),
		"label twice":       labelled(stats.Label{Name: "l", Value: "1"}, stats.Label{Name: "l", Value: "2"}),
		"label order":       labelled(stats.Label{Name: "l"}, stats.Label{Name: "k"}),
		"long value":        labelled(stats.Label{Name: "l", Value: strings.Repeat("v", stats.MaxValue+1)}),
		"line in value":     labelled(stats.Label{Name: "l", Value: "a\nb"}),
		"falling":           point(stats.Counter, stats.Point{Value: -1}),
		"not a number":      point(stats.Gauge, stats.Point{Value: math.NaN()}),
		"infinite":          point(stats.Counter, stats.Point{Value: inf}),
		"gauge of many":     point(stats.Gauge, stats.Point{Count: 1}),
		"no buckets":        point(stats.Histogram, stats.Point{}),
		"many buckets":      point(stats.Histogram, stats.Point{Buckets: make([]stats.Bucket, stats.MaxBuckets+1)}),
		"last bucket":       point(stats.Histogram, stats.Point{Buckets: makeBuckets(1, 0)}),
		"count":             point(stats.Histogram, stats.Point{Count: 2, Buckets: makeBuckets(inf, 1)}),
		"falling buckets":   point(stats.Histogram, stats.Point{Count: 1, Buckets: makeBuckets(1, 2, inf, 1)}),
		"order of buckets":  point(stats.Histogram, stats.Point{Buckets: makeBuckets(2, 0, 1, 0, inf, 0)}),
		"bucket of nothing": point(stats.Histogram, stats.Point{Buckets: makeBuckets(math.NaN(), 0, inf, 0)}),
		"histogram value":   point(stats.Histogram, stats.Point{Value: 1, Buckets: makeBuckets(inf, 0)}),
		"histogram sum":     point(stats.Histogram, stats.Point{Sum: inf, Buckets: makeBuckets(inf, 0)}),
	}
}

// tooLarge makes a snapshot that exceeds MaxBytes and no other bound.
func tooLarge(s *stats.Snapshot) {
	s.Metrics = largestMetrics()
	for i := range s.Metrics {
		s.Metrics[i].Doc = strings.Repeat("d", stats.MaxText)
	}
	for s.Size() <= stats.MaxBytes {
		for i := range s.Metrics[1:] {
			for j := range s.Metrics[i+1].Points {
				p := &s.Metrics[i+1].Points[j]
				p.Labels = append(p.Labels, stats.Label{Name: "q", Value: strings.Repeat("v", stats.MaxValue)})
			}
		}
	}
}

func checkInvalid(f *fixture) {
	f.mustExport(allMetrics(3)...)
	for name, spoil := range invalidSnapshots() {
		s := stats.Snapshot{Epoch: f.epoch, Seq: f.seq + 1, Metrics: allMetrics(4)}
		spoil(&s)
		if err := f.exporter.Export(f.Context(), s); !errors.Is(err, stats.ErrInvalid) {
			f.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	f.expectShown(allMetrics(3)...)
	f.mustExport(allMetrics(4)...)
	f.expectShown(allMetrics(4)...)
}

func checkEndedContext(f *fixture) {
	f.mustExport(allMetrics(3)...)
	f.expectShown(allMetrics(3)...)
	if err := f.exporter.Export(canceled, f.nextSnapshot(allMetrics(4)...)); !errors.Is(err, context.Canceled) {
		f.Errorf("export: %v, want context.Canceled", err)
	}
	if err := f.exporter.ForceFlush(canceled); !errors.Is(err, context.Canceled) {
		f.Errorf("force flush: %v, want context.Canceled", err)
	}
	f.expectShown(allMetrics(3)...)
	f.mustExport(allMetrics(5)...)
	f.expectShown(allMetrics(5)...)
}

// checkGivenUp gives up calls, whether they have ended or not, and goes on at once.
func checkGivenUp(f *fixture) {
	metrics := largestMetrics()
	for n := range uint64(5) {
		ctx, cancel := context.WithCancel(f.Context())
		done := make(chan error, 1)
		go func(s stats.Snapshot) { done <- f.exporter.Export(ctx, s) }(f.nextSnapshot(metrics...))
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			f.Fatalf("export that was given up: %v", err)
		}
		f.mustExport(allMetrics(n)...)
		f.expectShown(allMetrics(n)...)
	}
}
