package storagetest

import "github.com/cwtch-relay/cwtch-relay/sdk/storage"

var tokenChecks = []check{
	{"Spent", "Spent: the nullifier had paid for another envelope; nothing changed", checkSpent},
	{"Replayed", "Replayed: the nullifier had paid for this very envelope, which is in the log at Seq; nothing changed", checkReplayed},
	{"DuplicateSpends", "Duplicate: the envelope was in the log before, at Seq; its nullifier, unspent until now, is spent", checkDuplicateSpends},
	{"PaidAndUnpaid", "its nullifier is looked at first, its ID second, its signature third", checkPaidAndUnpaid},
	{"Conflict", "Conflict: another envelope with this signature is in the log; nothing changed, and the nullifier is not spent", checkConflict},
	{"ConflictUnpaid", "only a record with a nullifier and a signature that is not empty is refused so", checkConflictUnpaid},
	{"ConflictWithinBatch", "a record meets what the records before it in the batch did; its signature is looked at third", checkConflictWithinBatch},
	{"TokensCounted", "Tokens: nullifiers kept", checkTokensCounted},
	{"ManyTokens", "an envelope is never kept without the token that paid for it, nor the other way round", checkManyTokens},
}

func checkSpent(f *fixture) {
	a, b, x := newRecord(100), newRecord(100), newToken()
	f.expect([]storage.Record{paid(a, x)}, stored(1))
	f.unchanged(func() {
		f.expect([]storage.Record{paid(b, x)}, spent)
		f.expect([]storage.Record{paid(b, x), paid(b, x)}, spent, spent)
	})
	f.holds(a)
	f.expect([]storage.Record{paid(b, newToken())}, stored(2))
	f.unchanged(func() { f.expect([]storage.Record{paid(b, x)}, spent) })
	f.holds(a, b)
}

func checkReplayed(f *fixture) {
	a, b := paid(newRecord(100), newToken()), paid(newRecord(100), newToken())
	f.expect([]storage.Record{a, b}, stored(1), stored(2))
	f.unchanged(func() {
		f.expect([]storage.Record{b, a}, replayed(2), replayed(1))
	})
	f.holds(a, b)
}

func checkDuplicateSpends(f *fixture) {
	a, b, c := newRecord(100), newRecord(100), newRecord(100)
	x, y := newToken(), newToken()
	f.expect([]storage.Record{a, paid(b, x)}, stored(1), stored(2))
	f.expect([]storage.Record{paid(a, y)}, duplicate(1))
	f.unchanged(func() {
		f.expect([]storage.Record{paid(a, y), paid(c, y), paid(b, y)}, replayed(1), spent, spent)
	})
	f.reopen()
	f.unchanged(func() {
		f.expect([]storage.Record{paid(a, y), paid(c, y), paid(b, y)}, replayed(1), spent, spent)
	})
	f.holds(a, b)
}

func checkPaidAndUnpaid(f *fixture) {
	a, x := newRecord(100), newToken()
	f.expect([]storage.Record{paid(a, x)}, stored(1))
	f.unchanged(func() {
		f.expect([]storage.Record{a, paid(a, x), a}, duplicate(1), replayed(1), duplicate(1))
	})
	f.expect([]storage.Record{paid(a, newToken())}, duplicate(1))
	f.holds(a)
}

func checkConflict(f *fixture) {
	known := []byte("a signature that strangers know")
	a, b, c := signed(known, 100), signed(known, 100), newRecord(100)
	x, y := newToken(), newToken()
	f.expect([]storage.Record{paid(a, x)}, stored(1))
	for range 2 {
		f.unchanged(func() {
			f.expect([]storage.Record{paid(b, y), paid(b, y)}, conflict, conflict)
			f.expect([]storage.Record{paid(b, x), paid(a, x)}, spent, replayed(1))
		})
		f.found(known, 1)
		f.holds(a)
		f.reopen()
	}
	f.expect([]storage.Record{paid(c, y)}, stored(2)) // which is not spent
	f.expect([]storage.Record{paid(a, newToken())}, duplicate(1))
	f.holds(a, c)
}

func checkConflictUnpaid(f *fixture) {
	known := []byte("a signature that strangers know")
	a, b, c := signed(known, 100), signed(known, 100), signed(known, 100)
	f.expect([]storage.Record{a, b}, stored(1), stored(2))
	f.expect([]storage.Record{paid(c, newToken())}, conflict)
	f.expect([]storage.Record{c, paid(c, newToken()), paid(b, newToken())}, stored(3), duplicate(3), duplicate(2))
	f.found(known, 1)
	d, e := signed(nil, 100), signed([]byte{}, 100)
	f.expect([]storage.Record{paid(d, newToken()), paid(e, newToken())}, stored(4), stored(5))
	f.holds(a, b, c, d, e)
}

func checkConflictWithinBatch(f *fixture) {
	known, other := []byte("a signature that strangers know"), []byte("another one")
	a, b, c, d, e := signed(known, 100), signed(known, 100), signed(known, 100), signed(other, 100), signed(other, 100)
	x, y, z, free := newToken(), newToken(), newToken(), newToken()
	batch := []storage.Record{paid(a, x), paid(b, free), c, paid(d, free), paid(b, x), paid(c, y), paid(e, z), paid(a, x)}
	f.expect(batch, stored(1), conflict, stored(2), stored(3), spent, duplicate(2), conflict, replayed(1))
	f.unchanged(func() {
		batch[1].Nullifier = z // the token paid for another envelope since
		f.expect(batch, replayed(1), conflict, duplicate(2), replayed(3), spent, replayed(2), conflict, replayed(1))
	})
	f.holds(a, c, d)
}

func checkTokensCounted(f *fixture) {
	a, b, x := newRecord(100), newRecord(100), newToken()
	for i, step := range []struct {
		record storage.Record
		want   uint64
	}{
		{newRecord(100), 0}, {paid(a, x), 1}, {paid(a, x), 1}, {paid(b, x), 1},
		{paid(a, newToken()), 2}, {a, 2}, {b, 2}, {paid(b, newToken()), 3},
	} {
		f.append(step.record)
		if got := f.info().Tokens; got != step.want {
			f.Errorf("step %d: info says %d tokens, want %d", i, got, step.want)
		}
	}
}

// checkManyTokens appends enough for a store to move its indexes about.
func checkManyTokens(f *fixture) {
	var all []storage.Record
	for range 20 {
		batch := newRecords(storage.MaxBatch, 24)
		for i := range batch {
			if i%3 > 0 {
				batch[i].Nullifier = newToken()
			}
		}
		f.append(batch...)
		all = append(all, batch...)
	}
	for again := range 2 {
		if again > 0 {
			f.reopen()
		}
		f.holds(all...)
		f.unchanged(func() {
			for i := 0; i < len(all); i += storage.MaxBatch {
				checkRepeat(f, all[i:i+storage.MaxBatch], storage.Seq(i+1))
			}
		})
	}
}

// checkRepeat appends records that are in the log from first on.
func checkRepeat(f *fixture, batch []storage.Record, first storage.Seq) {
	f.Helper()
	want := make([]storage.Outcome, len(batch))
	theft := make([]storage.Record, len(batch))
	for i, r := range batch {
		seq := first + storage.Seq(i)
		theft[i] = paid(newRecord(24), r.Nullifier)
		if want[i] = replayed(seq); r.Nullifier == nil {
			want[i], theft[i] = duplicate(seq), r
		}
	}
	f.expect(batch, want...)
	for i, r := range batch {
		if r.Nullifier != nil {
			want[i] = spent
		}
	}
	f.expect(theft, want...)
}
