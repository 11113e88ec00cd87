package exchange

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestBreachesCutThePeerOff(t *testing.T) {
	r := envelope(0, 10)
	offers := func(n int) *peerlink.Offer {
		f := &peerlink.Offer{}
		for i := range n {
			f.Envelopes = append(f.Envelopes, peerlink.Offered{Key: storage.Key{Born: soloHour, ID: numbered(i)}})
		}
		return f
	}
	for reason, frames := range map[string][]peerlink.Frame{
		"second HELLO":                  {&peerlink.Hello{}},
		"PONG without":                  {&peerlink.Pong{}},
		"more credit":                   {&peerlink.Credit{Channel: peerlink.Messages, Bytes: 1}},
		"more credit than there may be": {&peerlink.Credit{Channel: peerlink.Envelopes, Bytes: 1<<32 - 1}},
		"not wanted":                    {body(peerlink.Requested, r)},
		"that was not wanted":           {body(peerlink.FromOffer, r)},
		"offered twice":                 {offer(r), offer(r)},
		"id offered twice":              {offer(r, r)},
		"more ids offered":              {offers(peerlink.MaxOffered), offer(r)},
		"WANT of what":                  {&peerlink.Want{Offered: true, IDs: []storage.ID{r.ID}}},
		"more ids wanted":               {&peerlink.Want{IDs: make([]storage.ID, peerlink.MaxRequested+1)}},
		"GONE for":                      {&peerlink.Gone{IDs: []storage.ID{r.ID}}},
		"TAKEN for":                     {&peerlink.Taken{Outcomes: []peersync.Outcome{{ID: r.ID, Status: peersync.Stored}}}},
	} {
		s := newSolo(t)
		s.up(1)
		for i, f := range frames {
			if i == len(frames)-1 {
				s.wantOpen()
			}
			s.e.Receive(1, f)
		}
		c, ok := s.e.NextClose()
		if !ok || !c.Breach || !strings.Contains(c.Reason.Error(), reason) || c.Last.Code != peerlink.CodeBreach || c.Last.RetryAfter != 60 {
			t.Errorf("%s: the close is %v %+v", reason, ok, c)
		}
		s.e.Receive(1, frames[0]) // is ignored
		if at, _ := s.e.NextDial(1); at != minBlame {
			t.Errorf("%s: the next dial is at %v", reason, at)
		}
	}
}

// numbered returns an id with a number.
func numbered(n int) (id storage.ID) {
	binary.BigEndian.PutUint64(id[24:], uint64(n)+1)
	return id
}

func TestFirstFrameHasToBeHello(t *testing.T) {
	s := newSolo(t)
	s.e.Connect(1, false)
	s.e.Receive(1, &peerlink.Ping{})
	s.wantClose("no HELLO", true)
	s.wantEvents()
}

func TestReflectedHelloIsABreach(t *testing.T) {
	s := newSolo(t)
	s.e.Connect(1, false)
	s.e.Receive(1, s.next(1))
	s.wantClose("own HELLO", true)
}

func TestBytesThatAreNoFrameAreABreach(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.e.Breach(1, peerlink.ErrFrame)
	s.wantClose("not a frame", true)
	s.wantEvents("down 1")
}

func TestOtherEnvelopeThanWantedIsInvalid(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(0, 10)), keyOf(envelope(1, 10))}))
	s.frames(1)
	forged := envelope(0, 10)
	forged.Ciphertext = []byte("forged")
	s.e.Receive(1, body(peerlink.Requested, forged))
	s.wantClose("not wanted", true)
	s.wantEvents("received 1: invalid lost", "down 1")
	if len(s.log) > 0 {
		t.Error("the forged envelope is stored")
	}
}

func TestMessageThatIsTooLongIsABreach(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	for range peersync.MaxMessage / peerlink.MaxFragment {
		s.e.Receive(1, &peerlink.Message{More: true, Data: make([]byte, peerlink.MaxFragment)})
	}
	s.wantOpen()
	s.e.Receive(1, &peerlink.Message{Data: []byte{1}})
	s.wantClose("too long", true)
}

func TestFramesWithoutCreditAreABreach(t *testing.T) {
	for name, f := range map[string]peerlink.Frame{
		"message":  &peerlink.Message{Data: make([]byte, 1000)},
		"envelope": body(peerlink.Pushed, envelope(0, 1000)),
	} {
		s := newSolo(t)
		s.up(1)
		sent := 0
		for s.e.findPeer(1).link != nil && sent < 1<<20 {
			s.e.Receive(1, f)
			sent++
		}
		limit := (peerlink.InitialMessages + peerlink.InitialEnvelopes) / peerlink.CreditCost(f)
		if s.wantClose("without credit", true); sent > limit {
			t.Errorf("%d frames of a %s come through", sent, name)
		}
	}
}

