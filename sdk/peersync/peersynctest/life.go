package peersynctest

import (
	"context"
	"errors"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

var lifeChecks = []check{
	{"Start", "The first event of all is Start", (*fixture).checkStart},
	{"NotStarted", "ErrNotStarted is what Handle answers when the relay gives events to one that was not given Start", (*fixture).notStarted},
	{"NoEvents", "no events are no error", (*fixture).noEvents},
	{"EndedContext", "When ctx has ended before the call Handle does nothing and returns its error", (*fixture).endedContext},
	{"StartAgain", "The relay closes it and opens another one, which begins with Start", (*fixture).startAgain},
	{"CloseUnderWay", "Close releases the replicator", (*fixture).closeUnderWay},
	{"CloseNew", "Close releases the replicator", func(f *fixture) { f.beginWorld(1, 1); f.closeAt(0) }},
	{"Killed", "what a replicator has to know beyond its own life it keeps in cursors", (*fixture).checkKilled},
	{"Deterministic", "the same events and the same answers of the host lead to the same calls of the host", (*fixture).checkDeterministic},
}

func (f *fixture) checkStart() {
	f.beginWorld(1, 1)
	f.world.Post(0, 3)
	f.world.Start(0, f.opened[0].Replicator)
	f.runTicks(3)
}

func (f *fixture) notStarted() {
	f.beginWorld(1, 1)
	f.world.Start(0, f.opened[0].Replicator)
	if calls := f.recordCalls(func() {
		if err := f.callHandle(f.Context(), peersync.Tick{}); !isNotStarted(err) {
			f.Errorf("a Tick before Start: %v", err)
		}
	}); len(calls) > 0 {
		f.Errorf("before Start the host was asked for %q", calls)
	}
	f.runTicks(1)
}

func (f *fixture) noEvents() {
	f.beginWorld(1, 1)
	f.world.Start(0, f.opened[0].Replicator)
	none := func() {
		if err := f.callHandle(f.Context()); err != nil {
			f.Errorf("handle nothing: %v", err)
		}
	}
	none()
	f.runUntilQuiet()
	none()
	f.runTicks(1)
}

func (f *fixture) endedContext() {
	f.beginLive(1, 2)
	f.world.Post(0, 1)
	if calls := f.recordCalls(func() {
		if err := f.callHandle(canceled, peersync.Tick{}); !errors.Is(err, context.Canceled) {
			f.Errorf("handle with a canceled context: %v", err)
		}
	}); len(calls) > 0 {
		f.Errorf("with a canceled context the host was asked for %q", calls)
	}
	f.runTicks(1) // the replicator goes on
}

// startAgain begins anew in the middle of everything and when all is quiet, in
// the same process. The world notes what is meant for a peer of the life before.
func (f *fixture) startAgain() {
	f.beginLive(1, 3)
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

func (f *fixture) closeUnderWay() {
	f.beginLive(1, 2)
	f.world.Post(0, 50)
	for range 3 {
		if _, err := f.world.runStep(f.Context()); err != nil {
			f.Fatal(err)
		}
	}
	f.closeAt(0)
}

// checkKilled kills the process in the middle of a Handle: while the host works on a
// call of it.
func (f *fixture) checkKilled() {
	f.beginWorld(1, 2)
	if f.opened[0].Kill == nil {
		f.Skip("there is no process to kill")
	}
	r := f.world.Replicas[0]
	f.world.Post(0, 20)
	r.Refuse = func(string) error {
		r.Refuse = nil
		f.opened[0].Kill()
		return errors.New("the process is dead")
	}
	f.world.Start(0, f.opened[0].Replicator)
	f.world.Start(1, f.opened[1].Replicator)
	f.connectAll()
	err := f.world.Run(f.Context())
	if r.Refuse != nil {
		f.Skip("the replicator asks its host for nothing")
	}
	if err == nil {
		f.Fatal("a Handle whose process was killed has succeeded")
	}
	f.openAt(0)
	f.world.Start(0, f.opened[0].Replicator)
	f.connectAll()
	f.runTicks(3)
}

func (f *fixture) checkDeterministic() {
	history := func(seed uint64) (calls [][]string) {
		f.beginLive(seed, 2)
		f.runLife(60)
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
					f.Fatalf("seed %d, relay %d, call %d was %.200q and is now %.200q", seed, i, at, a, b)
				}
			}
			if a, b := len(first[i]), len(second[i]); a != b {
				f.Fatalf("seed %d, relay %d: %d calls, and then %d", seed, i, a, b)
			}
		}
	}
}
