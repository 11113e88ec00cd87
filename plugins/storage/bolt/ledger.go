package bolt

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// SpentTokens implements [storage.Ledger]. Tokens come in the order of the index. Most
// keys of tokens have only the place of their envelope in the log, so a page of tokens
// reads as many entries from all over the log.
func (s *Store) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) (page []storage.SpentToken, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the tokens of %s: %w", s.path, err)
	}
	from := key{tokenKind}
	if req.After != nil {
		from = newKey(tokenKind, tag(*req.After), math.MaxUint64)
	}
	// Wait for an Append to end: bbolt shows what it commits before it is durable, and
	// nothing tells which tokens in the tree are new.
	s.appendMu.Lock()
	wait := sync.OnceFunc(s.appendMu.Unlock)
	defer wait()
	s.mu.RLock()
	defer s.mu.RUnlock()
	err = s.viewFile(ctx, "list the tokens of", func(tx *bbolt.Tx) (err error) {
		wait()
		page, err = s.index.readSpentTokens(tx, from, limit)
		return err
	})
	return page, err
}

// readSpentTokens returns at most limit tokens, whose keys are from or come after it.
func (x *index) readSpentTokens(tx *bbolt.Tx, from key, limit int) (page []storage.SpentToken, err error) {
	log, tree := tx.Bucket(logBucket), tx.Bucket(indexBucket).Cursor()
	for shard := shardOf(from[:]); shard < 2*shardsPerKind; shard++ {
		for _, f := range x.keysFrom(tree, shard, from, limit-len(page)) {
			id, err := paidFor(log, f.key, f.value)
			if err != nil {
				return nil, err
			}
			page = append(page, storage.SpentToken{Token: f.tokenOf(), ID: id})
		}
		if len(page) == limit {
			break
		}
	}
	return page, nil
}

// keyValue is a key of the index and its value.
type keyValue struct {
	key
	value []byte
}

// keysFrom returns at most limit keys of a shard, ascending, that are from or come after
// it.
func (x *index) keysFrom(tree *bbolt.Cursor, shard int, from key, limit int) (keys []keyValue) {
	first := from[:]
	if start := shardStart(shard); bytes.Compare(start, first) > 0 {
		first = start
	}
	for k := range x.recentOf(shard, first) {
		if len(keys) == limit {
			break
		}
		keys = append(keys, keyValue{k, nil})
	}
	n := 0
	for k, v := tree.Seek(first); n < limit && len(k) == len(key{}) && k[0] == tokenKind && shardOf(k) == shard; k, v = tree.Next() {
		keys = append(keys, keyValue{key(k), v})
		n++
	}
	slices.SortFunc(keys, func(a, b keyValue) int { return bytes.Compare(a.key[:], b.key[:]) })
	keys = slices.CompactFunc(keys, func(a, b keyValue) bool { return a.key == b.key }) // recent and in the tree, just then
	return keys[:min(len(keys), limit)]
}

// paidFor returns the id of the envelope that a token paid for, whose key and
// value these are. It is zero if that envelope was removed from the log.
func paidFor(log *bbolt.Bucket, k key, value []byte) (storage.ID, error) {
	seq := k.seqOf()
	if seq == 0 {
		if len(value) != len(storage.ID{}) {
			return storage.ID{}, storefile.CorruptError("a token of the index paid for nothing")
		}
		return storage.ID(value), nil
	}
	r, _, err := readRecord(log, seq, nil)
	return r.id, err
}

// Spend implements [storage.Ledger].
func (s *Store) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	if err := storage.CheckSpend(spendings); err != nil {
		return fmt.Errorf("spend tokens in %s: %w", s.path, err)
	}
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	return s.runMethod(ctx, "spend tokens in", func() error {
		if err := s.openForWriting(); err != nil {
			return err
		}
		st := s.shown
		return s.updateFile(func(tx *bbolt.Tx) (bool, error) {
			return false, s.index.spendTokens(tx, &st, spendings)
		}, func() { s.shown = st })
	})
}

// spendTokens puts tokens that are not spent yet into the tree at once, because the log has
// nothing from which a start could find them.
func (x *index) spendTokens(tx *bbolt.Tx, st *state, spendings []storage.SpentToken) error {
	meta, tree := tx.Bucket(metaBucket), x.treeOf(tx)
	tokens := st.tokens
	for i := range spendings {
		t := tag(spendings[i].Token)
		if _, _, spent := x.findToken(tree.Cursor(), t); spent {
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
	return meta.Put(stateKey, st.marshal())
}
