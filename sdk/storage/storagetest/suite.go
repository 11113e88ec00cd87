package storagetest

import (
	"cmp"
	"context"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Opener says how to reach the store under test.
type Opener struct {
	// Open opens the store in dir, and makes an empty one where dir has none.
	// It is called again for the same directory when what it returned has been
	// closed or killed; the store must then be the same.
	Open func(tb testing.TB, dir string) (*plugintest.Opened, error)
	// Disk says that the store keeps its data in dir, and has the suite fill
	// the disk below it, and look at what is in dir.
	Disk bool
	// Inspect opens the store in dir for inspection, see [storage.Checker]. It is nil if
	// the store cannot be opened so.
	Inspect func(tb testing.TB, dir string) (*plugintest.Opened, error)
	// Damages are ways to damage a closed store in dir, by name. What they leave can be
	// opened for inspection.
	Damages map[string]func(tb testing.TB, dir string)
	// Crowd is how many envelopes of one signature the store gets before its calls
	// must be as fast as without them; 0 means 100,000. Fewer show less. They are
	// for a store that is proved with 100,000 over another transport.
	Crowd int
}

func (o Opener) crowdSize() int { return cmp.Or(o.Crowd, 100_000) }

// check proves one sentence of the contract.
type check struct {
	name     string
	sentence string // as the comments in the package storage have it
	run      func(*fixture)
}

// Checks are the sentences of the contract that can be checked from outside.
// Those that need more than the store offers (a process to kill, a disk to
// fill, a Watch) are skipped where it is missing.
func Checks(o Opener) (checks []plugintest.Check) {
	for _, list := range [][]check{appendChecks, tokenChecks, logChecks, findChecks, ledgerChecks, prunerChecks, indexChecks, compactorChecks, checkerChecks, lifeChecks, concurrencyChecks, failureChecks} {
		for _, c := range list {
			checks = append(checks, plugintest.Check{Name: c.name, Contract: c.sentence, Run: func(tb testing.TB) {
				c.run(newFixture(tb, o))
			}})
		}
	}
	return checks
}

// Run runs the [Checks], each in a subtest that quotes its sentence when it
// fails.
func Run(t *testing.T, o Opener) { plugintest.RunTests(t, Checks(o)) }

// fixture is an open store and what a check does with it.
type fixture struct {
	testing.TB
	opener Opener
	dir    string
	opened *plugintest.Opened
	store  storage.Store
}

// newFixture opens a new store.
func newFixture(tb testing.TB, o Opener) *fixture {
	f := &fixture{TB: tb, opener: o, dir: tb.TempDir()}
	f.reopenStore()
	return f
}

// reopenStore opens the store, after closing it if it is open.
func (f *fixture) reopenStore() {
	f.Helper()
	f.closeStore()
	opened, err := f.opener.Open(f.TB, f.dir)
	if err != nil {
		f.Fatalf("open: %v", err)
	}
	f.opened, f.store = opened, opened.Store
}

func (f *fixture) closeStore() {
	f.Helper()
	if f.opened == nil {
		return
	}
	if err := f.opened.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	f.opened = nil
}

// mustAppend appends records and fails the test on an error.
func (f *fixture) mustAppend(records ...storage.Record) []storage.Outcome {
	f.Helper()
	outcomes, err := f.store.Append(f.Context(), records)
	if err != nil {
		f.Fatalf("append of %d records: %v", len(records), err)
	}
	if len(outcomes) != len(records) {
		f.Fatalf("append of %d records: %d outcomes", len(records), len(outcomes))
	}
	return outcomes
}

// expectOutcomes appends records and compares the outcomes.
func (f *fixture) expectOutcomes(records []storage.Record, want ...storage.Outcome) {
	f.Helper()
	for i, got := range f.mustAppend(records...) {
		if got != want[i] {
			f.Errorf("record %d of %d: %v at %d, want %v at %d", i, len(records), got.Status, got.Seq, want[i].Status, want[i].Seq)
		}
	}
}

func (f *fixture) mustInfo() storage.Info {
	f.Helper()
	info, err := f.store.Info(f.Context())
	if err != nil {
		f.Fatalf("info: %v", err)
	}
	return info
}

func (f *fixture) mustPage(req storage.LogRequest) storage.Page {
	f.Helper()
	page, err := f.store.Log(f.Context(), req)
	if err != nil {
		f.Fatalf("log from %d: %v", req.From, err)
	}
	return page
}

// readLog reads the whole log in pages and fails the test when it has a gap.
func (f *fixture) readLog() []storage.Entry {
	f.Helper()
	entries, err := readLog(f.Context(), f.store)
	if err != nil {
		f.Fatal(err)
	}
	return entries
}

// readPrunedLog reads the whole log in pages. It may have gaps.
func (f *fixture) readPrunedLog() []storage.Entry {
	f.Helper()
	entries, err := readPrunedLog(f.Context(), f.store)
	if err != nil {
		f.Fatal(err)
	}
	return entries
}

// expectLog checks that the log consists of the records, in that order.
func (f *fixture) expectLog(records ...storage.Record) {
	f.Helper()
	entries := f.readLog()
	if len(entries) != len(records) {
		f.Fatalf("the log has %d entries, want %d", len(entries), len(records))
	}
	for i, e := range entries {
		if !sameRecord(e, records[i]) {
			f.Fatalf("entry %d of the log is not what was appended", e.Seq)
		}
	}
	if info := f.mustInfo(); info.Count != uint64(len(records)) || info.Last != storage.Seq(len(records)) || info.First != min(1, info.Last) {
		f.Fatalf("info says %d entries, %d to %d, of a log from 1 to %d", info.Count, info.First, info.Last, len(records))
	}
}

// expectUnchanged checks that do changes nothing that Info shows, apart from InUse.
func (f *fixture) expectUnchanged(do func()) {
	f.Helper()
	before := f.mustInfo()
	do()
	after := f.mustInfo()
	if after.InUse = before.InUse; after != before {
		f.Errorf("info was %+v and is %+v", before, after)
	}
}

// mustWatcher returns the store as a Watcher, or skips the check if it is none.
func (f *fixture) mustWatcher() storage.Watcher {
	w, ok := storage.As[storage.Watcher](f.store)
	if !ok {
		f.Skip("the store is no storage.Watcher, which is optional")
	}
	return w
}

// mustLedger returns the store as a Ledger, or skips the check if it is none.
func (f *fixture) mustLedger() storage.Ledger {
	l, ok := storage.As[storage.Ledger](f.store)
	if !ok {
		f.Skip("the store is no storage.Ledger, which is optional")
	}
	return l
}

var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