func TestFloodOfInventedEnvelopesMeetsTheQuota(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1, Gives: true, Quota: Quota{EnvelopesPerHour: 100}})
	s.up(1)
	flood := flooder{s: s}
	for range 3600 {
		flood.push(1000)
		s.pass(time.Second)
		s.events()
	}
	if len(s.log) > 210 {
		t.Errorf("%d envelopes are stored within an hour", len(s.log))
	}
	// The credit that was withheld comes back slowly.
	if limit := peerlink.InitialEnvelopes + 3601*withheldRate + 210*1600; flood.bytes > limit {
		t.Errorf("the flood had credit for %d bytes, want at most %d", flood.bytes, limit)
	}
	s.wantOpen()
}

func TestFloodAtAMirrorIsSlow(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1})
	s.up(1)
	flood := flooder{s: s}
	for range 60 {
		flood.push(1000)
		s.pass(time.Second)
		s.events()
	}
	if limit := peerlink.InitialEnvelopes + 61*withheldRate; flood.bytes > limit || len(s.log) > 0 {
		t.Errorf("the flood had credit for %d bytes, want at most %d", flood.bytes, limit)
	}
}

// flooder pushes envelopes as long as it has credit.
type flooder struct {
	s      *solo
	number int
	credit int // that was granted later
	bytes  int
}

func (f *flooder) push(size int) {
	for _, frame := range f.s.frames(1) {
		switch frame := frame.(type) {
		case *peerlink.Credit:
			if frame.Channel == peerlink.Envelopes {
				f.credit += int(frame.Bytes)
			}
		case *peerlink.Ping:
			f.s.e.Receive(1, &peerlink.Pong{Token: frame.Token})
		}
	}
	for {
		b := body(peerlink.Pushed, envelope(f.number, size))
		cost := peerlink.CreditCost(b)
		if f.bytes+cost > peerlink.InitialEnvelopes+f.credit {
			return
		}
		f.number++
		f.bytes += cost
		f.s.e.Receive(1, b)
		f.s.work()
	}
}

func TestReplayedOldEnvelopesAreRefused(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	old := envelope(0, 10)
	old.Born = floor - 1
	s.e.Receive(1, body(peerlink.Pushed, old))
	old = envelope(1, 10)
	old.Born = floor - 1
	s.e.Receive(1, offer(old))
	wantEqual(t, "outcomes", statuses(only[*peerlink.Taken](s, 1)), []string{"too old", "too old"})
	if s.wantEvents("received 1: too old too old"); len(s.log) > 0 || len(s.jobs) > 0 {
		t.Error("the store has work")
	}
}

func TestRestoredPeerIsToldToTheReplicator(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.e.Receive(1, &peerlink.State{State: peersync.State{Epoch: storage.Epoch{77}, Floor: floor}})
	events := s.e.Events()
	if moved, ok := events[0].(peersync.PeerMoved); !ok || moved.State.Epoch != (storage.Epoch{77}) {
		t.Errorf("the events are %v", events)
	}
}

func TestFloodOfPingsAndStatesIsJoined(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	for i := range noticeBurst / 2 {
		s.e.Receive(1, &peerlink.Ping{Token: [8]byte{byte(i)}})
		s.e.Receive(1, &peerlink.State{State: peersync.State{Floor: storage.Hour(i)}})
	}
	if frames := s.frames(1); len(frames) != 1 {
		t.Errorf("%d frames answer", len(frames))
	}
	s.wantEvents("moved 1 to floor 255")
	for range 1000 { // for ever, what the peer may
		s.now += noticeStep
		s.e.Advance(s.now, worldStart.Add(s.now))
		for _, f := range only[*peerlink.Ping](s, 1) {
			s.e.Receive(1, &peerlink.Pong{Token: f.Token})
		}
		s.e.Receive(1, &peerlink.State{State: peersync.State{Floor: storage.Hour(s.now)}})
	}
	s.wantOpen()
	s.e.Receive(1, &peerlink.Ping{})
	s.wantClose("too many", true)
}

func TestWantSendsEachEnvelopeOnce(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.e.Receive(1, &peerlink.Want{IDs: slices.Repeat(s.hold(0, 2, 10), 500)})
	if bodies := only[*peerlink.Body](s, 1); len(bodies) != 2 || s.e.findLink(1).wantedByPeer != 0 {
		t.Errorf("%d bodies are sent, and %d wanted", len(bodies), s.e.findLink(1).wantedByPeer)
	}
}

// attack fills whatever a peer can fill, as fast as it can, at an owner that does not work.
type attack struct {
	s    *solo
	ids  []storage.ID // in the log
	size int          // of bodies and messages
	n    int
}

func (a *attack) strike() {
	s, l := a.s, a.s.e.findPeer(1).link
	for l.granted[messages] > a.size+1024 {
		s.e.Receive(1, &peerlink.Message{Data: make([]byte, max(a.size, 1))})
	}
	for l.offeredIn < peerlink.MaxOffered {
		f := &peerlink.Offer{}
		for range min(peerlink.MaxIDs, peerlink.MaxOffered-l.offeredIn) {
			a.n++
			f.Envelopes = append(f.Envelopes, peerlink.Offered{Key: storage.Key{Born: soloHour, ID: numbered(a.n)}})
		}
		s.e.Receive(1, f)
	}
	for l.granted[envelopes] > a.size+1024 {
		a.n++
		s.e.Receive(1, body(peerlink.Pushed, envelope(a.n, a.size)))
	}
	for l.wantedByPeer < peerlink.MaxRequested {
		f := &peerlink.Want{}
		for range min(peerlink.MaxIDs, peerlink.MaxRequested-l.wantedByPeer) {
			f.IDs = append(f.IDs, a.ids[len(f.IDs)])
		}
		s.e.Receive(1, f)
	}
}

