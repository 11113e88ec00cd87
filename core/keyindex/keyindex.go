// Package keyindex keeps the keys of a board in memory, in their order, and computes
// the sums by which relays compare their boards. It is for core/replica, which fills
// an [Index] from the store and keeps it up to date.
//
// # Structure
//
// The keys are in blocks of up to 512, and each block knows its sum. One list has the
// blocks in the order of their keys. A sum over a range adds up the sums of the blocks
// that are whole within it and the keys of the two that are not. A key that is inserted
// moves at most a block of keys.
//
// Nothing depends on how keys are spread over hours or ids. A stranger chooses neither
// the hour nor, except by trying hashes, the id of what he posts, and it would gain him
// nothing: a million keys in one hour cost what they cost in a year.
//
// # Memory
//
// A block takes 18 KiB, and two neighbors are never less than half full together. A key
// takes 36 bytes if it was read from a store, 41 to 51 if it came as it was posted, and 145
// in the worst case, which only removals at chosen places reach.
//
// # Keyed sums
//
// Sums of plain ids can be planned for: whoever can try enough hashes finds envelopes whose
// ids cancel each other out. The sums of a [Keyed] have a hash of a secret and the id in the
// place of each id. It hashes each id once and keeps the sum of each block, less than 200 KiB
// for a million keys. Later sums hash the blocks that have changed, and those that are only
// partly in a range.
package keyindex

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"sort"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// blockKeys is the greatest number of keys in a block.
const blockKeys = 512

// Index is a set of keys. The zero Index is empty. Its methods may be called from any
// goroutine; each shows one moment, and none holds up another for more than a few
// milliseconds.
type Index struct {
	mu     sync.RWMutex
	blocks []block // ascending
	count  int
	floor  storage.Hour
	states uint64 // of blocks that there have been
}

// block is a run of keys.
type block struct {
	keys  []storage.Key // ascending, at least one
	sum   total         // of their ids
	state uint64        // no other block, and no other keys of this one, have the same
}

func (x *Index) newBlock(keys []storage.Key) block {
	x.states++
	return block{append(make([]storage.Key, 0, blockKeys), keys...), totalOf(keys), x.states}
}

// total is a sum of ids modulo 2^256, lowest limb first.
type total [4]uint64

func (t *total) add(other total) {
	var carry uint64
	t[0], carry = bits.Add64(t[0], other[0], 0)
	t[1], carry = bits.Add64(t[1], other[1], carry)
	t[2], carry = bits.Add64(t[2], other[2], carry)
	t[3], _ = bits.Add64(t[3], other[3], carry)
}

func (t *total) addID(id *storage.ID) {
	t.add(total{
		binary.LittleEndian.Uint64(id[0:]), binary.LittleEndian.Uint64(id[8:]),
		binary.LittleEndian.Uint64(id[16:]), binary.LittleEndian.Uint64(id[24:]),
	})
}

func totalOf(keys []storage.Key) (t total) {
	for i := range keys {
		t.addID(&keys[i].ID)
	}
	return t
}

// sumOf returns the sum of so many envelopes whose ids have a total.
func sumOf(count int, t total) peersync.Sum {
	sum := peersync.Sum{Count: uint64(count)}
	for i, limb := range t {
		binary.LittleEndian.PutUint64(sum.IDs[8*i:], limb)
	}
	return sum
}

// place is where a key is, or would be: before the key at an offset in a block. The
// place behind all keys is offset 0 of the block behind the last one.
type place struct{ block, offset int }

// findKey returns the place of the first key that is not less than k.
func (x *Index) findKey(k storage.Key) place {
	n := sort.Search(len(x.blocks), func(i int) bool {
		keys := x.blocks[i].keys
		return keys[len(keys)-1].Compare(k) >= 0
	})
	if n == len(x.blocks) {
		return place{n, 0}
	}
	offset, _ := slices.BinarySearchFunc(x.blocks[n].keys, k, storage.Key.Compare)
	return place{n, offset}
}

// findRange returns the places of the first key of a range, and of the first key behind it.
func (x *Index) findRange(in storage.Range) (lo, hi place) {
	lo, hi = x.findKey(in.Lo), place{len(x.blocks), 0}
	if in.Hi != (storage.Key{}) {
		hi = x.findKey(in.Hi)
	}
	if hi.block < lo.block || hi.block == lo.block && hi.offset < lo.offset {
		hi = lo
	}
	return lo, hi
}

// holdsKey reports whether k is at a place.
func (x *Index) holdsKey(at place, k storage.Key) bool {
	return at.block < len(x.blocks) && x.blocks[at.block].keys[at.offset] == k
}

