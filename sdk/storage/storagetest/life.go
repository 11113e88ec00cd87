package storagetest

import "github.com/cwtch-relay/cwtch-relay/sdk/storage"

var lifeChecks = []check{
	{"Empty", "First, Last: 0 when the log is empty", checkEmpty},
	{"InUse", "InUse: how much of Bytes is not free for reuse, never more than Bytes", checkInUse},
	{"Epoch", "Epoch is random and new whenever a store is created; sequence numbers are never reused within one", checkEpoch},
	{"Reopened", "when Append returns without an error, every outcome it reports survives the death of the process", checkReopened},
	{"Model", "every sentence, in any order", checkModel},
}

func checkEmpty(f *fixture) {
	info := f.mustInfo()
	if info.First != 0 || info.Last != 0 || info.Count != 0 || info.Tokens != 0 {
		f.Errorf("info of an empty store: %+v", info)
	}
	f.expectLog()
}

func checkInUse(f *fixture) {
	expect := func() {
		f.Helper()
		if info := f.mustInfo(); info.InUse > info.Bytes {
			f.Errorf("info says that %d bytes of %d are in use", info.InUse, info.Bytes)
		}
	}
	expect()
	for range 10 {
		f.mustAppend(newRecords(64, 4096)...)
		expect()
	}
	if _, ok := storage.As[storage.Pruner](f.store); ok {
		f.pruneAll(storage.Hour(serial.Load()), 100)
		expect()
	}
	f.reopenStore()
	expect()
}

func checkEpoch(f *fixture) {
	epoch := f.mustInfo().Epoch
	if epoch == (storage.Epoch{}) {
		f.Error("the epoch is zero")
	}
	f.reopenStore()
	if f.mustInfo().Epoch != epoch {
		f.Error("the epoch of an empty store changed when it was opened again")
	}
	f.mustAppend(newRecords(3, 100)...)
	f.reopenStore()
	if f.mustInfo().Epoch != epoch {
		f.Error("the epoch changed when the store was opened again")
	}
	other := newFixture(f.TB, f.opener)
	if other.mustInfo().Epoch == epoch {
		f.Error("two stores have one epoch")
	}
}

func checkReopened(f *fixture) {
	a, b, c := withToken(newRecord(4096), newToken()), newRecord(100), withToken(newRecord(100), newToken())
	f.expectOutcomes([]storage.Record{a, b}, storedAt(1), storedAt(2))
	for range 3 {
		before := f.mustInfo()
		f.reopenStore()
		if after := f.mustInfo(); after.Last != before.Last || after.Count != before.Count || after.Tokens != before.Tokens {
			f.Errorf("info was %+v and is %+v", before, after)
		}
		f.expectLog(a, b)
		f.expectOutcomes([]storage.Record{a, b, withToken(c, a.Nullifier)}, replayOf(1), duplicateOf(2), spent)
	}
	f.expectOutcomes([]storage.Record{c}, storedAt(3))
	f.reopenStore()
	f.expectLog(a, b, c)
}
