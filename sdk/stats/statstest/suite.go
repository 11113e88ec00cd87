package statstest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// Opener says how to reach the exporter under test.
type Opener struct {
	// Open opens the exporter in dir. Checks call it again for the same directory after they
	// have closed or killed what it returned.
	Open func(tb testing.TB, dir string) (*plugintest.Opened, error)
	// Read, if set, returns the metrics that the exporter shows now, with name, kind and
	// points, in any order. Metrics without points may be missing. The names are those of the
	// snapshot, without prefixes and suffixes of the exporter. Before the first snapshot, and
	// after one without metrics, it returns none.
	Read func(tb testing.TB, dir string, o *plugintest.Opened) []stats.Metric
}

// check checks one sentence of the contract.
type check struct {
	name     string
	sentence string // as in the comments of package stats
	run      func(*fixture)
}

// Checks returns a check for each sentence of the contract that can be checked from outside.
// Checks that need a process to kill, or a Read, are skipped without one.
func Checks(o Opener) (checks []plugintest.Check) {
	for _, list := range [][]check{exportChecks, refusalChecks, lifecycleChecks} {
		for _, c := range list {
			checks = append(checks, plugintest.Check{Name: c.name, Contract: c.sentence, Run: func(tb testing.TB) {
				c.run(newFixture(tb, o))
			}})
		}
	}
	return checks
}

// Run runs the [Checks], each in a subtest that quotes its sentence if it fails.
func Run(t *testing.T, o Opener) { plugintest.RunTests(t, Checks(o)) }

// fixture is an open exporter, with the epoch and the number of the last snapshot.
type fixture struct {
	testing.TB
	opener   Opener
	dir      string
	opened   *plugintest.Opened
	exporter stats.Exporter
	epoch    stats.Epoch
	seq      uint64
}

func newFixture(tb testing.TB, o Opener) *fixture {
	f := &fixture{TB: tb, opener: o, dir: tb.TempDir(), epoch: stats.NewEpoch()}
	f.openExporter()
	return f
}

func (f *fixture) openExporter() {
	f.Helper()
	opened, err := f.opener.Open(f.TB, f.dir)
	if err != nil {
		f.Fatalf("open: %v", err)
	}
	if opened.Exporter == nil {
		f.Fatal("open: the plugin is not an exporter")
	}
	f.opened, f.exporter = opened, opened.Exporter
}

func (f *fixture) reopenExporter() {
	f.Helper()
	if err := f.opened.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	f.openExporter()
}

// nextSnapshot makes the next snapshot of this epoch.
func (f *fixture) nextSnapshot(metrics ...stats.Metric) stats.Snapshot {
	f.seq++
	return stats.Snapshot{Server: "club-1", Epoch: f.epoch, Seq: f.seq, Metrics: metrics}
}

// mustExport exports metrics, and ends the check if that fails.
func (f *fixture) mustExport(metrics ...stats.Metric) {
	f.Helper()
	if err := f.exporter.Export(f.Context(), f.nextSnapshot(metrics...)); err != nil {
		f.Fatalf("export of snapshot %d: %v", f.seq, err)
	}
}

func (f *fixture) mustFlush() {
	f.Helper()
	if err := f.exporter.ForceFlush(f.Context()); err != nil {
		f.Fatalf("force flush: %v", err)
	}
}

// expectShown flushes, and checks that the exporter shows metrics if there is a Read.
func (f *fixture) expectShown(metrics ...stats.Metric) {
	f.Helper()
	f.mustFlush()
	if f.opener.Read == nil {
		return
	}
	got, want := normalize(f.opener.Read(f.TB, f.dir, f.opened)), normalize(metrics)
	if len(got) != len(want) {
		f.Fatalf("after snapshot %d the exporter shows %d metrics, want %d", f.seq, len(got), len(want))
	}
	for i := range want {
		if !sameMetric(got[i], want[i]) {
			f.Fatalf("after snapshot %d the exporter shows\n%+v, want\n%+v", f.seq, got[i], want[i])
		}
	}
}

// mustRead skips a check that needs a Read.
func (f *fixture) mustRead() {
	if f.opener.Read == nil {
		f.Skip("there is no Read to see what the exporter shows")
	}
}

// normalize sorts metrics, their points and their labels, and leaves out metrics without points.
func normalize(metrics []stats.Metric) []stats.Metric {
	metrics = stats.Snapshot{Metrics: metrics}.Clone().Metrics
	metrics = slices.DeleteFunc(metrics, func(m stats.Metric) bool { return len(m.Points) == 0 })
	for _, m := range metrics {
		for _, p := range m.Points {
			slices.SortFunc(p.Labels, func(a, b stats.Label) int { return strings.Compare(a.Name, b.Name) })
		}
		slices.SortFunc(m.Points, func(a, b stats.Point) int {
			return slices.CompareFunc(a.Labels, b.Labels, func(a, b stats.Label) int { return strings.Compare(a.Value, b.Value) })
		})
	}
	slices.SortFunc(metrics, func(a, b stats.Metric) int { return strings.Compare(a.Name, b.Name) })
	return metrics
}

func sameMetric(a, b stats.Metric) bool {
	return a.Name == b.Name && a.Kind == b.Kind && slices.EqualFunc(a.Points, b.Points, func(a, b stats.Point) bool {
		return a.Value == b.Value && a.Count == b.Count && a.Sum == b.Sum &&
			slices.Equal(a.Labels, b.Labels) && slices.Equal(a.Buckets, b.Buckets)
	})
}

var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
