package peersynctest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// puppet is a replicator that does what a test tells it.
type puppet struct {
	*peersynctest.Replica
	do     func(ctx context.Context) // once, in the next Handle
	events []peersync.Event          // apart from Tick and LogAdvanced
	ticks  []time.Duration
	state  peersync.State
}

func (p *puppet) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		switch e := e.(type) {
		case peersync.Tick:
			p.ticks = append(p.ticks, e.Now)
		case peersync.LogAdvanced:
			p.state = e.State
		default:
			p.events = append(p.events, e)
		}
	}
	if do := p.do; do != nil {
		p.do = nil
		do(ctx)
	}
	return nil
}

func (p *puppet) Close() error { return nil }

// stage is a world of puppets.
type stage struct {
	*testing.T
	*peersynctest.World
	puppets []*puppet
}

// newStage makes a world of n relays. A change is made before the links come up.
func newStage(t *testing.T, n int, change ...func(s *stage)) *stage {
	s := &stage{T: t, World: peersynctest.NewWorld(1, n)}
	for i, r := range s.Replicas {
		s.puppets = append(s.puppets, &puppet{Replica: r})
		s.Start(i, s.puppets[i])
	}
	for _, change := range change {
		change(s)
	}
	for a := range n {
		for b := range a {
			s.Connect(a, b)
		}
	}
	s.run()
	return s
}

func (s *stage) run() {
	s.Helper()
	if err := s.World.Run(s.Context()); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) pass(d time.Duration) {
	s.Helper()
	if err := s.RunFor(s.Context(), d); err != nil {
		s.Fatal(err)
	}
}

// act has a puppet do something within a Handle, and runs the world until it is quiet.
func (s *stage) act(at int, do func(ctx context.Context, p *puppet)) {
	s.Helper()
	p := s.puppets[at]
	p.do = func(ctx context.Context) { do(ctx, p) }
	s.pass(10 * time.Second) // there is a Tick, even without links
	if p.do != nil {
		s.Fatal("no event came")
	}
}

// ids returns the ids at a relay, in the order of its log.
func (s *stage) ids(at int) (ids []storage.ID) {
	s.Helper()
	s.act(at, func(ctx context.Context, p *puppet) {
		for from := storage.Seq(1); ; {
			page, err := p.Log(ctx, peersync.LogRequest{From: from})
			if err != nil {
				s.Fatal(err)
			}
			if len(page.Entries) == 0 {
				return
			}
			for _, e := range page.Entries {
				ids, from = append(ids, e.ID), e.Seq+1
			}
		}
	})
	return ids
}

// born returns the hours of all envelopes at a relay.
func (s *stage) born(at int) (hours []storage.Hour) {
	s.Helper()
	for _, k := range s.keys(at) {
		hours = append(hours, k.Born)
	}
	return hours
}

func (s *stage) keys(at int) (keys []peersync.Key) {
	s.Helper()
	s.act(at, func(ctx context.Context, p *puppet) {
		lists, err := p.Keys(ctx, []peersync.Range{{}}, peersync.MaxKeys)
		if err != nil {
			s.Fatal(err)
		}
		keys = lists[0]
	})
	return keys
}

// outcomes returns the outcomes of all events of one type, and the last RetryAfter.
func (p *puppet) outcomes(sent bool) (out []peersync.Outcome, retry time.Duration) {
	for _, e := range p.events {
		switch e := e.(type) {
		case peersync.Sent:
			if sent {
				out, retry = append(out, e.Outcomes...), e.RetryAfter
			}
		case peersync.Received:
			if !sent {
				out, retry = append(out, e.Outcomes...), e.RetryAfter
			}
		}
	}
	return out, retry
}

// expectOutcomes checks the statuses of all outcomes so far, sent or received.
func (s *stage) expectOutcomes(at int, sent bool, want ...peersync.OutcomeStatus) {
	s.Helper()
	outcomes, _ := s.puppets[at].outcomes(sent)
	var got []peersync.OutcomeStatus
	for _, o := range outcomes {
		got = append(got, o.Status)
	}
	if !slices.Equal(got, want) {
		s.Errorf("relay %d, sent %v: outcomes %v, want %v", at, sent, got, want)
	}
}

