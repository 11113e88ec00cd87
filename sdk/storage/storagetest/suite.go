package storagetest

import (
	"cmp"
	"context"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Opener says how to reach the store that is to be proved.
type Opener struct {
	// Open opens the store in dir, and makes an empty one where dir has none.
	// It is called again for the same directory when what it returned has been
	// closed or killed; the store must then be the same.
	Open func(tb testing.TB, dir string) (*plugintest.Opened, error)
	// Disk says that the store keeps its data in dir, and has the suite fill
	// the disk below it.
	Disk bool
	// Crowd is how many envelopes of one signature the store gets before its calls
	// must be as fast as without them; 0 means 100,000. Fewer show less, and are
	// for a store that is proved with so many over another transport.
	Crowd int
}

func (o Opener) crowd() int { return cmp.Or(o.Crowd, 100_000) }

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
	for _, list := range [][]check{appendChecks, tokenChecks, logChecks, findChecks, ledgerChecks, lifeChecks, concurrencyChecks, failureChecks} {
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
	f.reopen()
	return f
}

// reopen closes the store, where it is open, and opens it.
func (f *fixture) reopen() {
	f.Helper()
	f.close()
	opened, err := f.opener.Open(f.TB, f.dir)
	if err != nil {
		f.Fatalf("open: %v", err)
	}
	f.opened, f.store = opened, opened.Store
}

func (f *fixture) close() {
	f.Helper()
	if f.opened == nil {
		return
	}
	if err := f.opened.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	f.opened = nil
}

// append appends records and fails the test on an error.
func (f *fixture) append(records ...storage.Record) []storage.Outcome {
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

// expect appends records and compares the outcomes.
func (f *fixture) expect(records []storage.Record, want ...storage.Outcome) {
	f.Helper()
	for i, got := range f.append(records...) {
		if got != want[i] {
			f.Errorf("record %d of %d: %v at %d, want %v at %d", i, len(records), got.Status, got.Seq, want[i].Status, want[i].Seq)
		}
	}
}

func (f *fixture) info() storage.Info {
	f.Helper()
	info, err := f.store.Info(f.Context())
	if err != nil {
		f.Fatalf("info: %v", err)
	}
	return info
}

func (f *fixture) page(req storage.LogRequest) storage.Page {
	f.Helper()
	page, err := f.store.Log(f.Context(), req)
	if err != nil {
		f.Fatalf("log from %d: %v", req.From, err)
	}
	return page
}

// log reads the whole log in pages and fails the test when it has a gap.
func (f *fixture) log() []storage.Entry {
	f.Helper()
	entries, err := readLog(f.Context(), f.store)
	if err != nil {
		f.Fatal(err)
	}
	return entries
}

// holds checks that the log consists of the records, in that order.
func (f *fixture) holds(records ...storage.Record) {
	f.Helper()
	entries := f.log()
	if len(entries) != len(records) {
		f.Fatalf("the log has %d entries, want %d", len(entries), len(records))
	}
	for i, e := range entries {
		if !same(e, records[i]) {
			f.Fatalf("entry %d of the log is not what was appended", e.Seq)
		}
	}
	if info := f.info(); info.Count != uint64(len(records)) || info.Last != storage.Seq(len(records)) || info.First != min(1, info.Last) {
		f.Fatalf("info says %d entries, %d to %d, of a log from 1 to %d", info.Count, info.First, info.Last, len(records))
	}
}

// unchanged checks that f changes neither the log nor what Info says.
func (f *fixture) unchanged(do func()) {
	f.Helper()
	before := f.info()
	do()
	if after := f.info(); after != before {
		f.Errorf("info was %+v and is %+v", before, after)
	}
}

// watcher returns the store as one, or ends the check when it is none.
func (f *fixture) watcher() storage.Watcher {
	w, ok := f.store.(storage.Watcher)
	if !ok {
		f.Skip("the store is no storage.Watcher, and need not be one")
	}
	return w
}

// ledger returns the store as one, or ends the check when it is none.
func (f *fixture) ledger() storage.Ledger {
	l, ok := f.store.(storage.Ledger)
	if !ok {
		f.Skip("the store is no storage.Ledger, and need not be one")
	}
	return l
}

var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
