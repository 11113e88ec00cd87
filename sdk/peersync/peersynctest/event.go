package peersynctest

import (
	"bytes"
	"math"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var eventChecks = []check{
	{"UnknownPeers", "A replicator ignores peers that it has not heard of", (*fixture).checkUnknownPeers},
	{"UnknownEvents", "A replicator ignores events of types that a later version of this package adds", (*fixture).checkUnknownEvents},
	{"UnknownIDs", "A replicator ignores what it does not understand", (*fixture).checkUnknownIDs},
	{"Garbage", "A replicator ignores messages that make no sense", (*fixture).checkGarbage},
	{"Extremes", "A replicator ignores what it does not understand", (*fixture).checkExtremes},
	{"FullBatch", "MaxEvents is the greatest number of events in one Handle", (*fixture).checkFullBatch},
	{"LongMessages", "MaxMessage bounds a message to or from a peer", (*fixture).checkLongMessages},
	{"TooMuch", "A call beyond a limit fails with ErrTooLarge and does nothing", (*fixture).checkTooMuch},
	{"Busy", "Beyond that, a call fails with ErrBusy and queues nothing; PeerReady says when another one may succeed", (*fixture).checkBusy},
	{"UnderWay", "Envelopes are under way from the call until their outcome", (*fixture).checkUnderWay},
	{"Outcomes", "Outcome says what became of one envelope", (*fixture).checkOutcomes},
	{"Peers", "PeersChanged says that other peers are configured now", (*fixture).checkPeers},
	{"Epochs", "LogAdvanced says that the epoch has changed, PeerMoved the same of a peer", (*fixture).checkEpochs},
	{"Clocks", "Hour is by the clock of the relay, which may be wrong and may jump", (*fixture).checkClocks},
	{"UpAndDown", "A replicator calls Links only for peers that are up: from PeerUp until PeerDown", (*fixture).checkUpAndDown},
	{"Floor", "Floor: what was born before is in no answer, and is TooOld when it comes", (*fixture).checkFloor},
	{"Backlog", "Handle may take seconds, but not longer than ctx", (*fixture).checkBacklog},
}

// unknownPeer is a peer that is in no world.
const unknownPeer peersync.Peer = math.MaxUint32

func (f *fixture) checkUnknownPeers() {
	f.newConnectedWorld(1, 2)
	id := storage.NewID([]byte("stranger"), nil)
	for _, e := range []peersync.Event{
		peersync.PeerMessage{Peer: unknownPeer, Data: []byte("hello")},
		peersync.Sent{Peer: unknownPeer, Outcomes: []peersync.Outcome{{ID: id, Status: peersync.Lost}}},
		peersync.Received{Peer: unknownPeer, Outcomes: []peersync.Outcome{{ID: id, Status: peersync.Gone}}},
		peersync.PeerMoved{Peer: unknownPeer, State: peersync.State{Floor: firstHour}},
		peersync.PeerReady{Peer: unknownPeer},
		peersync.PeerDown{Peer: unknownPeer},
		peersync.PeerDown{},
	} {
		f.mustHandle(e)
	}
	f.runTicks(2)
}

func (f *fixture) checkUnknownEvents() {
	f.newConnectedWorld(1, 2)
	type later struct{ peersync.Event }
	f.mustHandle(later{}, peersync.Tick{Now: time.Minute}, later{})
	f.runTicks(2)
}

func (f *fixture) checkUnknownIDs() {
	f.newConnectedWorld(1, 2)
	peer := f.peer(1)
	for status := peersync.Stored; status <= peersync.Lost; status++ {
		o := []peersync.Outcome{{ID: storage.NewID([]byte{byte(status)}, nil), Status: status}}
		f.mustHandle(peersync.Sent{Peer: peer, Outcomes: o}, peersync.Received{Peer: peer, Outcomes: o})
	}
	f.runTicks(2)
}

// checkGarbage has a peer send random messages of many lengths, and messages of the twin that
// are cut, changed or repeated.
func (f *fixture) checkGarbage() {
	f.newConnectedWorld(1, 2)
	r, rng := f.world.Replicas[0], f.world.rng
	peer := f.peer(1)
	f.world.Post(0, 20)
	f.world.Post(1, 20)
	said := [][]byte{{0}, []byte("hello")}
	for range 40 { // collects messages of the real twin
		for _, e := range r.pending {
			if m, ok := e.(peersync.PeerMessage); ok {
				said = append(said, bytes.Clone(m.Data))
			}
		}
		if _, err := f.world.runStep(f.Context()); err != nil {
			f.Fatal(err)
		}
	}
	for range 200 {
		data := bytes.Clone(said[rng.IntN(len(said))])
		switch rng.IntN(4) {
		case 0:
			data = data[:1+rng.IntN(len(data))]
		case 1:
			data[rng.IntN(len(data))] ^= byte(1 + rng.IntN(255))
		case 2:
			data = make([]byte, 1+rng.IntN(1<<rng.IntN(12)))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
		}
		if r.up[peer] { // the replicator may have dropped it, and rightly so
			f.mustHandle(peersync.PeerMessage{Peer: peer, Data: data})
		}
	}
	f.runTicks(2)
}

func (f *fixture) checkExtremes() {
	f.newConnectedWorld(1, 2)
	last := storage.Seq(math.MaxInt64)
	far := peersync.State{First: last, Last: last, Count: math.MaxUint64, Floor: math.MaxUint32}
	lost := []peersync.Outcome{{ID: storage.NewID([]byte("far"), nil), Status: peersync.OverQuota}}
	f.mustHandle(
		peersync.PeerMoved{Peer: f.peer(1), State: far},
		peersync.PeerMoved{Peer: f.peer(1)},
		peersync.Sent{Peer: f.peer(1), Outcomes: lost, RetryAfter: math.MaxInt64},
		peersync.Received{Peer: f.peer(1), Outcomes: lost, RetryAfter: math.MaxInt64},
	)
	f.runTicks(1)
	for at := range f.opened {
		f.closeAt(at)
	}
	f.newWorld(1, 1)
	f.world.Start(0, f.opened[0].Replicator)
	f.runUntilQuiet()
	f.mustHandle(
		peersync.LogAdvanced{State: far}, // although the log ends at 0
		peersync.LogAdvanced{},
		peersync.Tick{Now: math.MaxInt64, Hour: math.MaxUint32},
		peersync.Tick{Now: math.MaxInt64}, // the clock was set back
	)
	f.runTicks(1)
}

func (f *fixture) checkFullBatch() {
	f.newConnectedWorld(1, 1)
	events := make([]peersync.Event, peersync.MaxEvents)
	for i := range events {
		events[i] = peersync.Tick{Now: time.Duration(i) * time.Second, Hour: firstHour}
	}
	f.mustHandle(events...)
	ids := make([]peersync.Outcome, peersync.MaxIDs)
	for i := range ids {
		ids[i] = peersync.Outcome{ID: storage.NewID([]byte{byte(i), byte(i >> 8)}, nil), Status: peersync.Stored}
	}
	f.mustHandle(peersync.Sent{Peer: unknownPeer, Outcomes: ids}, peersync.Received{Peer: unknownPeer, Outcomes: ids})
}

func (f *fixture) checkLongMessages() {
	f.newConnectedWorld(1, 2)
	var events []peersync.Event
	for range peersync.MaxEventBytes / peersync.MaxMessage {
		peer := f.peer(1)
		events = append(events, peersync.PeerMessage{Peer: peer, Data: make([]byte, peersync.MaxMessage)})
	}
	f.mustHandle(events...)
	f.runTicks(1)
}

func (f *fixture) checkTooMuch() {
	f.newConnectedWorld(1, 2)
	peer := f.peer(1)
	for _, events := range [][]peersync.Event{
		make([]peersync.Event, peersync.MaxEvents+1),
		{peersync.PeerMessage{Peer: peer}},
		{peersync.PeerMessage{Peer: peer, Data: make([]byte, peersync.MaxMessage+1)}},
		{peersync.Sent{Peer: peer, Outcomes: make([]peersync.Outcome, peersync.MaxIDs+1)}},
	} {
		if calls := f.recordCalls(func() {
			if err := f.callHandle(f.Context(), events...); err == nil {
				f.Errorf("Handle accepted %d events beyond the limits", len(events))
			}
		}); len(calls) > 0 {
			f.Errorf("for events beyond the limits the replicator called %q", calls)
		}
	}
	f.runTicks(1) // the replicator goes on
}

// checkBusy gives a replicator more than may be under way, to a peer that never answers and to one
// that does.
func (f *fixture) checkBusy() {
	f.newConnectedWorld(1, 3)
	f.world.Replicas[1].Silent = true
	f.world.Post(0, peersync.MaxUnderWay+2*peersync.MaxIDs)
	f.runFor(time.Minute)
	for _, r := range f.world.Replicas[:2] {
		number := r.Peer(2)
		r.Refuse = func(_ string, peer peersync.Peer) error {
			if peer == number {
				return peersync.ErrBusy
			}
			return nil
		}
	}
	f.world.Post(1, 10)
	f.runFor(30 * time.Second)
	f.world.Replicas[0].Refuse, f.world.Replicas[1].Refuse, f.world.Replicas[1].Silent = nil, nil, false
	f.runFor(30 * time.Second)
}

// checkUnderWay has slow links, so that outcomes come much later than other events.
func (f *fixture) checkUnderWay() {
	f.newWorld(1, 3)
	f.eachPair(func(a, b int) { f.world.SetLine(a, b, Line{Latency: 20 * time.Second, Bandwidth: 20_000}) })
	for at := range f.opened {
		f.world.Start(at, f.opened[at].Replicator)
	}
	f.connectAll()
	for at := range f.opened {
		f.world.PostTwice(at, (at+1)%3)
		f.world.Post(at, 20)
		f.runFor(30 * time.Second)
	}
	f.runRandomSteps(40)
	f.runFor(time.Minute)
}

// checkOutcomes has envelopes refused for each reason that there is.
func (f *fixture) checkOutcomes() {
	for what, change := range []func(){
		func() { f.world.Replicas[1].SetTerms(0, Terms{Mirror: true}) },
		func() { f.world.Replicas[1].SetTerms(0, Terms{Quota: 2, QuotaTime: 10 * time.Second}) },
		func() { f.world.Replicas[1].RaiseFloor(firstHour + 1000) },
		func() { f.world.SetLine(0, 1, Line{Corrupt: 2}) },
		func() {
			f.world.Replicas[1].Refuse = func(call string, _ peersync.Peer) error {
				if call == "store" {
					return peersync.ErrUnavailable
				}
				return nil
			}
		},
	} {
		f.newConnectedWorld(uint64(what), 2)
		change()
		f.connectAll()
		for range 5 {
			f.world.Post(0, 5)
			f.world.PostTwice(0, 1)
			f.runFor(10 * time.Second)
		}
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}

// checkPeers removes peers and adds them with other numbers, up to as many as there may be.
func (f *fixture) checkPeers() {
	f.newConnectedWorld(1, 3)
	for range 5 {
		f.world.Post(0, 3)
		f.world.Replicas[0].RemovePeer(1)
		f.runTicks(1)
		f.world.Replicas[0].AddPeer(1)
		f.connectAll()
		f.runTicks(1)
	}
	many := make([]peersync.Peer, peersync.MaxPeers)
	for i := range many {
		many[i] = unknownPeer - peersync.Peer(len(many)-i)
	}
	f.mustHandle(peersync.PeersChanged{Peers: many})
	f.mustHandle(peersync.PeersChanged{}, peersync.PeersChanged{Peers: f.world.Replicas[0].configuredPeers()})
	f.runTicks(2)
}

// checkEpochs gives a relay and its peer new epochs while replicators run.
func (f *fixture) checkEpochs() {
	f.newConnectedWorld(1, 2)
	for round := range 4 {
		f.world.Post(0, 20)
		f.world.Post(1, 20)
		f.runRandomSteps(10)
		f.world.Replicas[round%2].Renew()
		f.connectAll()
		f.runTicks(3)
	}
}

func (f *fixture) checkClocks() {
	f.newConnectedWorld(1, 2)
	for _, hours := range []int{1, -1, 10_000, 0, -10_000, 2} {
		f.world.Replicas[0].SetClock(hours)
		f.world.Post(0, 5)
		f.world.Post(1, 5)
		f.runTicks(3)
	}
}

func (f *fixture) checkUpAndDown() {
	f.newConnectedWorld(1, 3)
	for range 10 {
		f.world.Post(0, 3)
		f.world.Cut(0, 1)
		f.world.tick()
		f.world.Connect(0, 1) // perhaps in the same batch
		f.world.Cut(0, 1)
		f.runTicks(1)
		f.world.Cut(0, 2)
		f.connectAll()
		f.runUntilQuiet()
	}
}

// checkFloor raises the floors of relays, to the same hour at last, while envelopes and
// messages are under way.
func (f *fixture) checkFloor() {
	f.newConnectedWorld(1, 3)
	var floor storage.Hour
	for at := range f.world.Replicas {
		f.world.Post(at, 20)
		f.runRandomSteps(5)
		floor = f.world.passHour()
		f.world.Replicas[0].RaiseFloor(floor)
		f.runRandomSteps(5)
	}
	for _, r := range f.world.Replicas {
		r.RaiseFloor(floor)
		f.connectAll()
		f.runTicks(2)
	}
}

func (f *fixture) checkBacklog() {
	f.newWorld(1, 1)
	f.world.Post(0, 5*peersync.MaxEntries/2)
	f.world.Start(0, f.opened[0].Replicator)
	f.runTicks(5)
}