// succeed fails the test if a call of a puppet failed.
func (s *stage) succeed(err error) {
	s.Helper()
	if err != nil {
		s.Error(err)
	}
}

func eventsOf[T peersync.Event](p *puppet) (out []T) {
	for _, e := range p.events {
		if e, ok := e.(T); ok {
			out = append(out, e)
		}
	}
	return out
}

// TestOrderOnLink shows that messages come first, then what was pushed, requested and offered.
func TestOrderOnLink(t *testing.T) {
	s := newStage(t, 2)
	s.Post(0, 3)
	ids, keys := s.ids(0), s.keys(0)
	keys = slices.DeleteFunc(keys, func(k peersync.Key) bool { return k.ID != ids[1] })
	s.Replicas[1].Silent = true // its answer to the offer waits
	s.act(0, func(ctx context.Context, p *puppet) { s.succeed(p.Offer(ctx, p.Peer(1), ids[:1])) })
	s.Replicas[0].Silent, s.Replicas[1].Silent = true, false
	s.act(1, func(ctx context.Context, p *puppet) { s.succeed(p.Request(ctx, p.Peer(0), keys)) })
	s.act(0, func(ctx context.Context, p *puppet) {
		s.succeed(p.Push(ctx, p.Peer(1), ids[2:]))
		s.succeed(p.Send(ctx, p.Peer(1), []byte("last")))
	})
	s.puppets[1].events = nil
	s.Replicas[0].Silent = false
	s.run()
	if m, ok := s.puppets[1].events[0].(peersync.PeerMessage); !ok || string(m.Data) != "last" {
		t.Errorf("the message did not come first: %+v", s.puppets[1].events)
	}
	var got []storage.ID
	outcomes, _ := s.puppets[1].outcomes(false)
	for _, o := range outcomes {
		got = append(got, o.ID)
	}
	if want := []storage.ID{ids[2], ids[1], ids[0]}; !slices.Equal(got, want) {
		t.Errorf("received %v, want what was pushed, requested and offered: %v", got, want)
	}
}

// TestMaxUnderWay shows that a call beyond the limit queues nothing, and that PeerReady follows.
func TestMaxUnderWay(t *testing.T) {
	s := newStage(t, 2)
	s.Post(0, peersync.MaxUnderWay+1)
	ids := s.ids(0)
	s.act(0, func(ctx context.Context, p *puppet) {
		for page := range slices.Chunk(ids[:peersync.MaxUnderWay], peersync.MaxIDs) {
			s.succeed(p.Offer(ctx, p.Peer(1), page))
		}
		s.succeed(p.Push(ctx, p.Peer(1), ids[:1])) // is under way already
		if err := p.Push(ctx, p.Peer(1), ids[len(ids)-1:]); !errors.Is(err, peersync.ErrBusy) {
			t.Errorf("one more than may be under way: %v", err)
		}
	})
	outcomes, _ := s.puppets[0].outcomes(true)
	if len(outcomes) != peersync.MaxUnderWay+1 || s.Replicas[1].Has(ids[len(ids)-1]) {
		t.Errorf("%d outcomes", len(outcomes))
	}
	if n := len(eventsOf[peersync.PeerReady](s.puppets[0])); n != 1 {
		t.Errorf("%d times PeerReady", n)
	}
}

// TestMaxQueued does the same for messages.
func TestMaxQueued(t *testing.T) {
	s := newStage(t, 2)
	s.act(0, func(ctx context.Context, p *puppet) {
		message := make([]byte, peersync.MaxMessage)
		for range peersync.MaxQueued / peersync.MaxMessage {
			s.succeed(p.Send(ctx, p.Peer(1), message))
		}
		if err := p.Send(ctx, p.Peer(1), []byte("x")); !errors.Is(err, peersync.ErrBusy) {
			t.Errorf("one byte more than may wait: %v", err)
		}
	})
	if n := len(eventsOf[peersync.PeerReady](s.puppets[0])); n != 1 {
		t.Errorf("%d times PeerReady", n)
	}
	if n := len(eventsOf[peersync.PeerMessage](s.puppets[1])); n != peersync.MaxQueued/peersync.MaxMessage {
		t.Errorf("%d messages arrived", n)
	}
}

