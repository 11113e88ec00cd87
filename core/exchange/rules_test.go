package exchange

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestPushSendsBodiesAndReportsTheReceiversWord(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	ids := s.hold(0, 2, 100)
	s.must(s.e.Push(1, append(ids, ids[0], storage.ID{7})))
	bodies := only[*peerlink.Body](s, 1)
	if len(bodies) != 2 || bodies[0].Kind != peerlink.Pushed {
		t.Fatalf("%d bodies are sent, want 2 pushed ones", len(bodies))
	}
	s.wantEvents("sent 1: gone")
	s.e.Receive(1, &peerlink.Taken{Outcomes: []peersync.Outcome{{ID: ids[0], Status: peersync.Stored}, {ID: ids[1], Status: peersync.Known}}})
	s.wantEvents("sent 1: stored known")
	s.wantOpen()
}

func TestOfferSendsOnlyWhatIsWanted(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	ids := s.hold(0, 3, 100)
	s.must(s.e.Offer(1, append(ids, storage.ID{7})))
	offers := only[*peerlink.Offer](s, 1)
	if len(offers) != 1 || len(offers[0].Envelopes) != 3 || offers[0].Envelopes[0].Size != 108 || offers[0].Envelopes[0].Born != soloHour {
		t.Fatalf("the offers are %v", offers)
	}
	s.e.Receive(1, &peerlink.Taken{Outcomes: []peersync.Outcome{{ID: ids[0], Status: peersync.Known}}})
	s.e.Receive(1, &peerlink.Want{Offered: true, IDs: ids[1:]})
	delete(s.log, ids[2])
	frames := s.frames(1)
	gone, isGone := frames[0].(*peerlink.Gone)
	sent, isBody := frames[1].(*peerlink.Body)
	if len(frames) != 2 || !isGone || !isBody || gone.IDs[0] != ids[2] || sent.Kind != peerlink.FromOffer {
		t.Fatalf("the answers are %v", frames)
	}
	s.e.Receive(1, &peerlink.Taken{Outcomes: []peersync.Outcome{{ID: ids[1], Status: peersync.Stored}}})
	s.wantEvents("sent 1: gone known gone stored")
	s.wantOpen()
}

func TestRequestFetchesWhatIsNotInTheLog(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	known := s.hold(0, 1, 100)[0]
	r, lost := envelope(1, 100), envelope(2, 100)
	old := storage.Key{Born: floor - 1, ID: storage.ID{3}}
	s.must(s.e.Request(1, []storage.Key{{Born: soloHour, ID: known}, {Born: soloHour, ID: r.ID}, {Born: soloHour, ID: lost.ID}, old, {Born: soloHour, ID: r.ID}}))
	wants := only[*peerlink.Want](s, 1)
	if len(wants) != 1 || wants[0].Offered || !slices.Equal(wants[0].IDs, []storage.ID{r.ID, lost.ID}) {
		t.Fatalf("the wants are %v", wants)
	}
	s.e.Receive(1, &peerlink.Gone{IDs: []storage.ID{lost.ID}})
	s.e.Receive(1, body(peerlink.Requested, r))
	if taken := only[*peerlink.Taken](s, 1); len(taken) > 0 {
		t.Errorf("the peer hears what became of what it was asked for: %v", taken)
	}
	s.wantEvents("received 1: too old known gone stored")
	s.wantOpen()
}

func TestOfferedEnvelopesAreTakenOrAnswered(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.hold(0, 1, 100)
	old := envelope(2, 100)
	old.Born = floor - 1
	s.e.Receive(1, offer(envelope(0, 100), envelope(1, 100), old))
	frames := s.frames(1)
	if taken, ok := frames[0].(*peerlink.Taken); !ok || taken.Outcomes[0].Status != peersync.TooOld || taken.Outcomes[1].Status != peersync.Known {
		t.Errorf("the first answer is %v", frames[0])
	}
	if want, ok := frames[1].(*peerlink.Want); !ok || !want.Offered || want.IDs[0] != envelope(1, 100).ID {
		t.Errorf("the second answer is %v", frames[1])
	}
	s.e.Receive(1, body(peerlink.FromOffer, envelope(1, 100)))
	wantEqual(t, "outcomes", statuses(only[*peerlink.Taken](s, 1)), []string{"stored"})
	s.wantEvents("received 1: too old known stored")
}

func TestOneEnvelopeComesFromOnePeer(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.up(2)
	r := envelope(0, 100)
	key := []storage.Key{keyOf(r)}
	s.must(s.e.Request(1, key))
	s.work()
	s.must(s.e.Request(2, key)) // is told
	s.e.Receive(2, offer(r))    // waits
	if wants := only[*peerlink.Want](s, 2); len(wants) > 0 {
		t.Fatal("a second peer is asked")
	}
	s.wantEvents("received 2: under way")
	s.frames(1)
	s.e.Receive(1, body(peerlink.Requested, r))
	wantEqual(t, "outcomes", statuses(only[*peerlink.Taken](s, 2)), []string{"known"})
	s.wantEvents("received 1: stored", "received 2: known")
}

func TestWaitingOfferIsTakenWhenTheOtherPeerFails(t *testing.T) {
	for _, how := range []string{"gone", "cut", "withheld"} {
		s := newSolo(t)
		s.up(1)
		s.up(2)
		r := envelope(0, 100)
		s.e.Receive(1, offer(r))
		s.frames(1)
		s.e.Receive(2, offer(r))
		s.frames(2)
		switch how {
		case "gone":
			s.e.Receive(1, &peerlink.Gone{IDs: []storage.ID{r.ID}})
		case "cut":
			s.e.Disconnect(1)
		case "withheld":
			s.pass(underWayLimit + stealStep)
		}
		if wants := only[*peerlink.Want](s, 2); len(wants) != 1 {
			t.Errorf("%s: the other peer is not asked", how)
		}
	}
}

