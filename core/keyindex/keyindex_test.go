package keyindex

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// model is a set of keys in one sorted list.
type model struct {
	keys  []storage.Key
	floor storage.Hour
}

func (m *model) insert(k storage.Key) {
	if at, found := slices.BinarySearchFunc(m.keys, k, storage.Key.Compare); !found && k.Born >= m.floor {
		m.keys = slices.Insert(m.keys, at, k)
	}
}

func (m *model) replace(in storage.Range, keys []storage.Key) {
	m.keys = slices.DeleteFunc(m.keys, in.Has)
	for _, k := range keys {
		m.insert(k)
	}
}

func (m *model) lower(k storage.Key) {
	for _, old := range m.keys {
		if old.ID == k.ID && old.Born > k.Born && old.Born-k.Born <= storage.MaxAging {
			m.keys = slices.DeleteFunc(m.keys, func(other storage.Key) bool { return other == old })
			m.insert(k)
			return
		}
	}
}

func (m *model) dropBelow(floor storage.Hour) {
	m.floor = max(m.floor, floor)
	m.keys = slices.DeleteFunc(m.keys, func(k storage.Key) bool { return k.Born < m.floor })
}

func (m *model) within(in storage.Range) (keys []storage.Key) {
	for _, k := range m.keys {
		if in.Has(k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// plainSum adds up keys with plain loops.
func plainSum(keys []storage.Key) (s peersync.Sum) {
	for _, k := range keys {
		s.Count++
		carry := 0
		for i := range s.IDs {
			carry += int(s.IDs[i]) + int(k.ID[i])
			s.IDs[i] = byte(carry)
			carry >>= 8
		}
	}
	return s
}

// plainSplit cuts keys into parts of equal count.
func plainSplit(keys []storage.Key, parts int) (out []peersync.Part) {
	n, longer := len(keys)/parts, len(keys)%parts
	for i := range min(parts, len(keys)) {
		size := n
		if i < longer {
			size++
		}
		out = append(out, peersync.Part{First: keys[0], Last: keys[size-1], Sum: plainSum(keys[:size])})
		keys = keys[size:]
	}
	return out
}

// compare compares an index with a model over one range, and checks what holds of every
// index.
func compare(t interface{ Fatalf(string, ...any) }, x *Index, m *model, in storage.Range, parts, limit int) {
	want := m.within(in)
	if got := x.Keys(in, limit); !slices.Equal(got, want[:min(limit, len(want))]) {
		t.Fatalf("keys of %v: %d, want %d", in, len(got), min(limit, len(want)))
	}
	if got := x.Sum(in); got != plainSum(want) {
		t.Fatalf("sum of %v: %v, want %v", in, got, plainSum(want))
	}
	if got := x.Split(in, parts); !slices.Equal(got, plainSplit(want, parts)) {
		t.Fatalf("%d parts of %v: %v, want %v", parts, in, got, plainSplit(want, parts))
	}
	if x.Len() != len(m.keys) {
		t.Fatalf("%d keys, want %d", x.Len(), len(m.keys))
	}
	newest := storage.Hour(0)
	if len(m.keys) > 0 {
		newest = m.keys[len(m.keys)-1].Born
	}
	if x.Newest() != newest {
		t.Fatalf("the newest hour is %d, want %d", x.Newest(), newest)
	}
	for i, b := range x.blocks {
		switch {
		case len(b.keys) == 0 || len(b.keys) > blockKeys || cap(b.keys) != blockKeys:
			t.Fatalf("block %d has %d keys and room for %d", i, len(b.keys), cap(b.keys))
		case i > 0 && len(x.blocks[i-1].keys)+len(b.keys) < blockKeys/2:
			t.Fatalf("blocks %d and %d have %d keys together", i-1, i, len(x.blocks[i-1].keys)+len(b.keys))
		}
	}
}

// madeKey returns one of the keys that the tests below use. Few hours and ids make
// neighbors and repetitions likely.
func madeKey(hour, id uint16) (k storage.Key) {
	k.Born = 1000 + storage.Hour(hour%64)
	binary.BigEndian.PutUint64(k.ID[:], uint64(id%8192)*0x9e3779b97f4a7c15)
	k.ID[31] = byte(id)
	return k
}

func madeRange(lo, hi uint16) storage.Range {
	r := storage.Range{Lo: madeKey(lo>>10, lo), Hi: madeKey(hi>>10, hi)}
	if hi%7 == 0 {
		r.Hi = storage.Key{}
	}
	return r
}

// applyStep changes an index and its model by one step, which four numbers describe.
func applyStep(x *Index, m *model, what byte, a, b, n uint16) {
	rng := rand.New(rand.NewPCG(uint64(a), uint64(n)))
	switch what % 8 {
	case 0, 1, 2: // many at random
		for range n % 700 {
			k := madeKey(uint16(rng.Uint32()), uint16(rng.Uint32()))
			x.Insert(k)
			m.insert(k)
		}
	case 3: // many in one hour
		keys := make([]storage.Key, n%1500)
		for i := range keys {
			keys[i] = madeKey(a, uint16(rng.Uint32()))
			m.insert(keys[i])
		}
		x.Insert(keys...)
	case 4: // another content of a range
		in := madeRange(a, b)
		var keys []storage.Key
		for _, k := range m.within(in) {
			if rng.IntN(4) > 0 {
				keys = append(keys, k)
			}
		}
		for range n % 600 {
			if k := madeKey(uint16(rng.Uint32()), uint16(rng.Uint32())); in.Has(k) && k.Born >= m.floor {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, storage.Key.Compare)
		keys = slices.Compact(keys)
		x.Replace(in, keys)
		m.replace(in, keys)
	case 5: // lower many
		for range n % 300 {
			if len(m.keys) == 0 {
				return
			}
			k := m.keys[rng.IntN(len(m.keys))]
			k.Born -= storage.Hour(rng.IntN(storage.MaxAging + 3))
			x.Lower(k)
			m.lower(k)
		}
	case 6:
		floor := 990 + storage.Hour(a%32)
		x.DropBelow(floor)
		m.dropBelow(floor)
	case 7: // empty a range
		in := madeRange(a, b)
		x.Replace(in, nil)
		m.replace(in, nil)
	}
}

// TestIndexIsLikeASortedList compares an index with a sorted list through many random
// steps.
func TestIndexIsLikeASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		var m model
		number := rapid.Uint16()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			applyStep(&x, &m, rapid.Byte().Draw(t, "what"), number.Draw(t, "a"), number.Draw(t, "b"), number.Draw(t, "n"))
			in := madeRange(number.Draw(t, "lo"), number.Draw(t, "hi"))
			compare(t, &x, &m, in, rapid.IntRange(1, 40).Draw(t, "parts"), rapid.IntRange(1, 2000).Draw(t, "limit"))
		}
		compare(t, &x, &m, storage.Range{}, 7, math.MaxInt)
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x01\x00\x02\xff\x04\x10\x00\x90\x00\x00\x40\x05\x00\x00\x00\x00\x01\x00"))
	f.Add([]byte("\x03\x00\x00\x00\x00\x05\xdb\x07\x00\x10\x00\x80\x00\x00\x06\x00\x10\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var x Index
		var m model
		for len(data) >= 7 {
			a, b, n := binary.BigEndian.Uint16(data[1:]), binary.BigEndian.Uint16(data[3:]), binary.BigEndian.Uint16(data[5:])
			applyStep(&x, &m, data[0], a, b, n)
			compare(t, &x, &m, madeRange(b, a), 1+int(n%33), 1+int(b))
			data = data[7:]
		}
		compare(t, &x, &m, storage.Range{}, 5, math.MaxInt)
	})
}

// TestEndsOfTheKeySpace uses the lowest and highest keys that there are.
func TestEndsOfTheKeySpace(t *testing.T) {
	var x Index
	var m model
	first, last := storage.Key{}, storage.Key{Born: math.MaxUint32}
	for i := range last.ID {
		last.ID[i] = 0xff
	}
	for _, k := range []storage.Key{last, first, {Born: math.MaxUint32}, {ID: last.ID}} {
		x.Insert(k)
		m.insert(k)
		compare(t, &x, &m, storage.Range{}, 3, 10)
		compare(t, &x, &m, storage.Range{Lo: last}, 1, 10)
		compare(t, &x, &m, storage.Range{Lo: last, Hi: first.Next()}, 1, 10) // nothing
	}
	for _, k := range []storage.Key{{Born: math.MaxUint32 - 1, ID: last.ID}, last} {
		x.Lower(k)
		m.lower(k)
		compare(t, &x, &m, storage.Range{}, 2, 10)
	}
	x.DropBelow(math.MaxUint32)
	m.dropBelow(math.MaxUint32)
	compare(t, &x, &m, storage.Range{}, 2, 10)
}

// TestReadersSeeWholeChanges has readers compare a sum with the keys while keys come and
// go: every answer shows one moment.
func TestReadersSeeWholeChanges(t *testing.T) {
	var x Index
	pair := func(i uint16) []storage.Key {
		return []storage.Key{{Born: 5, ID: storage.ID{byte(i >> 8), byte(i)}}, {Born: 9, ID: storage.ID{byte(i >> 8), byte(i)}}}
	}
	ahead := storage.Range{Lo: storage.Key{Born: 5}, Hi: storage.Key{Born: 6}}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if sum := x.Sum(storage.Range{}); sum.Count%2 != 0 {
					t.Errorf("a sum over half of a change: %d", sum.Count)
				}
				for _, part := range x.Split(ahead, 3) {
					if part.Sum.Count == 0 || part.First.Compare(part.Last) > 0 {
						t.Errorf("the part %v", part)
					}
				}
				if n := len(x.Keys(storage.Range{}, math.MaxInt)); n%2 != 0 {
					t.Errorf("%d keys", n)
				}
			}
		})
	}
	for i := range uint16(3000) {
		x.Insert(pair(i)...)
		if i%100 == 99 {
			x.Replace(storage.Range{}, pair(i))
		}
	}
	close(done)
	readers.Wait()
}
