package storagetest

import "github.com/cwtch-relay/cwtch-relay/sdk/storage"

var tokenChecks = []check{
	{"Spent", "Spent: the nullifier had paid for another envelope; nothing changed", checkSpent},
	{"Replayed", "Replayed: the nullifier had paid for this very envelope, which is in the log at Seq; nothing changed", checkReplayed},
	{"DuplicateSpends", "Duplicate: the envelope was in the log before, at Seq; its nullifier, unspent until now, is spent", checkDuplicateSpends},
	{"PaidAndUnpaid", "its nullifier is checked first, its ID second, its signature third", checkPaidAndUnpaid},
	{"Conflict", "Conflict: another envelope with this signature is in the log; nothing changed, and the nullifier is not spent", checkConflict},
	{"ConflictUnpaid", "only a record with a nullifier and a signature that is not empty can be a Conflict", checkConflictUnpaid},
	{"ConflictWithinBatch", "a record sees the effect of the records before it in the batch; its signature is checked third", checkConflictWithinBatch},
	{"TokensCounted", "Tokens: spent tokens", checkTokensCounted},
	{"ManyTokens", "an envelope is never kept without the token that paid for it, nor the other way round", checkManyTokens},
}

func checkSpent(f *fixture) {
	a, b, x := newRecord(100), newRecord(100), newToken()
	f.expectOutcomes([]storage.Record{withToken(a, x)}, storedAt(1))
	f.expectUnchanged(func() {
		f.expectOutcomes([]storage.Record{withToken(b, x)}, spent)
		f.expectOutcomes([]storage.Record{withToken(b, x), withToken(b, x)}, spent, spent)
	})
	f.expectLog(a)
	f.expectOutcomes([]storage.Record{withToken(b, newToken())}, storedAt(2))
	f.expectUnchanged(func() { f.expectOutcomes([]storage.Record{withToken(b, x)}, spent) })
	f.expectLog(a, b)
}

func checkReplayed(f *fixture) {
	a, b := withToken(newRecord(100), newToken()), withToken(newRecord(100), newToken())
	f.expectOutcomes([]storage.Record{a, b}, storedAt(1), storedAt(2))
	f.expectUnchanged(func() {
		f.expectOutcomes([]storage.Record{b, a}, replayOf(2), replayOf(1))
	})
	f.expectLog(a, b)
}

func checkDuplicateSpends(f *fixture) {
	a, b, c := newRecord(100), newRecord(100), newRecord(100)
	x, y := newToken(), newToken()
	f.expectOutcomes([]storage.Record{a, withToken(b, x)}, storedAt(1), storedAt(2))
	f.expectOutcomes([]storage.Record{withToken(a, y)}, duplicateOf(1))
	f.expectUnchanged(func() {
		f.expectOutcomes([]storage.Record{withToken(a, y), withToken(c, y), withToken(b, y)}, replayOf(1), spent, spent)
	})
	f.reopenStore()
	f.expectUnchanged(func() {
		f.expectOutcomes([]storage.Record{withToken(a, y), withToken(c, y), withToken(b, y)}, replayOf(1), spent, spent)
	})
	f.expectLog(a, b)
}

func checkPaidAndUnpaid(f *fixture) {
	a, x := newRecord(100), newToken()
	f.expectOutcomes([]storage.Record{withToken(a, x)}, storedAt(1))
	f.expectUnchanged(func() {
		f.expectOutcomes([]storage.Record{a, withToken(a, x), a}, duplicateOf(1), replayOf(1), duplicateOf(1))
	})
	f.expectOutcomes([]storage.Record{withToken(a, newToken())}, duplicateOf(1))
	f.expectLog(a)
}

func checkConflict(f *fixture) {
	known := []byte("a signature that strangers know")
	a, b, c := signedRecord(known, 100), signedRecord(known, 100), newRecord(100)
	x, y := newToken(), newToken()
	f.expectOutcomes([]storage.Record{withToken(a, x)}, storedAt(1))
	for range 2 {
		f.expectUnchanged(func() {
			f.expectOutcomes([]storage.Record{withToken(b, y), withToken(b, y)}, conflict, conflict)
			f.expectOutcomes([]storage.Record{withToken(b, x), withToken(a, x)}, spent, replayOf(1))
		})
		f.expectFound(known, 1)
		f.expectLog(a)
		f.reopenStore()
	}
	f.expectOutcomes([]storage.Record{withToken(c, y)}, storedAt(2)) // y is not spent
	f.expectOutcomes([]storage.Record{withToken(a, newToken())}, duplicateOf(1))
	f.expectLog(a, c)
}