// TestSentTwice shows that an id in two calls gets two outcomes, and is sent once.
func TestSentTwice(t *testing.T) {
	s := newStage(t, 2)
	s.Post(0, 1)
	ids := s.ids(0)
	s.act(0, func(ctx context.Context, p *puppet) {
		s.succeed(p.Push(ctx, p.Peer(1), []storage.ID{ids[0], ids[0]}))
		s.succeed(p.Offer(ctx, p.Peer(1), ids))
	})
	s.expectOutcomes(0, true, peersync.Stored, peersync.Stored)
	s.expectOutcomes(1, false, peersync.Stored)
	if n := s.Replicas[1].Traffic().Envelopes; n != 1 {
		t.Errorf("%d envelopes arrived", n)
	}
}

// TestRequestedTwice does the same for requests, and asks another peer meanwhile.
func TestRequestedTwice(t *testing.T) {
	s := newStage(t, 3)
	for other := range 2 {
		s.SetLine(other, 2, peersynctest.Line{Latency: 20 * time.Second})
	}
	s.Post(0, 1)
	keys := s.keys(0)
	s.act(2, func(ctx context.Context, p *puppet) {
		s.succeed(p.Request(ctx, p.Peer(0), append(keys, keys...)))
		s.succeed(p.Request(ctx, p.Peer(0), keys))
		s.succeed(p.Request(ctx, p.Peer(1), keys))
	})
	s.expectOutcomes(2, false, peersync.UnderWay)
	s.pass(time.Minute)
	s.expectOutcomes(2, false, peersync.UnderWay, peersync.Stored, peersync.Stored)
	s.act(2, func(ctx context.Context, p *puppet) { s.succeed(p.Request(ctx, p.Peer(1), keys)) })
	s.expectOutcomes(2, false, peersync.UnderWay, peersync.Stored, peersync.Stored, peersync.Known)
	if got := s.Replicas[2].Traffic(); got.Envelopes != 1 || got.Wasted != 0 {
		t.Errorf("traffic %+v", got)
	}
}

// TestOfferedByTwo shows that an envelope that two peers offer comes once, and from the second
// one if the first one is cut off.
func TestOfferedByTwo(t *testing.T) {
	for _, cut := range []bool{false, true} {
		s := newStage(t, 3)
		s.PostTwice(0, 1)
		ids := s.ids(0)
		for other := range 2 {
			s.SetLine(other, 2, peersynctest.Line{Latency: 20 * time.Second})
			s.act(other, func(ctx context.Context, p *puppet) { s.succeed(p.Offer(ctx, p.Peer(2), ids)) })
		}
		s.pass(30 * time.Second) // both offers are there, no envelope
		first := peersync.Stored
		if cut {
			s.Cut(0, 2)
			first = peersync.Lost
		}
		s.pass(2 * time.Minute)
		s.expectOutcomes(0, true, first)
		if got := s.Replicas[2].Traffic(); got.Envelopes != 1 {
			t.Errorf("cut %v: traffic %+v", cut, got)
		}
		if cut {
			s.expectOutcomes(1, true, peersync.Stored)
		} else {
			s.expectOutcomes(1, true, peersync.Known)
		}
	}
}

// TestOutcomes tries what can become of an envelope, pushed, offered and requested.
func TestOutcomes(t *testing.T) {
	terms := func(terms peersynctest.Terms) func(s *stage) {
		return func(s *stage) { s.Replicas[1].SetTerms(0, terms) }
	}
	for _, c := range []struct {
		name   string
		change func(s *stage)
		sent   peersync.OutcomeStatus // what the sender hears, and the receiver of a request
		said   bool                   // the receiver of a Push or an Offer hears it as well
	}{
		{"stored", func(*stage) {}, peersync.Stored, true},
		{"too old", func(s *stage) { s.Replicas[1].RaiseFloor(500_000) }, peersync.TooOld, true},
		{"not allowed", terms(peersynctest.Terms{Mirror: true}), peersync.NotAllowed, true},
		{"invalid", func(s *stage) { s.SetLine(0, 1, peersynctest.Line{Corrupt: 1}) }, peersync.Invalid, true},
		{"lost", func(s *stage) {
			s.Replicas[1].Refuse = func(call string, _ peersync.Peer) error {
				if call == "store" {
					return errors.New("the disk is full")
				}
				return nil
			}
		}, peersync.Lost, false},
		{"gone", nil, peersync.Gone, false},
	} {
		for _, how := range []string{"push", "offer", "request"} {
			t.Run(c.name+" "+how, func(t *testing.T) {
				var s *stage
				ids := []storage.ID{{1}}
				if c.change == nil {
					s = newStage(t, 2)
				} else {
					s = newStage(t, 2, c.change)
					s.Post(0, 1)
					ids = s.ids(0)
				}
				s.sendAs(how, ids)
				switch {
				case how == "request":
					s.expectOutcomes(1, false, c.sent)
					s.expectOutcomes(0, true)
					return
				case c.said:
					s.expectOutcomes(1, false, c.sent)
				default:
					s.expectOutcomes(1, false)
				}
				s.expectOutcomes(0, true, c.sent)
				if c.sent == peersync.Stored { // and again
					s.sendAs(how, ids)
					s.expectOutcomes(0, true, c.sent, peersync.Known)
					s.expectOutcomes(1, false, c.sent, peersync.Known)
				}
			})
		}
	}
}

