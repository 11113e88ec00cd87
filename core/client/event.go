package client

import (
	"bytes"
	"hash/maphash"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// Kind is what an [Event] is about.
type Kind int

const (
	Count    Kind = iota + 1 // a replay begins
	Replayed                 // an envelope of a replay, oldest first
	Posted                   // the result of a post
	New                      // an envelope that was posted after the replay began
)

// Event is something that the server sent. Its bytes belong to the receiver.
type Event struct {
	Kind     Kind
	Envelope wire.Envelope // of Replayed and New
	// Repeat tells, of Replayed and New, that this connection had the envelope
	// before, or that it is the one from which a replay was asked. Servers repeat the
	// last envelope of a replay, and a few more if posts come meanwhile. Only the last
	// few hundred are remembered.
	Repeat  bool
	Left    int    // of Count and Replayed: envelopes still to come, as the server claims
	Post    uint64 // of Posted: the number that Submit returned
	Success bool   // of Posted: the envelope is durable
}

// state is what the client knows of a connection: what the server owes, and what it
// sent last. It does no input or output.
type state struct {
	asked   bool // for a replay, at least once
	replays phase
	from    []byte // signature from which the present replay was asked, until the first envelope
	left    int    // of the present replay

	submitted, answered uint64 // posts
	echo                bool   // a post is stored and its echo is waited for

	seed   maphash.Seed
	recent [recentEnvelopes]uint64 // hashes of the last envelopes, a ring
	next   int
}

// recentEnvelopes is how many envelopes are remembered to recognise repetitions. A
// server repeats what was posted while it turned from replay to live, which is as
// much as one fan-out.
const recentEnvelopes = 256

// phase is how far a replay is.
type phase int

const (
	idle     phase = iota
	counting       // asked, the count is due
	flowing        // envelopes are due
)

func newState() state { return state{seed: maphash.MakeSeed()} }

// isOwed reports whether something is due from the server.
func (s *state) isOwed() bool {
	return s.replays != idle || s.answered < s.submitted || s.echo
}

func (s *state) beginReplay(last []byte) error {
	if s.replays != idle {
		return ErrReplaying
	}
	s.asked, s.replays, s.from = true, counting, bytes.Clone(last)
	return nil
}

func (s *state) recordPost() uint64 {
	s.submitted++
	return s.submitted
}

// acceptReply processes a reply; ok is false if its type is unknown.
func (s *state) acceptReply(r wire.Reply) (e Event, ok bool, err error) {
	switch {
	case r.Count != nil:
		e, err = s.acceptCount(*r.Count)
	case r.Replay != nil:
		e, err = s.acceptReplayed(*r.Replay)
	case r.Posted != nil:
		e, err = s.acceptPosted(*r.Posted)
	case r.New != nil:
		e = Event{Kind: New, Envelope: *r.New, Repeat: s.noteSeen(*r.New)}
	default:
		return Event{}, false, nil
	}
	return e, err == nil, err
}

func (s *state) acceptCount(n int) (Event, error) {
	if s.replays != counting || n < 0 {
		return Event{}, ErrProtocol
	}
	s.replays, s.left = flowing, n
	if n == 0 {
		s.replays = idle
	}
	return Event{Kind: Count, Left: n}, nil
}

func (s *state) acceptReplayed(env wire.Envelope) (Event, error) {
	if s.replays != flowing {
		return Event{}, ErrProtocol
	}
	s.left--
	if s.left == 0 {
		s.replays = idle
	}
	repeat := s.noteSeen(env)
	if len(s.from) > 0 && bytes.Equal(env.Signature, s.from) {
		repeat = true
	}
	s.from = nil
	return Event{Kind: Replayed, Envelope: env, Left: s.left, Repeat: repeat}, nil
}

func (s *state) acceptPosted(success bool) (Event, error) {
	if s.answered == s.submitted {
		return Event{}, ErrProtocol
	}
	s.answered++
	return Event{Kind: Posted, Post: s.answered, Success: success}, nil
}

// noteSeen reports whether the envelope came before, and remembers it.
func (s *state) noteSeen(env wire.Envelope) bool {
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.Write(env.Signature)
	h.WriteByte(0)
	h.Write(env.Ciphertext)
	sum := h.Sum64() | 1 // 0 is an empty slot
	if slices.Contains(s.recent[:], sum) {
		return true
	}
	s.recent[s.next] = sum
	s.next = (s.next + 1) % recentEnvelopes
	return false
}