func TestEachCallGetsItsOutcome(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	id := s.hold(0, 1, 100)
	s.must(s.e.Push(1, id))
	s.must(s.e.Offer(1, id))
	r := envelope(1, 100)
	s.must(s.e.Request(1, []storage.Key{keyOf(r)}))
	s.must(s.e.Request(1, []storage.Key{keyOf(r)}))
	bodies, offers, wants := 0, 0, 0
	for _, f := range s.frames(1) {
		switch f.(type) {
		case *peerlink.Body:
			bodies++
		case *peerlink.Offer:
			offers++
		case *peerlink.Want:
			wants++
		}
	}
	if bodies != 1 || offers != 0 || wants != 1 {
		t.Errorf("%d bodies, %d offers, %d wants", bodies, offers, wants)
	}
	s.e.Receive(1, &peerlink.Taken{Outcomes: []peersync.Outcome{{ID: id[0], Status: peersync.Stored}}})
	s.e.Receive(1, body(peerlink.Requested, r))
	s.work()
	s.wantEvents("sent 1: stored stored", "received 1: stored stored")
}

func TestDisconnectSettlesEverything(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	ids := s.hold(0, 3, 100)
	s.must(s.e.Push(1, ids[:1]))
	s.must(s.e.Offer(1, ids[1:]))
	r := envelope(5, 100)
	s.must(s.e.Request(1, []storage.Key{keyOf(r)}))
	s.frames(1)
	s.must(s.e.Send(1, []byte("hello")))
	s.e.Receive(1, &peerlink.Message{Data: []byte("lost with the link")})
	s.e.Receive(1, body(peerlink.Requested, r))
	job, _ := s.e.NextJob() // the append outlives the link
	s.e.Disconnect(1)
	s.e.Disconnect(1)
	s.e.Done(job, s.result(job))
	s.wantEvents("sent 1: lost lost lost", "received 1: lost", "down 1")
	if _, stored := s.log[r.ID]; !stored || len(s.e.incoming) > 0 {
		t.Errorf("stored %v, %d under way", stored, len(s.e.incoming))
	}
}

func TestReplicatorDoesNotHearOfALinkThatEndsBefore(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.must(s.e.Push(1, s.hold(0, 1, 100)))
	s.frames(1)
	s.e.Disconnect(1)
	s.e.Connect(1, true)
	s.frames(1)
	s.e.Receive(1, &peerlink.Hello{Proto: 1, Plugin: "mesh", Takes: true, Nonce: [32]byte{1}})
	if err := s.e.Push(1, []storage.ID{{1}}); !errors.Is(err, peersync.ErrPeerUnknown) {
		t.Errorf("before PeerUp a push fails with %v", err)
	}
	s.e.Receive(1, &peerlink.Message{Data: []byte("early")})
	s.e.Receive(1, body(peerlink.Pushed, envelope(3, 10)))
	s.work()
	s.e.Disconnect(1)
	s.wantEvents("sent 1: lost", "down 1")
}

func TestBornIsKeptWithinTheWindow(t *testing.T) {
	for _, c := range []struct {
		name       string
		born, want storage.Hour
		outcome    string
	}{
		{"below the floor", floor - 1, 0, "too old"},
		{"at the floor", floor, floor, "stored"},
		{"a little ahead", soloHour + 2, soloHour + 2, "stored"},
		{"far ahead", soloHour + 3, soloHour, "stored"},
		{"at the end of time", 1<<32 - 1, soloHour, "stored"},
	} {
		s := newSolo(t)
		s.up(1)
		r := envelope(0, 10)
		r.Born = c.born
		s.e.Receive(1, body(peerlink.Pushed, r))
		s.work()
		wantEqual(t, c.name, s.events(), []string{"received 1: " + c.outcome})
		if got := s.log[r.ID].Born; got != c.want {
			t.Errorf("%s: born is %d, want %d", c.name, got, c.want)
		}
	}
}

func TestLowerBornOfAKnownEnvelopeIsTakenOver(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1, Gives: true, Quota: Quota{EnvelopesPerHour: 2}})
	s.up(1)
	s.hold(0, 4, 10)
	lower := func(n int) storage.Record { r := envelope(n, 10); r.Born -= 3; return r }
	later := envelope(3, 10)
	later.Born++
	s.e.Receive(1, offer(lower(0), later))
	s.must(s.e.Request(1, []storage.Key{keyOf(lower(1)), keyOf(lower(2))}))
	s.work()
	var lowered []storage.Key
	for _, job := range s.jobs {
		lowered = append(lowered, job.Keys...)
	}
	// The third one is over the quota.
	wantEqual(t, "lowered", lowered, []storage.Key{keyOf(lower(0)), keyOf(lower(1))})
	s.wantEvents("received 1: known known known known")
}

