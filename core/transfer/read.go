package transfer

import (
	"context"
	"fmt"
	"iter"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// eachEntry yields the entries of a log behind after, up to its end or an error. It
// holds one page at a time.
func eachEntry(ctx context.Context, store storage.Store, after storage.Seq) iter.Seq2[storage.Entry, error] {
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
				if e.Seq <= after { // the loop might never end
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

// eachLedgerPage yields the pages of a ledger, up to its end or an error.
func eachLedgerPage(ctx context.Context, ledger storage.Ledger) iter.Seq2[[]storage.SpentToken, error] {
	return func(yield func([]storage.SpentToken, error) bool) {
		var req storage.SpentTokensRequest
		for {
			page, err := ledger.SpentTokens(ctx, req)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page) == 0 || !yield(page, nil) {
				return
			}
			req.After = &page[len(page)-1].Token
		}
	}
}