// sendAs has envelopes of relay 0 sent to relay 1.
func (s *stage) sendAs(how string, ids []storage.ID) {
	s.Helper()
	switch how {
	case "push":
		s.act(0, func(ctx context.Context, p *puppet) { s.succeed(p.Push(ctx, p.Peer(1), ids)) })
	case "offer":
		s.act(0, func(ctx context.Context, p *puppet) { s.succeed(p.Offer(ctx, p.Peer(1), ids)) })
	case "request":
		s.act(1, func(ctx context.Context, p *puppet) {
			var keys []peersync.Key
			for _, id := range ids {
				keys = append(keys, peersync.Key{Born: 480_000, ID: id})
			}
			s.succeed(p.Request(ctx, p.Peer(0), keys))
		})
	}
}

// TestQuota shows that a quota refuses, says for how long, and ends then.
func TestQuota(t *testing.T) {
	for _, how := range []string{"push", "offer", "request"} {
		s := newStage(t, 2, func(s *stage) {
			s.Replicas[1].SetTerms(0, peersynctest.Terms{Quota: 2, QuotaTime: time.Hour})
		})
		s.Post(0, 3)
		ids := s.ids(0)
		s.sendAs(how, ids)
		at, sent := 0, true
		if how == "request" {
			at, sent = 1, false
		}
		got, retry := s.puppets[at].outcomes(sent)
		refused := slices.IndexFunc(got, func(o peersync.Outcome) bool { return o.Status == peersync.OverQuota })
		if len(got) != 3 || refused < 0 || s.Replicas[1].Traffic().Envelopes < 2 {
			t.Errorf("%s: %v", how, got)
		}
		for _, e := range s.puppets[at].events {
			switch e := e.(type) {
			case peersync.Sent:
				retry = max(retry, e.RetryAfter)
			case peersync.Received:
				retry = max(retry, e.RetryAfter)
			}
		}
		if retry < 59*time.Minute || retry > time.Hour {
			t.Errorf("%s: again after %v", how, retry)
		}
		s.pass(retry)
		s.sendAs(how, ids[2:])
		if !s.Replicas[1].Has(ids[2]) {
			t.Errorf("%s: after RetryAfter the envelope is refused", how)
		}
	}
}

// TestOneBorn shows that the earlier hour of an envelope wins, however it becomes known, and by at
// most MaxAging hours.
func TestOneBorn(t *testing.T) {
	for _, how := range []string{"push", "offer", "request"} {
		s := newStage(t, 2)
		s.PostTwice(0, 1)
		keys := s.keys(0)
		if how == "request" {
			s.act(1, func(ctx context.Context, p *puppet) { s.succeed(p.Request(ctx, p.Peer(0), keys)) })
		} else {
			s.sendAs(how, s.ids(0))
		}
		if got := s.keys(1); !slices.Equal(got, keys) {
			t.Errorf("%s: keys %v, want %v", how, got, keys)
		}
	}
	s := newStage(t, 2)
	s.Replicas[0].SetClock(100)
	s.Post(0, 1)
	if s.sendAs("offer", s.ids(0)); !slices.Equal(s.born(1), []storage.Hour{480_000}) {
		t.Errorf("born %v, although it is 480000", s.born(1))
	}
}

