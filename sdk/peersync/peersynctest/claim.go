package peersynctest

import (
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var claimChecks = []check{
	{"Converges", "claimed: the boards of connected relays become equal above the highest of their floors", (*fixture).checkConverges},
	{"Resumes", "claimed: a replicator that is opened again reads no entry that the previous one had handled", (*fixture).checkResumes},
	{"OtherEpoch", "claimed: in a new epoch it reads the log from the beginning", (*fixture).checkOtherEpoch},
}

// ticksToConverge is how many ticks replicators may take to make the boards equal.
const ticksToConverge = 200

func (f *fixture) checkConverges() {
	if !f.opener.Converges {
		f.Skip("the replicator does not claim to converge")
	}
	for seed := range uint64(3) {
		f.newWorld(seed, 2+int(seed%2))
		for at := range f.opened {
			f.world.Post(at, 30*at) // none at the first
			f.world.Start(at, f.opened[at].Replicator)
		}
		f.runRandomSteps(100)
		f.restartAt(int(seed) % len(f.opened))
		f.runRandomSteps(20)
		f.world.Replicas[0].RaiseFloor(f.world.passHour())
		f.runRandomSteps(20)
		f.connectAll()
		f.runUntilQuiet()
		for range ticksToConverge {
			if f.world.Equal() == nil {
				break
			}
			f.runTicks(1)
		}
		if err := f.world.Equal(); err != nil {
			f.Errorf("seed %d: after %d ticks: %v", seed, ticksToConverge, err)
		}
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}

// ticksToSettle is how many ticks a replicator may take to follow the log and save its cursor.
const ticksToSettle = 5

// followLog has a replicator follow a log, and returns the end of the log.
func (f *fixture) followLog() storage.Seq {
	if !f.opener.Resumes {
		f.Skip("the replicator does not claim to resume")
	}
	f.newWorld(1, 1)
	f.world.Post(0, 2*peersync.MaxEntries+7)
	f.world.Start(0, f.opened[0].Replicator)
	f.runTicks(ticksToSettle)
	f.expectRead(f.world.Replicas[0].Calls, 1, "at first")
	return f.world.Replicas[0].Last()
}

// expectRead checks that seq is the lowest entry that was asked for.
func (f *fixture) expectRead(calls []string, seq storage.Seq, when string) {
	f.Helper()
	var lowest storage.Seq
	for _, call := range calls {
		var from storage.Seq
		var limit int
		if _, err := fmt.Sscanf(call, "log %d %d", &from, &limit); err != nil {
			continue
		}
		if from = max(from, 1); lowest == 0 || from < lowest {
			lowest = from
		}
	}
	if lowest != seq {
		f.Errorf("%s the log was read from %d (0: not at all), not from %d", when, lowest, seq)
	}
}

func (f *fixture) checkResumes() {
	last := f.followLog()
	f.restartAt(0)
	f.expectRead(f.recordCalls(func() {
		f.world.Post(0, 3)
		f.runTicks(ticksToSettle)
	}), last+1, "after a restart")
}

func (f *fixture) checkOtherEpoch() {
	f.followLog()
	f.closeAt(0)
	f.world.Replicas[0].Renew()
	f.world.Post(0, 5)
	f.openAt(0)
	f.world.Start(0, f.opened[0].Replicator)
	f.expectRead(f.recordCalls(func() { f.runTicks(ticksToSettle) }), 1, "in another epoch")
}
