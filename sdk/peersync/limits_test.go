package peersync_test

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestLimits tries both sides of every limit.
func TestLimits(t *testing.T) {
	message := func(n int) peersync.Event { return peersync.PeerMessage{Data: make([]byte, n)} }
	outcomes := func(n int) peersync.Event { return peersync.Received{Outcomes: make([]peersync.Outcome, n)} }
	for name, c := range map[string]struct{ good, bad error }{
		"events": {
			peersync.CheckEvents(make([]peersync.Event, peersync.MaxEvents)),
			peersync.CheckEvents(make([]peersync.Event, peersync.MaxEvents+1)),
		},
		"message in events": {
			peersync.CheckEvents([]peersync.Event{message(peersync.MaxMessage)}),
			peersync.CheckEvents([]peersync.Event{message(peersync.MaxMessage + 1)}),
		},
		"empty message": {nil, peersync.CheckEvents([]peersync.Event{message(0)})},
		"bytes of events": {
			peersync.CheckEvents(slices.Repeat([]peersync.Event{message(peersync.MaxMessage)}, 4)),
			peersync.CheckEvents(append(slices.Repeat([]peersync.Event{message(peersync.MaxMessage)}, 4), message(1))),
		},
		"outcomes": {
			peersync.CheckEvents([]peersync.Event{outcomes(peersync.MaxIDs)}),
			peersync.CheckEvents([]peersync.Event{outcomes(peersync.MaxIDs + 1)}),
		},
		"ids of events": {
			peersync.CheckEvents(slices.Repeat([]peersync.Event{outcomes(peersync.MaxIDs)}, 16)),
			peersync.CheckEvents(append(slices.Repeat([]peersync.Event{outcomes(peersync.MaxIDs)}, 16), outcomes(1))),
		},
		"ids":         {peersync.CheckIDs(make([]storage.ID, peersync.MaxIDs)), peersync.CheckIDs(make([]storage.ID, peersync.MaxIDs+1))},
		"no ids":      {nil, peersync.CheckIDs(nil)},
		"keys":        {peersync.CheckKeys(peersync.MaxKeys), peersync.CheckKeys(peersync.MaxKeys + 1)},
		"no keys":     {peersync.CheckKeys(1), peersync.CheckKeys(0)},
		"parts":       {peersync.CheckParts(peersync.MaxParts), peersync.CheckParts(0)},
		"ranges":      {peersync.CheckRanges(make([]peersync.Range, peersync.MaxRanges)), peersync.CheckRanges(make([]peersync.Range, peersync.MaxRanges+1))},
		"name":        {peersync.CheckCursor("a/0._-z", nil), peersync.CheckCursor("aXz", nil)},
		"long name":   {peersync.CheckCursor(strings.Repeat("x", peersync.MaxCursorName), nil), peersync.CheckCursor(strings.Repeat("x", peersync.MaxCursorName+1), nil)},
		"no name":     {nil, peersync.CheckCursor("", nil)},
		"cursor":      {peersync.CheckCursor("a", make([]byte, peersync.MaxCursor)), peersync.CheckCursor("a", make([]byte, peersync.MaxCursor+1))},
		"text":        {peersync.CheckText("naïve"), peersync.CheckText("two\nlines")},
		"not a text":  {nil, peersync.CheckText("\xff")},
		"long text":   {peersync.CheckText(strings.Repeat("x", peersync.MaxText)), peersync.CheckText(strings.Repeat("x", peersync.MaxText+1))},
		"report":      {peersync.Report{Peers: []peersync.PeerReport{{Peer: 1}, {Peer: 2}}}.Check(), peersync.Report{Peers: []peersync.PeerReport{{Peer: 1}, {Peer: 1}}}.Check()},
		"report text": {nil, peersync.Report{Peers: []peersync.PeerReport{{Summary: "\x00"}}}.Check()},
		"long report": {nil, peersync.Report{Peers: make([]peersync.PeerReport, peersync.MaxPeers+1)}.Check()},
	} {
		if c.good != nil {
			t.Errorf("%s: within the limit: %v", name, c.good)
		}
		if !errors.Is(c.bad, peersync.ErrTooLarge) {
			t.Errorf("%s: beyond the limit: %v", name, c.bad)
		}
	}
}

// TestSum compares sums with those of package big.
func TestSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	modulus := new(big.Int).Lsh(big.NewInt(1), 256)
	var sum, half peersync.Sum
	want := new(big.Int)
	for i := range 1000 {
		id := storage.ID(slices.Repeat([]byte{0xff}, 32)) // carries all the way
		if i%3 > 0 {
			for j := range id {
				id[j] = byte(rng.Uint32())
			}
		}
		little := slices.Clone(id[:])
		slices.Reverse(little)
		want.Mod(want.Add(want, new(big.Int).SetBytes(little)), modulus)
		if i < 500 {
			half.Add(id)
		} else {
			sum.Add(id)
		}
	}
	sum.Join(half)
	got := slices.Clone(sum.IDs[:])
	slices.Reverse(got)
	if new(big.Int).SetBytes(got).Cmp(want) != 0 || sum.Count != 1000 {
		t.Errorf("sum %x of %d, want %x", got, sum.Count, want)
	}
}

func TestRange(t *testing.T) {
	k := func(born storage.Hour, id byte) peersync.Key { return peersync.Key{Born: born, ID: storage.ID{id}} }
	keys := []peersync.Key{{}, k(1, 0), k(1, 1), k(2, 0), k(2, 255)}
	if !slices.IsSortedFunc(keys, peersync.Key.Compare) {
		t.Error("keys are not ordered by hour and id")
	}
	for i, lo := range keys {
		for j, hi := range keys {
			for n, key := range keys {
				want := n >= i && (n < j || j == 0) // a zero Hi is no upper bound
				if (peersync.Range{Lo: lo, Hi: hi}).Has(key) != want {
					t.Errorf("key %d in the range from %d to %d: not %v", n, i, j, want)
				}
			}
		}
	}
}
