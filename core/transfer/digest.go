package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"iter"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Digest stands for what a store holds:
//
//	SHA-256("cwtch-relay/store/v1"
//	  ‖ for each entry of the log: 1 ‖ uint32(born) ‖ id ‖ uint32(len) ‖ signature ‖ uint32(len) ‖ ciphertext
//	  ‖ for each spent token, ascending: 2 ‖ token ‖ id)
//
// with all numbers big-endian. Sequence numbers, epoch and floor are not part of it.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives the digest in hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// compareStores reads both stores and returns what they have in common, which is all of
// either, and what the source has lost.
func (c *copier) compareStores(ctx context.Context) (summary, Missing, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // one store need not be read when the other fails
	var theirs summary
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		entries, pages := scan.Entries(ctx, c.to, 0), scan.LedgerPages(ctx, c.target)
		if theirs, failed = summarizeStore(entries, pages, func(uint64) {}); failed != nil {
			cancel()
		}
	})
	total := c.info.Count + c.info.Tokens
	source := c.newReader()
	ours, err := summarizeStore(source.entries(ctx, 0), source.ledgerPages(ctx), func(done uint64) { c.progress(Progress{Comparison, done, total}) })
	if err != nil {
		cancel()
	}
	wg.Wait()
	switch {
	case failed != nil && (err == nil || errors.Is(err, context.Canceled)):
		return summary{}, Missing{}, fmt.Errorf("read the destination: %w", failed)
	case err != nil:
		return summary{}, Missing{}, fmt.Errorf("read the source: %w", err)
	case !c.salvage && (ours.entries != c.info.Count || ours.tokens != c.info.Tokens):
		return summary{}, Missing{}, errGrown
	case ours != theirs && c.finished:
		return summary{}, Missing{}, fmt.Errorf("the destination holds %v already, but not the same as the source: copy into an empty store", theirs)
	case ours != theirs:
		return summary{}, Missing{}, fmt.Errorf("the copy differs from the source: it holds %v with the digest %v, and the source %v with %v; copy again into an empty store", theirs, theirs.digest, ours, ours.digest)
	}
	return ours, source.missing, nil
}

// summary stands for the content of a store.
type summary struct {
	entries, tokens uint64
	digest          Digest
}

func (s summary) String() string {
	return fmt.Sprintf("%d envelopes and %d spent tokens", s.entries, s.tokens)
}

// summarizeStore sums up the entries and the ledger of a store.
func summarizeStore(entries iter.Seq2[storage.Entry, error], pages iter.Seq2[[]storage.SpentToken, error], progress func(done uint64)) (s summary, err error) {
	h := sha256.New()
	h.Write([]byte("cwtch-relay/store/v1"))
	for e, err := range entries {
		if err != nil {
			return s, err
		}
		hashEntry(h, &e)
		if s.entries++; s.entries%storage.MaxBatch == 0 {
			progress(s.entries)
		}
	}
	for page, err := range pages {
		if err != nil {
			return s, err
		}
		for i := range page {
			h.Write([]byte{2})
			h.Write(page[i].Token[:])
			h.Write(page[i].ID[:])
		}
		s.tokens += uint64(len(page))
		progress(s.entries + s.tokens)
	}
	h.Sum(s.digest[:0])
	return s, nil
}

func hashEntry(h hash.Hash, e *storage.Entry) {
	var head [1 + 4 + len(e.ID) + 4]byte
	head[0] = 1
	binary.BigEndian.PutUint32(head[1:], uint32(e.Born))
	copy(head[5:], e.ID[:])
	binary.BigEndian.PutUint32(head[5+len(e.ID):], uint32(len(e.Signature)))
	h.Write(head[:])
	h.Write(e.Signature)
	binary.BigEndian.PutUint32(head[:], uint32(len(e.Ciphertext)))
	h.Write(head[:4])
	h.Write(e.Ciphertext)
}
