package peersynctest

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The claims of an [Opener], by the names that programs use.
const (
	ClaimConverges = "converges"
	ClaimResumes   = "resumes"
)

var claimChecks = []check{
	{"Converges", "claims converges: boards become equal above the highest of their floors, once relays are connected, however bad the links, quotas and stores were before", (*fixture).checkConverges},
	{"Hostile", "claims converges: a hostile twin does not keep the boards of others from becoming equal", (*fixture).checkHostile},
	{"EqualIsQuiet", "claims converges: relays with equal boards exchange no envelopes, even if two of them accepted one envelope in different hours", (*fixture).checkEqualIsQuiet},
	{"OneAtATime", "claims converges: while an envelope is requested from one peer, it is requested from no other", (*fixture).checkOneAtATime},
	{"Resumes", "claims resumes: a replicator that is opened again reads no entry of the log that one before it had read, and goes on reading new ones", (*fixture).checkResumes},
	{"OtherEpoch", "claims resumes: in another epoch, the place in the log of the epoch before means nothing", (*fixture).checkOtherEpoch},
	{"CursorsOfGone", "claims resumes: the number of cursors does not grow with that of the peers that are gone", (*fixture).checkCursorsOfGone},
}

// requireClaim skips a check of a claim that the Opener does not make.
func (f *fixture) requireClaim(made bool, name string) {
	f.Helper()
	if !made {
		f.Skipf("not claimed: %s", name)
	}
}

// timeToConverge is how long replicators may take to make boards equal, by the virtual clock. It
// leaves room for two rounds of an algorithm that looks for differences every 15 to 30 minutes.
const timeToConverge = 2 * time.Hour

// awaitEqual runs the world until the boards at some relays are equal.
func (f *fixture) awaitEqual(when string, at ...int) {
	f.Helper()
	step := time.Second
	for passed := time.Duration(0); ; passed += step {
		f.runFor(step)
		err := f.world.Equal(at...)
		if err == nil {
			return
		}
		if passed > timeToConverge {
			f.Fatalf("%s: after %v: %v", when, passed, err)
		}
		if passed > time.Minute {
			step = 20 * time.Second
		}
	}
}

// scenario is a world in which boards have to become equal.
type scenario struct {
	name   string
	relays int
	// setUp makes the world bad, settle makes it as good as it gets.
	setUp, settle func(f *fixture)
	mayLink       func(a, b int) bool // nil: all
	posters       int                 // the first relays; 0: all
}

var scenarios = []scenario{
	{name: "two relays", relays: 2},
	{name: "damage, quotas and failing stores", relays: 3, setUp: func(f *fixture) {
		f.eachPair(func(a, b int) {
			f.world.SetLine(a, b, Line{Corrupt: 5})
			f.world.Replicas[a].SetTerms(b, Terms{Quota: 40, QuotaTime: time.Minute})
		})
		for i, r := range f.world.Replicas {
			r.Refuse = refuseSome(3+i, peersync.ErrUnavailable)
		}
	}, settle: func(f *fixture) {
		for _, r := range f.world.Replicas {
			r.Refuse = nil
		}
		f.eachPair(func(a, b int) { f.world.SetLine(a, b, Line{}) })
	}},
	{name: "a mirror", relays: 3, posters: 2, setUp: func(f *fixture) {
		for i := range 2 {
			f.world.Replicas[i].SetTerms(2, Terms{Mirror: true})
		}
	}},
	{name: "slow links in a row", relays: 4, mayLink: func(a, b int) bool { return a-b == 1 || b-a == 1 }, setUp: func(f *fixture) {
		f.eachPair(func(a, b int) {
			f.world.SetLine(a, b, Line{Latency: time.Duration(1+f.world.rng.IntN(5000)) * time.Millisecond, Bandwidth: 100_000})
		})
	}},
	{name: "other epochs and clocks", relays: 3, setUp: func(f *fixture) {
		for i, r := range f.world.Replicas {
			r.SetClock(2*i - 2)
		}
	}, settle: func(f *fixture) {
		f.world.Replicas[1].Renew()
		f.world.Replicas[2].SetClock(-1)
	}},
}

