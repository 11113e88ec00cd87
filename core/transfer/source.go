package transfer

import (
	"context"
	"fmt"
	"iter"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Missing is what a salvaged store has lost, as far as that is known.
type Missing struct {
	Envelopes uint64 `json:"envelopes"`
	// Gaps are the numbers of the log that have no envelope, where the missing ones were. If
	// the source has pruned what is old, some of that was in the gaps, too.
	Gaps   scan.Gaps `json:"gaps,omitzero"`
	Tokens uint64    `json:"tokens"` // that were spent, and can be spent once more
	// Paid is how many tokens that are still known paid for envelopes that are missing;
	// 0 if they may have paid for what was pruned.
	Paid uint64 `json:"paid"`
}

// IsZero reports whether nothing is missing.
func (m *Missing) IsZero() bool { return m.Envelopes == 0 && m.Tokens == 0 && m.Paid == 0 }

// sourceReader reads the source once, the entries first and then the ledger. In a salvage it
// leaves out what is not whole.
type sourceReader struct {
	store   storage.Store
	ledger  storage.Ledger
	info    storage.Info
	salvage bool
	ids     *scan.IDSet // of the entries of a salvage
	missing Missing
}

func (c *copier) newReader() *sourceReader {
	return &sourceReader{store: c.from, ledger: c.source, info: c.info, salvage: c.salvage, ids: scan.NewIDSet()}
}

// entries yields the entries behind after, which is 0 in a salvage.
func (r *sourceReader) entries(ctx context.Context, after storage.Seq) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		whole, last := uint64(0), storage.Seq(0)
		if r.info.Floor > 0 && r.info.First > 0 {
			last = r.info.First - 1
		}
		for e, err := range scan.Entries(ctx, r.store, after) {
			if err == nil && storage.NewID(e.Signature, e.Ciphertext) != e.ID {
				err = fmt.Errorf("entry %d does not have the id it says: %w", e.Seq, storage.ErrCorrupt)
				if r.salvage {
					continue
				}
			}
			if err == nil && r.salvage {
				if e.Born < r.info.Floor || !r.ids.Add(e.ID) {
					continue
				}
				r.missing.Gaps.Add(last+1, e.Seq-1)
				last = max(last, e.Seq)
				whole++
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		if !r.salvage {
			return
		}
		r.missing.Gaps.Add(last+1, r.info.Last)
		r.missing.Envelopes = r.info.Count - min(r.info.Count, whole)
		if r.info.Floor == 0 {
			r.missing.Envelopes = max(r.missing.Envelopes, r.missing.Gaps.Count)
		}
	}
}

// ledgerPages yields the pages of the ledger. In a salvage it comes after entries, and the
// tokens that paid for what is missing have the zero id, as if that had been pruned.
func (r *sourceReader) ledgerPages(ctx context.Context) iter.Seq2[[]storage.SpentToken, error] {
	return func(yield func([]storage.SpentToken, error) bool) {
		read := uint64(0)
		for page, err := range scan.LedgerPages(ctx, r.ledger) {
			if err == nil && r.salvage {
				r.forgetMissing(page)
				read += uint64(len(page))
			}
			if !yield(page, err) || err != nil {
				return
			}
		}
		if r.salvage {
			r.missing.Tokens = r.info.Tokens - min(r.info.Tokens, read)
		}
	}
}

func (r *sourceReader) forgetMissing(page []storage.SpentToken) {
	for i := range page {
		if id := &page[i].ID; *id != (storage.ID{}) && !r.ids.Has(*id) {
			*id = storage.ID{}
			if r.info.Floor == 0 {
				r.missing.Paid++
			}
		}
	}
}
