package mesh

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// message passes a message of the twin to an end.
func (e *end) message(m message) {
	e.t.Helper()
	e.handle(peersync.PeerMessage{Peer: thePeer, Data: m.encode()})
}

// lastMessage returns the last message that the end has sent.
func (e *end) lastMessage() message {
	e.t.Helper()
	if len(e.sent) == 0 {
		e.t.Fatal("nothing was sent")
	}
	m, err := decodeMessage(e.sent[len(e.sent)-1])
	if err != nil {
		e.t.Fatal(err)
	}
	return m
}

// TestBreachesDropThePeer: what no honest twin sends closes the link, with a reason.
func TestBreachesDropThePeer(t *testing.T) {
	window := storage.Range{Lo: storage.Key{Born: 480_001}, Hi: storage.Key{Born: 480_002}}
	for name, test := range map[string]struct {
		initiator bool
		messages  []message
		raw       string
		reason    string
	}{
		"another version":        {raw: "\x09\x01", reason: "version of the protocol (9, here 1): let both relays run the same release"},
		"garbage":                {raw: "\x01\x08garbage", reason: "none of mesh"},
		"two initiators":         {initiator: true, messages: []message{{kind: typeDone, repair: 1}}, reason: "which it is not"},
		"an answer out of place": {messages: []message{{kind: typeCopied, repair: 1}}, reason: "nobody has begun"},
		"a comparison of lists":  {messages: []message{{kind: typeCompare, payload: []byte("\x61\x00\x00\x02\x00")}}, reason: "not Negentropy"},
		"an empty comparison":    {messages: []message{{kind: typeCompare, in: storage.Range{Lo: storage.Key{Born: 5}, Hi: storage.Key{Born: 4}}, payload: []byte{0x61}}}, reason: "not Negentropy"},
		"a broken session":       {messages: []message{{kind: typeSession, in: window, payload: []byte("\x61\xff")}}, reason: "not Negentropy"},
		"unknown window": {initiator: true, messages: []message{{kind: typeDiffer, repair: 1, sessions: 1}, {kind: typeAnswer, repair: 1, in: window}},
			reason: "window that was not compared"},
		"an unknown window to copy": {initiator: true, messages: []message{{kind: typeDiffer, repair: 1, copies: []storage.Range{window}}}, reason: "windows that were not compared"},
		"an answer before the comparison": {initiator: true, messages: []message{{kind: typeAnswer, repair: 1, in: window}},
			reason: "window that was not compared"},
	} {
		t.Run(name, func(t *testing.T) {
			keys := idsAt(1, 1000)
			e := newEnd(t, newBoard(keys), test.initiator, peersync.State{Epoch: storage.Epoch{2}})
			for _, m := range test.messages {
				e.message(m)
			}
			if test.raw != "" {
				e.handle(peersync.PeerMessage{Peer: thePeer, Data: []byte(test.raw)})
			}
			if !strings.Contains(e.dropped, test.reason) || e.dropped == "" {
				t.Errorf("dropped for %q, want %q", e.dropped, test.reason)
			}
			if err := peersync.CheckText(e.dropped); err != nil {
				t.Error(err)
			}
			calls := e.calls
			e.message(message{kind: typeAsk})
			if e.calls > calls+1 { // the report
				t.Error("the peer is served after the breach")
			}
		})
	}
}

// TestLaterTypesAreIgnored: a message of this version and of an unknown type does no harm.
func TestLaterTypesAreIgnored(t *testing.T) {
	e := newEnd(t, newBoard(nil), false, peersync.State{})
	e.handle(peersync.PeerMessage{Peer: thePeer, Data: []byte{version, 200, 1, 2, 3}})
	if e.dropped != "" {
		t.Errorf("dropped: %s", e.dropped)
	}
}