func TestQuotaOfEnvelopesIsSoft(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1, Gives: true, Quota: Quota{EnvelopesPerHour: 60}})
	s.up(1)
	var all []storage.Record
	for i := range 61 {
		all = append(all, envelope(i, 10))
	}
	s.e.Receive(1, offer(all...))
	frames := s.frames(1)
	taken, ok := frames[0].(*peerlink.Taken)
	if want := onlyOf[*peerlink.Want](frames); !ok || len(taken.Outcomes) != 1 || taken.RetryAfter != 60 || len(want) != 1 || len(want[0].IDs) != 60 {
		t.Fatalf("the answers are %v", frames)
	}
	s.wantEvents("received 1: over quota retry 1m0s")
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(100, 10))}))
	s.e.Receive(1, body(peerlink.Pushed, envelope(101, 10)))
	s.work()
	s.wantEvents("received 1: over quota over quota retry 1m0s")
	// What turns out not to exist is given back.
	s.e.Receive(1, &peerlink.Gone{IDs: []storage.ID{all[0].ID}})
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(100, 10))}))
	if wants := only[*peerlink.Want](s, 1); len(wants) != 1 {
		t.Error("no envelope is taken after one was given back")
	}
	s.pass(time.Minute + time.Second)
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(102, 10))}))
	if wants := only[*peerlink.Want](s, 1); len(wants) != 1 {
		t.Error("the bucket does not refill")
	}
}

// TestPrunedEnvelopesAreTakenAgain shows that an envelope which was known under an hour below the
// floor is taken again under a later one: it has been removed, or is about to be.
func TestPrunedEnvelopesAreTakenAgain(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	old := envelope(1, 10)
	old.Born = floor - 1
	s.log[old.ID] = old
	s.e.Receive(1, offer(envelope(1, 10)))
	if wants := only[*peerlink.Want](s, 1); len(wants) != 1 {
		t.Error("an envelope that was pruned counts as known")
	}
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(2, 10))}))
	old = envelope(2, 10)
	old.Born = floor - 1
	s.log[old.ID] = old
	if wants := only[*peerlink.Want](s, 1); len(wants) != 1 {
		t.Error("a requested envelope that was pruned counts as known")
	}
}

// TestBacklogOverQuotaIsOfferedOnceAMinute shows that a peer which offers its backlog whenever it
// may does so once a minute, and gets as much taken as the quota permits.
func TestBacklogOverQuotaIsOfferedOnceAMinute(t *testing.T) {
	const quota = 6000
	s := newSolo(t, PeerConfig{Peer: 1, Gives: true, Quota: Quota{EnvelopesPerHour: quota}})
	s.up(1)
	next, offers, wanted := 0, 0, 0
	for begin := s.now; s.now < begin+time.Hour; {
		batch := make([]storage.Record, 400)
		for i := range batch {
			batch[i] = envelope(next+i, 10)
		}
		s.e.Receive(1, offer(batch...))
		s.work()
		offers++
		var retry time.Duration
		took := 0
		for _, f := range s.frames(1) {
			switch f := f.(type) {
			case *peerlink.Want:
				for _, id := range f.IDs {
					at := slices.IndexFunc(batch, func(r storage.Record) bool { return r.ID == id })
					s.e.Receive(1, &peerlink.Body{Kind: peerlink.FromOffer, Born: batch[at].Born, Signature: batch[at].Signature, Ciphertext: batch[at].Ciphertext})
				}
				took += len(f.IDs)
			case *peerlink.Ping:
				s.e.Receive(1, &peerlink.Pong{Token: f.Token})
			case *peerlink.Taken:
				retry = time.Duration(f.RetryAfter) * time.Second
			}
		}
		s.work()
		s.frames(1)
		s.e.Events()
		wanted += took
		next += took
		s.pass(max(retry, time.Second))
	}
	// The quota is full at first, and refills within the hour.
	if offers > 15+62 || wanted < 2*quota*95/100 || wanted > 2*quota+400 {
		t.Errorf("%d offers in an hour, of which %d envelopes were wanted", offers, wanted)
	}
}

func keyOf(r storage.Record) storage.Key { return storage.Key{Born: r.Born, ID: r.ID} }

func onlyOf[F peerlink.Frame](frames []peerlink.Frame) (all []F) {
	for _, f := range frames {
		if f, ok := f.(F); ok {
			all = append(all, f)
		}
	}
	return all
}

func TestQuotaOfBytesIsSoft(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1, Gives: true, Quota: Quota{BytesPerDay: 1000}})
	s.up(1)
	s.e.Receive(1, body(peerlink.Pushed, envelope(0, 1492))) // 1500 bytes, more than there is
	s.e.Receive(1, body(peerlink.Pushed, envelope(1, 10)))
	taken := only[*peerlink.Taken](s, 1)
	wantEqual(t, "outcomes", statuses(taken), []string{"over quota", "stored"})
	if want := uint32(24 * 3600); taken[0].RetryAfter != want && taken[0].RetryAfter != want+1 {
		t.Errorf("the peer may retry after %d s, want %d", taken[0].RetryAfter, want)
	}
	if s.e.findPeer(1).link.withheld == 0 {
		t.Error("the credit of a body over the quota comes back at once")
	}
	if st, _ := s.e.Status(1); st.Spent.BytesPerDay != 1500 {
		t.Errorf("%d bytes are spent", st.Spent.BytesPerDay)
	}
}

func TestKnownPushesCostBytes(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1, Gives: true, Quota: Quota{EnvelopesPerHour: 60, BytesPerDay: 24 * 3600}})
	s.up(1)
	push := body(peerlink.Pushed, envelope(0, 0))
	size := uint64(len(push.Signature))
	for i, want := range []uint64{size, size + uint64(peerlink.CreditCost(push)), size + 2*uint64(peerlink.CreditCost(push))} {
		s.e.Receive(1, push)
		s.work()
		if st, _ := s.e.Status(1); st.Spent != (Quota{1, want}) {
			t.Errorf("after %d pushes, %+v are spent, want 1 and %d", i+1, st.Spent, want)
		}
	}
	s.broken = true
	before, _ := s.e.Status(1)
	s.e.Receive(1, push)
	s.e.Receive(1, offer(envelope(1, 100)))
	s.work()
	if after, _ := s.e.Status(1); after.Spent != before.Spent {
		t.Errorf("what this relay has lost costs the peer: %+v, before %+v", after.Spent, before.Spent)
	}
}