// TestKeyedSums shows that both ends of a link compute the same sums, and nobody else does.
func TestKeyedSums(t *testing.T) {
	s := newStage(t, 3)
	s.Post(0, 5)
	for at := 1; at < 3; at++ {
		s.act(0, func(ctx context.Context, p *puppet) { s.succeed(p.Push(ctx, p.Peer(at), s.idsNow(ctx, 0))) })
	}
	sumOf := func(at, with int) (sum peersync.Sum) {
		s.act(at, func(ctx context.Context, p *puppet) {
			peer := peersync.Peer(0)
			if with >= 0 {
				peer = p.Peer(with)
			}
			sums, err := p.RangeSum(ctx, peer, []peersync.Range{{}})
			s.succeed(err)
			parts, err := p.Split(ctx, peer, []peersync.Range{{}}, 2)
			s.succeed(err)
			sum = parts[0][0].Sum
			if sum.Count != 3 {
				t.Errorf("the first part has %d of 5", sum.Count)
			}
			sum.Join(parts[0][1].Sum)
			if sum != sums[0] {
				t.Errorf("the sums of the parts are not the sum of the whole")
			}
		})
		return sum
	}
	link01, link02, plain := sumOf(0, 1), sumOf(0, 2), sumOf(0, -1)
	if link01 != sumOf(1, 0) || link02 != sumOf(2, 0) || plain != sumOf(2, -1) {
		t.Error("the ends of a link have other sums")
	}
	if link01 == link02 || link01 == plain {
		t.Error("two links have one secret")
	}
	s.Cut(0, 1)
	s.Connect(0, 1)
	if again := sumOf(0, 1); again == link01 || again != sumOf(1, 0) {
		t.Error("a link has the secret of the one before")
	}
}

// idsNow returns the ids at a relay, within a Handle.
func (s *stage) idsNow(ctx context.Context, at int) (ids []storage.ID) {
	page, err := s.puppets[at].Log(ctx, peersync.LogRequest{})
	s.succeed(err)
	for _, e := range page.Entries {
		ids = append(ids, e.ID)
	}
	return ids
}

// TestRanges shows how Keys and Split divide their limits among ranges.
func TestRanges(t *testing.T) {
	s := newStage(t, 1)
	s.Post(0, 7)
	all := s.keys(0)
	ranges := []peersync.Range{{Hi: all[3]}, {Lo: all[3], Hi: all[3]}, {Lo: all[3]}}
	s.act(0, func(ctx context.Context, p *puppet) {
		for limit, want := range map[int][]int{2: {2}, 3: {3}, 5: {3, 0, 2}, 9: {3, 0, 4}} {
			lists, err := p.Keys(ctx, ranges, limit)
			s.succeed(err)
			var got []int
			for _, list := range lists {
				got = append(got, len(list))
			}
			if !slices.Equal(got, want) {
				t.Errorf("at most %d keys: %v, want %v", limit, got, want)
			}
		}
		parts, err := p.Split(ctx, 0, ranges, 3)
		s.succeed(err)
		var got [][]uint64
		for _, list := range parts {
			var counts []uint64
			for _, part := range list {
				counts = append(counts, part.Sum.Count)
			}
			got = append(got, counts)
		}
		if len(got) != 3 || !slices.Equal(got[0], []uint64{1, 1, 1}) || got[1] != nil || !slices.Equal(got[2], []uint64{2, 1, 1}) {
			t.Errorf("parts of %v keys", got)
		}
	})
}

// TestCursors shows that Save stores all or nothing.
func TestCursors(t *testing.T) {
	s := newStage(t, 1)
	s.act(0, func(ctx context.Context, p *puppet) {
		s.succeed(p.Save(ctx, peersync.Cursor{Name: "b", Value: []byte("1")}, peersync.Cursor{Name: "a", Value: []byte("2")}))
		s.succeed(p.Save(ctx, peersync.Cursor{Name: "b"}, peersync.Cursor{Name: "c", Value: []byte("3")}))
		many := make([]peersync.Cursor, peersync.MaxCursors)
		for i := range many {
			many[i] = peersync.Cursor{Name: "x" + strings.Repeat("y", i%32) + strings.Repeat("z", i/32), Value: []byte("4")}
		}
		if err := p.Save(ctx, many...); !errors.Is(err, peersync.ErrTooLarge) {
			t.Errorf("more cursors than there may be: %v", err)
		}
		names, err := p.List(ctx)
		if s.succeed(err); !slices.Equal(names, []string{"a", "c"}) {
			t.Errorf("cursors %q", names)
		}
		value, err := p.Load(ctx, "c")
		if s.succeed(err); string(value) != "3" {
			t.Errorf("cursor %q", value)
		}
	})
	if len(s.Replicas[0].Faults) != 1 {
		t.Errorf("faults %q", s.Replicas[0].Faults)
	}
}

