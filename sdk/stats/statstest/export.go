package statstest

import (
	"math"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

var exportChecks = []check{
	{"Sequence", "Export takes over a snapshot in place of the one before", checkSequence},
	{"Gaps", "gaps are snapshots that were dropped because the exporter was slow", checkGaps},
	{"Epoch", "when the server starts anew it counts from zero, and says so by another epoch", checkEpoch},
	{"Numbers", "Counter, Gauge, Histogram; Labels; Buckets", checkNumbers},
	{"Fewer", "a snapshot holds all that was counted since counting began", checkFewer},
	{"NoMetrics", "a snapshot holds all that was counted, which may be nothing", checkNoMetrics},
	{"Largest", "Bounds on a snapshot", checkLargest},
	{"Flush", "ForceFlush returns when every snapshot whose Export has returned without an error is where it is to be read, or one that came after it is", checkFlush},
	{"FlushNothing", "ForceFlush: without any snapshot there is nothing to do, and no error", checkFlushNothing},
	{"BelongsToCaller", "the snapshot and all it points to belong to the caller and are not to be kept or changed after the call", checkBelongsToCaller},
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

// checkFewer leaves out metrics and points, as an exporter that is configured to
// tell less would see it after a restart of the relay.
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