// TestOldMessagesAreIgnored: what belongs to a repair that has ended does no harm, because it may
// have been on its way.
func TestOldMessagesAreIgnored(t *testing.T) {
	e := newEnd(t, newBoard(idsAt(1, 1000)), true, peersync.State{Epoch: storage.Epoch{2}})
	for _, m := range []message{
		{kind: typeDiffer, repair: 9, sessions: 3, flag: true},
		{kind: typeAnswer, repair: 9, payload: []byte{0x61}},
		{kind: typeCopied, repair: 9},
	} {
		e.message(m)
	}
	if re := e.peers[0].repair; e.dropped != "" || re == nil || re.compared {
		t.Errorf("dropped %q, repair %+v", e.dropped, re)
	}
}

// TestLiesInFingerprintsEnd: a twin that claims other differences each time is dropped after
// eight rounds of a session, and there are never more than four sessions at a time.
func TestLiesInFingerprintsEnd(t *testing.T) {
	e := newEnd(t, newBoard(idsAt(1, 50_000)), true, peersync.State{Epoch: storage.Epoch{2}})
	compare := e.lastMessage()
	windows := e.peers[0].repair.windows
	e.sent = nil
	e.message(message{kind: typeDiffer, repair: compare.repair, sessions: uint64(len(windows))})
	rounds := 0
	lie := func(in storage.Range) {
		rounds++
		payload, err := negentropy.Initiate(t.Context(), negentropy.ForPeer(newBoard(idsAt(uint64(rounds), 20_000)), 1), in)
		if err != nil {
			t.Fatal(err)
		}
		e.message(message{kind: typeAnswer, repair: compare.repair, in: in, payload: payload})
	}
	for _, w := range windows {
		lie(w.Range)
	}
	for e.dropped == "" {
		e.tick()
		sent := e.sent
		e.sent = nil
		if len(sent) == 0 || len(sent) > maxSessions {
			t.Fatalf("%d sessions at a time", len(sent))
		}
		for _, data := range sent {
			if m, err := decodeMessage(data); err != nil || m.kind != typeSession {
				t.Fatalf("message %x, %v", data, err)
			} else if e.dropped == "" {
				lie(m.in)
			}
		}
		if rounds > 9*len(windows) {
			t.Fatal("it never ends")
		}
	}
	if !strings.Contains(e.dropped, "did not end after 8 rounds") {
		t.Error(e.dropped)
	}
	t.Logf("%d rounds of %d windows", rounds, len(windows))
}

// TestClaimedDifferencesAreBounded: a twin that claims to have what it has not costs a request for
// each id, and the next repair comes no sooner than without it.
func TestClaimedDifferencesAreBounded(t *testing.T) {
	e := newEnd(t, newBoard(idsAt(1, 1000)), true, peersync.State{Epoch: storage.Epoch{2}})
	repair := func() {
		compare := e.lastMessage()
		windows := e.peers[0].repair.windows
		e.message(message{kind: typeDiffer, repair: compare.repair, sessions: uint64(len(windows))})
		for i, w := range windows {
			payload := binary.AppendUvarint([]byte("\x61\x00\x00\x02"), 20)
			for n := range 20 {
				payload = append(payload, bytes.Repeat([]byte{byte(i + 1), byte(n)}, 16)...)
			}
			e.message(message{kind: typeAnswer, repair: compare.repair, in: w.Range, payload: payload})
		}
		for e.peers[0].repair != nil {
			p := e.peers[0]
			for id := range p.transfer.requested {
				e.handle(peersync.Received{Peer: thePeer, Outcomes: []peersync.Outcome{{ID: id, Status: peersync.Gone}}})
			}
			for id := range p.transfer.offered {
				e.handle(peersync.Sent{Peer: thePeer, Outcomes: []peersync.Outcome{{ID: id, Status: peersync.Known}}})
			}
			e.clock += time.Second
			e.handle(peersync.Tick{Now: e.clock, Hour: pairHour})
		}
	}
	repair()
	requests := len(e.requested)
	if requests != 20*minWindows {
		t.Errorf("%d ids were requested", requests)
	}
	if wait := e.peers[0].schedule.at - e.clock; wait < repairEvery/2-time.Second {
		t.Errorf("the next repair comes after %v", wait)
	}
}