func (f *fixture) eachPair(do func(a, b int)) {
	for a := range f.world.Replicas {
		for b := range a {
			do(a, b)
		}
	}
}

// refuseSome refuses one call in so many.
func refuseSome(one int, err error) func(string, peersync.Peer) error {
	n := 0
	return func(string, peersync.Peer) error {
		if n++; n%one == 0 {
			return err
		}
		return nil
	}
}

func (f *fixture) checkConverges() {
	f.requireClaim(f.opener.Converges, ClaimConverges)
	for seed, s := range scenarios {
		f.newWorld(uint64(seed), s.relays)
		f.mayLink, f.posters = s.mayLink, s.posters
		if s.setUp != nil {
			s.setUp(f)
		}
		for at := range f.opened {
			if at > 0 && (s.posters == 0 || at < s.posters) {
				f.world.Post(at, 30*at)
			}
			f.world.Start(at, f.opened[at].Replicator)
		}
		f.world.PostTwice(0, 1)
		f.runRandomSteps(100)
		f.restartAt(seed % len(f.opened))
		f.runRandomSteps(20)
		f.world.Replicas[0].RaiseFloor(f.world.passHour() - 1)
		f.runRandomSteps(20)
		if s.settle != nil {
			s.settle(f)
		}
		f.connectAll()
		f.awaitEqual(s.name)
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}

// checkHostile connects two honest relays only through a third one for a while, whose messages are
// twisted, and then with each other.
func (f *fixture) checkHostile() {
	f.requireClaim(f.opener.Converges, ClaimConverges)
	for seed := range uint64(3) {
		f.newWorld(seed, 3)
		f.world.Replicas[2].Twist = NewTwist(seed)
		for at := range f.opened {
			f.world.Start(at, f.opened[at].Replicator)
			f.world.Post(at, 20)
		}
		f.world.Connect(0, 2)
		f.world.Connect(1, 2)
		f.runFor(time.Minute)
		f.world.Connect(0, 1)
		f.runRandomSteps(40)
		f.connectAll()
		f.awaitEqual("beside a hostile relay", 0, 1)
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}

// checkEqualIsQuiet has two boards with 300 envelopes, each accepted in two hours, of which
// five are missing.
func (f *fixture) checkEqualIsQuiet() {
	f.requireClaim(f.opener.Converges, ClaimConverges)
	f.newWorld(1, 2)
	for range 150 {
		f.world.PostTwice(0, 1)
		f.world.PostTwice(1, 0)
	}
	f.world.Post(0, 5)
	for at := range f.opened {
		f.world.Start(at, f.opened[at].Replicator)
	}
	f.runFor(time.Minute) // the replicators read their logs, and have nobody to send anything to
	f.connectAll()
	f.awaitEqual("of two relays")
	f.runFor(30 * time.Minute) // some algorithms look again
	envelopes := func() int {
		return f.world.Replicas[0].Traffic().Envelopes + f.world.Replicas[1].Traffic().Envelopes
	}
	before := envelopes()
	f.runFor(time.Hour)
	if moved := envelopes() - before; moved > 0 {
		f.Errorf("boards that were equal for half an hour exchanged %d envelopes in the next hour", moved)
	}
}

// checkOneAtATime has a relay without envelopes meet two that have the same.
func (f *fixture) checkOneAtATime() {
	f.requireClaim(f.opener.Converges, ClaimConverges)
	f.newWorld(1, 3)
	for range 100 {
		f.world.PostTwice(1, 2)
	}
	for at := range f.opened {
		f.world.Start(at, f.opened[at].Replicator)
	}
	for other := range 2 {
		f.world.SetLine(0, other+1, Line{Latency: 3 * time.Second, Bandwidth: 50_000})
	}
	f.world.Connect(0, 1)
	f.world.Connect(0, 2)
	f.runFor(10 * time.Second)
	f.world.Post(1, 10)
	f.runFor(time.Minute)
	f.awaitEqual("of three relays")
	if n := f.world.Replicas[0].doubleRequests; n > 0 {
		f.Errorf("%d times an envelope was requested from a peer while it was requested from another one", n)
	}
}

// timeToSettle is how long a replicator may take to follow the log and save its place.
const timeToSettle = time.Minute

// followLog has a replicator follow a log that grows, and returns the end of the log. A peer is
// up, because some algorithms need the log only then.
func (f *fixture) followLog() storage.Seq {
	f.requireClaim(f.opener.Resumes, ClaimResumes)
	f.newWorld(1, 2)
	f.world.Post(0, 2*peersync.MaxEntries+7)
	for at := range f.opened {
		f.world.Start(at, f.opened[at].Replicator)
	}
	f.connectAll()
	f.runFor(timeToSettle)
	f.expectNewRead("after the first start")
	return f.world.Replicas[0].Last()
}

// expectNewRead checks that the replicator reads entries that are new.
func (f *fixture) expectNewRead(when string) {
	f.Helper()
	r := f.world.Replicas[0]
	before := r.Last()
	f.world.Post(0, 3)
	f.runFor(timeToSettle)
	read := make(map[storage.Seq]bool)
	for _, page := range r.readings {
		for seq := max(page.first, before+1); seq <= page.last; seq++ {
			read[seq] = true
		}
	}
	if len(read) < 3 {
		f.Errorf("%s, 3 envelopes were posted and the log read up to %d; %d of them were read", when, before, len(read))
	}
}

func (f *fixture) checkResumes() {
	last := f.followLog()
	f.closeAt(0)
	r := f.world.Replicas[0]
	r.readings = nil
	f.world.Post(0, 2) // while it is away
	f.openAt(0)
	f.world.Start(0, f.opened[0].Replicator)
	f.connectAll()
	f.runFor(timeToSettle)
	f.expectNewRead("after a restart")
	for _, page := range r.readings {
		if page.first <= last {
			f.Errorf("after a restart the log was read from %d, although everything up to %d had been read before", page.first, last)
		}
	}
}

func (f *fixture) checkOtherEpoch() {
	f.followLog()
	f.closeAt(0)
	f.renewAll()
	f.world.Post(0, 5)
	f.openAt(0)
	f.world.Start(0, f.opened[0].Replicator)
	f.connectAll()
	f.runFor(timeToSettle)
	f.expectNewRead("after a restart in another epoch")
	f.renewAll()
	f.runFor(timeToSettle)
	f.expectNewRead("after a change of the epoch")
}

// renewAll empties all boards, so that the logs stay short.
func (f *fixture) renewAll() {
	for _, r := range f.world.Replicas {
		r.Renew()
	}
}

// peersOverTime is more than a quarter of the cursors that there may be, so that a cursor for each
// of its peers would be too many before long.
const peersOverTime = peersync.MaxCursors/4 + 6

func (f *fixture) checkCursorsOfGone() {
	f.requireClaim(f.opener.Resumes, ClaimResumes)
	f.newConnectedWorld(1, 2)
	r := f.world.Replicas[0]
	most := 0
	for round := range peersOverTime {
		f.world.Post(0, 2)
		f.world.Post(1, 2)
		f.world.Connect(0, 1)
		f.runFor(10 * time.Second)
		if round < 3 {
			most = max(most, len(r.cursors))
		}
		if round%20 == 10 {
			f.closeAt(0)
			r.RemovePeer(1) // while nobody looks
			f.openAt(0)
			f.world.Start(0, f.opened[0].Replicator)
		}
		r.RemovePeer(1)
		f.runFor(10 * time.Second)
		r.AddPeer(1)
	}
	f.runFor(timeToSettle)
	if n := len(r.cursors); n > most+spareCursors {
		f.Errorf("there are %d cursors after %d peers one after the other, and there were %d after 3", n, peersOverTime, most)
	}
}

// spareCursors is how many cursors may be left of peers that are gone.
const spareCursors = 8
