package storagetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var ledgerChecks = []check{
	{"SpentTokens", "what Append spends is in the ledger", checkSpentTokens},
	{"SpentTokensPages", "SpentTokens returns the spent tokens that come after req.After, in the order of their bytes, as many as there are and at most req.Max; none means that there are no more", checkSpentTokensPages},
	{"SpentTokensMax", "0 means MaxSpentTokens. Less than 0 or more than MaxSpentTokens is ErrTooLarge", checkSpentTokensMax},
	{"Spend", "what Spend records is spent for Append; the envelopes need not be in the log, and are not put there", checkSpend},
	{"SpendPaysNothing", "Spent: the nullifier had paid for another envelope, or for this one, which is not in the log", checkSpendPaysNothing},
	{"SpendTwice", "if a token is already spent, even earlier in this batch, the first spending is kept and no error is returned, so Spend may be repeated", checkSpendTwice},
	{"SpendTooLarge", "more than MaxSpentTokens is ErrTooLarge and changes nothing", checkSpendTooLarge},
	{"SpendReopened", "Spend returns when that is durable", checkSpendReopened},
}

// spendingOf returns how a record spends its token.
func spendingOf(r storage.Record) storage.SpentToken {
	return storage.SpentToken{Token: storage.NewTokenID(*r.Nullifier), ID: r.ID}
}

// newSpendings makes n spendings of random tokens, in order.
func newSpendings(n int) []storage.SpentToken {
	spendings := make([]storage.SpentToken, n)
	for i := range spendings {
		rand.Read(spendings[i].Token[:])
		rand.Read(spendings[i].ID[:])
	}
	slices.SortFunc(spendings, byToken)
	return spendings
}

func byToken(a, b storage.SpentToken) int { return bytes.Compare(a.Token[:], b.Token[:]) }

func (f *fixture) mustSpend(spendings ...storage.SpentToken) {
	f.Helper()
	if err := f.mustLedger().Spend(f.Context(), spendings); err != nil {
		f.Fatalf("spend %d tokens: %v", len(spendings), err)
	}
}

func (f *fixture) readSpentTokens(req storage.SpentTokensRequest) []storage.SpentToken {
	f.Helper()
	page, err := f.mustLedger().SpentTokens(f.Context(), req)
	if err != nil {
		f.Fatalf("spendings: %v", err)
	}
	return page
}

// readLedger reads the whole ledger, in pages.
func (f *fixture) readLedger() (all []storage.SpentToken) {
	f.Helper()
	var req storage.SpentTokensRequest
	for {
		page := f.readSpentTokens(req)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		next := page[len(page)-1].Token
		if req.After != nil && bytes.Compare(next[:], req.After[:]) <= 0 {
			f.Fatalf("after %x: a page that ends with %x", *req.After, next)
		}
		req.After = &next
	}
}

// expectLedger checks that the ledger consists of the spendings, in any order.
func (f *fixture) expectLedger(want ...storage.SpentToken) {
	f.Helper()
	slices.SortFunc(want, byToken)
	got := f.readLedger()
	if len(got) != len(want) {
		f.Fatalf("the ledger has %d spendings, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			f.Fatalf("spending %d of the ledger is of the token %x on %x, want %x on %x", i, got[i].Token, got[i].ID, want[i].Token, want[i].ID)
		}
	}
	if info := f.mustInfo(); info.Tokens != uint64(len(want)) {
		f.Fatalf("info says %d tokens, the ledger has %d", info.Tokens, len(want))
	}
}

func checkSpentTokens(f *fixture) {
	f.expectLedger()
	a, b := withToken(newRecord(100), newToken()), newRecord(100)
	again, later, theft := withToken(a, newToken()), withToken(b, newToken()), withToken(newRecord(100), a.Nullifier)
	f.mustAppend(a, b, a)
	f.expectLedger(spendingOf(a))
	f.mustAppend(again, theft)
	f.mustAppend(later)
	f.expectLedger(spendingOf(a), spendingOf(again), spendingOf(later))
	f.reopenStore()
	f.expectLedger(spendingOf(a), spendingOf(again), spendingOf(later))
}

func checkSpentTokensPages(f *fixture) {
	f.mustLedger()
	var all []storage.SpentToken
	for range 3 {
		batch := newRecords(storage.MaxBatch, 24)
		for i := range batch {
			batch[i].Nullifier = newToken()
			all = append(all, spendingOf(batch[i]))
		}
		f.mustAppend(batch...)
		more := newSpendings(100)
		f.mustSpend(more...)
		all = append(all, more...)
	}
	least, greatest := storage.TokenID{}, storage.TokenID(bytes.Repeat([]byte{0xff}, len(storage.TokenID{})))
	ends := []storage.SpentToken{{Token: least}, {Token: greatest}}
	f.mustSpend(ends...)
	all = append(all, ends...)
	f.expectLedger(all...) // which sorts them
	last := len(all) - 1
	for _, limit := range []int{1, 7, 100, storage.MaxSpentTokens - 1, storage.MaxSpentTokens} {
		for _, after := range []int{-1, 0, 1, last / 2, last - 1, last} {
			req := storage.SpentTokensRequest{Max: limit}
			if after >= 0 {
				req.After = &all[after].Token
			}
			want := all[after+1 : min(len(all), after+1+limit)]
			if got := f.readSpentTokens(req); !slices.Equal(got, want) {
				f.Errorf("at most %d after number %d of %d: %d spendings, want %d, or others than expected", limit, after, len(all), len(got), len(want))
			}
		}
	}
	for range 10 { // after tokens that are not in the ledger
		token := newSpendings(1)[0].Token
		i, _ := slices.BinarySearchFunc(all, storage.SpentToken{Token: token}, byToken)
		want := all[i:min(len(all), i+5)]
		if got := f.readSpentTokens(storage.SpentTokensRequest{After: &token, Max: 5}); !slices.Equal(got, want) {
			f.Errorf("5 after %x, which is not spent: got %x", token, got)
		}
	}
	if got := f.readSpentTokens(storage.SpentTokensRequest{After: &least, Max: 1}); len(got) != 1 || got[0] != all[1] {
		f.Errorf("the first after %x: %x, want %x", least, got, all[1])
	}
	if got := f.readSpentTokens(storage.SpentTokensRequest{After: &greatest}); len(got) != 0 {
		f.Errorf("after %x: %d spendings", greatest, len(got))
	}
}

