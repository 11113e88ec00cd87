package bolt

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Log implements [storage.Store].
func (s *Store) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	from, entries, bytes, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("read %s: %w", s.path, err)
	}
	err = s.view(ctx, "read", func(tx *bbolt.Tx) (err error) {
		page, err = readPage(tx.Bucket(logBucket).Cursor(), from, entries, bytes)
		return err
	})
	return page, err
}

func readPage(log *bbolt.Cursor, from storage.Seq, entries, bytes int) (page storage.Page, err error) {
	if last, _ := log.Last(); last != nil {
		page.Last = storage.Seq(binary.BigEndian.Uint64(last))
	}
	size := 0
	for k, v := log.Seek(seqKey(from)); k != nil && len(page.Entries) < entries; k, v = log.Next() {
		r, err := decodeRecord(k, v)
		if err != nil {
			return storage.Page{}, err
		}
		size += len(r.signature) + len(r.ciphertext)
		if size > bytes && len(page.Entries) > 0 {
			break
		}
		page.Entries = append(page.Entries, r.entry(storage.Seq(binary.BigEndian.Uint64(k))))
	}
	return page, nil
}

// Find implements [storage.Store].
func (s *Store) Find(ctx context.Context, signature []byte) (seq storage.Seq, err error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("search %s for a signature of %d bytes: %w", s.path, len(signature), storage.ErrTooLarge)
	}
	s.mu.RLock() // before the view begins: a key is never in neither place
	defer s.mu.RUnlock()
	err = s.view(ctx, "search", func(tx *bbolt.Tx) (err error) {
		seq, err = s.find(tx, signature)
		return err
	})
	return seq, err
}

func (s *Store) find(tx *bbolt.Tx, signature []byte) (storage.Seq, error) {
	k := newKey(envelopeKind, envelopeTag(signature, storage.ID{}), 0)
	seqs := s.index.seqs(tx.Bucket(indexBucket).Cursor(), k.prefix(signatureTagSize))
	slices.Sort(seqs)
	log := tx.Bucket(logBucket)
	for _, seq := range seqs {
		r, err := readRecord(log, seq)
		if err != nil {
			return 0, err
		}
		if string(r.signature) == string(signature) {
			return seq, nil
		}
	}
	return 0, storage.ErrNotFound
}