func checkConflictUnpaid(f *fixture) {
	known := []byte("a signature that strangers know")
	a, b, c := signedRecord(known, 100), signedRecord(known, 100), signedRecord(known, 100)
	f.expectOutcomes([]storage.Record{a, b}, storedAt(1), storedAt(2))
	f.expectOutcomes([]storage.Record{withToken(c, newToken())}, conflict)
	f.expectOutcomes([]storage.Record{c, withToken(c, newToken()), withToken(b, newToken())}, storedAt(3), duplicateOf(3), duplicateOf(2))
	f.expectFound(known, 1)
	d, e := signedRecord(nil, 100), signedRecord([]byte{}, 100)
	f.expectOutcomes([]storage.Record{withToken(d, newToken()), withToken(e, newToken())}, storedAt(4), storedAt(5))
	f.expectLog(a, b, c, d, e)
}

func checkConflictWithinBatch(f *fixture) {
	known, other := []byte("a signature that strangers know"), []byte("another one")
	a, b, c, d, e := signedRecord(known, 100), signedRecord(known, 100), signedRecord(known, 100), signedRecord(other, 100), signedRecord(other, 100)
	x, y, z, free := newToken(), newToken(), newToken(), newToken()
	batch := []storage.Record{withToken(a, x), withToken(b, free), c, withToken(d, free), withToken(b, x), withToken(c, y), withToken(e, z), withToken(a, x)}
	f.expectOutcomes(batch, storedAt(1), conflict, storedAt(2), storedAt(3), spent, duplicateOf(2), conflict, replayOf(1))
	f.expectUnchanged(func() {
		batch[1].Nullifier = z // the token paid for another envelope since
		f.expectOutcomes(batch, replayOf(1), conflict, duplicateOf(2), replayOf(3), spent, replayOf(2), conflict, replayOf(1))
	})
	f.expectLog(a, c, d)
}

func checkTokensCounted(f *fixture) {
	a, b, x := newRecord(100), newRecord(100), newToken()
	for i, step := range []struct {
		record storage.Record
		want   uint64
	}{
		{newRecord(100), 0}, {withToken(a, x), 1}, {withToken(a, x), 1}, {withToken(b, x), 1},
		{withToken(a, newToken()), 2}, {a, 2}, {b, 2}, {withToken(b, newToken()), 3},
	} {
		f.mustAppend(step.record)
		if got := f.mustInfo().Tokens; got != step.want {
			f.Errorf("step %d: info says %d tokens, want %d", i, got, step.want)
		}
	}
}

// checkManyTokens appends so much that a store has to reorganize its indexes.
func checkManyTokens(f *fixture) {
	var all []storage.Record
	for range 20 {
		batch := newRecords(storage.MaxBatch, 24)
		for i := range batch {
			if i%3 > 0 {
				batch[i].Nullifier = newToken()
			}
		}
		f.mustAppend(batch...)
		all = append(all, batch...)
	}
	for again := range 2 {
		if again > 0 {
			f.reopenStore()
		}
		f.expectLog(all...)
		f.expectUnchanged(func() {
			for i := 0; i < len(all); i += storage.MaxBatch {
				checkRepeat(f, all[i:i+storage.MaxBatch], storage.Seq(i+1))
			}
		})
	}
}

// checkRepeat appends records again that are in the log from first on, and others that
// pay with their tokens.
func checkRepeat(f *fixture, batch []storage.Record, first storage.Seq) {
	f.Helper()
	want := make([]storage.Outcome, len(batch))
	theft := make([]storage.Record, len(batch))
	for i, r := range batch {
		seq := first + storage.Seq(i)
		theft[i] = withToken(newRecord(24), r.Nullifier)
		if want[i] = replayOf(seq); r.Nullifier == nil {
			want[i], theft[i] = duplicateOf(seq), r
		}
	}
	f.expectOutcomes(batch, want...)
	for i, r := range batch {
		if r.Nullifier != nil {
			want[i] = spent
		}
	}
	f.expectOutcomes(theft, want...)
}