func checkSpentTokensMax(f *fixture) {
	l := f.mustLedger()
	all := newSpendings(storage.MaxSpentTokens + 1)
	f.mustSpend(all[1:]...)
	f.mustSpend(all[:1]...)
	for limit, want := range map[int]int{0: storage.MaxSpentTokens, storage.MaxSpentTokens: storage.MaxSpentTokens, 1: 1} {
		if got := f.readSpentTokens(storage.SpentTokensRequest{Max: limit}); len(got) != want {
			f.Errorf("at most %d: %d spendings, want %d", limit, len(got), want)
		}
	}
	for _, limit := range []int{-1, math.MinInt, storage.MaxSpentTokens + 1, math.MaxInt} {
		if _, err := l.SpentTokens(f.Context(), storage.SpentTokensRequest{Max: limit}); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("at most %d: %v, want ErrTooLarge", limit, err)
		}
	}
}

func checkSpend(f *fixture) {
	f.mustLedger()
	a, b := withToken(newRecord(100), newToken()), withToken(newRecord(100), newToken())
	f.mustAppend(a)
	f.mustSpend()
	f.mustSpend(spendingOf(b))
	f.expectLog(a)
	f.expectLedger(spendingOf(a), spendingOf(b))
	f.expectUnchanged(func() {
		f.expectOutcomes([]storage.Record{withToken(newRecord(100), b.Nullifier), withToken(a, b.Nullifier)}, spent, spent)
	})
	free := b
	free.Nullifier = nil
	f.expectOutcomes([]storage.Record{free}, storedAt(2))
	f.expectUnchanged(func() { f.expectOutcomes([]storage.Record{b, free}, replayOf(2), duplicateOf(2)) })
	f.expectLog(a, b)
	f.expectLedger(spendingOf(a), spendingOf(b))
}

func checkSpendPaysNothing(f *fixture) {
	f.mustLedger()
	a := withToken(newRecord(100), newToken())
	f.mustSpend(spendingOf(a))
	f.expectUnchanged(func() { f.expectOutcomes([]storage.Record{a, a}, spent, spent) })
	free := a
	free.Nullifier = nil
	f.expectOutcomes([]storage.Record{a, free, a}, spent, storedAt(1), replayOf(1))
	f.expectLog(a)
}

func checkSpendTwice(f *fixture) {
	f.mustLedger()
	a, b, c := withToken(newRecord(100), newToken()), withToken(newRecord(100), newToken()), withToken(newRecord(100), newToken())
	f.mustAppend(a)
	f.mustSpend(spendingOf(b))
	f.expectUnchanged(func() {
		f.mustSpend(spendingOf(b), spendingOf(a), spendingOf(b))
		f.mustSpend(storage.SpentToken{Token: spendingOf(a).Token, ID: b.ID}, storage.SpentToken{Token: spendingOf(b).Token, ID: a.ID})
	})
	f.expectLedger(spendingOf(a), spendingOf(b))
	f.mustSpend(spendingOf(c), storage.SpentToken{Token: spendingOf(c).Token, ID: b.ID}, spendingOf(c))
	f.expectLedger(spendingOf(a), spendingOf(b), spendingOf(c))
	f.expectOutcomes([]storage.Record{a, withToken(b, a.Nullifier)}, replayOf(1), spent)
}

func checkSpendTooLarge(f *fixture) {
	l := f.mustLedger()
	f.expectUnchanged(func() {
		if err := l.Spend(f.Context(), newSpendings(storage.MaxSpentTokens+1)); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("spend %d tokens: %v, want ErrTooLarge", storage.MaxSpentTokens+1, err)
		}
	})
	f.expectLedger()
	f.mustSpend(newSpendings(storage.MaxSpentTokens)...)
}

func checkSpendReopened(f *fixture) {
	f.mustLedger()
	a := withToken(newRecord(100), newToken())
	all := newSpendings(storage.MaxSpentTokens)
	f.mustSpend(all...)
	f.mustAppend(a)
	more := newSpendings(3)
	f.mustSpend(more...)
	all = slices.Concat(all, more, []storage.SpentToken{spendingOf(a)})
	for range 2 {
		f.reopenStore()
		f.expectLedger(all...)
		f.expectLog(a)
	}
}
