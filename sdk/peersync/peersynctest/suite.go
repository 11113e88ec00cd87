package peersynctest

import (
	"cmp"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// Opener says how to reach the replicator under test, and what it promises beyond the contract.
type Opener struct {
	// Open opens a replicator whose plugin has the directory dir. Checks call it again for the
	// same directory after they have closed or killed what it returned.
	Open func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error)

	// Converges claims that the boards of connected relays become equal above the highest of
	// their floors, whatever happened before, and that no envelope moves without need.
	Converges bool
	// Resumes claims that a replicator keeps its place in the log: one that is opened again
	// reads no entry that one before it had read and had time to save. Where the first one
	// begins is its own affair. Its cursors stay few, however many peers come and go.
	Resumes bool
}

// check checks one sentence of the contract.
type check struct {
	name     string
	sentence string // as in the comments of package peersync
	run      func(*fixture)
}

// Checks returns a check for each sentence of the contract that can be checked from outside.
// Checks of claims that the Opener does not make are skipped, and so is Killed if there is no
// process to kill.
func Checks(o Opener) (checks []plugintest.Check) {
	for _, list := range [][]check{lifecycleChecks, eventChecks, hostChecks, claimChecks} {
		for _, c := range list {
			checks = append(checks, plugintest.Check{Name: c.name, Contract: c.sentence, Run: func(tb testing.TB) {
				c.run(&fixture{TB: tb, opener: o})
			}})
		}
	}
	return checks
}

// Run runs the [Checks], each in a subtest that quotes its sentence if it fails.
func Run(t *testing.T, o Opener) { plugintest.RunTests(t, Checks(o)) }

// fixture is a world with a replicator at every relay, and the steps that checks share.
type fixture struct {
	testing.TB
	opener Opener
	world  *World
	dirs   []string
	opened []*plugintest.Opened

	mayLink func(a, b int) bool // nil: all relays may be linked
	posters int                 // clients post at the first relays; 0: at all
}

// newWorld makes a new world of n relays and opens a replicator at each, without starting it.
// A breach of the contract until the end of the check fails it.
func (f *fixture) newWorld(seed uint64, n int) {
	f.Helper()
	f.world, f.dirs, f.opened = NewWorld(seed, n), make([]string, n), make([]*plugintest.Opened, n)
	world := f.world
	f.Cleanup(func() { // runs after the cleanups of Open, which close what is open
		world.mu.Lock()
		defer world.mu.Unlock()
		for _, r := range world.Replicas {
			for _, fault := range r.Faults {
				f.Error(fault)
			}
		}
	})
	for i := range n {
		f.dirs[i] = f.TempDir()
		f.openAt(i)
	}
}

// newConnectedWorld makes a world like newWorld, starts all replicators and connects the relays.
func (f *fixture) newConnectedWorld(seed uint64, n int) {
	f.Helper()
	f.newWorld(seed, n)
	for i := range n {
		f.world.Start(i, f.opened[i].Replicator)
	}
	f.connectAll()
	f.runUntilQuiet()
}

// openAt opens a replicator at a relay.
func (f *fixture) openAt(at int) {
	f.Helper()
	opened, err := f.opener.Open(f.TB, f.dirs[at], f.world.Replicas[at])
	if err != nil {
		f.Fatalf("open: %v", err)
	}
	f.opened[at] = opened
}

func (f *fixture) closeAt(at int) {
	f.Helper()
	if err := f.opened[at].Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
}

// restartAt closes the replicator at a relay, and opens and starts another one.
func (f *fixture) restartAt(at int) {
	f.Helper()
	f.closeAt(at)
	f.openAt(at)
	f.world.Start(at, f.opened[at].Replicator)
}

// connectAll brings up all links.
func (f *fixture) connectAll() { f.eachPair(f.connect) }

// connect brings up a link, if there may be one.
func (f *fixture) connect(a, b int) {
	if f.mayLink == nil || f.mayLink(a, b) {
		f.world.Connect(a, b)
	}
}

// runUntilQuiet runs the world until nothing is under way.
func (f *fixture) runUntilQuiet() {
	f.Helper()
	if err := f.world.Run(f.Context()); err != nil {
		f.Fatal(err)
	}
}

// runTicks runs the world until it is quiet, then through n ticks of every replicator.
func (f *fixture) runTicks(n int) {
	f.Helper()
	f.runUntilQuiet()
	for range n {
		f.world.tick()
		f.runUntilQuiet()
	}
}

// runFor runs the world while some time passes.
func (f *fixture) runFor(d time.Duration) {
	f.Helper()
	if err := f.world.RunFor(f.Context(), d); err != nil {
		f.Fatal(err)
	}
}

// runRandomSteps runs the world while clients post and links come and go at random.
func (f *fixture) runRandomSteps(moments int) {
	f.Helper()
	w := f.world
	posters := cmp.Or(f.posters, len(w.Replicas))
	for range moments {
		a, b := w.rng.IntN(len(w.Replicas)), w.rng.IntN(len(w.Replicas))
		switch what := w.rng.IntN(20); {
		case what < 5:
			w.Post(a%posters, 1+w.rng.IntN(4))
		case what < 6 && posters > 1:
			w.PostTwice(a%posters, (a+1)%posters)
		case what < 10 && a != b:
			f.connect(a, b)
		case what < 12 && a != b:
			w.Cut(a, b)
		case what < 16:
			w.tick()
		case what < 17:
			f.runFor(time.Duration(w.rng.IntN(10_000)) * time.Millisecond)
		}
		for range w.rng.IntN(12) {
			if _, err := w.runStep(f.Context()); err != nil {
				f.Fatal(err)
			}
		}
		if w.rng.IntN(50) == 0 {
			w.passHour()
		}
	}
}

// callHandle passes events to the first replicator directly, without the queue of the world.
func (f *fixture) callHandle(ctx context.Context, events ...peersync.Event) error {
	return f.world.Replicas[0].callHandle(ctx, events)
}

// mustHandle is callHandle, and ends the check on an error.
func (f *fixture) mustHandle(events ...peersync.Event) {
	f.Helper()
	if err := f.callHandle(f.Context(), events...); err != nil {
		f.Fatalf("handle %T and %d more: %v", events[0], len(events)-1, err)
	}
}

// recordCalls returns the calls of the host that the first replicator made while do ran.
func (f *fixture) recordCalls(do func()) []string {
	f.Helper()
	r := f.world.Replicas[0]
	before := len(r.Calls)
	do()
	return r.Calls[before:]
}

var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func isNotStarted(err error) bool { return errors.Is(err, peersync.ErrNotStarted) }

// peer returns the number by which the first relay knows another one.
func (f *fixture) peer(other int) peersync.Peer { return f.world.Replicas[0].Peer(other) }
