package keyindex

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// randomKeys returns n keys with random ids in so many hours.
func randomKeys(n, hours int) []storage.Key {
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]storage.Key, n)
	for i := range keys {
		keys[i].Born = 400_000 + storage.Hour(i*hours/n)
		for j := 0; j < 32; j += 8 {
			binary.LittleEndian.PutUint64(keys[i].ID[j:], rng.Uint64())
		}
	}
	return keys
}

// fillOrdered fills an index with ascending keys as from a store.
func fillOrdered(keys []storage.Key) *Index {
	x := new(Index)
	for page := range slices.Chunk(keys, storage.MaxKeys) {
		x.Replace(storage.Range{Lo: page[0], Hi: page[len(page)-1].Next()}, page)
	}
	return x
}

// spreads are how a million keys may be spread over hours: a year, and a flood.
var spreads = []struct {
	name  string
	hours int
}{{"year", 8760}, {"hour", 1}}

const million = 1_000_000

// BenchmarkFill puts a million keys into an index, in order as from a store, and one by
// one as they are posted.
func BenchmarkFill(b *testing.B) {
	for _, s := range spreads {
		keys := randomKeys(million, s.hours)
		ordered := slices.SortedFunc(slices.Values(keys), storage.Key.Compare)
		for name, fill := range map[string]func() *Index{
			"ordered": func() *Index { return fillOrdered(ordered) },
			"posted": func() *Index {
				x := new(Index)
				for i := range keys {
					x.Insert(keys[i])
				}
				return x
			},
		} {
			b.Run(s.name+"/"+name, func(b *testing.B) {
				var before, after runtime.MemStats
				for b.Loop() {
					runtime.GC()
					runtime.ReadMemStats(&before)
					x := fill()
					runtime.GC()
					runtime.ReadMemStats(&after)
					runtime.KeepAlive(x)
				}
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/million, "B/key")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million, "ns/key")
			})
		}
	}
}

// BenchmarkQuery asks an index of a million keys, and of four.
func BenchmarkQuery(b *testing.B) {
	for _, n := range []int{million, 4 * million} {
		for _, s := range spreads {
			keys := randomKeys(n, s.hours)
			x := new(Index)
			for i := range keys {
				x.Insert(keys[i]) // blocks that are not full are slower
			}
			slices.SortFunc(keys, storage.Key.Compare)
			rng := rand.New(rand.NewPCG(3, 4))
			draw := func(length int) storage.Range {
				lo := rng.IntN(n - length)
				return storage.Range{Lo: keys[lo], Hi: keys[lo+length]}
			}
			name := fmt.Sprintf("%dM/%s/", n/million, s.name)
			for _, length := range []int{30, 16384, n / 3} {
				b.Run(name+fmt.Sprintf("sum of %d", length), func(b *testing.B) {
					for b.Loop() {
						x.Sum(draw(length))
					}
				})
			}
			for _, parts := range []int{16, peersync.MaxParts} {
				b.Run(name+fmt.Sprintf("split into %d", parts), func(b *testing.B) {
					for b.Loop() {
						x.Split(storage.Range{}, parts)
					}
				})
			}
			b.Run(name+"keys", func(b *testing.B) {
				for b.Loop() {
					x.Keys(draw(storage.MaxKeys), storage.MaxKeys)
				}
			})
			b.Run(name+"insert", func(b *testing.B) {
				k := keys[n-1]
				for b.Loop() {
					binary.BigEndian.PutUint64(k.ID[:], rng.Uint64())
					x.Insert(k)
				}
			})
		}
	}
}
