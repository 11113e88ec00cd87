package mesh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// simulation is a world with a mesh at every relay.
type simulation struct {
	testing.TB
	*peersynctest.World
	meshes []*replicator
	rng    *rand.Rand
	clocks bool // clocks may be wrong; then floors do not rise, because a floor of the future refuses what is new
}

func newSimulation(t testing.TB, seed uint64, n int) *simulation {
	s := &simulation{
		TB: t, World: peersynctest.NewWorld(seed, n), meshes: make([]*replicator, n),
		rng: rand.New(rand.NewPCG(seed, 77)),
	}
	for at := range n {
		s.start(at)
	}
	return s
}

// start starts a new mesh at a relay.
func (s *simulation) start(at int) {
	s.meshes[at] = newReplicator(s.Replicas[at], 0)
	s.Start(at, s.meshes[at])
}

func (s *simulation) connectAll() {
	for a := range s.Replicas {
		for b := range a {
			s.Connect(a, b)
		}
	}
}

func (s *simulation) runFor(d time.Duration) {
	s.Helper()
	if err := s.RunFor(s.Context(), d); err != nil {
		s.Fatal(err)
	}
	s.check()
}

// check fails if a mesh broke the contract, or holds more than it may.
func (s *simulation) check() {
	s.Helper()
	for at, r := range s.Replicas {
		if len(r.Faults) > 0 {
			s.Fatalf("relay %d: %s", at, r.Faults[0])
		}
		for _, p := range s.meshes[at].peers {
			if size := p.memory(); size > maxMemory {
				s.Fatalf("relay %d holds %d bytes for a peer", at, size)
			}
		}
	}
}

// maxMemory is what the documentation of the package promises.
const maxMemory = 9 << 20

// memory returns about how many bytes a peer takes.
func (p *peer) memory() int {
	const id, entry, span = len(storage.ID{}), 48, 72
	size := entry*cap(p.tail.queue) + 2*entry*len(p.tail.seqs) + 3*id*len(p.tail.known.ids)
	t := &p.transfer
	size += id*cap(t.haves) + (id+4)*cap(t.needs) + id*cap(t.asks) + span*cap(t.copies) + 2*id*(len(t.offered)+len(t.requested))
	size += cap(p.outbox) + p.serving.bytes + span*cap(p.serving.open)
	if p.repair != nil {
		for _, w := range p.repair.windows {
			size += span + 32 + cap(w.answer)
		}
	}
	return size
}

// converge runs until the boards of some relays are equal, at most for so long.
func (s *simulation) converge(d time.Duration, at ...int) {
	s.Helper()
	for end := time.Duration(0); ; end += 5 * time.Second {
		err := s.Equal(at...)
		if err == nil {
			return
		}
		if end > d {
			for i, m := range s.meshes {
				s.Logf("relay %d: %+v", i, m.makeReport())
			}
			s.Fatalf("after %v: %v", d, err)
		}
		s.runFor(5 * time.Second)
	}
}

// drawLine draws the quality of a link.
func (s *simulation) drawLine() peersynctest.Line {
	latencies := []time.Duration{0, 0, 50 * time.Millisecond, time.Second, 4 * time.Second}
	bandwidths := []int{0, 0, 1 << 20, 64 << 10}
	return peersynctest.Line{Latency: latencies[s.rng.IntN(len(latencies))], Bandwidth: bandwidths[s.rng.IntN(len(bandwidths))]}
}

// disturb does something that may happen to relays, of which the mirror is read only.
func (s *simulation) disturb(mirror int) {
	n := len(s.Replicas)
	a, b := s.rng.IntN(n), s.rng.IntN(n)
	switch s.rng.IntN(20) {
	case 0, 1, 2, 3, 4:
		if a != mirror {
			s.Post(a, 1+s.rng.IntN(40))
		}
	case 5:
		if a != b && a != mirror && b != mirror {
			s.PostTwice(a, b)
		}
	case 6, 7, 8, 9:
		s.Connect(a, b)
	case 10, 11:
		s.Cut(a, b)
	case 12:
		s.start(a)
	case 13:
		if mirror < 0 && s.rng.IntN(4) == 0 { // nobody takes back what only a mirror has
			s.Replicas[a].Renew()
		}
	case 14:
		if !s.clocks && s.rng.IntN(3) == 0 {
			s.Replicas[a].RaiseFloor(s.meshes[a].hour - storage.Hour(s.rng.IntN(3)))
		}
	case 15:
		if s.clocks && s.rng.IntN(4) == 0 {
			s.Replicas[a].SetClock(s.rng.IntN(5) - 2)
		}
	case 16:
		if s.rng.IntN(4) == 0 && a != b {
			s.Replicas[a].RemovePeer(b)
			s.Replicas[a].AddPeer(b)
		}
	case 17:
		s.refuseSome(a)
	case 18:
		s.Replicas[a].Refuse = nil
	case 19:
		if s.rng.IntN(8) == 0 {
			s.runFor(time.Duration(1+s.rng.IntN(90)) * time.Minute)
		}
	}
	s.runFor(time.Duration(s.rng.IntN(6)) * 700 * time.Millisecond)
}

