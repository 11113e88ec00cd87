package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Spendings implements [storage.Ledger]. The order of tokens is that of the
// index. Most of them say only where in the log their envelope is, so that a
// page of them reads as many entries here and there.
func (s *Store) Spendings(ctx context.Context, req storage.SpendingsRequest) (page []storage.Spending, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the tokens of %s: %w", s.path, err)
	}
	from := key{tokenKind}
	if req.After != nil {
		from = newKey(tokenKind, tag(*req.After), math.MaxUint64)
	}
	s.mu.RLock() // before the view begins: a key is never in neither place
	defer s.mu.RUnlock()
	err = s.view(ctx, "list the tokens of", func(tx *bbolt.Tx) (err error) {
		page, err = s.index.spendings(tx, from, limit)
		return err
	})
	return page, err
}

// spendings returns those whose keys come after from, at most limit.
func (x *index) spendings(tx *bbolt.Tx, from key, limit int) (page []storage.Spending, err error) {
	log, tree := tx.Bucket(logBucket), tx.Bucket(indexBucket).Cursor()
	for shard := shardOf(from[:]); shard < shards; shard++ {
		for _, f := range x.after(tree, shard, from, limit-len(page)) {
			id, err := paidFor(log, f.key, f.value)
			if err != nil {
				return nil, err
			}
			page = append(page, storage.Spending{Token: f.token(), ID: id})
		}
		if len(page) == limit {
			break
		}
	}
	return page, nil
}

// found is a key of the index and its value.
type found struct {
	key
	value []byte
}

// after returns the keys of a shard that come after from, ascending, at most
// limit.
func (x *index) after(tree *bbolt.Cursor, shard int, from key, limit int) (keys []found) {
	for _, k := range x.recent[shard] {
		if bytes.Compare(k[:], from[:]) > 0 {
			keys = append(keys, found{k, nil})
		}
	}
	first := from[:]
	if start := shardStart(shard); bytes.Compare(start, first) > 0 {
		first = start
	}
	n := 0
	for k, v := tree.Seek(first); n < limit && len(k) == len(key{}) && shardOf(k) == shard; k, v = tree.Next() {
		if bytes.Compare(k, from[:]) > 0 {
			keys = append(keys, found{key(k), v})
			n++
		}
	}
	slices.SortFunc(keys, func(a, b found) int { return bytes.Compare(a.key[:], b.key[:]) })
	keys = slices.CompactFunc(keys, func(a, b found) bool { return a.key == b.key }) // recent and in the tree, just then
	return keys[:min(len(keys), limit)]
}

// paidFor returns the id of the envelope that a token paid for, whose key and
// value these are.
func paidFor(log *bbolt.Bucket, k key, value []byte) (storage.ID, error) {
	seq := k.seq()
	if seq == 0 {
		if len(value) != len(storage.ID{}) {
			return storage.ID{}, damaged("a token of the index paid for nothing")
		}
		return storage.ID(value), nil
	}
	r, err := readRecord(log, seq, nil)
	return r.id, err
}

// Spend implements [storage.Ledger].
func (s *Store) Spend(ctx context.Context, spendings []storage.Spending) error {
	if err := storage.CheckSpend(spendings); err != nil {
		return fmt.Errorf("spend tokens in %s: %w", s.path, err)
	}
	s.appending.Lock()
	defer s.appending.Unlock()
	return s.do(ctx, "spend tokens in", func() error {
		var last storage.Seq
		err := s.db.Update(func(tx *bbolt.Tx) error {
			st, err := readState(tx)
			if err != nil {
				return err
			}
			last = st.last
			return s.index.spend(tx, st, spendings)
		})
		if err == nil || err == errUnchanged {
			return nil
		}
		return s.failed(err, last)
	})
}

// spend puts the tokens that are not spent into the tree at once, since the log
// does not tell of them.
func (x *index) spend(tx *bbolt.Tx, st state, spendings []storage.Spending) error {
	meta, tree := tx.Bucket(metaBucket), tx.Bucket(indexBucket)
	tokens := st.tokens
	for i := range spendings {
		t := tag(spendings[i].Token)
		if _, _, spent := x.token(tree.Cursor(), t); spent {
			continue
		}
		k := newKey(tokenKind, t, 0)
		if err := tree.Put(k[:], spendings[i].ID[:]); err != nil {
			return err
		}
		st.tokens++
	}
	if st.tokens == tokens {
		return errUnchanged
	}
	if err := meta.Put(versionKey, binary.BigEndian.AppendUint32(nil, version)); err != nil {
		return err
	}
	return meta.Put(stateKey, st.encode())
}
