package mesh

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// keysOf returns the keys at a relay. It replaces the mesh there by a new one.
func (s *simulation) keysOf(at int) []storage.Key {
	s.Helper()
	probe := &keyProbe{host: s.Replicas[at]}
	s.Start(at, probe)
	s.runFor(time.Second)
	s.start(at)
	return probe.keys
}

// keyProbe reads the keys.
type keyProbe struct {
	host peersync.HostServices
	keys []storage.Key
}

func (p *keyProbe) Handle(ctx context.Context, _ []peersync.Event) error {
	p.keys = nil
	for lo := (storage.Key{}); ; {
		lists, err := p.host.Keys(ctx, []peersync.Range{{Lo: lo}}, peersync.MaxKeys)
		if err != nil || len(lists[0]) == 0 {
			return err
		}
		p.keys = append(p.keys, lists[0]...)
		lo = p.keys[len(p.keys)-1].Next()
	}
}

func (p *keyProbe) Close() error { return nil }

// TestCopyResumes: an empty relay gets all of a board, whichever end is the initiator. A link that
// breaks costs nothing twice, and what is posted meanwhile does not wait for the copy.
func TestCopyResumes(t *testing.T) {
	for seed := range uint64(6) { // decides who is the initiator
		s := newSimulation(t, seed, 2)
		s.SetLine(0, 1, peersynctest.Line{Latency: 300 * time.Millisecond, Bandwidth: 200 << 10})
		s.Post(0, 3000)
		s.runFor(3 * time.Hour)
		s.connectAll()
		s.runFor(20 * time.Second)
		got := s.Replicas[1].Traffic().Envelopes
		if got == 0 || got >= 3000 {
			t.Fatalf("%d envelopes were copied at the cut", got)
		}
		s.Cut(0, 1)
		s.start(1)
		s.connectAll()
		s.runFor(5 * time.Second)
		before := s.Replicas[1].Last()
		s.Post(0, 1)
		s.runFor(3 * time.Second)
		if s.Equal() == nil {
			t.Fatal("the copy has ended too soon for this test")
		}
		if !s.liveEntryArrived(before) {
			t.Errorf("seed %d: what was posted waits for the copy", seed)
		}
		s.converge(10 * time.Minute)
		s.runFor(time.Minute)
		traffic := s.Replicas[1].Traffic()
		if traffic.Wasted > 0 {
			t.Errorf("seed %d: %d of %d envelopes came twice", seed, traffic.Wasted, traffic.Envelopes)
		}
		for _, m := range s.meshes {
			if p := m.peers[0]; p.repair != nil || p.schedule.whole || !p.tail.valid {
				t.Errorf("seed %d: after the copy: %+v", seed, m.makeReport())
			}
		}
	}
}

// liveEntryArrived reports whether the second relay has an envelope of the present hour.
func (s *simulation) liveEntryArrived(after storage.Seq) bool {
	keys := s.keysOf(1)
	s.connectAll()
	return len(keys) > 0 && keys[len(keys)-1].Born >= 480_003 && s.Replicas[1].Last() > after
}

// TestLargeMirror: a mirror that has far more in a window than fits an answer is offered the window
// by the end it reads from. Nothing more can be done, so the repair is settled.
func TestLargeMirror(t *testing.T) {
	source, mirror := idsAt(1, 1000), idsAt(2, 2*maxServed)
	for i := range mirror {
		mirror[i].Born = source[500].Born // all in one window, or two
	}
	p := newPair(t, source, slices.Concat(mirror, source[:400]))
	p.a.peers[0].gives, p.b.peers[0].takes = false, false
	p.run()
	for _, k := range source[400:] {
		if !slices.Contains(p.a.offered, k.ID) {
			t.Fatal("a key that the mirror lacks is not offered")
		}
	}
	if n := len(p.a.offered); n > 600+2*1000/minWindows {
		t.Errorf("%d of 600 ids are offered", n)
	}
	if s := p.a.peers[0].schedule; s.whole || !s.done || s.at < p.a.clock+repairEvery/4 {
		t.Errorf("the repair is not settled: %+v", s)
	}
}

// TestQuotaIsKept: a relay that takes little at a time gets all of a board in the end, and is not
// offered what it refuses again and again.
func TestQuotaIsKept(t *testing.T) {
	s := newSimulation(t, 3, 2)
	s.Replicas[1].SetTerms(0, peersynctest.Terms{Quota: 100, QuotaTime: 10 * time.Minute})
	s.Post(0, 350)
	s.runFor(3 * time.Hour)
	s.connectAll()
	calls := len(s.Replicas[0].Calls)
	s.converge(45 * time.Minute)
	if n := len(s.Replicas[0].Calls) - calls; n > 3000 {
		t.Errorf("%d calls of the host", n)
	}
}

// TestQuotaOfTheTail: what was refused of the present hour is offered again when the peer takes
// more, although no repair looks at that hour.
func TestQuotaOfTheTail(t *testing.T) {
	s := newSimulation(t, 3, 2)
	s.Replicas[1].SetTerms(0, peersynctest.Terms{Quota: 10, QuotaTime: time.Minute})
	s.connectAll()
	s.runFor(3 * time.Minute) // the repairs of the first contact
	s.Post(0, 55)
	s.runFor(5 * time.Second)
	if s.Equal() == nil {
		t.Fatal("the quota did not hold")
	}
	s.converge(7 * time.Minute)
}