// refuseSome makes calls of the host at a relay fail now and then.
func (s *simulation) refuseSome(at int) {
	errs := []error{peersync.ErrUnavailable, peersync.ErrBusy, errors.New("something else")}
	one := 2 + s.rng.IntN(10)
	s.Replicas[at].Refuse = func(string, peersync.Peer) error {
		if s.rng.IntN(one) == 0 {
			return errs[s.rng.IntN(len(errs))]
		}
		return nil
	}
}

// seeds returns how many seeds a simulation runs: 1000, or as many as the variable says.
func seeds(t *testing.T) uint64 {
	n, err := strconv.ParseUint(os.Getenv("CWTCH_RELAY_MESH_SEEDS"), 10, 32)
	if err != nil {
		n = 1000
	}
	if testing.Short() {
		n = min(n, 50)
	}
	t.Logf("%d seeds", n)
	return n
}

// TestBoardsConverge disturbs relays in all ways, and then waits until their boards are equal.
func TestBoardsConverge(t *testing.T) {
	for seed := range seeds(t) {
		ok := t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { convergeSeed(t, seed) })
		if !ok {
			t.FailNow()
		}
	}
}

func convergeSeed(t *testing.T, seed uint64) {
	s := newSimulation(t, seed, 2+int(seed%3))
	mirror := -1
	terms := make([]peersynctest.Terms, len(s.Replicas))
	if len(s.Replicas) > 2 && s.rng.IntN(4) == 0 {
		mirror = len(s.Replicas) - 1
		terms[mirror].Mirror = true
	}
	for a := range s.Replicas {
		for b := range s.Replicas {
			if a != b {
				s.SetLine(a, b, s.drawLine())
			}
			if a != b && !terms[b].Mirror && s.rng.IntN(6) == 0 {
				s.Replicas[a].SetTerms(b, peersynctest.Terms{Quota: 20 + s.rng.IntN(50), QuotaTime: time.Minute})
			} else if a != b {
				s.Replicas[a].SetTerms(b, terms[b])
			}
		}
	}
	s.clocks = seed%2 == 0
	s.connectAll()
	for range 40 {
		s.disturb(mirror)
	}
	for _, r := range s.Replicas {
		r.Refuse = nil
		r.SetClock(0)
	}
	s.connectAll()
	// Usually it takes seconds. An hour that was lowered is found when it is no longer the tail's.
	s.converge(4 * time.Hour)
}

// TestNothingIsLost: without floors and lost stores, every relay has at the end what clients
// posted anywhere.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(50) {
		s := newSimulation(t, seed, 3)
		posted := 0
		for range 60 {
			a, b := s.rng.IntN(3), s.rng.IntN(3)
			switch s.rng.IntN(5) {
			case 0, 1:
				n := 1 + s.rng.IntN(30)
				s.Post(a, n)
				posted += n
			case 2:
				s.Connect(a, b)
			case 3:
				s.Cut(a, b)
			case 4:
				s.start(a)
			}
			s.runFor(time.Duration(s.rng.IntN(3)) * time.Second)
		}
		s.connectAll()
		s.converge(time.Minute)
		s.runFor(time.Second)
		for at, m := range s.meshes {
			if m.state.Count != uint64(posted) {
				t.Fatalf("seed %d: relay %d has %d of %d envelopes", seed, at, m.state.Count, posted)
			}
		}
	}
}

// TestLivePush: what a client posts is at all peers without the passing of time, each body crosses
// each link once, and the last repair of equal boards is one message each way.
func TestLivePush(t *testing.T) {
	s := newSimulation(t, 1, 4)
	s.connectAll()
	s.runFor(30 * time.Second)
	for range 10 {
		s.Post(0, 3)
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Equal(); err != nil {
			t.Fatal(err)
		}
		s.runFor(2 * time.Second)
	}
	for at, r := range s.Replicas {
		got, want := r.Traffic(), 30
		if at == 0 {
			want = 0
		}
		if got.Envelopes != want || got.Wasted > 0 {
			t.Errorf("relay %d received %+v, want %d envelopes", at, got, want)
		}
	}
}

// TestSlowLinkWastesLittle: a peer with a fast link does not send again what comes on a slow one.
func TestSlowLinkWastesLittle(t *testing.T) {
	s := newSimulation(t, 1, 3)
	s.SetLine(0, 2, peersynctest.Line{Latency: 900 * time.Millisecond})
	s.connectAll()
	s.runFor(30 * time.Second)
	for range 20 {
		s.Post(0, 1)
		s.runFor(4 * time.Second)
	}
	if err := s.Equal(); err != nil {
		t.Fatal(err)
	}
	if got := s.Replicas[2].Traffic(); got.Wasted > 0 {
		t.Errorf("%+v", got)
	}
}

