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
	{"Spendings", "what Append spends is in the ledger", checkSpendings},
	{"SpendingsPages", "Spendings returns the spent tokens that come after req.After, in the order of their bytes, as many as there are and at most req.Max; none means that there are no more", checkSpendingsPages},
	{"SpendingsMax", "0 means MaxSpendings. Less than 0 or more than MaxSpendings is ErrTooLarge", checkSpendingsMax},
	{"Spend", "what Spend records is spent for Append; the envelopes need not be in the log, and are not put there", checkSpend},
	{"SpendPaysNothing", "Spent: the nullifier had paid for another envelope, or for this one, which is not in the log", checkSpendPaysNothing},
	{"SpendTwice", "of a token that is spent, be it by the same batch, the first spending stays as it is, which is no error; so Spend may be repeated", checkSpendTwice},
	{"SpendTooLarge", "more than MaxSpendings is ErrTooLarge and changes nothing", checkSpendTooLarge},
	{"SpendReopened", "Spend returns when that is durable", checkSpendReopened},
}

// spending returns how a record spends its token.
func spending(r storage.Record) storage.Spending {
	return storage.Spending{Token: storage.NewTokenID(*r.Nullifier), ID: r.ID}
}

// newSpendings makes n spendings of tokens that nobody has, in order.
func newSpendings(n int) []storage.Spending {
	spendings := make([]storage.Spending, n)
	for i := range spendings {
		rand.Read(spendings[i].Token[:])
		rand.Read(spendings[i].ID[:])
	}
	slices.SortFunc(spendings, byToken)
	return spendings
}

func byToken(a, b storage.Spending) int { return bytes.Compare(a.Token[:], b.Token[:]) }

func (f *fixture) spend(spendings ...storage.Spending) {
	f.Helper()
	if err := f.ledger().Spend(f.Context(), spendings); err != nil {
		f.Fatalf("spend %d tokens: %v", len(spendings), err)
	}
}

func (f *fixture) spendings(req storage.SpendingsRequest) []storage.Spending {
	f.Helper()
	page, err := f.ledger().Spendings(f.Context(), req)
	if err != nil {
		f.Fatalf("spendings: %v", err)
	}
	return page
}

