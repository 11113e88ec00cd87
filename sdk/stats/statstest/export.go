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
		f.export(all(n)...)
	}
	f.shows(all(19)...)
	f.export(all(20)...)
	f.shows(all(20)...)
}

func checkGaps(f *fixture) {
	for _, seq := range []uint64{1, 2, 7, 8, 1000, 1 << 40, math.MaxUint64} {
		f.seq = seq - 1
		f.export(counted(float64(seq)))
		f.shows(counted(float64(seq)))
	}
}

func checkEpoch(f *fixture) {
	f.seq = 500
	f.export(all(1000)...)
	f.shows(all(1000)...)
	for n := range uint64(3) {
		f.epoch, f.seq = stats.NewEpoch(), 0
		f.export(all(n)...)
		f.shows(all(n)...)
		f.export(all(n + 10)...)
		f.shows(all(n + 10)...)
	}
}

func checkNumbers(f *fixture) {
	f.export(odd()...)
	f.shows(odd()...)
}

// checkFewer leaves out metrics and points, as an exporter that is configured to
// tell less would see it after a restart of the relay.
func checkFewer(f *fixture) {
	f.export(append(all(5), odd()...)...)
	f.shows(append(all(5), odd()...)...)
	f.epoch, f.seq = stats.NewEpoch(), 0
	less := all(1)[:1]
	less[0].Points = less[0].Points[:1]
	f.export(less...)
	f.shows(less...)
}

func checkNoMetrics(f *fixture) {
	f.export()
	f.shows()
	f.export(counted(1))
	f.epoch, f.seq = stats.NewEpoch(), 0
	f.export()
	f.shows()
}

func checkLargest(f *fixture) {
	metrics := largest()
	f.export(metrics...)
	f.shows(metrics...)
	f.export(counted(1))
	f.shows(counted(1))
}

func checkFlush(f *fixture) {
	for n := range 5 {
		f.export(counted(float64(n)))
		f.shows(counted(float64(n)))
		f.flush()
		f.shows(counted(float64(n)))
	}
}

func checkFlushNothing(f *fixture) {
	f.flush()
	f.flush()
	f.export(counted(1))
	f.shows(counted(1))
}

func checkBelongsToCaller(f *fixture) {
	f.mustRead()
	s := f.next(all(7)...)
	before := s.Clone()
	if err := f.exporter.Export(f.Context(), s); err != nil {
		f.Fatalf("export: %v", err)
	}
	if !slices.EqualFunc(s.Metrics, before.Metrics, same) {
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
	f.shows(before.Metrics...)
}