// TestLine shows that latency and bandwidth delay what a link carries.
func TestLine(t *testing.T) {
	s := newStage(t, 2)
	s.SetLine(0, 1, peersynctest.Line{Latency: 3 * time.Second, Bandwidth: 1 << 20})
	s.act(0, func(ctx context.Context, p *puppet) {
		s.succeed(p.Send(ctx, p.Peer(1), make([]byte, peersync.MaxMessage)))
		s.succeed(p.Send(ctx, p.Peer(1), []byte("x")))
		s.succeed(p.Wake(ctx, 4*time.Second))
	})
	woken := s.puppets[0].ticks
	if got := eventsOf[peersync.PeerMessage](s.puppets[1]); len(got) != 2 || len(got[1].Data) != 1 {
		t.Errorf("%d messages after %v", len(got), woken)
	}
	s.act(0, func(ctx context.Context, p *puppet) {
		s.succeed(p.Send(ctx, p.Peer(1), make([]byte, peersync.MaxMessage)))
		s.puppets[1].events = nil
		s.SetLine(0, 1, peersynctest.Line{Latency: time.Minute})
	})
	if got := eventsOf[peersync.PeerMessage](s.puppets[1]); len(got) > 0 {
		t.Error("a message was faster than its line")
	}
	s.pass(time.Minute)
	if got := eventsOf[peersync.PeerMessage](s.puppets[1]); len(got) != 1 {
		t.Errorf("%d messages after a minute", len(got))
	}
}

// TestWake shows that a Tick comes when it was asked for, and that the last Wake counts.
func TestWake(t *testing.T) {
	s := newStage(t, 1)
	s.act(0, func(ctx context.Context, p *puppet) {
		p.ticks = nil
		s.succeed(p.Wake(ctx, time.Millisecond))
		s.succeed(p.Wake(ctx, 1234*time.Millisecond))
	})
	s.pass(time.Minute)
	before := s.puppets[0].ticks
	i := slices.IndexFunc(before, func(d time.Duration) bool { return d%time.Second == 234*time.Millisecond })
	if i < 0 || slices.ContainsFunc(before, func(d time.Duration) bool { return d%time.Second == time.Millisecond }) {
		t.Errorf("ticks at %v", before)
	}
}

// TestWakeAtOnce shows that a Wake of 0 comes without the passing of time.
func TestWakeAtOnce(t *testing.T) {
	s := newStage(t, 1)
	n := 0
	var again func(ctx context.Context)
	again = func(ctx context.Context) {
		if n++; n < 5 {
			s.succeed(s.puppets[0].Wake(ctx, 0))
			s.puppets[0].do = again
		}
	}
	s.puppets[0].do = again
	s.Start(0, s.puppets[0])
	s.run()
	if n != 5 {
		t.Errorf("%d calls", n)
	}
}

// TestDropAndRest shows for how long a link stays closed.
func TestDropAndRest(t *testing.T) {
	s := newStage(t, 2)
	ups := func() int { return len(eventsOf[peersync.PeerUp](s.puppets[1])) }
	for i, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		s.act(0, func(ctx context.Context, p *puppet) { s.succeed(p.Drop(ctx, p.Peer(1), "it lies")) })
		if s.pass(pause - 20*time.Second); ups() != i+1 {
			t.Errorf("after %v the link is up again", pause)
		}
		if s.pass(20 * time.Second); ups() != i+2 {
			t.Errorf("after %v the link is not up again", pause)
		}
	}
	s.act(0, func(ctx context.Context, p *puppet) { s.succeed(p.Rest(ctx, p.Peer(1), time.Hour)) })
	if s.pass(59 * time.Minute); ups() != 4 {
		t.Error("the link does not rest")
	}
	if s.pass(2 * time.Minute); ups() != 5 {
		t.Error("the link rests longer than it was told")
	}
}