// readLedger reads all of it, in pages.
func (f *fixture) readLedger() (all []storage.Spending) {
	f.Helper()
	var req storage.SpendingsRequest
	for {
		page := f.spendings(req)
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

// ledgerHolds checks that the ledger consists of the spendings, whatever their
// order here.
func (f *fixture) ledgerHolds(want ...storage.Spending) {
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
	if info := f.info(); info.Tokens != uint64(len(want)) {
		f.Fatalf("info says %d tokens, the ledger has %d", info.Tokens, len(want))
	}
}

func checkSpendings(f *fixture) {
	f.ledgerHolds()
	a, b := paid(newRecord(100), newToken()), newRecord(100)
	again, later, theft := paid(a, newToken()), paid(b, newToken()), paid(newRecord(100), a.Nullifier)
	f.append(a, b, a)
	f.ledgerHolds(spending(a))
	f.append(again, theft)
	f.append(later)
	f.ledgerHolds(spending(a), spending(again), spending(later))
	f.reopen()
	f.ledgerHolds(spending(a), spending(again), spending(later))
}

func checkSpendingsPages(f *fixture) {
	f.ledger()
	var all []storage.Spending
	for range 3 {
		batch := newRecords(storage.MaxBatch, 24)
		for i := range batch {
			batch[i].Nullifier = newToken()
			all = append(all, spending(batch[i]))
		}
		f.append(batch...)
		more := newSpendings(100)
		f.spend(more...)
		all = append(all, more...)
	}
	least, greatest := storage.TokenID{}, storage.TokenID(bytes.Repeat([]byte{0xff}, len(storage.TokenID{})))
	ends := []storage.Spending{{Token: least}, {Token: greatest}}
	f.spend(ends...)
	all = append(all, ends...)
	f.ledgerHolds(all...) // which sorts them
	last := len(all) - 1
	for _, limit := range []int{1, 7, 100, storage.MaxSpendings - 1, storage.MaxSpendings} {
		for _, after := range []int{-1, 0, 1, last / 2, last - 1, last} {
			req := storage.SpendingsRequest{Max: limit}
			if after >= 0 {
				req.After = &all[after].Token
			}
			want := all[after+1 : min(len(all), after+1+limit)]
			if got := f.spendings(req); !slices.Equal(got, want) {
				f.Errorf("at most %d after number %d of %d: %d spendings, want %d, or others than expected", limit, after, len(all), len(got), len(want))
			}
		}
	}
	for range 10 { // after tokens that are not in the ledger
		token := newSpendings(1)[0].Token
		i, _ := slices.BinarySearchFunc(all, storage.Spending{Token: token}, byToken)
		want := all[i:min(len(all), i+5)]
		if got := f.spendings(storage.SpendingsRequest{After: &token, Max: 5}); !slices.Equal(got, want) {
			f.Errorf("5 after %x, which is not spent: got %x", token, got)
		}
	}
	if got := f.spendings(storage.SpendingsRequest{After: &least, Max: 1}); len(got) != 1 || got[0] != all[1] {
		f.Errorf("the first after %x: %x, want %x", least, got, all[1])
	}
	if got := f.spendings(storage.SpendingsRequest{After: &greatest}); len(got) != 0 {
		f.Errorf("after %x: %d spendings", greatest, len(got))
	}
}

func checkSpendingsMax(f *fixture) {
	l := f.ledger()
	all := newSpendings(storage.MaxSpendings + 1)
	f.spend(all[1:]...)
	f.spend(all[:1]...)
	for limit, want := range map[int]int{0: storage.MaxSpendings, storage.MaxSpendings: storage.MaxSpendings, 1: 1} {
		if got := f.spendings(storage.SpendingsRequest{Max: limit}); len(got) != want {
			f.Errorf("at most %d: %d spendings, want %d", limit, len(got), want)
		}
	}
	for _, limit := range []int{-1, math.MinInt, storage.MaxSpendings + 1, math.MaxInt} {
		if _, err := l.Spendings(f.Context(), storage.SpendingsRequest{Max: limit}); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("at most %d: %v, want ErrTooLarge", limit, err)
		}
	}
}

func checkSpend(f *fixture) {
	f.ledger()
	a, b := paid(newRecord(100), newToken()), paid(newRecord(100), newToken())
	f.append(a)
	f.spend()
	f.spend(spending(b))
	f.holds(a)
	f.ledgerHolds(spending(a), spending(b))
	f.unchanged(func() {
		f.expect([]storage.Record{paid(newRecord(100), b.Nullifier), paid(a, b.Nullifier)}, spent, spent)
	})
	free := b
	free.Nullifier = nil
	f.expect([]storage.Record{free}, stored(2))
	f.unchanged(func() { f.expect([]storage.Record{b, free}, replayed(2), duplicate(2)) })
	f.holds(a, b)
	f.ledgerHolds(spending(a), spending(b))
}

func checkSpendPaysNothing(f *fixture) {
	f.ledger()
	a := paid(newRecord(100), newToken())
	f.spend(spending(a))
	f.unchanged(func() { f.expect([]storage.Record{a, a}, spent, spent) })
	free := a
	free.Nullifier = nil
	f.expect([]storage.Record{a, free, a}, spent, stored(1), replayed(1))
	f.holds(a)
}

func checkSpendTwice(f *fixture) {
	f.ledger()
	a, b, c := paid(newRecord(100), newToken()), paid(newRecord(100), newToken()), paid(newRecord(100), newToken())
	f.append(a)
	f.spend(spending(b))
	f.unchanged(func() {
		f.spend(spending(b), spending(a), spending(b))
		f.spend(storage.Spending{Token: spending(a).Token, ID: b.ID}, storage.Spending{Token: spending(b).Token, ID: a.ID})
	})
	f.ledgerHolds(spending(a), spending(b))
	f.spend(spending(c), storage.Spending{Token: spending(c).Token, ID: b.ID}, spending(c))
	f.ledgerHolds(spending(a), spending(b), spending(c))
	f.expect([]storage.Record{a, paid(b, a.Nullifier)}, replayed(1), spent)
}

func checkSpendTooLarge(f *fixture) {
	l := f.ledger()
	f.unchanged(func() {
		if err := l.Spend(f.Context(), newSpendings(storage.MaxSpendings+1)); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("spend %d tokens: %v, want ErrTooLarge", storage.MaxSpendings+1, err)
		}
	})
	f.ledgerHolds()
	f.spend(newSpendings(storage.MaxSpendings)...)
}

func checkSpendReopened(f *fixture) {
	f.ledger()
	a := paid(newRecord(100), newToken())
	all := newSpendings(storage.MaxSpendings)
	f.spend(all...)
	f.append(a)
	more := newSpendings(3)
	f.spend(more...)
	all = slices.Concat(all, more, []storage.Spending{spending(a)})
	for range 2 {
		f.reopen()
		f.ledgerHolds(all...)
		f.holds(a)
	}
}
