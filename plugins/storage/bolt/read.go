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
	err = s.viewShown(ctx, "read", func(tx *bbolt.Tx, st *state) (err error) {
		page, err = st.readPage(tx, from, entries, bytes)
		return err
	})
	return page, err
}

// readPage reads a page of the log.
func (st *state) readPage(tx *bbolt.Tx, from storage.Seq, entries, bytes int) (page storage.Page, err error) {
	page.Last = st.last
	log, buf := tx.Bucket(logBucket), make([]byte, 0, maxPieces*pieceSize)
	size := 0
	for seq := max(from, st.lowest); seq <= st.last && len(page.Entries) < entries; seq++ {
		r, kept, err := st.readKept(log, seq, buf)
		if err != nil {
			return storage.Page{}, err
		}
		if !kept {
			continue
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
	err = s.viewIndex(ctx, "search", func(tx *bbolt.Tx, st *state) (err error) {
		seq, err = s.index.findSignature(tx, st, signature)
		return err
	})
	return seq, err
}

func (x *index) findSignature(tx *bbolt.Tx, st *state, signature []byte) (storage.Seq, error) {
	t, tree := x.signatureTag(signature), tx.Bucket(indexBucket).Cursor()
	one, _, ok := x.lookUp(tree, envelopePrefix(t))
	if !ok {
		return 0, storage.ErrNotFound
	}
	seqs, _ := firstEnvelopes(tree, t, one.seqOf())
	seqs = slices.DeleteFunc(seqs, func(seq storage.Seq) bool { return seq > st.last })
	seq, err := st.signedBy(tx.Bucket(logBucket), seqs, signature)
	if err == nil && seq == 0 {
		err = storage.ErrNotFound
	}
	return seq, err
}
