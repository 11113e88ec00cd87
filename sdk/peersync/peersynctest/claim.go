package peersynctest

import (
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var claimChecks = []check{
	{"Converges", "claimed: boards whose relays are connected become equal", (*fixture).converges},
	{"Resumes", "claimed: one that is opened again reads no entry that the one before it had handled", (*fixture).resumes},
	{"OtherEpoch", "claimed: unless the epoch is another one", (*fixture).otherEpoch},
}

// patience is for how many ticks replicators may take to make boards equal.
const patience = 200

func (f *fixture) converges() {
	if !f.opener.Converges {
		f.Skip("the replicator does not claim to converge")
	}
	for seed := range uint64(3) {
		f.begin(seed, 2+int(seed%2))
		for at := range f.opened {
			f.world.Post(at, 30*at) // one of them empty
			f.world.Start(at, f.opened[at].Replicator)
		}
		f.live(100)
		f.restart(int(seed) % len(f.opened))
		f.live(20)
		f.connect()
		f.run()
		for range patience {
			if f.world.Equal() == nil {
				break
			}
			f.ticks(1)
		}
		if err := f.world.Equal(); err != nil {
			f.Errorf("seed %d: after %d ticks: %v", seed, patience, err)
		}
		for at := range f.opened {
			f.close(at)
		}
	}
}

// ticksToSettle is when a replicator that follows the log has saved its cursor.
const ticksToSettle = 5

// followed lets a replicator follow a log, and returns its end.
func (f *fixture) followed() storage.Seq {
	if !f.opener.Resumes {
		f.Skip("the replicator does not claim to resume")
	}
	f.begin(1, 1)
	f.world.Post(0, 2*peersync.MaxEntries+7)
	f.world.Start(0, f.opened[0].Replicator)
	f.ticks(ticksToSettle)
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

func (f *fixture) resumes() {
	last := f.followed()
	f.restart(0)
	f.expectRead(f.calls(func() {
		f.world.Post(0, 3)
		f.ticks(ticksToSettle)
	}), last+1, "after a restart")
}

func (f *fixture) otherEpoch() {
	f.followed()
	f.close(0)
	f.world.Replicas[0].Renew()
	f.world.Post(0, 5)
	f.open(0)
	f.world.Start(0, f.opened[0].Replicator)
	f.expectRead(f.calls(func() { f.ticks(ticksToSettle) }), 1, "in another epoch")
}
