package client

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// ErrMisplaced means that a replay did not begin where the mark from which it
// was asked stands: somebody had posted the signature before, longer ago than
// the trail remembers. Connect again and ask from [Reader.From], which is
// another mark then.
var ErrMisplaced = errors.New("the replay began at an older envelope of the same signature")

const (
	// trailLength is how many signatures a trail remembers, at 4 bytes each.
	trailLength = 8192
	// maxMark is the longest signature that a mark keeps, that of ed25519. The
	// poster chooses the length of what is no signature.
	maxMark = 64
	// markedSpan is how far back marks go, maxMarks how many a place has at most;
	// some 36 are usual.
	markedSpan = 1024
	maxMarks   = 64
	// maxMisplaced is how many replays are given up before one is taken as it is.
	maxMisplaced = 16
	// proofLength is how many known envelopes are asked for again at least, to
	// see that a replay begins where it should.
	proofLength = 8
)

// Trail is the order in which the signatures of a board were seen first,
// of the last few thousand. It gives each a number, which counts up from 1. The
// numbers belong to one client: a server does not know them.
//
// It holds 32 bits of a keyed hash of each signature. A false match costs
// nothing but a place that is one envelope further back.
type Trail struct {
	key    [16]byte
	first  uint64 // number of hashes[0]
	hashes []uint32
	number map[uint32]uint64
}

// NewTrail returns the trail of a client that has seen nothing.
func NewTrail() *Trail {
	t := &Trail{first: 1, number: make(map[uint32]uint64)}
	rand.Read(t.key[:]) // never fails
	return t
}

func (t *Trail) hashSignature(signature []byte) uint32 {
	sum := sha256.Sum256(append(t.key[:], signature...))
	return binary.BigEndian.Uint32(sum[:])
}

func (t *Trail) findSignature(signature []byte) (number uint64, ok bool) {
	number, ok = t.number[t.hashSignature(signature)]
	return number, ok
}

// Note appends a signature that has not been seen before and returns its number,
// or the number that it has.
func (t *Trail) Note(signature []byte) uint64 { return t.noteHash(t.hashSignature(signature)) }

func (t *Trail) noteHash(hash uint32) uint64 {
	if n, ok := t.number[hash]; ok {
		return n
	}
	if len(t.hashes) == trailLength {
		delete(t.number, t.hashes[0])
		t.hashes = t.hashes[1:]
		t.first++
	}
	t.hashes = append(t.hashes, hash)
	t.number[hash] = t.End()
	return t.End()
}

// Clone returns a copy.
func (t *Trail) Clone() *Trail {
	c := &Trail{key: t.key, first: t.first, hashes: slices.Clone(t.hashes), number: make(map[uint32]uint64, len(t.hashes))}
	for i, h := range c.hashes {
		c.number[h] = c.first + uint64(i)
	}
	return c
}

// End is the number of the last signature, and 0 in an empty trail.
func (t *Trail) End() uint64 { return t.first + uint64(len(t.hashes)) - 1 }

// Merge appends what other saw behind number after and t does not have. Other
// was a clone of t when it ended there; both may have gone on since.
func (t *Trail) Merge(other *Trail, after uint64) {
	if t.key != other.key {
		return
	}
	for i, h := range other.hashes {
		if other.first+uint64(i) > after {
			t.noteHash(h)
		}
	}
}

// MarshalBinary encodes the trail: the key, the first number, the hashes.
func (t *Trail) MarshalBinary() ([]byte, error) {
	b := binary.BigEndian.AppendUint64(slices.Clone(t.key[:]), t.first)
	for _, h := range t.hashes {
		b = binary.BigEndian.AppendUint32(b, h)
	}
	return b, nil
}

// UnmarshalBinary decodes a trail.
func (t *Trail) UnmarshalBinary(b []byte) error {
	const header = 16 + 8
	if len(b) < header || (len(b)-header)%4 != 0 || (len(b)-header)/4 > trailLength {
		return fmt.Errorf("decode trail: wrong length %d", len(b))
	}
	d := Trail{key: [16]byte(b), first: binary.BigEndian.Uint64(b[16:]), number: make(map[uint32]uint64)}
	if d.first == 0 || d.first > 1<<62 {
		return errors.New("decode trail: wrong number")
	}
	for b = b[header:]; len(b) > 0; b = b[4:] {
		h := binary.BigEndian.Uint32(b)
		if _, twice := d.number[h]; twice {
			return errors.New("decode trail: a signature stands twice")
		}
		d.hashes = append(d.hashes, h)
		d.number[h] = d.End()
	}
	*t = d
	return nil
}

// Mark is an envelope of a board.
type Mark struct {
	Signature []byte
	Number    uint64 // in the trail; 0 where it is not known
}

// Place is how far a client has read: marks, the last envelope at the end. The
// closer to the end, the denser they are. The nil place is the beginning.
//
// One mark would do if signatures were unique. A server cannot tell whose they
// are, and an old one lets anybody post another envelope under any of them.
type Place []Mark

// Number is that of the last mark.
func (p Place) Number() uint64 {
	if len(p) == 0 {
		return 0
	}
	return p[len(p)-1].Number
}

// Signature is that of the last mark.
func (p Place) Signature() []byte {
	if len(p) == 0 {
		return nil
	}
	return p[len(p)-1].Signature
}

// withMark returns p moved to a mark. It keeps all marks of the last eight envelopes,
// and four on average for each doubling of the distance from there. The trail's
// key draws them, so nobody can see to it that only their own are kept.
func (p Place) withMark(m Mark, t *Trail) Place {
	var moved Place
	for _, x := range p {
		distance := m.Number - x.Number
		luck := max(0, bits.Len64(distance)-3) // one of 2^luck
		if x.Number > 0 && distance < markedSpan && bits.TrailingZeros32(t.hashSignature(x.Signature)) >= luck {
			moved = append(moved, x)
		}
	}
	moved = append(moved, m)
	return moved[max(0, len(moved)-maxMarks):]
}

