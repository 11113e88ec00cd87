package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxTrimmed is how many keys of born one Prune deletes. They are neighbours in the tree.
const maxTrimmed = 32 << 10

// Prune implements [storage.Pruner].
func (s *Store) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	limit, err := req.Bound()
	if err != nil {
		return storage.Pruned{}, fmt.Errorf("prune %s: %w", s.path, err)
	}
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	r := removal{index: &s.index, table: &s.hours, hours: make(hourChanges), rest: s.unpruned}
	err = s.runMethod(ctx, "prune", func() error {
		if err := s.openForWriting(); err != nil {
			return err
		}
		return s.updateFile(func(tx *bbolt.Tx) (bool, error) {
			return true, r.apply(tx, req.Floor, limit)
		}, func() { s.publishRemoval(&r) })
	})
	if err != nil {
		return storage.Pruned{}, err
	}
	return r.pruned, nil
}

// publishRemoval shows readers a removal that is durable.
func (s *Store) publishRemoval(r *removal) {
	for _, k := range r.dropped {
		s.index.dropKey(k)
	}
	for _, shard := range r.cleaned {
		s.index.forgetGone(shard)
	}
	for _, k := range r.gone {
		shard := shardOf(k[:])
		s.index.gone[shard] = append(s.index.gone[shard], k)
		s.index.goners++
	}
	s.hours.apply(r.hours, true)
	s.unpruned = r.rest
	s.shown = r.state
}

// unpruned is what is left of an hour that is being removed, ascending: entries are removed
// in the order of the log, where they are neighbours.
type unpruned struct {
	hour storage.Hour
	seqs []storage.Seq
}

// removal is the transaction of one Prune. It only reads the index and the table.
type removal struct {
	index *index
	table *hourTable
	rest  unpruned

	pruned  storage.Pruned
	hours   hourChanges
	dropped []key // recent keys that the index loses
	gone    []key // new keys of index.gone
	cleaned []int // shards whose keys of index.gone are deleted

	state state
	log   *bbolt.Bucket
	tree  indexTree
}

func (r *removal) apply(tx *bbolt.Tx, floor storage.Hour, limit int) (err error) {
	if r.state, err = readState(tx); err != nil {
		return err
	}
	raised := floor > r.state.floor
	r.state.floor = max(r.state.floor, floor)
	r.log, r.tree = tx.Bucket(logBucket), r.index.treeOf(tx)
	for ; limit > 0; limit-- {
		hour, ok := r.oldestPruned()
		if !ok {
			break
		}
		if err := r.removeOne(hour); err != nil {
			return err
		}
	}
	r.raiseLowest()
	r.pruned.Floor = r.state.floor
	_, r.pruned.More = r.oldestPruned()
	trimmed, err := r.trimBorn()
	if err != nil {
		return err
	}
	if !raised && !trimmed && r.pruned.Envelopes == 0 {
		return errUnchanged
	}
	if err := r.cleanShards(); err != nil {
		return err
	}
	if err := r.table.write(tx.Bucket(hoursBucket), r.hours); err != nil {
		return err
	}
	r.state.counted = r.state.last
	r.state.count -= r.pruned.Envelopes
	return tx.Bucket(metaBucket).Put(stateKey, r.state.marshal())
}

// raiseLowest finds the beginning of the log. Entries below the floor that are not removed yet
// are in it: a start has to find their keys.
func (r *removal) raiseLowest() {
	r.state.lowest = r.state.last + 1
	if k, _ := r.log.Cursor().First(); len(k) > 8 {
		r.state.lowest = storage.Seq(binary.BigEndian.Uint64(k))
	}
}

// oldestPruned returns the first hour below the floor that the file has entries of.
func (r *removal) oldestPruned() (storage.Hour, bool) {
	for _, h := range r.table.sizes {
		if h.Hour >= r.state.floor {
			break
		}
		if r.table.changed(h.Hour, r.hours[h.Hour]).Count > 0 {
			return h.Hour, true
		}
	}
	return 0, false
}

