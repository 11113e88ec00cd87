package client

import (
	"bytes"
	"cmp"
	"errors"
	"math/bits"
	"slices"
)

// ErrWrongStart means that a replay did not begin at the checkpoint from which
// it was asked: longer ago than the history remembers, somebody posted another
// envelope under the same signature. Connect again and ask from
// [Reader.ReplayFrom], which returns another checkpoint then.
var ErrWrongStart = errors.New("the replay began at an older envelope of the same signature")

const (
	// maxSignature is the longest signature that a checkpoint keeps, that of
	// ed25519. The poster chooses how long something is that is no signature.
	maxSignature = 64
	// checkpointSpan is how far back checkpoints go, and maxCheckpoints how many
	// a position has at most; some 36 are usual.
	checkpointSpan = 1024
	maxCheckpoints = 64
	// replayOverlap is how many known envelopes a replay repeats at least, which
	// show that it begins where it should.
	replayOverlap = 8
	// maxWrongStarts is how many replays are given up before one is accepted
	// wherever it begins.
	maxWrongStarts = 16
)

// Checkpoint is an envelope of a board from which a replay can be asked.
type Checkpoint struct {
	Signature []byte
	Number    uint64 // in the history; 0 if unknown
}

// Position is how far a client has read: checkpoints, with the last envelope that was
// read as the last one. The closer to it, the denser they are. The nil position is the
// beginning of a board.
//
// One checkpoint would do if signatures were unique. A server cannot tell whose
// they are, and an old one lets anybody post another envelope under any of them.
type Position []Checkpoint

// Last returns the last checkpoint, and the zero one at the beginning.
func (p Position) Last() Checkpoint {
	if len(p) == 0 {
		return Checkpoint{}
	}
	return p[len(p)-1]
}

// moveTo returns p moved on to an envelope, or p if the envelope is not behind
// it. It keeps all checkpoints of the last eight envelopes, and four on average
// for each doubling of the distance from there. The key of the history draws
// them, so that nobody can arrange that only their own are kept.
func (p Position) moveTo(signature []byte, number uint64, h *History) Position {
	if len(signature) == 0 || len(signature) > maxSignature || number <= p.Last().Number {
		return p
	}
	var moved Position
	for _, c := range p {
		distance := number - c.Number
		zeros := bits.TrailingZeros32(h.hashSignature(c.Signature))
		if c.Number > 0 && distance < checkpointSpan && zeros >= bits.Len64(distance)-3 {
			moved = append(moved, c)
		}
	}
	moved = append(moved, Checkpoint{bytes.Clone(signature), number})
	return moved[max(0, len(moved)-maxCheckpoints):]
}

// Reader follows a client through a board, over one connection or several, and
// keeps the position from which to ask next time. A signature moves the position
// only if it was first seen behind it, so nobody moves it back by posting under a
// signature that is known. A Reader is not safe for concurrent use.
//
//	r := client.NewReader(history, position)
//	err := board.Sync(ctx, r.ReplayFrom(), func(e client.Event) error { … ; return r.Accept(e) })
//
// After [ErrWrongStart], connect again and do the same. A replay begins some
// envelopes before the position: a program that must not handle an envelope twice
// remembers those that it handled.
type Reader struct {
	history  *History
	base     uint64 // end of the history in NewReader
	position Position

	asked       Checkpoint // where the present replay should begin; zero at the beginning of the board
	begun       bool       // its first envelope came
	live        bool       // its last one came
	at          uint64     // number of the envelope that came last
	wrongStarts int
	other       *Reader // what came where known envelopes should have, read as another board
}

// NewReader returns a reader that goes on from a position. It copies the history.
func NewReader(h *History, p Position) *Reader {
	own := *h
	own.hashes = slices.Clone(h.hashes)
	return &Reader{history: &own, base: h.End(), position: slices.Clone(p), at: p.Last().Number}
}

// Position returns how far the client has read.
func (r *Reader) Position() Position { return r.position }

// MergeInto appends to h what the reader has seen and h has not, and returns the
// reader's position in the numbers of h. The reader began with a copy of h; both
// may have gone on since.
func (r *Reader) MergeInto(h *History) Position {
	for i, hash := range r.history.hashes {
		if r.history.key == h.key && r.history.first+uint64(i) > r.base {
			h.addHash(hash)
		}
	}
	p := slices.Clone(r.position)
	for i, c := range p {
		p[i].Number = cmp.Or(h.find(c.Signature), c.Number)
	}
	slices.SortStableFunc(p, func(a, b Checkpoint) int { return cmp.Compare(a.Number, b.Number) })
	return p
}

// ReplayFrom begins a replay. It returns the signature to ask from, or nil to ask
// for everything.
func (r *Reader) ReplayFrom() []byte {
	r.asked, r.begun, r.live, r.other = Checkpoint{}, false, false, nil
	for i, c := range r.position {
		if i == 0 || c.Number+replayOverlap <= r.position.Last().Number {
			r.asked = c
		}
	}
	r.at = r.asked.Number
	return r.asked.Signature
}

// Accept processes what the server sent. The error is [ErrWrongStart] or nil.
func (r *Reader) Accept(e Event) error {
	switch {
	case e.Kind == Count:
		r.live = e.Left == 0
	case e.Kind == Replayed:
		if err := r.checkStart(e.Envelope.Signature); err != nil {
			return err
		}
		r.advanceTo(e.Envelope.Signature)
		if e.Left == 0 {
			r.endReplay()
		}
	case e.Kind == New && r.live && !e.Repeat:
		// What is announced during a replay comes after envelopes that are still due.
		r.advanceTo(e.Envelope.Signature)
	}
	return nil
}

// checkStart finds out whether the replay begins at the checkpoint. One that
// failed is not used again.
func (r *Reader) checkStart(signature []byte) error {
	if !r.begun {
		r.begun = true
		if !bytes.Equal(signature, r.asked.Signature) {
			r.asked, r.at = Checkpoint{}, 0 // the server does not know it and sends everything
		}
		return nil
	}
	if r.asked.Signature == nil || r.at >= r.position.Last().Number || r.wrongStarts == maxWrongStarts || r.forgets() {
		return nil
	}
	// One after the other, or one that is repeated. A jump is a wrong start at a run
	// of envelopes that were planted together and repeated one by one.
	if number := r.history.find(signature); number > 0 && number <= r.at+1 {
		return nil
	}
	r.position = slices.DeleteFunc(r.position, func(c Checkpoint) bool { return bytes.Equal(c.Signature, r.asked.Signature) })
	r.wrongStarts++
	return ErrWrongStart
}

// forgets reports whether the history forgot the envelope that is due.
func (r *Reader) forgets() bool { return r.at+1 < r.history.first }

// advanceTo moves the position to an envelope that came in order.
func (r *Reader) advanceTo(signature []byte) {
	number := r.history.find(signature)
	switch {
	case number > 0:
		r.at = max(r.at, number)
	case r.at >= r.history.End():
		number = r.history.Add(signature)
		r.at = number
	case r.forgets():
		r.at++
		number = r.at
	default:
		if r.other == nil {
			r.other = NewReader(r.history, nil)
			r.other.at = r.history.End()
		}
		r.other.advanceTo(signature)
		return
	}
	r.position = r.position.moveTo(signature, number, r.history)
}

// endReplay ends a replay. If a board never came to the end of the history, it is
// another one than before: its server lost its store.
func (r *Reader) endReplay() {
	if r.at < r.history.End() && r.other != nil {
		r.history, r.position = r.other.history, r.other.position
	}
	r.at, r.other, r.live, r.wrongStarts = max(r.at, r.history.End()), nil, true, 0
}
