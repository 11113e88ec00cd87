package client

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// oldBoard is a log that accepts several envelopes under one signature and replays from
// the first of them, as servers did before they refused a second one.
type oldBoard []wire.Envelope

func (b *oldBoard) post(signature string) {
	*b = append(*b, wire.Envelope{Signature: []byte(signature), Ciphertext: fmt.Append(nil, len(*b))})
}

// read lets r read to the end. It returns how many envelopes that took, and how
// many connections.
func (b oldBoard) read(t *testing.T, r *Reader) (envelopes, connections int) {
	t.Helper()
	for {
		connections++
		from, start := r.ReplayFrom(), 0
		for i, e := range b {
			if from != nil && string(e.Signature) == string(from) {
				start = i
				break
			}
		}
		err := r.Accept(Event{Kind: Count, Left: len(b) - start})
		for i, e := range b[start:] {
			envelopes++
			if err = r.Accept(Event{Kind: Replayed, Envelope: e, Left: len(b) - start - i - 1}); err != nil {
				break
			}
		}
		if err == nil {
			return envelopes, connections
		}
		if !errors.Is(err, ErrWrongStart) || connections > 100 {
			t.Fatalf("connection %d: %v", connections, err)
		}
	}
}

// restart returns the reader of the next run of a program.
func restart(t *testing.T, r *Reader) *Reader {
	t.Helper()
	b, err := r.history.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	history := new(History)
	if err := history.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	return NewReader(history, r.Position())
}

// Somebody posts after every envelope of others. Each later reading needs only a few
// envelopes more than the new ones.
func TestRepeatedSignaturesDoNotBringReplaysBack(t *testing.T) {
	for name, c := range map[string]struct {
		plant  int // envelopes with signatures of their own, at the beginning
		behind func(b *oldBoard, round int, honest string)
		limit  int
	}{
		"one signature, planted early": {1, func(b *oldBoard, _ int, _ string) { b.post("planted 0") }, 100},
		"another in each round":        {100, func(b *oldBoard, i int, _ string) { b.post(fmt.Sprint("planted ", i)) }, 100},
		"every honest one once more":   {0, func(b *oldBoard, _ int, honest string) { b.post(honest) }, 100},
		"too long for a checkpoint":    {0, func(b *oldBoard, i int, _ string) { b.post(fmt.Sprintf("%100d", i)) }, 100},
		"longer ago than is remembered": {historyLength + 100, func(b *oldBoard, i int, _ string) {
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
			r := NewReader(NewHistory(), nil)
			b.read(t, r)
			for i := range 50 {
				honest := fmt.Sprint("honest ", i)
				b.post(honest)
				c.behind(b, i, honest)
				r = restart(t, r)
				if n, _ := b.read(t, r); n > c.limit {
					t.Fatalf("reading %d took %d envelopes", i, n)
				}
			}
		})
	}
}

// A position never moves back, wherever a replay begins.
func TestPositionMovesForward(t *testing.T) {
	b := new(oldBoard)
	for i := range 100 {
		b.post(fmt.Sprint(i))
	}
	r := NewReader(NewHistory(), nil)
	b.read(t, r)
	early := NewReader(r.history, nil)
	early.ReplayFrom()
	for i, e := range (*b)[:3] {
		if err := early.Accept(Event{Kind: Replayed, Envelope: e, Left: 99 - i}); err != nil {
			t.Fatal(err)
		}
	}
	if got := early.Position().Last().Number; got != 3 {
		t.Errorf("three envelopes from the beginning lead to %d", got)
	}
	live := NewReader(r.history, r.Position())
	for _, e := range *b {
		live.Accept(Event{Kind: New, Envelope: e})
	}
	if got := live.Position().Last().Signature; string(got) != "99" {
		t.Errorf("the position moved to %s", got)
	}
}

// A new log, of a server that lost its old one, is read from its beginning, and then on
// from there.
func TestPositionOnANewLog(t *testing.T) {
	first, second := new(oldBoard), new(oldBoard)
	for i := range 100 {
		first.post(fmt.Sprint("first ", i))
		second.post(fmt.Sprint("second ", i))
	}
	r := NewReader(NewHistory(), nil)
	first.read(t, r)
	r = restart(t, r)
	if n, k := second.read(t, r); n != 100 || k != 1 {
		t.Errorf("the new log took %d envelopes over %d connections", n, k)
	}
	r = restart(t, r)
	if n, _ := second.read(t, r); n > 20 {
		t.Errorf("reading on took %d envelopes", n)
	}
}

// Two readers that went on from one history agree on it afterwards.
func TestHistoriesMerge(t *testing.T) {
	kept := NewHistory()
	kept.Add([]byte("a"))
	one, two := NewReader(kept, nil), NewReader(kept, nil)
	for _, s := range []string{"b", "c"} {
		one.history.Add([]byte(s))
	}
	for _, s := range []string{"b", "c", "d"} {
		two.history.Add([]byte(s))
	}
	two.MergeInto(kept)
	one.MergeInto(kept)
	if kept.End() != 4 || kept.Add([]byte("d")) != 4 || kept.Add([]byte("b")) != 2 {
		t.Errorf("the merged history ends at %d", kept.End())
	}
}

// The size of a position and a history does not grow with the board, whatever is
// posted.
func TestPositionsAreBounded(t *testing.T) {
	b := new(oldBoard)
	for i := range 3 * historyLength {
		b.post(fmt.Sprintf("%*d", 1+i%maxSignature, i))
	}
	r := NewReader(NewHistory(), nil)
	b.read(t, r)
	text, err := r.history.MarshalBinary()
	if err != nil || len(text) > 24+4*historyLength || len(r.Position()) > maxCheckpoints {
		t.Errorf("%d bytes, %d checkpoints, %v", len(text), len(r.Position()), err)
	}
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte("0123456789abcdef\x00\x00\x00\x00\x00\x00\x00\x01abcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var history History
		if history.UnmarshalBinary(b) != nil {
			return
		}
		if got, _ := history.MarshalBinary(); string(got) != string(b) {
			t.Fatal("it changed")
		}
		history.Add(b)
	})
}

// A server whose board has replicas begins a replay some way before the envelope that it was asked
// from. That is no wrong start, and costs nothing but the envelopes.
func TestReplaysThatBeginEarlier(t *testing.T) {
	for _, c := range []struct{ envelopes, earlier int }{{500, 100}, {500, 1000}, {historyLength + 2000, historyLength + 1000}} {
		b := new(oldBoard)
		for i := range c.envelopes {
			b.post(fmt.Sprint(i))
		}
		r := NewReader(NewHistory(), nil)
		b.read(t, r)
		for round := range 3 {
			b.post(fmt.Sprint("new ", round))
			r = restart(t, r)
			from := r.ReplayFrom()
			start := max(slices.IndexFunc(*b, func(e wire.Envelope) bool { return string(e.Signature) == string(from) })-c.earlier, 0)
			for i, e := range (*b)[start:] {
				if err := r.Accept(Event{Kind: Replayed, Envelope: e, Left: len(*b) - start - i - 1}); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.Position().Last(); string(got.Signature) != fmt.Sprint("new ", round) || got.Number != uint64(len(*b)) {
				t.Errorf("of %d, %d earlier: the position is %s, %d", c.envelopes, c.earlier, got.Signature, got.Number)
			}
		}
	}
}
