package peersynctest

import (
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var claimChecks = []check{
	{"Converges", "claimed: boards whose relays are connected become equal", (*fixture).checkConverges},
	{"Resumes", "claimed: one that is opened again reads no entry that the one before it had handled", (*fixture).checkResumes},
	{"OtherEpoch", "claimed: unless the epoch is another one", (*fixture).otherEpoch},
}

// patience is for how many ticks replicators may take to make boards equal.
const patience = 200

func (f *fixture) checkConverges() {
	if !f.opener.Converges {
		f.Skip("the replicator does not claim to converge")
	}
	for seed := range uint64(3) {
		f.beginWorld(seed, 2+int(seed%2))
		for at := range f.opened {
			f.world.Post(at, 30*at) // one of them empty
			f.world.Start(at, f.opened[at].Replicator)
		}
		f.runLife(100)
		f.restartAt(int(seed) % len(f.opened))
		f.runLife(20)
		f.connectAll()
		f.runUntilQuiet()
		for range patience {
			if f.world.Equal() == nil {
				break
			}
			f.runTicks(1)
		}
		if err := f.world.Equal(); err != nil {
			f.Errorf("seed %d: after %d ticks: %v", seed, patience, err)
		}
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}

// ticksToSettle is when a replicator that follows the log has saved its cursor.
const ticksToSettle = 5

// followLog lets a replicator follow a log, and returns its end.
func (f *fixture) followLog() storage.Seq {
	if !f.opener.Resumes {
		f.Skip("the replicator does not claim to resume")
	}
	f.beginWorld(1, 1)
	f.world.Post(0, 2*peersync.MaxEntries+7)
	f.world.Start(0, f.opened[0].Replicator)
	f.runTicks(ticksToSettle)
	f.expectRead(f.world.Replicas[0].Calls, 1, "at first")
	return f.world.Replicas[0].Last()
}

// expectRead checks that the lowest entry that was asked for is at seq.
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

func (f *fixture) otherEpoch() {
	f.followLog()
	f.closeAt(0)
	f.world.Replicas[0].Renew()
	f.world.Post(0, 5)
	f.openAt(0)
	f.world.Start(0, f.opened[0].Replicator)
	f.expectRead(f.recordCalls(func() { f.runTicks(ticksToSettle) }), 1, "in another epoch")
}
