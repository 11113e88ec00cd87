package exchange

import (
	"bytes"
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

// solo is one engine whose peers are the test itself.
type solo struct {
	t   testing.TB
	e   *Engine
	now time.Duration
	log map[storage.ID]storage.Record
	// broken makes the store fail.
	broken bool
	jobs   []Job // that were done
}

const floor = 1000

var soloHour = storage.HourOf(worldStart)

func newSolo(t testing.TB, peers ...PeerConfig) *solo {
	if len(peers) == 0 {
		peers = []PeerConfig{{Peer: 1, Gives: true}, {Peer: 2, Gives: true}}
	}
	s := &solo{t: t, log: make(map[storage.ID]storage.Record)}
	s.e = New(Config{Plugin: "mesh", Version: "1", Peers: peers})
	s.e.Advance(0, worldStart)
	s.e.SetState(peersync.State{Epoch: storage.Epoch{1}, Floor: floor})
	return s
}

// up connects a peer that says HELLO, and takes the events until then.
func (s *solo) up(peer peersync.Peer, change ...func(*peerlink.Hello)) {
	s.t.Helper()
	s.e.Connect(peer, true)
	if _, ok := s.next(peer).(*peerlink.Hello); !ok {
		s.t.Fatal("the first frame is no HELLO")
	}
	hello := &peerlink.Hello{
		Proto: peerlink.Proto, Plugin: "mesh", Version: "2", Takes: true, Unix: uint64(worldStart.Unix()), Nonce: [32]byte{9},
		State: peersync.State{Epoch: storage.Epoch{2}, Floor: floor},
	}
	for _, f := range change {
		f(hello)
	}
	s.e.Receive(peer, hello)
	s.e.Events()
}

// next returns the next frame to a peer, or nil.
func (s *solo) next(peer peersync.Peer) peerlink.Frame {
	f, _ := s.e.Next(peer)
	return f
}

// frames does all jobs, and returns all frames to a peer.
func (s *solo) frames(peer peersync.Peer) (all []peerlink.Frame) {
	for {
		s.work()
		f, ok := s.e.Next(peer)
		if !ok {
			return all
		}
		all = append(all, f)
	}
}

// only returns the frames of one type to a peer, and forgets the others.
func only[F peerlink.Frame](s *solo, peer peersync.Peer) (all []F) {
	return onlyOf[F](s.frames(peer))
}

// work does all jobs.
func (s *solo) work() {
	for {
		job, ok := s.e.NextJob()
		if !ok {
			return
		}
		s.jobs = append(s.jobs, job)
		s.e.Done(job, s.result(job))
	}
}

func (s *solo) result(job Job) (r Result) {
	if s.broken {
		return Result{Err: errors.New("disk on fire")}
	}
	for _, id := range job.IDs {
		rec, held := s.log[id]
		r.Found = append(r.Found, Found{Held: held, Born: rec.Born, Size: uint32(len(rec.Signature) + len(rec.Ciphertext))})
		if held {
			r.Records = append(r.Records, rec)
		}
	}
	for _, rec := range job.Records {
		if _, held := s.log[rec.ID]; held {
			r.Outcomes = append(r.Outcomes, storage.Duplicate)
			continue
		}
		s.log[rec.ID] = rec
		r.Outcomes = append(r.Outcomes, storage.Stored)
	}
	return r
}

// pass lets time go by, with what it brings.
func (s *solo) pass(d time.Duration) {
	for end := s.now + d; s.now < end; {
		s.now = min(end, s.now+time.Second)
		s.e.Advance(s.now, worldStart.Add(s.now))
	}
}

// envelope makes an envelope with a number.
func envelope(number, size int) storage.Record {
	r := storage.Record{Born: soloHour, Signature: fmt.Appendf(nil, "%08d", number), Ciphertext: bytes.Repeat([]byte{1}, size)}
	r.ID = storage.NewID(r.Signature, r.Ciphertext)
	return r
}

// hold puts envelopes in the log, and returns their ids.
func (s *solo) hold(from, to, size int) (ids []storage.ID) {
	for i := from; i < to; i++ {
		r := envelope(i, size)
		s.log[r.ID] = r
		ids = append(ids, r.ID)
	}
	return ids
}

func body(kind peerlink.BodyKind, r storage.Record) *peerlink.Body {
	return &peerlink.Body{Kind: kind, Born: r.Born, Signature: r.Signature, Ciphertext: r.Ciphertext}
}

func offer(records ...storage.Record) *peerlink.Offer {
	f := &peerlink.Offer{}
	for _, r := range records {
		f.Envelopes = append(f.Envelopes, peerlink.Offered{Key: storage.Key{Born: r.Born, ID: r.ID}})
	}
	return f
}

// events returns all events, one line each.
func (s *solo) events() (lines []string) {
	for {
		events := s.e.Events()
		if len(events) == 0 {
			return lines
		}
		if err := peersync.CheckEvents(events); err != nil {
			s.t.Fatal(err)
		}
		for _, event := range events {
			lines = append(lines, describe(event))
		}
	}
}

func describe(event peersync.Event) string {
	list := func(what string, peer peersync.Peer, outcomes []peersync.Outcome, retry time.Duration) string {
		line := fmt.Sprintf("%s %d:", what, peer)
		for _, o := range outcomes {
			line += " " + o.Status.String()
		}
		if retry > 0 {
			line += fmt.Sprint(" retry ", retry)
		}
		return line
	}
	switch e := event.(type) {
	case peersync.Sent:
		return list("sent", e.Peer, e.Outcomes, e.RetryAfter)
	case peersync.Received:
		return list("received", e.Peer, e.Outcomes, e.RetryAfter)
	case peersync.PeerMessage:
		return fmt.Sprintf("message %d: %d bytes", e.Peer, len(e.Data))
	case peersync.PeerUp:
		return fmt.Sprintf("up %d", e.Peer)
	case peersync.PeerDown:
		return fmt.Sprintf("down %d", e.Peer)
	case peersync.PeerMoved:
		return fmt.Sprintf("moved %d to floor %d", e.Peer, e.State.Floor)
	case peersync.PeerReady:
		return fmt.Sprintf("ready %d", e.Peer)
	case peersync.PeersChanged:
		return fmt.Sprint("peers ", e.Peers)
	case peersync.LogAdvanced:
		return fmt.Sprintf("log at %d", e.State.Last)
	}
	return fmt.Sprintf("%T", event)
}

func (s *solo) wantEvents(want ...string) {
	s.t.Helper()
	if got := s.events(); !slices.Equal(got, want) {
		s.t.Errorf("events are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantClose checks that the link to a peer is closed, and why.
func (s *solo) wantClose(reason string, breach bool) {
	s.t.Helper()
	c, ok := s.e.NextClose()
	if !ok || c.Breach != breach || !strings.Contains(c.Reason.Error(), reason) {
		s.t.Errorf("the close is %v %+v, want %q", ok, c, reason)
	}
}

func (s *solo) wantOpen() {
	s.t.Helper()
	if c, ok := s.e.NextClose(); ok {
		s.t.Errorf("the link is closed: %v", c.Reason)
	}
}

func (s *solo) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func statuses(frames []*peerlink.Taken) (all []string) {
	for _, f := range frames {
		for _, o := range f.Outcomes {
			all = append(all, o.Status.String())
		}
	}
	return all
}

func wantEqual[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
