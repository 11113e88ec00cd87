package client

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// oldBoard is a log that takes anything under any signature, and replays from
// the first that fits, as servers did before they refused a second.
type oldBoard []wire.Envelope

func (b *oldBoard) post(signature string) {
	*b = append(*b, wire.Envelope{Signature: []byte(signature), Ciphertext: fmt.Append(nil, len(*b))})
}

// read has r read to the end and returns how many envelopes that took, and over
// how many connections.
func (b oldBoard) read(t *testing.T, r *Reader) (envelopes, connections int) {
	t.Helper()
	for {
		connections++
		from, start := r.From(), 0
		for i, e := range b {
			if from != nil && string(e.Signature) == string(from) {
				start = i
				break
			}
		}
		err := r.Take(Event{Kind: Count, Left: len(b) - start})
		for i, e := range b[start:] {
			envelopes++
			if err = r.Take(Event{Kind: Replayed, Envelope: e, Left: len(b) - start - i - 1}); err != nil {
				break
			}
		}
		if err == nil {
			return envelopes, connections
		}
		if !errors.Is(err, ErrMisplaced) || connections > 100 {
			t.Fatalf("connection %d: %v", connections, err)
		}
	}
}

// again is a later run of the program.
func again(t *testing.T, r *Reader) *Reader {
	t.Helper()
	b, err := r.Trail.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	trail := new(Trail)
	if err := trail.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	return NewReader(trail, r.Place())
}

// What somebody posts behind every envelope of others costs each later reading
// no more than a few envelopes beside the new ones.
func TestRepeatedSignaturesDoNotBringReplaysBack(t *testing.T) {
	for name, c := range map[string]struct {
		plant  int // envelopes with signatures of their own, at the beginning
		behind func(b *oldBoard, round int, honest string)
		limit  int
	}{
		"one signature, planted early": {1, func(b *oldBoard, _ int, _ string) { b.post("planted 0") }, 100},
		"another in each round":        {100, func(b *oldBoard, i int, _ string) { b.post(fmt.Sprint("planted ", i)) }, 100},
		"every honest one once more":   {0, func(b *oldBoard, _ int, honest string) { b.post(honest) }, 100},
		"too long for a mark":          {0, func(b *oldBoard, i int, _ string) { b.post(fmt.Sprintf("%100d", i)) }, 100},
		"longer ago than is remembered": {trailLength + 100, func(b *oldBoard, i int, _ string) {
			b.post(fmt.Sprint("planted ", i))
		}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			b := new(oldBoard)
			for i := range c.plant {
				b.post(fmt.Sprint("planted ", i))
			}
			for i := range 1000 {
				b.post(fmt.Sprint("before ", i))
			}
			r := NewReader(NewTrail(), nil)
			b.read(t, r)
			for i := range 50 {
				honest := fmt.Sprint("honest ", i)
				b.post(honest)
				c.behind(b, i, honest)
				r = again(t, r)
				if n, _ := b.read(t, r); n > c.limit {
					t.Fatalf("reading %d took %d envelopes", i, n)
				}
			}
		})
	}
}

// A place never moves back, wherever a replay begins.
func TestPlaceMovesForward(t *testing.T) {
	b := new(oldBoard)
	for i := range 100 {
		b.post(fmt.Sprint(i))
	}
	r := NewReader(NewTrail(), nil)
	b.read(t, r)
	early := NewReader(r.Trail.Clone(), nil)
	early.From()
	for i, e := range (*b)[:3] {
		if err := early.Take(Event{Kind: Replayed, Envelope: e, Left: 99 - i}); err != nil {
			t.Fatal(err)
		}
	}
	if got := early.Place().Number(); got != 3 {
		t.Errorf("three envelopes from the beginning lead to %d", got)
	}
	live := NewReader(r.Trail.Clone(), r.Place())
	for _, e := range *b {
		live.Take(Event{Kind: New, Envelope: e})
	}
	if got := live.Place().Signature(); string(got) != "99" {
		t.Errorf("the place moved to %s", got)
	}
}

// A server that lost its log is read from its beginning, and then on from there.
func TestPlaceOnANewLog(t *testing.T) {
	first, second := new(oldBoard), new(oldBoard)
	for i := range 100 {
		first.post(fmt.Sprint("first ", i))
		second.post(fmt.Sprint("second ", i))
	}
	r := NewReader(NewTrail(), nil)
	first.read(t, r)
	r = again(t, r)
	if n, k := second.read(t, r); n != 100 || k != 1 {
		t.Errorf("the new log took %d envelopes over %d connections", n, k)
	}
	r = again(t, r)
	if n, _ := second.read(t, r); n > 20 {
		t.Errorf("reading on took %d envelopes", n)
	}
}

// Two readers that went on from one trail agree on it afterwards.
func TestTrailsMerge(t *testing.T) {
	kept := NewTrail()
	kept.Note([]byte("a"))
	since, one, two := kept.End(), kept.Clone(), kept.Clone()
	for _, s := range []string{"b", "c"} {
		one.Note([]byte(s))
	}
	for _, s := range []string{"b", "c", "d"} {
		two.Note([]byte(s))
	}
	kept.Merge(two, since)
	kept.Merge(one, since)
	if kept.End() != 4 || kept.Note([]byte("d")) != 4 || kept.Note([]byte("b")) != 2 {
		t.Errorf("the merged trail ends at %d", kept.End())
	}
}

// What a place and a trail take does not grow with the board, whatever is posted.
func TestPlacesAreBounded(t *testing.T) {
	b := new(oldBoard)
	for i := range 3 * trailLength {
		b.post(fmt.Sprintf("%*d", 1+i%maxMark, i))
	}
	r := NewReader(NewTrail(), nil)
	b.read(t, r)
	text, err := r.Trail.MarshalBinary()
	if err != nil || len(text) > 24+4*trailLength || len(r.Place()) > maxMarks || len(r.Trail.number) > trailLength {
		t.Errorf("%d bytes, %d marks, %v", len(text), len(r.Place()), err)
	}
}

func FuzzTrail(f *testing.F) {
	f.Add([]byte("0123456789abcdef\x00\x00\x00\x00\x00\x00\x00\x01abcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var trail Trail
		if trail.UnmarshalBinary(b) != nil {
			return
		}
		if got, _ := trail.MarshalBinary(); string(got) != string(b) {
			t.Fatal("it changed")
		}
		trail.Note(b)
	})
}