// TestPeers shows what a replicator hears of its peers.
func TestPeers(t *testing.T) {
	s := newStage(t, 3, func(s *stage) { s.Replicas[1].SetTerms(0, peersynctest.Terms{Mirror: true}) })
	p := s.puppets[0]
	peers := []peersync.Peer{p.Peer(1), p.Peer(2)}
	if starts := eventsOf[peersync.Start](p); len(starts) != 1 || !slices.Equal(starts[0].Peers, peers) {
		t.Errorf("starts %+v", starts)
	}
	for _, up := range eventsOf[peersync.PeerUp](p) {
		if !up.Gives || up.Takes != (up.Peer == peers[1]) || up.Version == "" {
			t.Errorf("%+v", up)
		}
	}
	s.Replicas[1].RaiseFloor(480_000)
	s.Replicas[1].Renew()
	s.run()
	if moved := eventsOf[peersync.PeerMoved](p); len(moved) != 2 || moved[0].State.Floor != 480_000 || moved[1].State.Epoch == moved[0].State.Epoch {
		t.Errorf("moved %+v", moved)
	}
	p.RemovePeer(1)
	s.run()
	changed := eventsOf[peersync.PeersChanged](p)
	if len(changed) != 1 || !slices.Equal(changed[0].Peers, peers[1:]) || len(eventsOf[peersync.PeerDown](p)) != 1 {
		t.Errorf("changed %+v", changed)
	}
	p.AddPeer(1)
	s.Connect(0, 1)
	s.run()
	if again := p.Peer(1); again == peers[0] || again == peers[1] || !slices.ContainsFunc(eventsOf[peersync.PeerUp](p), func(up peersync.PeerUp) bool { return up.Peer == again }) {
		t.Errorf("the new number is %d", again)
	}
}

// TestCutSettles shows that every id is settled before PeerDown.
func TestCutSettles(t *testing.T) {
	s := newStage(t, 2)
	s.Replicas[1].Silent = true
	s.Post(0, 3)
	s.Post(1, 1)
	ids, keys := s.ids(0), s.keys(1)
	s.act(0, func(ctx context.Context, p *puppet) {
		s.succeed(p.Push(ctx, p.Peer(1), ids[:1]))
		s.succeed(p.Offer(ctx, p.Peer(1), ids[1:]))
		s.succeed(p.Request(ctx, p.Peer(1), keys))
	})
	s.expectOutcomes(0, true)
	s.Cut(0, 1)
	s.run()
	s.expectOutcomes(0, true, peersync.Lost, peersync.Lost, peersync.Lost)
	s.expectOutcomes(0, false, peersync.Lost)
	if _, ok := s.puppets[0].events[len(s.puppets[0].events)-1].(peersync.PeerDown); !ok {
		t.Errorf("PeerDown is not the last event")
	}
	s.act(0, func(ctx context.Context, p *puppet) {
		if err := p.Send(ctx, p.Peer(1), []byte("x")); !errors.Is(err, peersync.ErrPeerUnknown) {
			t.Errorf("a peer that is down: %v", err)
		}
	})
	if len(s.Replicas[0].Faults) != 1 {
		t.Errorf("faults %q", s.Replicas[0].Faults)
	}
}

// TestTwist shows that a hostile twin loses, repeats and changes messages, within the limits.
func TestTwist(t *testing.T) {
	twist := peersynctest.NewTwist(1)
	said := make(map[string]bool)
	var lost, honest, repeated, strange int
	for i := range 300 {
		message := []byte(strings.Repeat("message", 1+i))
		said[string(message)] = true
		out := twist(slices.Clone(message))
		if len(out) == 0 {
			lost++
		}
		for _, m := range out {
			switch {
			case peersync.CheckMessage(m) != nil:
				t.Fatalf("a message of %d bytes", len(m))
			case slices.Equal(m, message):
				honest++
			case said[string(m)]:
				repeated++
			default:
				strange++
			}
		}
	}
	if lost < 10 || honest < 100 || repeated < 10 || strange < 50 {
		t.Errorf("%d lost, %d honest, %d repeated, %d strange", lost, honest, repeated, strange)
	}
}
