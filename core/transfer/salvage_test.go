package transfer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// leaveOut returns a store without the entries and tokens for which lost returns true.
func leaveOut(m *storagetest.Memory, lostEntry func(storage.Entry) bool, lostToken func(storage.SpentToken) bool) liar {
	return liar{Memory: m,
		log: func(p storage.Page) storage.Page {
			p.Entries = slices.DeleteFunc(p.Entries, lostEntry)
			return p
		},
		spendings: func(s []storage.SpentToken) []storage.SpentToken { return slices.DeleteFunc(s, lostToken) },
	}
}

// TestSalvage shows that a copy of a damaged store holds what is whole, and says what is
// missing and where.
func TestSalvage(t *testing.T) {
	whole := filledStore(t, 300)
	info, _ := whole.Info(t.Context())
	isLost := func(e storage.Entry) bool { return e.Seq == 1 || e.Seq >= 50 && e.Seq < 60 || e.Seq == 300 }
	from := leaveOut(whole, isLost, func(s storage.SpentToken) bool { return s.Token[0] < 16 })
	spoilt := from.log
	from.log = func(p storage.Page) storage.Page { // what is there and not whole counts as lost
		p = spoilt(p)
		for i := range p.Entries {
			switch p.Entries[i].Seq {
			case 100:
				p.Entries[i].ID[0]++
			case 200: // a page of another time or place
				first, _ := whole.Log(t.Context(), storage.LogRequest{From: 2, Max: 1})
				p.Entries[i], p.Entries[i].Seq = first.Entries[0], 200
			}
		}
		return p
	}
	to, dir := storagetest.NewMemory(), t.TempDir()
	if _, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir}); !errors.Is(err, storage.ErrCorrupt) {
		t.Fatalf("a copy that is no salvage: %v", err)
	}
	for _, resumed := range []bool{true, true} { // what is no salvage has begun it
		r, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir, Salvage: true})
		if err != nil || r.Resumed != resumed || r.Envelopes != 286 {
			t.Fatalf("%+v, %v", r, err)
		}
		m := r.Missing
		if where := m.Gaps.Describe(9); m.Envelopes != 14 || m.Gaps.Count != 14 || where != "1, 50 to 59, 100, 200, 300" {
			t.Errorf("missing: %+v, at %s", m, where)
		}
		if m.Tokens == 0 || m.Tokens != info.Tokens-r.Tokens || m.Paid == 0 || m.IsZero() {
			t.Errorf("missing tokens: %+v of %d", m, info.Tokens)
		}
	}
	expectNoMarkers(t, dir)
	expectLost(t, to, whole, func(seq storage.Seq) bool {
		return isLost(storage.Entry{Seq: seq}) || seq == 100 || seq == 200
	})
}

// expectLost checks that a copy has all entries but those that are lost, and that no token
// of a lost one is forgotten.
func expectLost(t *testing.T, to, whole *storagetest.Memory, lost func(storage.Seq) bool) {
	t.Helper()
	for e, err := range scan.Entries(t.Context(), whole, 0) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := to.Get(t.Context(), []storage.ID{e.ID})
		if err != nil || len(got) == 1 == lost(e.Seq) {
			t.Errorf("entry %d: %d in the copy, %v", e.Seq, len(got), err)
		}
	}
	for page, err := range scan.LedgerPages(t.Context(), to) {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			if got, _ := to.Get(t.Context(), []storage.ID{s.ID}); len(got) == 0 && s.ID != (storage.ID{}) {
				t.Error("a token names an envelope that is not there")
			}
		}
	}
}

// TestSalvageOfAPrunedStore shows that what was pruned does not count as missing.
func TestSalvageOfAPrunedStore(t *testing.T) {
	for name, c := range map[string]struct {
		lost    func(storage.Entry) bool
		missing uint64
	}{
		"whole": {func(storage.Entry) bool { return false }, 0},
		"one":   {func(e storage.Entry) bool { return e.Seq == 500 }, 1},
	} {
		m := floored(t, 700)
		from, to := leaveOut(m, c.lost, func(storage.SpentToken) bool { return false }), storagetest.NewMemory()
		r, err := Copy(t.Context(), Config{From: from, To: to, Dir: t.TempDir(), Salvage: true})
		if err != nil || r.Missing.Envelopes != c.missing || r.Missing.Gaps.Count != c.missing || r.Missing.Tokens != 0 || r.Missing.Paid != 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		source, _ := m.Info(t.Context())
		if info, _ := to.Info(t.Context()); info.Floor != source.Floor || info.Floor == 0 {
			t.Errorf("%s: the floor is %d, want %d", name, info.Floor, source.Floor)
		}
	}
}

// TestSalvageResumesAfterAnyCall is TestCopyResumesAfterAnyCall for a salvage.
func TestSalvageResumesAfterAnyCall(t *testing.T) {
	m := floored(t, 60*storage.MaxBatch/16)
	from := leaveOut(m, func(e storage.Entry) bool { return e.Seq%100 == 0 }, func(s storage.SpentToken) bool { return s.Token[1] == 7 })
	to, dir := storagetest.NewMemory(), t.TempDir()
	for n := 1; ; n++ {
		calls := n
		r, err := Copy(t.Context(), Config{From: from, To: failing{to, &calls, n%2 == 0}, Dir: dir, Salvage: true})
		if err == nil {
			if info, _ := to.Info(t.Context()); r.Missing.Envelopes == 0 || r.Missing.Tokens == 0 || info.Count != r.Envelopes || info.Tokens != r.Tokens || n < 10 {
				t.Errorf("after %d calls: %+v; the copy has %d envelopes and %d tokens", n, r, info.Count, info.Tokens)
			}
			break
		}
		if !errors.Is(err, errFailing) || CheckFinished(t.Context(), dir, to) == nil {
			t.Fatalf("after %d calls: %v", n, err)
		}
	}
	expectNoMarkers(t, dir)
}

// TestSalvageIntoAnotherStore shows that a salvage does not mix with what is there.
func TestSalvageIntoAnotherStore(t *testing.T) {
	to := filledStore(t, 5)
	before, _ := to.Info(t.Context())
	_, err := Copy(t.Context(), Config{From: filledStore(t, 10), To: to, Dir: t.TempDir(), Salvage: true})
	if after, _ := to.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "copy into an empty store") || after != before {
		t.Errorf("%v, %+v", err, after)
	}
}

// TestSalvageOfAStoreThatCountsNothing shows that a store whose counts are lost is copied.
func TestSalvageOfAStoreThatCountsNothing(t *testing.T) {
	from := liar{Memory: filledStore(t, 10), info: func(i storage.Info) storage.Info { return storage.Info{Epoch: i.Epoch} }}
	r, err := Copy(t.Context(), Config{From: from, To: storagetest.NewMemory(), Dir: t.TempDir(), Salvage: true})
	if err != nil || r.Envelopes != 10 || r.Tokens == 0 || r.Missing.Envelopes != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
