package peersync_test

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestLimits tries both sides of every limit.
func TestLimits(t *testing.T) {
	message := func(n int) peersync.Event { return peersync.PeerMessage{Data: make([]byte, n)} }
	outcomes := func(n int) peersync.Event { return peersync.Received{Outcomes: make([]peersync.Outcome, n)} }
	ranges := func(n int) []peersync.Range { return make([]peersync.Range, n) }
	cursors := func(n int) (out []peersync.Cursor) {
		for i := range n {
			out = append(out, peersync.Cursor{Name: strconv.Itoa(i)})
		}
		return out
	}
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
		"ids":             {peersync.CheckIDs(peersync.MaxIDs), peersync.CheckIDs(peersync.MaxIDs + 1)},
		"no ids":          {nil, peersync.CheckIDs(0)},
		"keys":            {peersync.CheckKeys(ranges(1), peersync.MaxKeys), peersync.CheckKeys(ranges(1), peersync.MaxKeys+1)},
		"no keys":         {peersync.CheckKeys(ranges(1), 1), peersync.CheckKeys(ranges(1), 0)},
		"keys of ranges":  {peersync.CheckKeys(ranges(peersync.MaxRanges), 1), peersync.CheckKeys(ranges(peersync.MaxRanges+1), 1)},
		"parts":           {peersync.CheckSplit(ranges(1), peersync.MaxParts), peersync.CheckSplit(ranges(1), peersync.MaxParts+1)},
		"parts of ranges": {peersync.CheckSplit(ranges(3), peersync.MaxParts/3), peersync.CheckSplit(ranges(3), peersync.MaxParts/3+1)},
		"no parts":        {nil, peersync.CheckSplit(ranges(1), 0)},
		"split nothing":   {nil, peersync.CheckSplit(nil, 1)},
		"ranges":          {peersync.CheckRanges(ranges(peersync.MaxRanges)), peersync.CheckRanges(ranges(peersync.MaxRanges + 1))},
		"no ranges":       {nil, peersync.CheckRanges(nil)},
		"wake":            {peersync.CheckWake(peersync.MaxWake), peersync.CheckWake(peersync.MaxWake + 1)},
		"wake before":     {peersync.CheckWake(0), peersync.CheckWake(-1)},
		"rest":            {peersync.CheckRest(peersync.MaxRest), peersync.CheckRest(peersync.MaxRest + 1)},
		"cursors":         {peersync.CheckCursors(cursors(peersync.MaxCursors)), peersync.CheckCursors(cursors(peersync.MaxCursors + 1))},
		"no cursors":      {nil, peersync.CheckCursors(nil)},
		"cursor twice":    {peersync.CheckCursors(cursors(2)), peersync.CheckCursors(append(cursors(1), cursors(1)...))},
		"name":            {peersync.CheckCursorName("a/0._-z"), peersync.CheckCursorName("aXz")},
		"long name":       {peersync.CheckCursorName(strings.Repeat("x", peersync.MaxCursorName)), peersync.CheckCursorName(strings.Repeat("x", peersync.MaxCursorName+1))},
		"no name":         {nil, peersync.CheckCursorName("")},
		"cursor":          {peersync.CheckCursors([]peersync.Cursor{{"a", make([]byte, peersync.MaxCursor)}}), peersync.CheckCursors([]peersync.Cursor{{"a", make([]byte, peersync.MaxCursor+1)}})},
		"text":            {peersync.CheckText("naïve"), peersync.CheckText("two\nlines")},
		"not a text":      {nil, peersync.CheckText("\xff")},
		"long text":       {peersync.CheckText(strings.Repeat("x", peersync.MaxText)), peersync.CheckText(strings.Repeat("x", peersync.MaxText+1))},
		"report":          {peersync.Report{Peers: []peersync.PeerReport{{Peer: 1}, {Peer: 2}}}.Check(), peersync.Report{Peers: []peersync.PeerReport{{Peer: 1}, {Peer: 1}}}.Check()},
		"report text":     {nil, peersync.Report{Peers: []peersync.PeerReport{{Summary: "\x00"}}}.Check()},
		"long report":     {nil, peersync.Report{Peers: make([]peersync.PeerReport, peersync.MaxPeers+1)}.Check()},
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
