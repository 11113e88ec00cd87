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
	{"UpAndDown", "A replicator calls Links only for peers that are up: from PeerUp until PeerDown", (*fixture).checkUpAndDown},
	{"Floor", "What was born before the floor is in no answer, and is TooOld when it comes", (*fixture).checkFloor},
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
	f.newWorld(1, 1)
	f.world.Start(0, f.opened[0].Replicator)
	f.runUntilQuiet()
	last := storage.Seq(math.MaxInt64)
	far := peersync.State{First: last, Last: last, Count: math.MaxUint64, Floor: math.MaxUint32}
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