// fill has the replicator ask for as much as it may.
func (a *attack) fill() {
	s := a.s
	for i := range 5 {
		ids := a.ids[i*peersync.MaxIDs:][:peersync.MaxIDs]
		var keys []storage.Key
		for j := range peersync.MaxIDs {
			keys = append(keys, storage.Key{Born: soloHour, ID: numbered(-2 - a.n - i*peersync.MaxIDs - j)})
		}
		s.e.Push(1, ids)
		s.e.Request(1, keys)
		s.e.Send(1, make([]byte, peersync.MaxMessage))
	}
}

func TestMemoryOfAPeerIsBounded(t *testing.T) {
	for _, size := range []int{0, 300, 4100, 8200, 16000} {
		for _, lazy := range []string{"nobody", "store", "replicator", "writer"} {
			s := newSolo(t)
			s.up(1)
			s.up(2)
			a := &attack{s: s, ids: s.hold(0, 5*peersync.MaxIDs, 4000), size: size}
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			most, heap := 0, 0
			for round := range 40 {
				if round%10 == 9 {
					s.e.Disconnect(1)
					s.now += 10 * time.Minute
					s.e.Advance(s.now, worldStart.Add(s.now))
					s.up(1)
				}
				a.fill()
				a.strike()
				most = max(most, s.e.findPeer(1).memory())
				if round == 8 {
					runtime.GC()
					runtime.ReadMemStats(&after)
					heap = int(after.HeapAlloc) - int(before.HeapAlloc)
				}
				if lazy != "store" {
					s.workAndForget()
				}
				if lazy != "replicator" {
					s.e.Events()
				}
				if lazy != "writer" {
					for range 50 {
						s.next(1)
					}
				}
				most = max(most, s.e.findPeer(1).memory())
			}
			t.Logf("bodies of %d bytes, lazy %s: account %d, heap %d", size, lazy, most, heap)
			if most > MaxMemory || heap > MaxMemory {
				t.Errorf("bodies of %d bytes, lazy %s: a peer takes %d bytes by the account, and %d in the heap; want at most %d", size, lazy, most, heap, MaxMemory)
			}
		}
	}
}

// workAndForget does all jobs of a store that keeps nothing new.
func (s *solo) workAndForget() {
	for {
		job, ok := s.e.NextJob()
		if !ok {
			return
		}
		r := Result{}
		if job.Kind == Store {
			r.Outcomes = make([]storage.OutcomeStatus, len(job.Records))
			for i := range r.Outcomes {
				r.Outcomes[i] = storage.Stored
			}
		} else {
			r = s.result(job)
		}
		s.e.Done(job, r)
	}
}

// FuzzReceive passes arbitrary frames to an engine that is in the middle of everything.
func FuzzReceive(f *testing.F) {
	r := envelope(0, 10)
	var seed []byte
	for _, frame := range []peerlink.Frame{
		&peerlink.Message{Data: []byte("hello")}, offer(r, envelope(1, 10)), &peerlink.Want{IDs: []storage.ID{r.ID}},
		body(peerlink.Pushed, r), body(peerlink.Requested, r), body(peerlink.FromOffer, r), &peerlink.Gone{IDs: []storage.ID{r.ID}},
		&peerlink.Taken{Outcomes: []peersync.Outcome{{ID: r.ID, Status: peersync.Stored}}}, &peerlink.Ping{},
		&peerlink.State{}, &peerlink.Credit{Channel: peerlink.Messages, Bytes: 5}, &peerlink.Err{Code: 5},
	} {
		encoded := peerlink.AppendFrame(nil, frame)
		f.Add(encoded, uint64(1))
		seed = append(seed, encoded...)
	}
	f.Add(seed, uint64(2))
	f.Fuzz(func(t *testing.T, data []byte, order uint64) {
		s := newSolo(t)
		s.up(1)
		s.must(s.e.Push(1, s.hold(0, 3, 10)))
		s.must(s.e.Request(1, []storage.Key{keyOf(envelope(7, 10))}))
		rng := rand.New(rand.NewPCG(order, 0))
		in := strings.NewReader(string(data))
		for s.e.findPeer(1).link != nil {
			frame, err := peerlink.ReadFrame(in)
			if err != nil {
				break
			}
			s.e.Receive(1, frame)
			switch rng.IntN(4) {
			case 0:
				s.work()
			case 1:
				s.events()
			case 2:
				s.next(1)
			case 3:
				s.pass(time.Second)
			}
			if m := s.e.findPeer(1).memory(); m > MaxMemory {
				t.Fatalf("the peer takes %d bytes", m)
			}
		}
		s.frames(1)
		s.e.Disconnect(1)
		s.events()
		if len(s.e.incoming) > 0 || len(s.e.jobs) > 0 {
			t.Fatal("something stays under way")
		}
	})
}
