package storagetest

import "github.com/cwtch-relay/cwtch-relay/sdk/storage"

var lifeChecks = []check{
	{"Empty", "First, Last: 0 when the log is empty", checkEmpty},
	{"Epoch", "Epoch is random and new whenever a store is created; sequence numbers are never reused within one", checkEpoch},
	{"Reopened", "when Append returns without an error, every outcome it reports survives the death of the process", checkReopened},
	{"Model", "every sentence, in any order", checkModel},
}

func checkEmpty(f *fixture) {
	info := f.info()
	if info.First != 0 || info.Last != 0 || info.Count != 0 || info.Tokens != 0 {
		f.Errorf("info of an empty store: %+v", info)
	}
	f.holds()
}

func checkEpoch(f *fixture) {
	epoch := f.info().Epoch
	if epoch == (storage.Epoch{}) {
		f.Error("the epoch is zero")
	}
	f.reopen()
	if f.info().Epoch != epoch {
		f.Error("the epoch of an empty store changed when it was opened again")
	}
	f.append(newRecords(3, 100)...)
	f.reopen()
	if f.info().Epoch != epoch {
		f.Error("the epoch changed when the store was opened again")
	}
	other := newFixture(f.TB, f.opener)
	if other.info().Epoch == epoch {
		f.Error("two stores have one epoch")
	}
}

func checkReopened(f *fixture) {
	a, b, c := paid(newRecord(4096), newToken()), newRecord(100), paid(newRecord(100), newToken())
	f.expect([]storage.Record{a, b}, stored(1), stored(2))
	for range 3 {
		before := f.info()
		f.reopen()
		if after := f.info(); after.Last != before.Last || after.Count != before.Count || after.Tokens != before.Tokens {
			f.Errorf("info was %+v and is %+v", before, after)
		}
		f.holds(a, b)
		f.expect([]storage.Record{a, b, paid(c, a.Nullifier)}, replayed(1), duplicate(2), spent)
	}
	f.expect([]storage.Record{c}, stored(3))
	f.reopen()
	f.holds(a, b, c)
}