// TestFailingStoreOfThePeer: what was Lost while the link stayed up is offered again.
func TestFailingStoreOfThePeer(t *testing.T) {
	s := newSimulation(t, 3, 2)
	s.connectAll()
	s.runFor(time.Second)
	s.Replicas[1].Refuse = func(call string, _ peersync.Peer) error {
		if call == "store" {
			return peersync.ErrUnavailable
		}
		return nil
	}
	s.Post(0, 20)
	s.runFor(30 * time.Second)
	if got := s.Replicas[1].Last(); got > 0 {
		t.Fatalf("%d envelopes were stored", got)
	}
	s.Replicas[1].Refuse = nil
	s.converge(2 * lostWait)
}

// TestHoursOfOneEnvelope: envelopes that two relays have accepted in different hours get the
// earlier one at both where a comparison finds them. No body moves, and later repairs are quiet.
func TestHoursOfOneEnvelope(t *testing.T) {
	for seed := range uint64(4) {
		s := newSimulation(t, seed, 2)
		for range 20 { // so that a window has keys of several hours
			for range 15 {
				s.PostTwice(int(seed%2), 1-int(seed%2))
			}
			s.runFor(time.Hour)
		}
		s.Post(0, 100)
		s.Post(1, 100)
		s.runFor(4 * time.Hour)
		s.connectAll()
		s.runFor(2 * time.Hour)
		s.converge(0)
		for at, r := range s.Replicas {
			r.Calls = nil
			s.runFor(repairEvery)
			for _, call := range r.Calls {
				if strings.HasPrefix(call, "offer") || strings.HasPrefix(call, "request") {
					t.Errorf("seed %d: relay %d still finds differences: %.40s", seed, at, call)
				}
			}
		}
		for at, r := range s.Replicas {
			if got := r.Traffic().Envelopes; got != 100 {
				t.Errorf("seed %d: relay %d received %d envelopes, of which it lacked 100", seed, at, got)
			}
		}
	}
}

// TestDelay: with the option, what is posted is sent later, all together, in another order.
func TestDelay(t *testing.T) {
	const delay = 3 * time.Second
	s := newSimulation(t, 1, 2)
	s.meshes[0] = newReplicator(s.Replicas[0], delay)
	s.Start(0, s.meshes[0])
	s.connectAll()
	s.runFor(20 * time.Second)
	s.Post(0, 30)
	s.runFor(delay - 500*time.Millisecond)
	if got := s.Replicas[1].Traffic().Envelopes; got > 0 {
		t.Errorf("%d envelopes were sent before the delay", got)
	}
	s.runFor(delay + time.Second)
	s.converge(0)
	if slices.Equal(s.logOf(0), s.logOf(1)) {
		t.Error("they were sent in the order of the log")
	}
}

// logOf returns the ids of the log at a relay.
func (s *simulation) logOf(at int) []storage.ID {
	s.Helper()
	probe := &logProbe{host: s.Replicas[at]}
	s.Start(at, probe)
	s.runFor(time.Second)
	return probe.ids
}

// logProbe reads the first page of the log.
type logProbe struct {
	host peersync.HostServices
	ids  []storage.ID
}

func (p *logProbe) Handle(ctx context.Context, _ []peersync.Event) error {
	page, err := p.host.Log(ctx, peersync.LogRequest{})
	p.ids = nil
	for _, e := range page.Entries {
		p.ids = append(p.ids, e.ID)
	}
	return err
}

func (p *logProbe) Close() error { return nil }

// TestReport: the operator sees what goes on with each peer.
func TestReport(t *testing.T) {
	s := newSimulation(t, 1, 3)
	s.runFor(15 * time.Second)
	expect := func(summary string, of ...string) {
		t.Helper()
		r := s.Replicas[0].LastReport()
		if r.Summary != summary {
			t.Errorf("summary %q, want %q", r.Summary, summary)
		}
		for i, want := range of {
			if got := r.Peers[i].Summary; got != want {
				t.Errorf("peer %d: %q, want %q", i, got, want)
			}
		}
	}
	expect("0 of 2 peers connected, 0 in step", "not connected", "not connected")
	s.Connect(0, 1)
	s.runFor(5 * time.Second)
	expect("1 of 2 peers connected, 1 in step", "in step; compared within the last minute", "not connected")
	s.runFor(5 * time.Minute)
	expect("1 of 2 peers connected, 1 in step", "in step; compared 5 min ago", "not connected")
	s.Replicas[1].SetTerms(0, peersynctest.Terms{Quota: 10, QuotaTime: 10 * time.Minute})
	s.Connect(0, 1)
	s.Post(0, 25)
	s.runFor(10 * time.Second)
	expect("1 of 2 peers connected, 0 in step",
		"takes nothing more for now, because its quota is used up or its store fails; not compared yet", "not connected")
	if r := s.Replicas[0].LastReport(); r.Peers[0].Lacks != 15 {
		t.Errorf("the peer lacks %d", r.Peers[0].Lacks)
	}
}
