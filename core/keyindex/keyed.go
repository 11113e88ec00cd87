package keyindex

import (
	"crypto/sha256"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// hashAtOnce is how many blocks are copied from the index at a time to be hashed, 1 MiB of ids.
const hashAtOnce = 64

// Keyed computes the sums of an [Index] that are keyed with a secret: SHA-256(secret ‖ id) is
// added in the place of each id. It is for one link, and forgotten with it. Its methods may be
// called from any goroutine; they take turns. Nobody who inserts keys waits while it hashes.
type Keyed struct {
	index  *Index
	secret [32]byte

	mu     sync.Mutex
	totals map[uint64]total // of whole blocks, by their state
}

// Keyed returns a Keyed of the index.
func (x *Index) Keyed(secret [32]byte) *Keyed {
	return &Keyed{index: x, secret: secret, totals: make(map[uint64]total)}
}

// Sum returns the sum of a range.
func (k *Keyed) Sum(in storage.Range) peersync.Sum {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hashBlocks(in)
	var r run
	count := 0
	x := k.index
	x.mu.RLock()
	lo, hi := x.findRange(in)
	for i := lo.block; i < lastBlock(hi); i++ {
		keys := x.keysOf(i, lo, hi)
		count += len(keys)
		k.addKeys(&r, &x.blocks[i], keys)
	}
	x.mu.RUnlock()
	return sumOf(count, k.hashRun(r))
}

// Split cuts a range into parts of equal count, as [peersync.Replica] says.
func (k *Keyed) Split(in storage.Range, parts int) []peersync.Part {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hashBlocks(in)
	runs := make([]run, parts)
	x := k.index
	x.mu.RLock()
	out := x.cutRange(in, parts, func(part int, b *block, keys []storage.Key) { k.addKeys(&runs[part], b, keys) })
	x.mu.RUnlock()
	for i := range out {
		out[i].Sum = sumOf(int(out[i].Sum.Count), k.hashRun(runs[i]))
	}
	return out
}

// run is a set of ids: some are added up already, the others are still to be hashed.
type run struct {
	known total
	ids   []storage.ID
}

// addKeys adds keys of a block to a run. The index is locked.
func (k *Keyed) addKeys(r *run, b *block, keys []storage.Key) {
	if len(keys) == len(b.keys) {
		if t, ok := k.totals[b.state]; ok {
			r.known.add(t)
			return
		}
	}
	for i := range keys {
		r.ids = append(r.ids, keys[i].ID)
	}
}

// hashRun returns the keyed total of a run.
func (k *Keyed) hashRun(r run) total {
	var text [64]byte
	copy(text[:], k.secret[:])
	for i := range r.ids {
		copy(text[32:], r.ids[i][:])
		id := storage.ID(sha256.Sum256(text[:]))
		r.known.addID(&id)
	}
	return r.known
}

// hashBlocks hashes the whole blocks of a range whose totals are not known. What changes
// meanwhile is left to the caller.
func (k *Keyed) hashBlocks(in storage.Range) {
	k.forgetBlocks()
	for more := true; more; {
		var blocks []run
		var states []uint64
		blocks, states, in.Lo, more = k.copyBlocks(in)
		for i, r := range blocks {
			k.totals[states[i]] = k.hashRun(r)
		}
	}
}

// copyBlocks copies the ids of the first whole blocks of a range whose totals are not known. It
// returns where to go on, and whether that is of use.
func (k *Keyed) copyBlocks(in storage.Range) (blocks []run, states []uint64, next storage.Key, more bool) {
	x := k.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	lo, hi := x.findRange(in)
	for i := lo.block; i < lastBlock(hi); i++ {
		b := &x.blocks[i]
		if _, known := k.totals[b.state]; known || len(x.keysOf(i, lo, hi)) < len(b.keys) {
			continue
		}
		if len(blocks) == hashAtOnce {
			return blocks, states, b.keys[0], true
		}
		var r run
		k.addKeys(&r, b, b.keys)
		blocks, states = append(blocks, r), append(states, b.state)
	}
	return blocks, states, next, false
}

// forgetBlocks forgets the totals of blocks that are no longer as they were, when these are most.
func (k *Keyed) forgetBlocks() {
	x := k.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(k.totals) <= 2*len(x.blocks)+hashAtOnce {
		return
	}
	kept := make(map[uint64]total, len(x.blocks))
	for i := range x.blocks {
		if t, ok := k.totals[x.blocks[i].state]; ok {
			kept[x.blocks[i].state] = t
		}
	}
	k.totals = kept
}