// TestCutsAtEveryMessage loses the link at each message of a first contact, and of a repair.
func TestCutsAtEveryMessage(t *testing.T) {
	for cut := range 40 {
		s := newSimulation(t, 5, 2)
		s.Post(0, 400)
		s.Post(1, 300)
		sent := 0
		for _, r := range s.Replicas {
			r.Twist = func(message []byte) [][]byte {
				if sent++; sent > cut {
					return nil
				}
				return [][]byte{message}
			}
		}
		s.connectAll()
		s.runFor(10 * time.Second)
		s.Cut(0, 1)
		for _, r := range s.Replicas {
			r.Twist = nil
		}
		s.connectAll()
		s.converge(30 * time.Second)
	}
}

// TestKilledAtEveryCall ends a mesh at each call of its host, and starts another one.
func TestKilledAtEveryCall(t *testing.T) {
	for kill := range 120 {
		s := newSimulation(t, 6, 2)
		s.Post(0, 100)
		s.Post(1, 100)
		s.runFor(2 * time.Hour) // so that repairs have something to compare
		s.Post(0, 20)
		calls, dead := 0, errors.New("the process was killed")
		s.Replicas[0].Refuse = func(string, peersync.Peer) error {
			if calls++; calls > kill {
				return dead
			}
			return nil
		}
		s.connectAll()
		s.runFor(5 * time.Second)
		s.Replicas[0].Refuse = nil
		s.start(0)
		s.Post(1, 5)
		s.connectAll()
		s.converge(time.Minute)
	}
}

// TestResumesFromCursor: after a restart no entry is offered that was settled before.
func TestResumesFromCursor(t *testing.T) {
	s := newSimulation(t, 7, 2)
	s.connectAll()
	s.runFor(5 * time.Second)
	s.Post(0, 3000)
	s.runFor(20 * time.Second)
	before := s.meshes[0].peers[0].tail
	if !before.valid || before.saved != 3000 {
		t.Fatalf("the cursor is at %d, valid: %v", before.saved, before.valid)
	}
	s.start(0)
	s.Post(0, 10)
	s.connectAll()
	calls := len(s.Replicas[0].Calls)
	s.runFor(5 * time.Second)
	for _, call := range s.Replicas[0].Calls[calls:] {
		var from int
		if _, err := fmt.Sscanf(call, "log %d", &from); err == nil && from <= 3000 {
			t.Errorf("it reads again: %s", call)
		}
	}
	s.converge(0)
}

// TestCursorsOfRemovedPeersAreDeleted: a peer that is removed leaves nothing behind.
func TestCursorsOfRemovedPeersAreDeleted(t *testing.T) {
	s := newSimulation(t, 8, 2)
	s.connectAll()
	s.Post(0, 3)
	s.runFor(10 * time.Second)
	if names := s.cursorsOf(0); len(names) != 1 {
		t.Fatalf("cursors %q", names)
	}
	s.Replicas[0].RemovePeer(1)
	s.runFor(30 * time.Second)
	if names := s.cursorsOf(0); len(names) != 0 {
		t.Errorf("cursors %q", names)
	}
}

// cursorsOf returns the names of the cursors at a relay, as its mesh would get them.
func (s *simulation) cursorsOf(at int) (names []string) {
	s.Helper()
	probe := &probe{host: s.Replicas[at]}
	s.Start(at, probe)
	s.runFor(time.Second)
	s.start(at)
	return probe.names
}

// probe lists the cursors.
type probe struct {
	host  peersync.HostServices
	names []string
}

// TestRepairsFindWhatTheTailMisses: an envelope that got lost in a way that no cursor knows of is
// found within the time between two repairs.
func TestRepairsFindWhatTheTailMisses(t *testing.T) {
	s := newSimulation(t, 9, 2)
	s.connectAll()
	s.runFor(10 * time.Second)
	for _, m := range s.meshes {
		m.peers[0].tail.live, m.peers[0].tail.atEnd = 0, true
	}
	s.Post(0, 50)
	for _, m := range s.meshes { // the tail believes that it has sent them
		m.peers[0].tail.next += 50
	}
	s.runFor(time.Minute)
	if s.Equal() == nil {
		t.Fatal("the tail has sent what it should have missed")
	}
	s.converge(settleHours*time.Hour + 3*repairEvery/2 + time.Minute)
}

func (p *probe) Handle(ctx context.Context, _ []peersync.Event) (err error) {
	p.names, err = p.host.List(ctx)
	return err
}

func (p *probe) Close() error { return nil }
