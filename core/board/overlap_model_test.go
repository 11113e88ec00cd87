package board

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// modelReplica is one of the boards of a model: its log, and the table of hours.
type modelReplica struct {
	log   []modelEntry // log[i] is at i+1
	seqs  map[int]storage.Seq
	hours *hourTable
	saved []hourRow // what a crash leaves of the table
	floor storage.Hour
}

type modelEntry struct {
	name int // stands for the signature
	born storage.Hour
}

// delivery is an envelope under way to a replica.
type delivery struct {
	minute  int
	replica int
	entry   modelEntry
}

// modelClient reads with one position for all replicas, as clients of the protocol do.
type modelClient struct {
	has  map[int]bool
	last int // the envelope that it asks from; 0 for everything
}

type modelStart func(t *hourTable, seq storage.Seq, born storage.Hour) storage.Seq

// modelHour is where the clocks of a model begin.
const modelHour = 500_000

// runModel lets clients read from three replicas for twelve days, and returns how many entries a
// client missed that a replica had and no other has pruned, after it had read that replica to its end.
func runModel(seed uint64, start modelStart) (missed int) {
	rng := rand.New(rand.NewPCG(seed, 12))
	const replicas, days = 3, 12
	boards := make([]modelReplica, replicas)
	var under []delivery
	hourAt := func(minute int) storage.Hour { return storage.Hour(modelHour + minute/60) }
	for i := range boards {
		boards[i] = modelReplica{seqs: make(map[int]storage.Seq), hours: &hourTable{rows: []hourRow{{1, modelHour, modelHour}}}}
	}
	clients := make([]modelClient, 4)
	for i := range clients {
		clients[i].has = make(map[int]bool)
	}
	// A seed has quiet and busy boards, and quick and slow links.
	floor := storage.Hour(0) // the highest of all
	postEvery, longest := 1+rng.IntN(300), 1+rng.IntN(ReplicationHours*60)
	name := 0
	for minute := 0; minute < days*24*60; minute++ {
		for n := len(under) - 1; n >= 0; n-- {
			if a := under[n]; a.minute <= minute {
				under = slices.Delete(under, n, n+1)
				boards[a.replica].commit(a.entry, hourAt(minute))
			}
		}
		if rng.IntN(postEvery) == 0 {
			name++
			at, e := rng.IntN(replicas), modelEntry{name, hourAt(minute)}
			boards[at].commit(e, hourAt(minute))
			for other := range boards {
				if other != at {
					under = append(under, delivery{minute + rng.IntN(longest+1), other, e})
				}
			}
		}
		if rng.IntN(60) == 0 {
			missed += clients[rng.IntN(len(clients))].read(&boards[rng.IntN(replicas)], floor, rng, start)
		}
		if rng.IntN(3000) == 0 {
			to := hourAt(minute) - storage.Hour(24+rng.IntN(120))
			floor = max(floor, to)
			boards[rng.IntN(replicas)].prune(to)
		}
		if rng.IntN(2000) == 0 {
			boards[rng.IntN(replicas)].restart(rng, hourAt(minute))
		}
	}
	return missed
}

// commit appends an entry, and notes the hour first, as the board does.
func (r *modelReplica) commit(e modelEntry, now storage.Hour) {
	if r.seqs[e.name] > 0 || e.born < r.floor {
		return
	}
	r.saved = slices.Clone(r.hours.rows)
	r.hours.noteHour(storage.Seq(len(r.log)+1), now)
	r.log = append(r.log, e)
	r.seqs[e.name] = storage.Seq(len(r.log))
}

// restart resumes the table: as it was, without what was noted last, or a new one.
func (r *modelReplica) restart(rng *rand.Rand, now storage.Hour) {
	rows := slices.Clone(r.hours.rows)
	if rng.IntN(2) == 0 && r.saved != nil {
		rows = r.saved
	}
	last := storage.Seq(len(r.log))
	rows, err := resumeRows(rows, last, now)
	if err != nil || rng.IntN(4) == 0 {
		rows = []hourRow{{last + 1, now, now}}
	}
	r.hours = &hourTable{rows: rows}
}

// prune raises the floor.
func (r *modelReplica) prune(floor storage.Hour) {
	r.floor = max(r.floor, floor)
	first := slices.IndexFunc(r.log, func(e modelEntry) bool { return e.born >= r.floor })
	r.hours.pruneRows(storage.Seq(first + 1))
}

// read replays from what the client has last, to the end or until the connection is cut. It
// returns how many entries are missing after a replay to the end.
func (c *modelClient) read(r *modelReplica, floor storage.Hour, rng *rand.Rand, start modelStart) (missing int) {
	from := storage.Seq(1)
	if seq := r.seqs[c.last]; seq > 0 && r.log[seq-1].born >= r.floor {
		from = max(start(r.hours, seq, r.log[seq-1].born), 1)
	}
	pruned := func(e modelEntry) bool { return e.born < r.floor }
	rest := slices.DeleteFunc(slices.Clone(r.log[from-1:]), pruned)
	cut := rng.IntN(4) == 0
	if cut {
		rest = rest[:rng.IntN(len(rest)+1)]
	}
	for _, e := range rest {
		c.has[e.name] = true
		c.last = e.name
	}
	if cut {
		return 0
	}
	for _, e := range r.log {
		if !c.has[e.name] && e.born >= floor {
			missing++
		}
	}
	return missing
}

// A client may ask any replica from an envelope that it has from any other: once it has read one to
// its end, it lacks nothing that is there.
func TestClientsThatChangeReplicasMissNothing(t *testing.T) {
	for seed := range uint64(500) {
		if missed := runModel(seed, (*hourTable).findStart); missed > 0 {
			t.Fatalf("seed %d: clients miss %d entries", seed, missed)
		}
	}
}

// The model finds out about rules that begin too late.
func TestModelFindsWhatIsMissed(t *testing.T) {
	for name, start := range map[string]modelStart{
		"at the entry itself": func(_ *hourTable, seq storage.Seq, _ storage.Hour) storage.Seq { return seq },
		"as if each envelope were born here": func(t *hourTable, seq storage.Seq, _ storage.Hour) storage.Seq {
			return t.findStart(seq, ^storage.Hour(0))
		},
		"where the table begins, instead of the log": func(t *hourTable, seq storage.Seq, born storage.Hour) storage.Seq {
			return max(t.findStart(seq, born), min(seq, t.rows[0].First))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(500) {
				if runModel(seed, start) > 0 {
					return
				}
			}
			t.Error("no client missed anything")
		})
	}
}
