package replica

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// randomKeys returns n ascending keys in the hours of a year.
func randomKeys(n int) []peersync.Key {
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]peersync.Key, n)
	for i := range keys {
		keys[i].Born = 400_000 + storage.Hour(i*8760/n)
		for j := 0; j < 32; j += 8 {
			binary.LittleEndian.PutUint64(keys[i].ID[j:], rng.Uint64())
		}
	}
	slices.SortFunc(keys, peersync.Key.Compare)
	return keys
}

// newReplicaWith returns a replica that has read the given keys.
func newReplicaWith(b *testing.B, keys []peersync.Key) *Replica {
	store := storagetest.NewMemory()
	published := Board(&testBoard{store: store})
	r := &Replica{store: store, board: func() (Board, error) { return published, nil }}
	f := &follower{board: published, recent: new(recent)}
	for page := range slices.Chunk(keys, storage.MaxKeys) {
		f.index.Replace(peersync.Range{Lo: page[0], Hi: page[len(page)-1].Next()}, page)
	}
	r.followed.Store(f)
	return r
}

// reconciliation compares two replicas by range sums, sixteen parts at a time.
type reconciliation struct {
	b     *testing.B
	ours  *Replica
	other *Replica
	lacks map[storage.ID]bool // ids that one side has and the other lacks
}

func (c *reconciliation) compare(in peersync.Range) {
	parts, err := splitRange(c.b.Context(), c.ours, in, 16)
	if err != nil {
		c.b.Fatal(err)
	}
	ranges := make([]peersync.Range, max(1, len(parts)))
	for i := range ranges { // without gaps, so that they have what only the other side has
		ranges[i] = in
		if i > 0 {
			ranges[i].Lo = parts[i].First
			ranges[i-1].Hi = parts[i].First
		}
	}
	sums, err := c.other.RangeSum(c.b.Context(), 0, ranges)
	if err != nil {
		c.b.Fatal(err)
	}
	for i, there := range sums {
		var here peersync.Sum
		if len(parts) > 0 {
			here = parts[i].Sum
		}
		switch {
		case here == there:
		case here.Count > 32 && there.Count > 32:
			c.compare(ranges[i])
		default:
			c.listKeys(ranges[i])
		}
	}
}

func (c *reconciliation) listKeys(in peersync.Range) {
	for _, side := range []*Replica{c.ours, c.other} {
		keys, err := listKeys(c.b.Context(), side, in, peersync.MaxKeys)
		if err != nil {
			c.b.Fatal(err)
		}
		for _, k := range keys {
			if c.lacks[k.ID] {
				delete(c.lacks, k.ID)
			} else {
				c.lacks[k.ID] = true
			}
		}
	}
}

// BenchmarkReconcile finds the differences of two boards of n keys, scattered over all
// hours: a thousandth of the keys, and, as after a long time apart, two thirds of them.
func BenchmarkReconcile(b *testing.B) {
	for _, n := range []int{30_000, 1_000_000} {
		for _, d := range []int{0, n / 1000, 2 * n / 3} {
			b.Run(fmt.Sprintf("n=%d/d=%d", n, d), func(b *testing.B) {
				keys := randomKeys(n)
				rng := rand.New(rand.NewPCG(3, 4))
				var ours, other []peersync.Key
				for _, i := range rng.Perm(n) {
					switch {
					case len(ours) < d/2:
						ours = append(ours, keys[i])
					case len(other) < d-d/2:
						other = append(other, keys[i])
					}
					if len(ours)+len(other) == d {
						break
					}
				}
				for _, side := range []*[]peersync.Key{&ours, &other} {
					own := make(map[storage.ID]bool)
					for _, k := range *side {
						own[k.ID] = true
					}
					// The other side lacks these.
					*side = slices.DeleteFunc(slices.Clone(keys), func(k peersync.Key) bool { return own[k.ID] })
				}
				c := &reconciliation{b: b, ours: newReplicaWith(b, ours), other: newReplicaWith(b, other)}
				for b.Loop() {
					c.lacks = make(map[storage.ID]bool)
					c.compare(peersync.Range{})
					if len(c.lacks) != d {
						b.Fatalf("%d differences, want %d", len(c.lacks), d)
					}
				}
			})
		}
	}
}
