package bolt

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Keys implements [storage.Index].
func (s *Store) Keys(ctx context.Context, req storage.KeysRequest) (page []storage.Key, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the keys of %s: %w", s.path, err)
	}
	err = s.viewIndex(ctx, "list the keys of", func(tx *bbolt.Tx, st *state) (err error) {
		in := req.Range
		if in.Lo.Born < st.floor {
			in.Lo = storage.Key{Born: st.floor}
		}
		page, err = s.index.readKeys(tx, in, limit)
		return err
	})
	return page, err
}

// readKeys returns the first keys of a range that is above the floor.
func (x *index) readKeys(tx *bbolt.Tx, in storage.Range, limit int) ([]storage.Key, error) {
	tree := tx.Bucket(indexBucket).Cursor()
	from, end := newBornKey(in.Lo, 0), key{bornKind + 1}
	if in.Hi != (storage.Key{}) {
		end = newBornKey(in.Hi, 0)
	}
	c := keyCollector{in: in, limit: limit, end: end}
	for k, v := tree.Seek(from[:]); len(k) == len(key{}) && k[0] == bornKind && c.wants(key(k)); k, v = tree.Next() {
		if len(v) != len(storage.ID{})-bornIDSize {
			return nil, storefile.CorruptError("a key of the index makes no sense")
		}
		c.collect(key(k), storage.ID(slices.Concat(k[1+bornSize:1+tagSize], v)))
	}
	if c.n >= limit {
		c.end = c.last // what is recent and comes later is not on the page
	}
	for shard := 3 * shardsPerKind; shard < shards; shard++ {
		for _, part := range x.partsOf(shard) {
			c.n = 0
			for _, k := range part[searchKeys(part, from[:]):] {
				if !c.wants(k) {
					break
				}
				tail := x.tails[k.seqOf()]
				c.collect(k, storage.ID(slices.Concat(k[1+bornSize:1+tagSize], tail[:])))
			}
		}
	}
	slices.SortFunc(c.page, storage.Key.Compare)
	c.page = slices.Compact(c.page) // recent and in the tree
	return c.page[:min(len(c.page), limit)], nil
}

// keyCollector collects the first keys of a range from one place. Keys of the index have
// the beginning of an id, so those that are equal in that are in the order of the log, and
// all of them are collected.
type keyCollector struct {
	in    storage.Range
	limit int
	end   key // keys whose tags come after its tag are not in the range
	page  []storage.Key
	n     int // collected from this place
	last  key
}

// wants reports whether k, which comes after those that were collected, may be on the page.
func (c *keyCollector) wants(k key) bool {
	if c.n >= c.limit && !bytes.Equal(k.keyPrefix(tagSize), c.last.keyPrefix(tagSize)) {
		return false
	}
	return bytes.Compare(k.keyPrefix(tagSize), c.end.keyPrefix(tagSize)) <= 0
}

func (c *keyCollector) collect(k key, id storage.ID) {
	if found := (storage.Key{Born: k.bornOf(), ID: id}); c.in.Has(found) {
		c.page = append(c.page, found)
		c.n++
		c.last = k
	}
}

// Get implements [storage.Index].
func (s *Store) Get(ctx context.Context, ids []storage.ID) (entries []storage.Entry, err error) {
	if err := storage.CheckGet(ids); err != nil {
		return nil, fmt.Errorf("get from %s: %w", s.path, err)
	}
	err = s.viewIndex(ctx, "get from", func(tx *bbolt.Tx, st *state) error {
		log, tree := tx.Bucket(logBucket), tx.Bucket(indexBucket).Cursor()
		size, buf := 0, make([]byte, 0, maxPieces*pieceSize)
		for _, id := range ids {
			seq, r, err := s.index.findID(tree, log, st, id, buf)
			if err != nil {
				return err
			}
			if seq == 0 {
				continue
			}
			if size += r.size(); size > storage.PageBytes && len(entries) > 0 {
				return nil
			}
			entries = append(entries, r.toEntry(seq))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// findID returns the entry with an id that is in the log, or 0.
func (x *index) findID(tree *bbolt.Cursor, log *bbolt.Bucket, st *state, id storage.ID, buf []byte) (storage.Seq, record, error) {
	k := newKey(idKind, idTag(id), 0)
	for _, seq := range x.findSeqs(tree, k.keyPrefix(tagSize)) {
		r, kept, err := st.readKept(log, seq, buf)
		if err != nil || kept && r.id == id {
			return seq, r, err
		}
	}
	return 0, record{}, nil
}
