package keyindex

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// hashKeys puts the keyed hash of each id in its place.
func hashKeys(secret [32]byte, keys []storage.Key) []storage.Key {
	out := slices.Clone(keys)
	for i, k := range keys {
		out[i].ID = sha256.Sum256(append(secret[:], k.ID[:]...))
	}
	return out
}

// TestKeyedSumsAreOfHashes compares the sums of two links with those of a sorted list, through
// many random steps: what is remembered of blocks never outlives them.
func TestKeyedSumsAreOfHashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		var m model
		links := []*Keyed{x.Keyed([32]byte{1}), x.Keyed([32]byte{31: 2})}
		number := rapid.Uint16()
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			applyStep(&x, &m, rapid.Byte().Draw(t, "what"), number.Draw(t, "a"), number.Draw(t, "b"), number.Draw(t, "n"))
			in := madeRange(number.Draw(t, "lo"), number.Draw(t, "hi"))
			parts := rapid.IntRange(1, 40).Draw(t, "parts")
			for _, k := range links {
				want := m.within(in)
				if got := k.Sum(in); got != plainSum(hashKeys(k.secret, want)) {
					t.Fatalf("sum of %v: %v", in, got)
				}
				split := plainSplit(want, parts)
				for i, part := range plainSplit(hashKeys(k.secret, want), parts) {
					split[i].Sum = part.Sum
				}
				if got := k.Split(in, parts); !slices.Equal(got, split) {
					t.Fatalf("%d parts of %v: %v, want %v", parts, in, got, split)
				}
			}
		}
	})
}

// TestKeyedSumsBringOutWhatPlainOnesHide has two sets whose plain sums agree, as somebody could
// find them who tries enough hashes.
func TestKeyedSumsBringOutWhatPlainOnesHide(t *testing.T) {
	indexOf := func(ids ...byte) *Index {
		x := new(Index)
		for _, id := range ids {
			x.Insert(storage.Key{Born: 1, ID: storage.ID{id}})
		}
		return x
	}
	a, b := indexOf(1, 4), indexOf(2, 3)
	if a.Sum(storage.Range{}) != b.Sum(storage.Range{}) {
		t.Fatal("the plain sums differ")
	}
	secret := [32]byte{7}
	if a.Keyed(secret).Sum(storage.Range{}) == b.Keyed(secret).Sum(storage.Range{}) {
		t.Error("the keyed sums agree")
	}
}

// TestKeyedRemembersNoMoreThanTheIndexHas: blocks that are gone are forgotten.
func TestKeyedRemembersNoMoreThanTheIndexHas(t *testing.T) {
	keys := randomKeys(20*blockKeys, 10)
	x := fillOrdered(keys)
	k := x.Keyed([32]byte{1})
	for i := range 3000 {
		x.Insert(storage.Key{Born: 400_001, ID: storage.ID{byte(i >> 8), byte(i)}})
		k.Sum(storage.Range{})
		if limit := 2*len(x.blocks) + hashAtOnce + len(x.blocks); len(k.totals) > limit {
			t.Fatalf("%d blocks are remembered of %d", len(k.totals), len(x.blocks))
		}
	}
}

// TestKeyedSeesWholeChanges asks for keyed sums while keys come.
func TestKeyedSeesWholeChanges(t *testing.T) {
	var x Index
	k := x.Keyed([32]byte{1})
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if sum := k.Sum(storage.Range{}); sum.Count%2 != 0 {
				t.Errorf("a sum over half of a change: %d", sum.Count)
			}
		}
	})
	var all []storage.Key
	for i := range uint16(2000) {
		id := storage.ID{byte(i >> 8), byte(i)}
		pair := []storage.Key{{Born: 5, ID: id}, {Born: 9, ID: id}}
		x.Insert(pair...)
		all = append(all, pair...)
	}
	close(done)
	reader.Wait()
	if got, want := k.Sum(storage.Range{}), plainSum(hashKeys(k.secret, all)); got != want {
		t.Errorf("%v at the end, want %v", got, want)
	}
}

// BenchmarkKeyed compares boards of a million keys over one link: for the first time, again when
// nothing has changed, and when a hundred envelopes have been posted.
func BenchmarkKeyed(b *testing.B) {
	keys := slices.SortedFunc(slices.Values(randomKeys(million, 8760)), storage.Key.Compare)
	b.Run("first", func(b *testing.B) {
		x := fillOrdered(keys)
		for b.Loop() {
			x.Keyed([32]byte{1}).Split(storage.Range{}, 62)
		}
	})
	b.Run("again", func(b *testing.B) {
		k := fillOrdered(keys).Keyed([32]byte{1})
		k.Split(storage.Range{}, 62)
		for b.Loop() {
			k.Split(storage.Range{}, 62)
		}
	})
	b.Run("after 100 posts", func(b *testing.B) {
		x := fillOrdered(keys)
		k := x.Keyed([32]byte{1})
		k.Split(storage.Range{}, 62)
		rng := rand.New(rand.NewPCG(5, 6))
		for b.Loop() {
			for range 100 {
				next := storage.Key{Born: 500_000}
				binary.BigEndian.PutUint64(next.ID[:], rng.Uint64())
				x.Insert(next)
			}
			k.Split(storage.Range{}, 62)
		}
	})
	b.Run("bucket of 1024", func(b *testing.B) {
		k := fillOrdered(keys).Keyed([32]byte{1})
		for b.Loop() {
			k.Split(storage.Range{Lo: keys[500], Hi: keys[500+1024]}, 16)
		}
	})
	b.Run("4096 parts", func(b *testing.B) {
		k := fillOrdered(keys).Keyed([32]byte{1})
		k.Sum(storage.Range{})
		for b.Loop() {
			k.Split(storage.Range{}, 4096)
		}
	})
}