// keysOf returns the keys of a block between two places.
func (x *Index) keysOf(block int, lo, hi place) []storage.Key {
	keys := x.blocks[block].keys
	if block == hi.block {
		keys = keys[:hi.offset]
	}
	if block == lo.block {
		keys = keys[lo.offset:]
	}
	return keys
}

// lastBlock returns the number of the block behind the last one that has keys before hi.
func lastBlock(hi place) int {
	if hi.offset > 0 {
		return hi.block + 1
	}
	return hi.block
}

// Len returns the number of keys.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.count
}

// Newest returns the hour of the last key, or 0.
func (x *Index) Newest() storage.Hour {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.blocks) == 0 {
		return 0
	}
	keys := x.blocks[len(x.blocks)-1].keys
	return keys[len(keys)-1].Born
}

// Insert adds keys. Those that are there already, or below the floor, change nothing.
func (x *Index) Insert(keys ...storage.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range keys {
		x.insertKey(k)
	}
}

func (x *Index) insertKey(k storage.Key) {
	at := x.findKey(k)
	if k.Born < x.floor || x.holdsKey(at, k) {
		return
	}
	x.count++
	if at.block == len(x.blocks) && at.block > 0 { // behind the last key
		at = place{at.block - 1, len(x.blocks[at.block-1].keys)}
	}
	if at.block == len(x.blocks) || at.offset == blockKeys {
		x.blocks = append(x.blocks, x.newBlock([]storage.Key{k}))
		return
	}
	if len(x.blocks[at.block].keys) == blockKeys {
		x.splitBlock(at.block)
		at = x.findKey(k)
	}
	b := &x.blocks[at.block]
	b.keys = slices.Insert(b.keys, at.offset, k)
	b.sum.addID(&k.ID)
	x.states++
	b.state = x.states
}

// splitBlock makes two blocks of one. The last block is cut before its last hour, if that
// is in its second half: what is posted next goes there, and the earlier hours stay as they
// are.
func (x *Index) splitBlock(n int) {
	keys := x.blocks[n].keys
	cut := len(keys) / 2
	if n == len(x.blocks)-1 {
		hour, _ := slices.BinarySearchFunc(keys, storage.Key{Born: keys[len(keys)-1].Born}, storage.Key.Compare)
		cut = max(cut, hour)
	}
	x.blocks = slices.Replace(x.blocks, n, n+1, x.newBlock(keys[:cut]), x.newBlock(keys[cut:]))
}

// cutBlocks replaces the blocks from one number to another by the given keys, in as few
// blocks as there can be, of equal length.
func (x *Index) cutBlocks(from, to int, keys []storage.Key) {
	n := (len(keys) + blockKeys - 1) / blockKeys
	blocks := make([]block, 0, n)
	for ; n > 0; n-- {
		size := (len(keys) + n - 1) / n
		blocks = append(blocks, x.newBlock(keys[:size]))
		keys = keys[size:]
	}
	x.blocks = slices.Replace(x.blocks, from, to, blocks...)
}

// Replace makes keys, which ascend, the only keys of the index in a range. Those that are
// outside the range, or below the floor, must not be among them.
func (x *Index) Replace(in storage.Range, keys []storage.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(keys) > 0 && keys[0].Born < x.floor {
		keys = keys[1:]
	}
	lo, hi := x.findRange(in)
	if x.hasExactly(lo, hi, keys) {
		return
	}
	x.count += len(keys) - x.countKeys(lo, hi)
	x.replaceKeys(lo, hi, keys)
}

// hasExactly reports whether the keys between two places are the given ones.
func (x *Index) hasExactly(lo, hi place, keys []storage.Key) bool {
	for i := lo.block; i < lastBlock(hi); i++ {
		had := x.keysOf(i, lo, hi)
		if len(had) > len(keys) || !slices.Equal(had, keys[:len(had)]) {
			return false
		}
		keys = keys[len(had):]
	}
	return len(keys) == 0
}

// countKeys returns how many keys there are between two places.
func (x *Index) countKeys(lo, hi place) (n int) {
	for i := lo.block; i < lastBlock(hi); i++ {
		n += len(x.keysOf(i, lo, hi))
	}
	return n
}

