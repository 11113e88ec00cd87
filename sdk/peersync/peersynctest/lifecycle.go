package peersynctest

import (
	"context"
	"errors"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

var lifecycleChecks = []check{
	{"Start", "The first event is Start", (*fixture).checkStart},
	{"NotStarted", "ErrNotStarted is the answer of the sdk to events before Start", (*fixture).checkNotStarted},
	{"NoEvents", "Without events Handle returns no error", (*fixture).checkNoEvents},
	{"EndedContext", "If ctx has ended before the call, Handle does nothing and returns the error of ctx", (*fixture).checkEndedContext},
	{"StartAgain", "After an error of Handle, the relay closes the replicator and opens another one, which begins with Start", (*fixture).checkStartAgain},
	{"CloseUnderWay", "Close releases the replicator", (*fixture).checkCloseUnderWay},
	{"CloseNew", "Close releases the replicator", func(f *fixture) { f.newWorld(1, 1); f.closeAt(0) }},
	{"Killed", "What a replicator needs after its process has ended, it keeps in cursors", (*fixture).checkKilled},
	{"Deterministic", "The same events and answers lead to the same calls", (*fixture).checkDeterministic},
}

func (f *fixture) checkStart() {
	f.newWorld(1, 1)
	f.world.Post(0, 3)
	f.world.Start(0, f.opened[0].Replicator)
	f.runTicks(3)
}

func (f *fixture) checkNotStarted() {
	f.newWorld(1, 1)
	f.world.Start(0, f.opened[0].Replicator)
	if calls := f.recordCalls(func() {
		if err := f.callHandle(f.Context(), peersync.Tick{}); !isNotStarted(err) {
			f.Errorf("a Tick before Start: %v", err)
		}
	}); len(calls) > 0 {
		f.Errorf("before Start the replicator called %q", calls)
	}
	f.runTicks(1)
}

func (f *fixture) checkNoEvents() {
	f.newWorld(1, 1)
	f.world.Start(0, f.opened[0].Replicator)
	none := func() {
		if err := f.callHandle(f.Context()); err != nil {
			f.Errorf("handle no events: %v", err)
		}
	}
	none()
	f.runUntilQuiet()
	none()
	f.runTicks(1)
}

func (f *fixture) checkEndedContext() {
	f.newConnectedWorld(1, 2)
	f.world.Post(0, 1)
	if calls := f.recordCalls(func() {
		if err := f.callHandle(canceled, peersync.Tick{}); !errors.Is(err, context.Canceled) {
			f.Errorf("handle with a canceled context: %v", err)
		}
	}); len(calls) > 0 {
		f.Errorf("with a canceled context the replicator called %q", calls)
	}
	f.runTicks(1) // the replicator goes on
}

// checkStartAgain starts again in the same process: at the beginning, in the middle of the work, and
// when all is quiet. The world records calls for peers from before the Start.
func (f *fixture) checkStartAgain() {
	f.newConnectedWorld(1, 3)
	for _, steps := range []int{1, 7, maxSteps} {
		f.world.Post(0, 5)
		for range steps {
			if quiet, err := f.world.runStep(f.Context()); err != nil {
				f.Fatal(err)
			} else if quiet {
				break
			}
		}
		f.world.Start(0, f.opened[0].Replicator)
		f.world.Post(0, 5)
		f.runTicks(2)
		f.connectAll()
		f.runTicks(2)
	}
}

func (f *fixture) checkCloseUnderWay() {
	f.newConnectedWorld(1, 2)
	f.world.Post(0, 50)
	for range 3 {
		if _, err := f.world.runStep(f.Context()); err != nil {
			f.Fatal(err)
		}
	}
	f.closeAt(0)
}

// checkKilled kills the process in the middle of a Handle, while the host works on a call of
// the replicator.
func (f *fixture) checkKilled() {
	f.newWorld(1, 2)
	if f.opened[0].Kill == nil {
		f.Skip("there is no process to kill")
	}
	r := f.world.Replicas[0]
	f.world.Post(0, 20)
	r.Refuse = func(string, peersync.Peer) error {
		r.Refuse = nil
		f.opened[0].Kill()
		return errors.New("the process is dead")
	}
	f.world.Start(0, f.opened[0].Replicator)
	f.world.Start(1, f.opened[1].Replicator)
	f.connectAll()
	err := f.world.Run(f.Context())
	if r.Refuse != nil {
		f.Skip("the replicator does not call its host")
	}
	if err == nil {
		f.Fatal("Handle succeeded although its process was killed")
	}
	f.openAt(0)
	f.world.Start(0, f.opened[0].Replicator)
	f.connectAll()
	f.runTicks(3)
}

func (f *fixture) checkDeterministic() {
	history := func(seed uint64) (calls [][]string) {
		f.newConnectedWorld(seed, 2)
		f.runRandomSteps(60)
		f.runTicks(3)
		for i, r := range f.world.Replicas {
			calls = append(calls, slices.Clone(r.Calls))
			f.closeAt(i)
		}
		return calls
	}
	for seed := range uint64(2) {
		first, second := history(seed), history(seed)
		for i := range first {
			for at := range min(len(first[i]), len(second[i])) {
				if a, b := first[i][at], second[i][at]; a != b {
					f.Fatalf("seed %d, relay %d, call %d: %.200q the first time, %.200q the second time", seed, i, at, a, b)
				}
			}
			if a, b := len(first[i]), len(second[i]); a != b {
				f.Fatalf("seed %d, relay %d: %d calls the first time, %d the second time", seed, i, a, b)
			}
		}
	}
}