func TestRelayWithoutRoomTakesNothing(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.e.SetTaking(false)
	s.e.Receive(1, body(peerlink.Pushed, envelope(0, 100)))
	s.e.Receive(1, offer(envelope(1, 100)))
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(2, 100))}))
	frames := s.frames(1)
	taken := onlyOf[*peerlink.Taken](frames)
	wantEqual(t, "outcomes", statuses(taken), []string{"over quota", "over quota"})
	if taken[0].RetryAfter != 60 || len(onlyOf[*peerlink.Want](frames)) > 0 || len(s.log) > 0 {
		t.Errorf("the frames are %v, and %d envelopes are stored", frames, len(s.log))
	}
	s.wantEvents("received 1: over quota over quota over quota retry 1m0s")
	s.e.SetTaking(true)
	s.e.Receive(1, offer(envelope(1, 100)))
	if wants := only[*peerlink.Want](s, 1); len(wants) != 1 {
		t.Error("nothing is taken when there is room again")
	}
}

func TestSpentQuotaSurvives(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1, Gives: true, Quota: Quota{EnvelopesPerHour: 10}, Spent: Quota{EnvelopesPerHour: 10}})
	s.up(1)
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(0, 10))}))
	s.work()
	s.wantEvents("received 1: over quota retry 6m0s")
}

func TestPeerThatIsOverQuotaGetsNoBodies(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	ids := s.hold(0, 4, 100)
	s.must(s.e.Push(1, ids[:1]))
	s.frames(1)
	s.must(s.e.Push(1, ids[1:2]))
	s.must(s.e.Offer(1, ids[2:3]))
	s.work()
	s.e.Receive(1, &peerlink.Taken{RetryAfter: 30, Outcomes: []peersync.Outcome{{ID: ids[0], Status: peersync.OverQuota}}})
	s.must(s.e.Push(1, ids[3:]))
	if frames := s.frames(1); len(frames) > 0 {
		t.Errorf("%d frames are sent", len(frames))
	}
	s.wantEvents("sent 1: over quota over quota over quota over quota retry 30s")
	s.pass(30 * time.Second)
	s.must(s.e.Push(1, ids[3:]))
	if bodies := only[*peerlink.Body](s, 1); len(bodies) != 1 {
		t.Error("nothing is sent when the peer takes envelopes again")
	}
}

func TestMirrorGivesNothing(t *testing.T) {
	s := newSolo(t, PeerConfig{Peer: 1})
	s.e.Connect(1, false)
	if hello := s.next(1).(*peerlink.Hello); hello.Takes {
		t.Error("HELLO says that this relay takes envelopes")
	}
	s.e.Disconnect(1)
	s.up(1)
	s.e.Receive(1, body(peerlink.Pushed, envelope(0, 10)))
	s.e.Receive(1, offer(envelope(1, 10)))
	s.must(s.e.Request(1, []storage.Key{keyOf(envelope(2, 10))}))
	wantEqual(t, "outcomes", statuses(only[*peerlink.Taken](s, 1)), []string{"not allowed", "not allowed"})
	s.wantEvents("received 1: not allowed not allowed not allowed")
	if len(s.jobs) > 0 {
		t.Errorf("the store has %d jobs", len(s.jobs))
	}
}

func TestPeerThatTakesNothingGetsNothing(t *testing.T) {
	s := newSolo(t)
	s.up(1, func(h *peerlink.Hello) { h.Takes = false })
	s.must(s.e.Push(1, s.hold(0, 1, 10)))
	s.wantEvents("sent 1: not allowed")
}

func TestNothingBelowAFloorIsSent(t *testing.T) {
	s := newSolo(t)
	s.up(1, func(h *peerlink.Hello) { h.State.Floor = floor + 10 })
	young, old, gone := envelope(0, 10), envelope(1, 10), envelope(2, 10)
	old.Born, gone.Born = floor+9, floor-1
	for _, r := range []storage.Record{young, old, gone} {
		s.log[r.ID] = r
	}
	ids := []storage.ID{young.ID, old.ID, gone.ID}
	s.must(s.e.Push(1, ids))
	s.work()
	s.must(s.e.Offer(1, ids[1:]))
	s.work()
	s.wantEvents("sent 1: too old gone too old gone")
	s.e.Receive(1, &peerlink.Want{IDs: ids[2:]})
	s.work()
	s.e.SetState(peersync.State{Epoch: storage.Epoch{1}, Floor: young.Born + 1})
	for _, f := range s.frames(1) {
		if _, isBody := f.(*peerlink.Body); isBody {
			t.Error("a body below the own floor is sent")
		}
	}
}

func TestFailingStoreLosesNothingSilently(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.broken = true
	s.must(s.e.Push(1, []storage.ID{{1}}))
	s.must(s.e.Offer(1, []storage.ID{{2}}))
	s.must(s.e.Request(1, []storage.Key{{Born: soloHour, ID: storage.ID{3}}}))
	s.e.Receive(1, offer(envelope(4, 10)))
	s.e.Receive(1, body(peerlink.Pushed, envelope(5, 10)))
	wantEqual(t, "outcomes", statuses(only[*peerlink.Taken](s, 1)), []string{"lost", "lost"})
	s.wantEvents("sent 1: lost", "received 1: lost", "sent 1: lost")
}

