package negentropy_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const hoursOfMonth = 30 * 24

// drawEnds returns two sets of n keys of a month. d keys are in one of them only: they
// are anywhere, or within the newest 2d places.
func drawEnds(n, d int, newest bool) (a, b *keySet) {
	r := newRand(uint64(n + d))
	keys := drawKeys(r, n+d/2, 480_000, hoursOfMonth)
	slices.SortFunc(keys, storage.Key.Compare)
	places := r.Perm(n + d/2)[:d]
	if newest {
		places = r.Perm(2 * d)[:d]
		for i := range places {
			places[i] += n + d/2 - 2*d
		}
	}
	slices.Sort(places)
	var onlyA, onlyB, both []storage.Key
	next := 0
	for i, place := range places {
		both = append(both, keys[next:place]...)
		if next = place + 1; i%2 == 0 {
			onlyA = append(onlyA, keys[place])
		} else {
			onlyB = append(onlyB, keys[place])
		}
	}
	both = append(both, keys[next:]...)
	return newKeySet(slices.Concat(both, onlyA), nil), newKeySet(slices.Concat(both, onlyB), nil)
}

// figure is what finding d differences between sets of n keys may cost.
type figure struct {
	n, d                   int
	newest                 bool
	window                 int // keys in a window; 0: one session over everything
	rounds, bytes, largest int
}

// figures are those that the tests check. The largest message in windows depends on how many of
// the differences fall into one.
var figures = []figure{
	{100_000, 0, false, 0, 1, 350, 350},
	{100_000, 100, false, 0, 2, 115_000, 80_000},
	{100_000, 100, true, 0, 2, 10_000, 9_000},
	{100_000, 10_000, true, 0, 3, 860_000, 800_000},
	{100_000, 0, false, 6250, 1, 22*16 + 20, 22*16 + 20},
	{100_000, 100, false, 6250, 2, 115_000, 12_000},
	{100_000, 100, true, 6250, 2, 10_000, 9_000},
	{100_000, 10_000, false, 6250, 3, 3_250_000, 210_000},
	{100_000, 10_000, true, 6250, 3, 860_000, 215_000},
}

// figuresMillion are those of 10^6 keys; the benchmark runs them.
var figuresMillion = []figure{
	{1_000_000, 0, false, 0, 1, 350, 350},
	{1_000_000, 0, false, 12_500, 1, 22*80 + 20, 22*80 + 20},
	{1_000_000, 100, false, 12_500, 3, 115_000, 3_000},
	{1_000_000, 100, true, 12_500, 3, 17_000, 7_000},
	{1_000_000, 10_000, false, 12_500, 3, 5_500_000, 45_000},
	{1_000_000, 10_000, true, 12_500, 3, 1_550_000, 430_000},
	{1_000_000, 10_000, false, 16_384, 3, 5_600_000, 50_000},
}

func (f figure) String() string {
	where := "scattered"
	if f.newest {
		where = "newest"
	}
	return fmt.Sprintf("%d/%d-%s/window-%d", f.n, f.d, where, f.window)
}

// run finds the differences, and fails if there are others or they cost more.
func (f figure) run(t testing.TB, a, b *keySet) result {
	r, windows := result{}, 0
	if f.window == 0 {
		r = mustReconcile(t, a, b)
	} else {
		var err error
		if r, windows, _, err = reconcileWindows(a, b, storage.Range{}, (f.n+f.window-1)/f.window); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.have)+len(r.need) != f.d || r.rounds > f.rounds || r.bytes > f.bytes || r.largest > f.largest {
		t.Errorf("%d windows, %d differences, %d rounds, %d bytes, largest message %d", windows, len(r.have)+len(r.need), r.rounds, r.bytes, r.largest)
	}
	return r
}

// TestFigures bounds rounds and bytes between sets of 10^5 keys.
func TestFigures(t *testing.T) {
	for _, f := range figures {
		t.Run(f.String(), func(t *testing.T) {
			a, b := drawEnds(f.n, f.d, f.newest)
			r := f.run(t, a, b)
			t.Logf("%d rounds, %d bytes, largest message %d", r.rounds, r.bytes, r.largest)
		})
	}
}

// BenchmarkReconcile measures the CPU time of both ends, over sets that have prefix sums.
func BenchmarkReconcile(b *testing.B) {
	for _, f := range slices.Concat(figures, figuresMillion) {
		ends := sync.OnceValues(func() (*keySet, *keySet) { return drawEnds(f.n, f.d, f.newest) })
		b.Run(f.String(), func(b *testing.B) {
			initiator, responder := ends()
			var r result
			b.ReportAllocs()
			for b.Loop() {
				r = f.run(b, initiator, responder)
			}
			b.ReportMetric(float64(r.rounds), "rounds")
			b.ReportMetric(float64(r.bytes), "wire-bytes")
			b.ReportMetric(float64(r.largest), "largest-bytes")
		})
	}
}