// TestRequestsAreBounded: a hostile initiator that does not wait for answers is dropped, and one
// that does is answered at the rate of its budget.
func TestRequestsAreBounded(t *testing.T) {
	keys := idsAt(1, 20_000)
	window := storage.Range{Lo: keys[0], Hi: keys[10_000]}
	session, err := negentropy.Initiate(t.Context(), negentropy.ForPeer(newBoard(idsAt(2, 20_000)), 1), window)
	if err != nil {
		t.Fatal(err)
	}
	request := message{kind: typeSession, repair: 1, in: window, payload: session}

	t.Run("without waiting", func(t *testing.T) {
		e := newEnd(t, newBoard(keys), false, peersync.State{Epoch: storage.Epoch{2}})
		e.busy = true
		for n := range maxRequests + 2 {
			if e.dropped != "" {
				t.Fatalf("dropped after %d", n)
			}
			e.message(request)
		}
		if !strings.Contains(e.dropped, "without waiting") {
			t.Errorf("%d requests wait, dropped: %q", len(e.peers[0].serving.requests), e.dropped)
		}
	})
	t.Run("rate", func(t *testing.T) {
		e := newEnd(t, newBoard(keys), false, peersync.State{Epoch: storage.Epoch{2}})
		e.handle(peersync.Tick{Hour: pairHour})
		answerWhile := func() (n int) {
			for len(e.peers[0].serving.requests) == 0 {
				e.message(request)
				n++
			}
			return n
		}
		burst := answerWhile()
		answer := e.lastMessage()
		cost := len(session) + len(answer.payload) + workMessage
		if most := workBurst/cost + 2; burst > most {
			t.Errorf("%d requests were answered at once, want at most %d", burst, most)
		}
		e.clock += time.Second
		e.handle(peersync.Tick{Now: e.clock, Hour: pairHour})
		if n, most := answerWhile(), workRate/cost+2; n > most {
			t.Errorf("%d requests were answered in a second, want at most %d", n, most)
		}
		t.Logf("a burst of %d", burst)
	})
	t.Run("comparisons", func(t *testing.T) {
		e := newEnd(t, newBoard(keys), false, peersync.State{Epoch: storage.Epoch{2}})
		payload, _, err := negentropy.Compare(t.Context(), negentropy.ForPeer(newBoard(idsAt(2, 20_000)), 1), storage.Range{}, maxWindows)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			e.message(message{kind: typeCompare, repair: 1, perPart: 20, payload: payload})
		}
		for range 200 {
			e.tick()
		}
		if e.dropped != "" || len(e.peers[0].serving.open) > 0 {
			t.Errorf("dropped %q, %d windows wait", e.dropped, len(e.peers[0].serving.open))
		}
	})
}

// TestComputingIsBounded: comparisons whose bounds lie in the middle of blocks, one after the other
// for a minute, make the relay hash few keys. An honest repair of 10^6 keys need not wait.
func TestComputingIsBounded(t *testing.T) {
	const n, seconds = 1_000_000, 60
	b := newBoard(idsAt(1, n))
	compare := func(keys *board, count int) message {
		payload, windows, err := negentropy.Compare(t.Context(), negentropy.ForPeer(keys, thePeer), storage.Range{}, count)
		if err != nil {
			t.Fatal(err)
		}
		return message{kind: typeCompare, repair: 1, perPart: n / uint64(len(windows)), payload: payload}
	}
	other := newBoard(idsAt(2, 10*maxWindows))
	for name, test := range map[string]struct {
		request message
		times   int // in a second
		most    int // keys
	}{
		"an honest one":           {compare(b, n/windowKeys+1), 1, seconds * 50_000},
		"as many as there can be": {compare(b, maxWindows), 50, (workBurst+workRate*seconds)/workKey + n},
		"with lies":               {compare(other, maxWindows), 50, seconds * 150_000},
		"with lies and sessions":  {compare(other, n/windowKeys+1), 50, seconds * 500_000},
	} {
		t.Run(name, func(t *testing.T) {
			b.sent, b.hashed, b.dropped = nil, 0, ""
			e := newEnd(t, b, false, peersync.State{Epoch: storage.Epoch{2}})
			least := workBurst
			for second := range seconds {
				e.clock = time.Duration(second) * time.Second
				e.handle(peersync.Tick{Now: e.clock, Hour: pairHour})
				for range test.times {
					e.message(test.request)
					least = min(least, e.peers[0].work.left)
				}
			}
			t.Logf("%d keys hashed in a second, %d of the budget used", e.hashed/seconds, workBurst-least)
			if e.hashed > test.most || e.hashed < n || e.dropped != "" {
				t.Errorf("%d keys hashed, want at most %d; dropped: %q", e.hashed, test.most, e.dropped)
			}
			if honest := test.times == 1; honest != (least > workBurst*7/8) {
				t.Errorf("%d of the budget is left", least)
			}
		})
	}
}