func TestMessagesAreCutAndJoined(t *testing.T) {
	a, b := newSolo(t), newSolo(t)
	a.up(1)
	b.up(1)
	for _, size := range []int{1, peerlink.MaxFragment, peerlink.MaxFragment + 1, peersync.MaxMessage} {
		a.must(a.e.Send(1, make([]byte, size)))
		for _, f := range a.frames(1) {
			b.e.Receive(1, f)
		}
		b.wantEvents(fmt.Sprintf("message 1: %d bytes", size))
		for _, f := range b.frames(1) {
			a.e.Receive(1, f) // credit
		}
	}
	a.wantOpen()
	b.wantOpen()
}

func TestMessagesGoBeforeOffersAndBodies(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	ids := s.hold(0, 3, 10)
	s.must(s.e.Offer(1, ids[:1]))
	s.frames(1)
	s.e.Receive(1, &peerlink.Want{Offered: true, IDs: ids[:1]})
	s.e.Receive(1, &peerlink.Want{IDs: ids[1:2]})
	s.must(s.e.Push(1, ids[2:]))
	s.work()
	s.work()
	s.must(s.e.Send(1, []byte("message")))
	s.e.Receive(1, &peerlink.Ping{})
	var order []string
	for _, f := range s.frames(1) {
		switch f := f.(type) {
		case *peerlink.Body:
			order = append(order, []string{"pushed", "requested", "offered"}[f.Kind])
		default:
			order = append(order, fmt.Sprintf("%T", f))
		}
	}
	wantEqual(t, "order", order, []string{"*peerlink.Pong", "*peerlink.Message", "pushed", "requested", "offered"})
}

func TestBusyCallQueuesNothingAndReadyFollows(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	for i := range 4 {
		s.must(s.e.Push(1, s.hold(i*1024, i*1024+1024, 0)))
	}
	more := s.hold(5000, 5001, 0)
	if err := s.e.Offer(1, more); !errors.Is(err, peersync.ErrBusy) {
		t.Fatalf("the call fails with %v", err)
	}
	s.must(s.e.Send(1, make([]byte, peersync.MaxMessage)))
	s.must(s.e.Send(1, make([]byte, peersync.MaxMessage)))
	if err := s.e.Send(1, []byte{1}); !errors.Is(err, peersync.ErrBusy) {
		t.Fatalf("the message fails with %v", err)
	}
	s.wantEvents()
	s.frames(1) // as much as there is credit for
	s.wantEvents()
	s.e.Receive(1, &peerlink.Credit{Channel: peerlink.Messages, Bytes: 1 << 20})
	sent := only[*peerlink.Body](s, 1)
	s.wantEvents()
	s.e.Receive(1, &peerlink.Taken{Outcomes: []peersync.Outcome{{ID: storage.NewID(sent[0].Signature, sent[0].Ciphertext), Status: peersync.Stored}}})
	s.wantEvents("sent 1: stored", "ready 1")
	s.must(s.e.Offer(1, more))
}

