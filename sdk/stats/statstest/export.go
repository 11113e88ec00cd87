package statstest

import (
	"math"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

var exportChecks = []check{
	{"Sequence", "Export replaces the previous snapshot", checkSequence},
	{"Gaps", "a gap means that snapshots were dropped because the exporter was slow", checkGaps},
	{"Epoch", "When the server starts again it counts from zero in another epoch", checkEpoch},
	{"Numbers", "Counter, Gauge, Histogram; Labels; Buckets", checkNumbers},
	{"Fewer", "A snapshot holds everything that was counted since counting began", checkFewer},
	{"NoMetrics", "A snapshot holds everything that was counted, which may be nothing", checkNoMetrics},
	{"Largest", "Bounds on a snapshot", checkLargest},
	{"Flush", "ForceFlush returns when every successfully exported snapshot, or a later one, can be read", checkFlush},
	{"FlushNothing", "Without any snapshot ForceFlush does nothing and returns no error", checkFlushNothing},
	{"BelongsToCaller", "the snapshot and everything it points to belong to the caller and must not be kept or changed after the call", checkBelongsToCaller},
}

func checkSequence(f *fixture) {
	for n := range uint64(20) {
		f.mustExport(allMetrics(n)...)
	}
	f.expectShown(allMetrics(19)...)
	f.mustExport(allMetrics(20)...)
	f.expectShown(allMetrics(20)...)
}

func checkGaps(f *fixture) {
	for _, seq := range []uint64{1, 2, 7, 8, 1000, 1 << 40, math.MaxUint64} {
		f.seq = seq - 1
		f.mustExport(counterOf(float64(seq)))
		f.expectShown(counterOf(float64(seq)))
	}
}

func checkEpoch(f *fixture) {
	f.seq = 500
	f.mustExport(allMetrics(1000)...)
	f.expectShown(allMetrics(1000)...)
	for n := range uint64(3) {
		f.epoch, f.seq = stats.NewEpoch(), 0
		f.mustExport(allMetrics(n)...)
		f.expectShown(allMetrics(n)...)
		f.mustExport(allMetrics(n + 10)...)
		f.expectShown(allMetrics(n + 10)...)
	}
}

func checkNumbers(f *fixture) {
	f.mustExport(oddMetrics()...)
	f.expectShown(oddMetrics()...)
}

// checkFewer leaves out metrics and points, as another version of the relay may after a restart.
func checkFewer(f *fixture) {
	f.mustExport(append(allMetrics(5), oddMetrics()...)...)
	f.expectShown(append(allMetrics(5), oddMetrics()...)...)
	f.epoch, f.seq = stats.NewEpoch(), 0
	less := allMetrics(1)[:1]
	less[0].Points = less[0].Points[:1]
	f.mustExport(less...)
	f.expectShown(less...)
}

func checkNoMetrics(f *fixture) {
	f.mustExport()
	f.expectShown()
	f.mustExport(counterOf(1))
	f.epoch, f.seq = stats.NewEpoch(), 0
	f.mustExport()
	f.expectShown()
}

func checkLargest(f *fixture) {
	metrics := largestMetrics()
	f.mustExport(metrics...)
	f.expectShown(metrics...)
	f.mustExport(counterOf(1))
	f.expectShown(counterOf(1))
}

func checkFlush(f *fixture) {
	for n := range 5 {
		f.mustExport(counterOf(float64(n)))
		f.expectShown(counterOf(float64(n)))
		f.mustFlush()
		f.expectShown(counterOf(float64(n)))
	}
}

func checkFlushNothing(f *fixture) {
	f.mustFlush()
	f.mustFlush()
	f.mustExport(counterOf(1))
	f.expectShown(counterOf(1))
}

func checkBelongsToCaller(f *fixture) {
	f.mustRead()
	s := f.nextSnapshot(allMetrics(7)...)
	before := s.Clone()
	if err := f.exporter.Export(f.Context(), s); err != nil {
		f.Fatalf("export: %v", err)
	}
	if !slices.EqualFunc(s.Metrics, before.Metrics, sameMetric) {
		f.Error("the exporter changed the snapshot")
	}
	for _, m := range s.Metrics {
		for i := range m.Points {
			p := &m.Points[i]
			p.Value++
			for j := range p.Labels {
				p.Labels[j].Value = "stolen"
			}
			for j := range p.Buckets {
				p.Buckets[j].Count += 100
			}
		}
		m.Points[0].Sum = 4
	}
	f.expectShown(before.Metrics...)
}