// removeOne removes an entry of an hour.
func (r *removal) removeOne(hour storage.Hour) error {
	if r.rest.hour != hour || len(r.rest.seqs) == 0 {
		r.rest = unpruned{hour, r.index.bornIn(r.tree.Cursor(), hour)}
	}
	for len(r.rest.seqs) > 0 && !hasRecord(r.log, r.rest.seqs[0]) { // removed before a start
		r.rest.seqs = r.rest.seqs[1:]
	}
	if len(r.rest.seqs) == 0 {
		return storefile.CorruptError("the sizes of hours do not add up")
	}
	seq := r.rest.seqs[0]
	r.rest.seqs = r.rest.seqs[1:]
	e, gone, err := readRecord(r.log, seq, nil)
	if err == nil && (gone || e.born != hour) {
		err = storefile.CorruptError("an entry of the index is not in the log")
	}
	if err != nil {
		return err
	}
	for _, k := range r.index.keysOf(&e, seq) {
		merged := seq <= r.state.merged[shardOf(k[:])]
		switch {
		case !merged && k[0] == tokenKind: // the log will not tell of it
			if err := r.tree.Put(k[:], nil); err != nil {
				return err
			}
		case merged && (k[0] == envelopeKind || k[0] == idKind):
			r.gone = append(r.gone, k)
		}
		if !merged {
			r.dropped = append(r.dropped, k)
		}
	}
	r.hours.add(hour, -1, -int64(e.size()))
	r.pruned.Envelopes++
	r.pruned.Bytes += uint64(e.size())
	r.index.changes.noteEntry(seq)
	return removeRecord(r.log, seq)
}

// bornIn returns the entries of an hour, ascending, and some that were removed.
func (x *index) bornIn(tree *bbolt.Cursor, hour storage.Hour) []storage.Seq {
	start := newBornKey(storage.Key{Born: hour}, 0)
	prefix := start.keyPrefix(bornSize)
	seqs := seqsInTree(tree, prefix)
	for shard := 3 * shardsPerKind; shard < shards; shard++ {
		for _, part := range x.partsOf(shard) {
			for _, k := range part[searchKeys(part, prefix):] {
				if !bytes.HasPrefix(k[:], prefix) {
					break
				}
				seqs = append(seqs, k.seqOf())
			}
		}
	}
	slices.Sort(seqs)
	return slices.Compact(seqs)
}

// trimBorn deletes keys of born of hours that are all removed. It begins with the oldest,
// and leaves the rest of a very large hour to the next Prune.
func (r *removal) trimBorn() (trimmed bool, _ error) {
	end, ok := r.oldestPruned()
	if !ok {
		end = r.state.floor
	}
	var keys []key
	c := r.tree.Cursor()
	for k, _ := c.Seek([]byte{bornKind}); len(k) == len(key{}) && len(keys) < maxTrimmed; k, _ = c.Next() {
		if k := key(k); k[0] == bornKind && k.bornOf() < end {
			keys = append(keys, k)
			continue
		}
		break
	}
	for i := range keys {
		if err := r.tree.Delete(keys[i][:]); err != nil {
			return false, err
		}
	}
	return len(keys) > 0, nil
}

// cleanShards deletes waiting keys until few enough wait, those of the fullest shards first.
func (r *removal) cleanShards() error {
	for waiting := r.index.goners + len(r.gone); waiting > r.index.max && len(r.cleaned) < shards; {
		fullest := -1
		for s := range r.index.gone {
			if !slices.Contains(r.cleaned, s) && (fullest < 0 || len(r.index.gone[s]) > len(r.index.gone[fullest])) {
				fullest = s
			}
		}
		if err := r.index.deleteGone(r.tree, fullest); err != nil {
			return err
		}
		waiting -= len(r.index.gone[fullest])
		r.cleaned = append(r.cleaned, fullest)
	}
	return nil
}