func TestCallsCheckTheirArguments(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	ids := make([]storage.ID, peersync.MaxIDs+1)
	for name, err := range map[string]error{
		"push": s.e.Push(1, ids), "offer": s.e.Offer(1, nil), "request": s.e.Request(1, nil), "send": s.e.Send(1, nil),
		"drop": s.e.Drop(1, "\x00"), "rest": s.e.Rest(1, -1),
	} {
		if !errors.Is(err, peersync.ErrTooLarge) {
			t.Errorf("%s fails with %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"push": s.e.Push(2, ids[:1]), "send": s.e.Send(9, []byte{1}), "drop": s.e.Drop(2, ""), "rest": s.e.Rest(2, 0),
		"request": s.e.Request(2, make([]storage.Key, 1)),
	} {
		if !errors.Is(err, peersync.ErrPeerUnknown) {
			t.Errorf("%s to a peer that is down fails with %v", name, err)
		}
	}
}

func TestStateIsToldAtOnceOrNowAndThen(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	state := func(last storage.Seq, floor storage.Hour) []*peerlink.State {
		s.e.SetState(peersync.State{Epoch: storage.Epoch{1}, Last: last, Floor: floor})
		return only[*peerlink.State](s, 1)
	}
	if got := state(1, floor); len(got) > 0 {
		t.Error("a STATE follows HELLO at once")
	}
	if got := state(1, floor+1); len(got) != 1 || got[0].State.Floor != floor+1 {
		t.Errorf("the floor is told by %v", got)
	}
	if got := state(2, floor+1); len(got) > 0 {
		t.Error("each move is told")
	}
	s.pass(stateStep)
	if got := only[*peerlink.State](s, 1); len(got) != 1 || got[0].State.Last != 2 {
		t.Errorf("the move is told by %v", got)
	}
	s.wantEvents("log at 2")
	s.e.Receive(1, &peerlink.State{State: peersync.State{Floor: 5}})
	s.e.Receive(1, &peerlink.State{State: peersync.State{Floor: 7}})
	s.wantEvents("moved 1 to floor 7")
}

func TestOtherPluginOrVersionIsRefused(t *testing.T) {
	for reason, change := range map[string]func(*peerlink.Hello){
		"runs the peer-sync plugin \"flood\"": func(h *peerlink.Hello) { h.Plugin = "flood" },
		"speaks version 2":                    func(h *peerlink.Hello) { h.Proto = 2 },
	} {
		s := newSolo(t)
		s.up(1, change)
		s.wantClose(reason, false)
		s.wantEvents()
		if at, wanted := s.e.NextDial(1); !wanted || at != minBlame {
			t.Errorf("the next dial is at %v (%v)", at, wanted)
		}
	}
}

func TestPeersThatAreGoneAreDown(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.up(2)
	s.e.SetPeers([]PeerConfig{{Peer: 2, Gives: true}, {Peer: 3}})
	s.wantClose("no longer configured", false)
	s.wantEvents("down 1", "peers [2 3]")
	s.e.SetPeers([]PeerConfig{{Peer: 2, Gives: true, Paused: true}, {Peer: 3}})
	s.wantClose("paused", false)
	s.wantEvents("down 2")
	if _, wanted := s.e.NextDial(2); wanted {
		t.Error("a paused peer is dialled")
	}
	s.e.Connect(2, false)
	s.wantClose("no link", false)
	s.e.Connect(1, false)
	s.wantClose("no link", false)
}

func TestRestartCutsAllLinks(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.must(s.e.Push(1, s.hold(0, 1, 10)))
	s.e.SetState(peersync.State{Last: 4})
	s.e.Restart([]peersync.Peer{1, 2})
	s.wantClose("restarted", false)
	s.wantEvents()
	s.up(1)
	s.must(s.e.Push(1, s.hold(0, 1, 10)))
}

func TestPeersThatChangeWhileAReplicatorStartsAreTold(t *testing.T) {
	s := newSolo(t)
	s.e.SetPeers([]PeerConfig{{Peer: 2, Gives: true}, {Peer: 3}})
	s.e.Restart([]peersync.Peer{1, 2})
	s.wantEvents("peers [2 3]")
}

func TestSilentPeerIsCut(t *testing.T) {
	pong := func(s *solo) {
		for _, f := range only[*peerlink.Ping](s, 1) {
			s.e.Receive(1, &peerlink.Pong{Token: f.Token})
		}
	}
	t.Run("no hello", func(t *testing.T) {
		s := newSolo(t)
		s.e.Connect(1, true)
		s.pass(helloLimit + time.Second)
		s.wantClose("no HELLO", false)
		s.wantEvents()
	})
	t.Run("no pong", func(t *testing.T) {
		s := newSolo(t)
		s.up(1)
		pings := 0
		for s.now < 4*maxPing+2*time.Second && s.e.findPeer(1).link != nil {
			s.pass(time.Second)
			pings += len(only[*peerlink.Ping](s, 1))
		}
		s.wantClose("no PING", false)
		if pings != maxMissed || s.now < 4*minPing {
			t.Errorf("cut after %v and %d pings", s.now, pings)
		}
	})
	for _, owed := range []string{"taken", "body", "credit", "nothing"} {
		t.Run("owes "+owed, func(t *testing.T) {
			s := newSolo(t)
			s.up(1)
			switch owed {
			case "taken":
				s.must(s.e.Push(1, s.hold(0, 1, 10)))
			case "body":
				s.must(s.e.Request(1, []storage.Key{keyOf(envelope(3, 3))}))
			case "credit":
				s.must(s.e.Send(1, make([]byte, peersync.MaxMessage)))
				s.must(s.e.Send(1, make([]byte, peersync.MaxMessage)))
			}
			for s.now < oweLimit+2*time.Second && s.e.findPeer(1).link != nil {
				s.pass(time.Second)
				pong(s)
			}
			if owed == "nothing" {
				s.wantOpen()
				return
			}
			s.wantClose("what it owes", false)
		})
	}
}

func TestDialWaitsLongerEachTime(t *testing.T) {
	s := newSolo(t)
	dial := func() time.Duration {
		at, wanted := s.e.NextDial(1)
		if !wanted {
			t.Fatal("no dial is wanted")
		}
		return at - s.now
	}
	if dial() > 0 {
		t.Error("the first dial waits")
	}
	longest := time.Duration(0)
	for range 200 {
		s.e.DialFailed(1)
		longest = max(longest, dial())
		if dial() > maxCut {
			t.Fatalf("the next dial is after %v", dial())
		}
	}
	if longest < maxCut/2 {
		t.Errorf("the longest delay is %v", longest)
	}
	s.up(1)
	s.pass(goodCut)
	s.e.Disconnect(1)
	if dial() > minCut {
		t.Errorf("after a good minute the next dial waits %v", dial())
	}
	s.events()
	for i := range 12 {
		s.pass(dial())
		s.up(1)
		s.must(s.e.Drop(1, "it lies"))
		if want := min(minBlame<<i, maxBlame); dial() != want {
			t.Fatalf("after drop %d the next dial waits %v, want %v", i, dial(), want)
		}
		s.events()
	}
	s.e.Connect(1, false)
	for range 12 {
		s.wantClose("it lies", false)
	}
	s.wantClose("no link to the peer is wanted", false)
	s.pass(dial())
	s.up(1)
	s.pass(time.Second)
	for s.now%goodBlame < goodBlame-time.Second || s.e.now-s.e.findPeer(1).link.since < goodBlame {
		s.pass(time.Second)
		for _, f := range only[*peerlink.Ping](s, 1) {
			s.e.Receive(1, &peerlink.Pong{Token: f.Token})
		}
	}
	s.must(s.e.Drop(1, "it lies"))
	if dial() != minBlame {
		t.Errorf("after a good hour the next dial waits %v", dial())
	}
}

func TestShortLinksArePaced(t *testing.T) {
	s := newSolo(t)
	for i, want := range []time.Duration{0, 0, 0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		s.up(1)
		s.pass(time.Second)
		s.e.Disconnect(1)
		s.events()
		s.e.DialFailed(1) // changes nothing
		if want > 0 {
			s.e.Connect(1, false)
			if c, ok := s.e.NextClose(); !ok || c.Last.Code != peerlink.CodeResting || c.Last.RetryAfter != wholeSeconds(want) {
				t.Errorf("after %d short links: %v %+v, want a pause of %v", i+1, ok, c.Last, want)
			}
		}
		s.pass(want)
	}
	s.up(1)
	s.pass(goodCut)
	s.e.Disconnect(1)
	s.events()
	s.up(1) // a good minute forgives
	s.wantOpen()
}

// TestPacedPeersFindEachOther: each end refuses the other until its own pause is over, and that
// prolongs none.
func TestPacedPeersFindEachOther(t *testing.T) {
	s := newSolo(t)
	for range freeCuts + 8 {
		s.up(1)
		s.e.Disconnect(1)
		s.pass(maxPacing)
	}
	s.up(1)
	s.e.Disconnect(1)
	s.events()
	for range 6 {
		s.e.Connect(1, false) // by the other end, which is refused
		if c, ok := s.e.NextClose(); !ok || c.Last.Code != peerlink.CodeResting {
			t.Error("the peer is not told to rest")
		}
		s.pass(maxPacing / 6)
	}
	s.e.Connect(1, true)
	s.e.Receive(1, &peerlink.Err{Code: peerlink.CodeResting, RetryAfter: 60})
	s.wantClose("wants no link", false)
	s.up(1) // it dials when its pause is over
	s.wantOpen()
}

func TestRefusedLinkLeavesNoOldOne(t *testing.T) {
	s := newSolo(t)
	for range freeCuts + 2 { // each replaces the one before
		s.up(1)
		s.pass(time.Second)
	}
	s.e.Connect(1, false)
	s.wantClose("no link to the peer", false)
	if s.e.findLink(1) != nil {
		t.Error("the engine has a link that its owner has closed")
	}
}

func TestRestClosesTheLinkForThePause(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.must(s.e.Rest(1, time.Hour))
	c, _ := s.e.NextClose()
	if c.Last == nil || c.Last.Code != peerlink.CodeResting || c.Last.RetryAfter != 3600 {
		t.Errorf("the peer is told %+v", c.Last)
	}
	s.wantEvents("down 1")
	if at, wanted := s.e.NextDial(1); !wanted || at != time.Hour {
		t.Errorf("the next dial is at %v (%v)", at, wanted)
	}
	s.up(2)
	s.e.Receive(2, &peerlink.Err{Code: peerlink.CodeResting, RetryAfter: 3600})
	s.wantClose("wants no link", false)
	if at, _ := s.e.NextDial(2); at != time.Hour {
		t.Errorf("the next dial to a resting peer is at %v", at)
	}
}

func TestOutcomesOfTheStore(t *testing.T) {
	for status, want := range map[storage.OutcomeStatus]peersync.OutcomeStatus{
		storage.Stored: peersync.Stored, storage.Duplicate: peersync.Known, storage.Replayed: peersync.Known,
		storage.Expired: peersync.TooOld, storage.Conflict: peersync.Invalid, 0: peersync.Lost,
	} {
		s := newSolo(t)
		s.up(1)
		s.e.Receive(1, body(peerlink.Pushed, envelope(0, 10)))
		job, _ := s.e.NextJob()
		s.e.Done(job, Result{Outcomes: []storage.OutcomeStatus{status}})
		wantEqual(t, status.String(), statuses(only[*peerlink.Taken](s, 1)), []string{want.String()})
	}
}

func TestQuotaChangesAtOnceAndKeepsWhatWasSpent(t *testing.T) {
	quota := func(n uint64) PeerConfig {
		return PeerConfig{Peer: 1, Gives: true, Quota: Quota{EnvelopesPerHour: n}}
	}
	s := newSolo(t, quota(4))
	s.up(1)
	request := func(number int) {
		t.Helper()
		s.must(s.e.Request(1, []storage.Key{keyOf(envelope(number, 10))}))
		s.frames(1)
	}
	for i := range 5 {
		request(i)
	}
	s.wantEvents("received 1: over quota retry 15m0s")
	s.e.SetPeers([]PeerConfig{quota(6)})
	for i := 10; i < 13; i++ {
		request(i)
	}
	s.wantEvents("received 1: over quota retry 10m0s")
	if st, _ := s.e.Status(1); st.Spent.EnvelopesPerHour != 6 || !st.Up {
		t.Errorf("the status is %+v", st)
	}
	s.e.SetPeers([]PeerConfig{quota(0)})
	request(20)
	s.wantEvents()
	s.wantOpen()
}

func TestChangedGivesCutsTheLink(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.e.SetPeers([]PeerConfig{{Peer: 1}, {Peer: 2, Gives: true}})
	s.wantClose("has changed", false)
	s.wantEvents("down 1")
	if _, ok := s.e.Status(3); ok {
		t.Error("a peer that is not configured has a status")
	}
}

func TestReasonsOfThePeerAreShown(t *testing.T) {
	for code, reason := range map[peerlink.ErrCode]string{
		peerlink.CodeBreach: "broke the protocol", peerlink.CodeVersion: "another version", peerlink.CodePlugin: "another peer-sync plugin",
		peerlink.CodeDropped: "has dropped", peerlink.CodeResting: "wants no link", peerlink.CodeSilent: "waited too long", 99: "code 99",
	} {
		s := newSolo(t)
		s.up(1)
		s.e.Receive(1, &peerlink.Err{Code: code, RetryAfter: 1<<32 - 1})
		s.wantClose(reason, false)
		if st, _ := s.e.Status(1); st.Up || !strings.Contains(st.Reason, reason) {
			t.Errorf("the status is %+v", st)
		}
		if at, _ := s.e.NextDial(1); at != peersync.MaxRest {
			t.Errorf("code %d: the next dial is at %v", code, at)
		}
	}
}

func TestClockOfThePeerIsShown(t *testing.T) {
	s := newSolo(t)
	s.up(1, func(h *peerlink.Hello) { h.Unix += 7200 })
	s.up(2, func(h *peerlink.Hello) { h.Unix = 1<<64 - 1 })
	one, _ := s.e.Status(1)
	two, _ := s.e.Status(2)
	if one.Clock != 2*time.Hour || two.Clock != 365*24*time.Hour {
		t.Errorf("the clocks are ahead by %v and %v", one.Clock, two.Clock)
	}
}

func TestBatchesOfEventsKeepToTheLimits(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.up(2)
	for range 300 {
		s.e.Receive(1, &peerlink.Message{Data: []byte("x")})
	}
	s.e.Receive(2, &peerlink.Message{Data: []byte("x")})
	s.e.SetState(peersync.State{Last: 1})
	s.e.SetState(peersync.State{Last: 2})
	fromTwo, logs, all := -1, 0, 0
	for batch := 0; ; batch++ {
		events := s.e.Events()
		if len(events) == 0 {
			break
		}
		if err := peersync.CheckEvents(events); err != nil || len(events) > peersync.MaxEvents-2 {
			t.Fatalf("%d events: %v", len(events), err)
		}
		for _, event := range events {
			switch event := event.(type) {
			case peersync.LogAdvanced:
				logs++
			case peersync.PeerMessage:
				if all++; event.Peer == 2 {
					fromTwo = batch
				}
			}
		}
	}
	if fromTwo > 1 || logs != 1 || all != 301 {
		t.Errorf("peer 2 is heard in batch %d, with %d LogAdvanced and %d messages in all", fromTwo, logs, all)
	}
}

func TestBodyWaitsForCredit(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.must(s.e.Push(1, s.hold(0, 1, 100)))
	s.work()
	l := s.e.findPeer(1).link
	cost := peerlink.CreditCost(l.fetched[peerlink.Pushed][0].frame)
	l.credit[envelopes] = cost - 1
	if frames := s.frames(1); len(frames) > 0 {
		t.Errorf("%d frames are sent without credit", len(frames))
	}
	s.e.Receive(1, &peerlink.Credit{Channel: peerlink.Envelopes, Bytes: 1})
	if bodies := only[*peerlink.Body](s, 1); len(bodies) != 1 || l.credit[envelopes] != 0 {
		t.Errorf("%d bodies are sent, and %d bytes of credit are left", len(bodies), l.credit[envelopes])
	}
}

func TestAppendThatOutlivesItsLinkStaysUnderWay(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.up(2)
	r := envelope(0, 100)
	s.must(s.e.Request(1, []storage.Key{keyOf(r)}))
	s.frames(1)
	s.e.Receive(1, body(peerlink.Requested, r))
	job, _ := s.e.NextJob()
	s.e.Disconnect(1)
	s.e.Receive(2, offer(r))
	if frames := s.frames(2); len(frames) > 0 {
		t.Errorf("another peer gets %T for an envelope that is being appended", frames[0])
	}
	s.e.Done(job, s.result(job))
	wantEqual(t, "outcomes", statuses(only[*peerlink.Taken](s, 2)), []string{"known"})
}

func TestRequestThatIsGoneLeavesItsOfferToBeAnswered(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	r := envelope(0, 100)
	s.must(s.e.Request(1, []storage.Key{keyOf(r)}))
	s.frames(1)
	s.e.Receive(1, offer(r))
	s.e.Receive(1, &peerlink.Gone{IDs: []storage.ID{r.ID}})
	s.wantEvents("received 1: gone")
	wantEqual(t, "outcomes", statuses(only[*peerlink.Taken](s, 1)), []string{"lost"})
	s.e.Receive(1, offer(r)) // it is settled, so it may come again
	if wants := only[*peerlink.Want](s, 1); len(wants) != 1 {
		t.Error("the second offer is not taken")
	}
	s.wantOpen()
}

func TestGoneMakesRoomForFurtherWants(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	for range 3 * peerlink.MaxRequested / peerlink.MaxIDs {
		s.e.Receive(1, &peerlink.Want{IDs: make([]storage.ID, peerlink.MaxIDs)})
		if gone := only[*peerlink.Gone](s, 1); len(gone) == 0 {
			t.Fatal("a WANT of what is not there has no answer")
		}
	}
	s.wantOpen()
}

func TestReconnectLetsTheNextLinkComeAtOnce(t *testing.T) {
	s := newSolo(t)
	s.up(1)
	s.must(s.e.Reconnect(1))
	c, _ := s.e.NextClose()
	if c.Last == nil || c.Last.Code != peerlink.CodeResting || c.Last.RetryAfter != 0 || c.Breach {
		t.Errorf("the peer is told %+v", c.Last)
	}
	s.wantEvents("down 1")
	s.up(1)
	s.must(s.e.Drop(1, "lies"))
	s.wantClose("lies", false)
	if st, _ := s.e.Status(1); !st.Barred {
		t.Errorf("a peer that was dropped: %+v", st)
	}
	s.must(s.e.Reconnect(1)) // forgives
	if at, wanted := s.e.NextDial(1); !wanted || at > s.now {
		t.Errorf("the next dial is at %v (%v)", at, wanted)
	}
	if st, _ := s.e.Status(1); st.Barred {
		t.Errorf("a peer that was forgiven: %+v", st)
	}
	s.up(1)
	if err := s.e.Reconnect(9); !errors.Is(err, peersync.ErrPeerUnknown) {
		t.Errorf("an unknown peer: %v", err)
	}
}