// TestHugeWindowsAreRefused: the answer about a window with more keys than fit is empty, and costs
// one sum.
func TestHugeWindowsAreRefused(t *testing.T) {
	e := newEnd(t, newBoard(idsAt(1, maxServed+1)), false, peersync.State{Epoch: storage.Epoch{2}})
	e.sent = nil
	e.message(message{kind: typeSession, repair: 3, payload: []byte("\x61\x00\x00\x02\x00")})
	if m := e.lastMessage(); m.kind != typeAnswer || m.repair != 3 || len(m.payload) > 0 {
		t.Errorf("answered %+v", m)
	}
}

// TestHostileTwins: two honest relays stay equal, within their memory, whatever the third one
// makes of the messages of its mesh.
func TestHostileTwins(t *testing.T) {
	n := uint64(100)
	if testing.Short() {
		n = 10
	}
	for seed := range n {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			s := newSimulation(t, seed, 3)
			s.Replicas[2].Twist = peersynctest.NewTwist(seed)
			for at := range s.Replicas {
				s.Post(at, 100)
			}
			s.runFor(time.Duration(seed%4) * time.Hour)
			s.connectAll()
			for range 10 {
				s.Post(s.rng.IntN(3), 1+s.rng.IntN(10))
				s.runFor(10 * time.Second)
				s.connectAll()
			}
			s.converge(time.Minute, 0, 1)
			s.Replicas[2].Twist = nil
			s.start(2)
			s.connectAll()
			s.converge(7*time.Hour, 0, 1, 2)
		})
	}
}

// TestSilentTwin: a repair is given up when the other end says nothing, and the next one works.
func TestSilentTwin(t *testing.T) {
	s := newSimulation(t, 1, 2)
	s.Post(0, 50)
	s.Post(1, 50)
	s.runFor(3 * time.Hour)
	s.Replicas[1].Silent, s.Replicas[0].Silent = true, true
	s.connectAll()
	s.runFor(2 * silence)
	s.Replicas[1].Silent, s.Replicas[0].Silent = false, false
	s.converge(repairEvery)
}

// TestUnavailableKeys: an end that cannot read its keys for hours keeps the link, and no more than
// the last comparison. Later repairs work.
func TestUnavailableKeys(t *testing.T) {
	s := newSimulation(t, 1, 2)
	s.Post(0, 30)
	s.connectAll()
	s.runFor(3 * time.Minute)
	down := 0
	if s.meshes[0].peers[0].initiator {
		down = 1
	}
	s.Replicas[down].Refuse = func(call string, _ peersync.Peer) error {
		if call == "range sum" || call == "keys" || call == "split" {
			return peersync.ErrUnavailable
		}
		return nil
	}
	served := &s.meshes[down].peers[0].serving
	most := 0
	for range 3 * 60 {
		s.runFor(time.Minute)
		most = max(most, len(served.requests))
	}
	if m := s.meshes[down]; len(m.peers) == 0 || &m.peers[0].serving != served {
		t.Fatal("the link was closed")
	}
	if most != 1 {
		t.Errorf("%d requests waited, want 1", most)
	}
	s.Replicas[down].Refuse = nil
	before := s.meshes[down].peers[0].schedule.doneAt
	s.runFor(repairEvery)
	if done := s.meshes[down].peers[0].schedule.doneAt; done == before {
		t.Error("no repair has ended since the keys are available")
	}
}

