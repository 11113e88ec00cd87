package bolt

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestReadersAgree reads while envelopes of few signatures, whose tags are fewer
// still, are appended paid and unpaid, and the store compacts: what one method has shown, the
// others show from then on.
func TestReadersAgree(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 32})
	s.db.NoSync = true
	s.index.hash = func(b []byte) (h [sha256.Size]byte) {
		sum := sha256.Sum256(b)
		h[0], h[7] = sum[0]&1, sum[7]&3
		return h
	}
	done := make(chan struct{})
	var readers, appenders sync.WaitGroup
	for range 3 {
		r := &witness{store: s, first: make(map[string]storage.Seq), tokens: make(map[storage.TokenID]bool)}
		readers.Go(func() {
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true // once more, for the end
				default:
				}
				if err := r.checkStore(t); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		appenders.Go(func() {
			for range 250 {
				records := crowdedRecords()
				if _, err := s.Append(t.Context(), records); err != nil {
					t.Error(err)
					return
				}
				if rand.IntN(10) > 0 {
					continue
				}
				spending := storage.SpentToken{Token: storage.NewTokenID(*storefiletest.RandomRecords(1)[0].Nullifier), ID: records[0].ID}
				if err := s.Spend(t.Context(), []storage.SpentToken{spending}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	compactions := 0
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			c, err := s.Compact(t.Context(), storage.CompactRequest{Room: math.MaxInt64, Max: 32 << 10})
			if err != nil {
				t.Error(err)
				return
			}
			if !c.More {
				compactions++
			}
		}
	})
	appenders.Wait()
	close(done)
	readers.Wait()
	if compactions == 0 {
		t.Error("no compaction was finished meanwhile")
	}
}

// crowdedRecords makes a few records, of 400 signatures mostly.
func crowdedRecords() []storage.Record {
	records := storefiletest.RandomRecords(1 + rand.IntN(6))
	for i := range records {
		records[i].Ciphertext = nil
		if rand.IntN(3) > 0 {
			records[i].Signature = fmt.Appendf(nil, "signature %d", rand.IntN(400))
		}
		if rand.IntN(3) == 0 {
			records[i].Nullifier = nil
		}
	}
	return records
}

// witness remembers what a store has shown.
type witness struct {
	store  *Store
	last   storage.Seq
	first  map[string]storage.Seq // by signature
	tokens map[storage.TokenID]bool
}

func (w *witness) checkStore(t *testing.T) error {
	info, err := w.store.Info(t.Context())
	if err != nil {
		return err
	}
	if info.Last < w.last || info.Tokens < uint64(len(w.tokens)) {
		return fmt.Errorf("info says %d entries and %d tokens after %d and %d were shown", info.Last, info.Tokens, w.last, len(w.tokens))
	}
	if err := w.listTokens(t); err != nil {
		return err
	}
	if uint64(len(w.tokens)) < info.Tokens {
		return fmt.Errorf("%d tokens are listed after info said %d", len(w.tokens), info.Tokens)
	}
	for {
		page, err := w.store.Log(t.Context(), storage.LogRequest{From: w.last + 1})
		if err != nil {
			return err
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, e := range page.Entries {
			w.last = e.Seq
			if _, ok := w.first[string(e.Signature)]; !ok {
				w.first[string(e.Signature)] = e.Seq
			}
			if seq, err := w.store.Find(t.Context(), e.Signature); seq != w.first[string(e.Signature)] {
				return fmt.Errorf("find %q, which the log shows first at %d: %d, %w", e.Signature, w.first[string(e.Signature)], seq, err)
			}
		}
	}
	if w.last < info.Last {
		return fmt.Errorf("the log ends at %d after info said %d", w.last, info.Last)
	}
	return nil
}

// listTokens lists all tokens. Those that were listed before must be among them.
func (w *witness) listTokens(t *testing.T) error {
	listed := make(map[storage.TokenID]bool)
	for after := (*storage.TokenID)(nil); ; {
		page, err := w.store.SpentTokens(t.Context(), storage.SpentTokensRequest{After: after})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, x := range page {
			listed[x.Token] = true
		}
		after = &page[len(page)-1].Token
	}
	for token := range w.tokens {
		if !listed[token] {
			return fmt.Errorf("token %x is listed no more", token)
		}
	}
	w.tokens = listed
	return nil
}
