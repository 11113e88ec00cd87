package bolt

import (
	"context"
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
	last := s.shownState().last
	err = s.viewFile(ctx, "read", func(tx *bbolt.Tx) (err error) {
		page, err = readPage(tx, from, last, entries, bytes)
		return err
	})
	return page, err
}

// readPage reads a page of a log that readers see up to last.
func readPage(tx *bbolt.Tx, from, last storage.Seq, entries, bytes int) (page storage.Page, err error) {
	page.Last = last
	log, buf := tx.Bucket(logBucket), make([]byte, 0, maxPieces*pieceSize)
	size := 0
	for seq := from; seq <= last && len(page.Entries) < entries; seq++ {
		r, err := readRecord(log, seq, buf)
		if err != nil {
			return storage.Page{}, err
		}
		size += len(r.signature) + len(r.ciphertext)
		if size > bytes && len(page.Entries) > 0 {
			break
		}
		page.Entries = append(page.Entries, r.toEntry(seq))
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
	err = s.viewFile(ctx, "search", func(tx *bbolt.Tx) (err error) {
		seq, err = s.findSignature(tx, signature)
		return err
	})
	return seq, err
}

func (s *Store) findSignature(tx *bbolt.Tx, signature []byte) (storage.Seq, error) {
	t, tree := s.index.signatureTag(signature), tx.Bucket(indexBucket).Cursor()
	one, _, ok := s.index.lookUp(tree, envelopePrefix(t))
	if !ok {
		return 0, storage.ErrNotFound
	}
	seqs, _ := firstEnvelopes(tree, t, one.seqOf())
	seqs = slices.DeleteFunc(seqs, func(seq storage.Seq) bool { return seq > s.shown.last })
	seq, err := signedBy(tx.Bucket(logBucket), seqs, signature)
	if err == nil && seq == 0 {
		err = storage.ErrNotFound
	}
	return seq, err
}
