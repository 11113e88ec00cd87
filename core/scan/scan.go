// Package scan reads everything that a store holds, page by page. It serves whoever copies or
// verifies a whole store.
//
// A page that does not continue the one before it ends the reading with [storage.ErrCorrupt],
// so that no store can make a reader go on forever.
package scan

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Entries yields the entries of a log behind after, up to its end or an error. It holds one
// page at a time.
func Entries(ctx context.Context, store storage.Store, after storage.Seq) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		for {
			page, err := store.Log(ctx, storage.LogRequest{From: after + 1})
			if err != nil {
				yield(storage.Entry{}, err)
				return
			}
			if len(page.Entries) == 0 {
				return
			}
			for _, e := range page.Entries {
				if e.Seq <= after {
					yield(storage.Entry{}, fmt.Errorf("entry %d comes after %d: %w", e.Seq, after, storage.ErrCorrupt))
					return
				}
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
		}
	}
}

// LedgerPages yields the pages of a ledger, up to its end or an error.
func LedgerPages(ctx context.Context, ledger storage.Ledger) iter.Seq2[[]storage.SpentToken, error] {
	return func(yield func([]storage.SpentToken, error) bool) {
		var req storage.SpentTokensRequest
		for {
			page, err := ledger.SpentTokens(ctx, req)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				if req.After != nil && bytes.Compare(page[i].Token[:], req.After[:]) <= 0 {
					yield(nil, fmt.Errorf("the spent tokens are not in order: %w", storage.ErrCorrupt))
					return
				}
				req.After = &page[i].Token
			}
			if len(page) == 0 || !yield(page, nil) {
				return
			}
		}
	}
}

// Hours yields the sizes of all hours, up to an error.
func Hours(ctx context.Context, pruner storage.Pruner) iter.Seq2[storage.HourSize, error] {
	return func(yield func(storage.HourSize, error) bool) {
		for from := storage.Hour(0); ; {
			page, err := pruner.Hours(ctx, storage.HoursRequest{From: from})
			if err != nil {
				yield(storage.HourSize{}, err)
				return
			}
			for _, h := range page {
				if h.Hour < from {
					yield(storage.HourSize{}, fmt.Errorf("the hours are not in order: %w", storage.ErrCorrupt))
					return
				}
				if !yield(h, nil) {
					return
				}
				if from = h.Hour + 1; from == 0 { // it was the last hour there is
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// Keys yields all keys of an index, up to an error.
func Keys(ctx context.Context, index storage.Index) iter.Seq2[storage.Key, error] {
	return func(yield func(storage.Key, error) bool) {
		var req storage.KeysRequest
		for {
			page, err := index.Keys(ctx, req)
			if err != nil {
				yield(storage.Key{}, err)
				return
			}
			for _, k := range page {
				if !req.Range.Has(k) {
					yield(storage.Key{}, fmt.Errorf("the keys are not in order: %w", storage.ErrCorrupt))
					return
				}
				if !yield(k, nil) {
					return
				}
				if req.Range.Lo = k.Next(); req.Range.Lo == (storage.Key{}) { // it was the last key there is
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}