// replaceKeys replaces the keys between two places, together with what else is in
// their blocks and in a neighbor that would be too small.
func (x *Index) replaceKeys(lo, hi place, keys []storage.Key) {
	from, to := lo.block, lastBlock(hi)
	var around []storage.Key
	if lo.offset > 0 {
		around = append(around, x.blocks[lo.block].keys[:lo.offset]...)
		to = max(to, lo.block+1)
	}
	around = append(around, keys...)
	if hi.block < len(x.blocks) && to == hi.block+1 {
		around = append(around, x.blocks[hi.block].keys[hi.offset:]...)
	}
	if from > 0 && len(around) < blockKeys/2 {
		from--
		around = append(slices.Clone(x.blocks[from].keys), around...)
	}
	if to < len(x.blocks) && len(around) < blockKeys/2 {
		around = append(around, x.blocks[to].keys...)
		to++
	}
	x.cutBlocks(from, to, around)
}

// Lower moves the key of an id to k, if the index has the id in one of the
// [storage.MaxAging] hours after k.Born, and else changes nothing.
func (x *Index) Lower(k storage.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for hours := range min(storage.MaxAging, math.MaxUint32-k.Born) {
		old := storage.Key{Born: k.Born + hours + 1, ID: k.ID}
		if at := x.findKey(old); x.holdsKey(at, old) {
			x.replaceKeys(at, place{at.block, at.offset + 1}, nil)
			x.count--
			x.insertKey(k)
			return
		}
	}
}

// DropBelow raises the floor: it removes the keys of the hours before it, and keeps out
// those that are added later. The floor never falls.
func (x *Index) DropBelow(floor storage.Hour) {
	x.mu.RLock()
	risen := floor > x.floor
	x.mu.RUnlock()
	if !risen {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.floor = max(x.floor, floor)
	end := x.findKey(storage.Key{Born: x.floor})
	if end == (place{}) {
		return
	}
	x.count -= x.countKeys(place{}, end)
	x.replaceKeys(place{}, end, nil)
}

// Keys returns the first keys of a range, at most max.
func (x *Index) Keys(in storage.Range, max int) []storage.Key {
	x.mu.RLock()
	defer x.mu.RUnlock()
	lo, hi := x.findRange(in)
	var out []storage.Key
	for i := lo.block; i < lastBlock(hi) && len(out) < max; i++ {
		keys := x.keysOf(i, lo, hi)
		out = append(out, keys[:min(len(keys), max-len(out))]...)
	}
	return out
}

// Sum returns the sum of a range.
func (x *Index) Sum(in storage.Range) peersync.Sum {
	x.mu.RLock()
	defer x.mu.RUnlock()
	lo, hi := x.findRange(in)
	count, ids := 0, total{}
	for i := lo.block; i < lastBlock(hi); i++ {
		keys := x.keysOf(i, lo, hi)
		count += len(keys)
		ids.add(x.blocks[i].totalWithin(keys))
	}
	return sumOf(count, ids)
}

// totalWithin returns the total of a run of keys of the block.
func (b *block) totalWithin(keys []storage.Key) total {
	if len(keys) == len(b.keys) {
		return b.sum
	}
	return totalOf(keys)
}

// Split cuts a range into parts of equal count, as [peersync.Replica] says.
func (x *Index) Split(in storage.Range, parts int) []peersync.Part {
	x.mu.RLock()
	defer x.mu.RUnlock()
	ids := make([]total, parts)
	out := x.cutRange(in, parts, func(part int, b *block, keys []storage.Key) { ids[part].add(b.totalWithin(keys)) })
	for i := range out {
		out[i].Sum = sumOf(int(out[i].Sum.Count), ids[i])
	}
	return out
}

// cutRange cuts a range into parts of equal count. It calls add with every run of keys that is
// in one part and one block, and leaves the sums to it, except their counts.
func (x *Index) cutRange(in storage.Range, parts int, add func(part int, b *block, keys []storage.Key)) []peersync.Part {
	lo, hi := x.findRange(in)
	left := x.countKeys(lo, hi)
	out := make([]peersync.Part, 0, min(parts, left))
	for ; left > 0; parts-- {
		size := (left + parts - 1) / parts
		part := peersync.Part{First: x.blocks[lo.block].keys[lo.offset], Sum: peersync.Sum{Count: uint64(size)}}
		for rest := size; rest > 0; {
			keys := x.keysOf(lo.block, lo, hi)
			keys = keys[:min(rest, len(keys))]
			add(len(out), &x.blocks[lo.block], keys)
			part.Last = keys[len(keys)-1]
			rest -= len(keys)
			if lo.offset += len(keys); lo.offset == len(x.blocks[lo.block].keys) {
				lo = place{lo.block + 1, 0}
			}
		}
		left -= size
		out = append(out, part)
	}
	return out
}