// TestAskDuringRepair: an end that gets another epoch while everything is being compared has
// everything compared once more, and then has a cursor.
func TestAskDuringRepair(t *testing.T) {
	keys := idsAt(1, 1000)
	p := newPair(t, keys, withoutEvery(keys, 0, 100))
	p.deliver(p.b, p.a)
	p.deliver(p.a, p.b) // the comparison
	p.deliver(p.b, p.a)
	if p.a.peers[0].repair == nil {
		t.Fatal("the repair has ended")
	}
	p.b.handle(peersync.LogAdvanced{State: p.b.stateOf(9)})
	twin := p.b.peers[0]
	if !twin.schedule.whole || !twin.schedule.asked {
		t.Fatal("it does not ask")
	}
	for range 90 {
		p.run()
	}
	if twin.schedule.whole || !twin.tail.valid {
		t.Errorf("after %v it still waits for a repair: %+v", p.b.clock, twin.schedule)
	}
	if n := p.a.peers[0].schedule.begun; n != 2 {
		t.Errorf("%d repairs, want 2", n)
	}
}

// TestMemoryUnderAttack fills all that a peer can fill, in both roles.
func TestMemoryUnderAttack(t *testing.T) {
	expect := func(t *testing.T, e *end) {
		t.Helper()
		size := e.peers[0].memory()
		if t.Logf("%d bytes", size); size > maxMemory || size < 4<<20 || e.dropped != "" {
			t.Errorf("%d bytes of at most %d, dropped: %q", size, maxMemory, e.dropped)
		}
	}
	fillTransfer := func(e *end) {
		for n := range 2 * maxFound / peersync.MaxIDs {
			ids := make([]storage.ID, peersync.MaxIDs)
			for i := range ids {
				binary.BigEndian.PutUint32(ids[i][:], uint32(n<<16|i))
			}
			e.message(message{kind: typeOffer, ids: ids})
			e.clock += time.Second
			e.handle(peersync.Tick{Now: e.clock, Hour: pairHour})
		}
	}
	t.Run("initiator", func(t *testing.T) {
		e := newEnd(t, newBoard(idsAt(1, 50_000)), true, peersync.State{Epoch: storage.Epoch{2}})
		compare := e.lastMessage()
		windows := e.peers[0].repair.windows
		e.message(message{kind: typeDiffer, repair: compare.repair, sessions: uint64(len(windows))})
		for i, w := range windows {
			payload, err := negentropy.Initiate(t.Context(), negentropy.ForPeer(newBoard(idsAt(uint64(i+2), 20_000)), 1), w.Range)
			if err != nil {
				t.Fatal(err)
			}
			e.message(message{kind: typeAnswer, repair: compare.repair, in: w.Range, payload: payload})
		}
		e.busy, e.down = true, true // nothing leaves
		fillTransfer(e)
		for i := range e.peers[0].repair.windows {
			if w := &e.peers[0].repair.windows[i]; w.state == windowInFlight {
				e.message(message{kind: typeAnswer, repair: compare.repair, in: w.Range, payload: make([]byte, negentropy.MaxMessage)})
			}
		}
		expect(t, e)
	})
	t.Run("the other end", func(t *testing.T) {
		e := newEnd(t, newBoard(idsAt(1, 50_000)), false, peersync.State{Epoch: storage.Epoch{2}})
		e.busy, e.down = true, true
		fillTransfer(e)
		for range 4 {
			e.message(message{kind: typeSession, repair: 1, in: storage.Range{}, payload: make([]byte, negentropy.MaxMessage)})
		}
		expect(t, e)
	})
}