// Translate returns p with the numbers of a trail.
func (p Place) Translate(t *Trail) Place {
	p = slices.Clone(p)
	for i, m := range p {
		if n, ok := t.findSignature(m.Signature); ok {
			p[i].Number = n
		}
	}
	slices.SortStableFunc(p, func(a, b Mark) int {
		switch {
		case a.Number < b.Number:
			return -1
		case a.Number > b.Number:
			return 1
		}
		return 0
	})
	return p
}

// Reader follows a client through a board, over one connection or several, and
// keeps the place from which to ask next time. A signature moves the place only
// if it was first seen behind it, so nobody moves it back by posting an envelope
// under a signature that is known. It is not safe for concurrent use.
//
//	r := client.NewReader(trail, place)
//	err := board.Sync(ctx, r.From(), func(e client.Event) error { … ; return r.Take(e) })
//
// After [ErrMisplaced], connect again and do the same. Because the replay begins
// some envelopes before the place, a program that must not handle an envelope
// twice remembers those that it handled.
type Reader struct {
	Trail *Trail
	place Place

	asked Mark
	begun bool   // the first envelope of the present replay came
	wrong int    // replays that were misplaced
	proof uint64 // known envelopes come up to this number, or the replay is misplaced
	at    uint64 // number of the envelope that came last

	synced  bool
	strange []strange
}

// strange is an unknown envelope that came where known ones should have.
type strange struct {
	hash uint32
	mark []byte // its signature, nil where that is too long for a mark
}

// NewReader returns a reader that goes on from a place. It owns the trail.
func NewReader(t *Trail, p Place) *Reader {
	return &Reader{Trail: t, place: slices.Clone(p), at: p.Number()}
}

// Place returns how far the client has read.
func (r *Reader) Place() Place { return r.place }

// From returns the signature to replay from, or nil to ask for everything. It
// lies some envelopes before the place, so that the replay shows whether it
// begins where it should.
func (r *Reader) From() []byte {
	r.begun, r.synced, r.strange = false, false, nil
	r.asked, r.proof = Mark{}, 0
	if len(r.place) == 0 {
		r.at = 0
		return nil
	}
	r.asked = r.place[0]
	for _, m := range r.place {
		if m.Number+proofLength <= r.place.Number() {
			r.asked = m
		}
	}
	r.at, r.proof = r.asked.Number, r.place.Number()
	return r.asked.Signature
}

// Take takes in what the server sent. The error is [ErrMisplaced] or nil.
func (r *Reader) Take(e Event) error {
	switch {
	case e.Kind == Count:
		r.synced = e.Left == 0
	case e.Kind == Replayed:
		if err := r.checkMark(e.Envelope.Signature); err != nil {
			return err
		}
		r.advanceTo(e.Envelope.Signature)
		if e.Left == 0 {
			r.endReplay()
		}
	case e.Kind == New && r.synced && !e.Repeat:
		// What is announced before a replay is complete has others before it that
		// are still to come.
		r.advanceTo(e.Envelope.Signature)
	}
	return nil
}

// checkMark finds out whether the replay begins at the mark. A mark that failed is
// not used again, unless it is the last one that is left.
func (r *Reader) checkMark(signature []byte) error {
	if !r.begun {
		r.begun = true
		if !bytes.Equal(signature, r.asked.Signature) {
			r.at, r.proof = 0, 0 // the server does not know it and sends everything
		}
		return nil
	}
	if r.at >= r.proof || r.wrong == maxMisplaced {
		return nil
	}
	// One after the other, or one that is repeated: a jump is a misplaced run of
	// envelopes that were planted together and repeated one by one.
	if number, known := r.Trail.findSignature(signature); known && number <= r.at+1 || r.at+1 < r.Trail.first {
		return nil
	}
	r.place = slices.DeleteFunc(r.place, func(m Mark) bool { return bytes.Equal(m.Signature, r.asked.Signature) })
	r.wrong++
	return ErrMisplaced
}

// advanceTo moves the place to an envelope that came in order.
func (r *Reader) advanceTo(signature []byte) {
	number, known := r.Trail.findSignature(signature)
	switch {
	case known:
		r.at = max(r.at, number)
	case r.at >= r.Trail.End():
		number = r.Trail.Note(signature)
		r.at = number
	case r.at+1 < r.Trail.first: // forgotten
		r.at++
		number = r.at
	default:
		if len(r.strange) == trailLength {
			r.strange = r.strange[1:]
		}
		r.strange = append(r.strange, strange{r.Trail.hashSignature(signature), copyMarkable(signature)})
		return
	}
	r.moveTo(copyMarkable(signature), number)
}

// copyMarkable returns a copy of a signature that a mark may keep, or nil.
func copyMarkable(signature []byte) []byte {
	if len(signature) > maxMark {
		return nil
	}
	return bytes.Clone(signature)
}

func (r *Reader) moveTo(signature []byte, number uint64) {
	if len(signature) > 0 && number > r.place.Number() {
		r.place = r.place.withMark(Mark{signature, number}, r.Trail)
	}
}

// endReplay ends a replay. A board that never came to the end of the trail is
// another one than before, such as that of a server that lost its store.
func (r *Reader) endReplay() {
	r.synced, r.wrong = true, 0
	if r.at < r.Trail.End() && len(r.strange) > 0 {
		r.place = nil
		for _, x := range r.strange {
			r.moveTo(x.mark, r.Trail.noteHash(x.hash))
		}
	}
	r.at, r.strange = max(r.at, r.Trail.End()), nil
}
