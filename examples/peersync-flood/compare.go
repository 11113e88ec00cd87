package main

import (
	"context"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Two boards are compared by halving, here into eighths. A replicator sends the sum of its board. Its
// twin answers for each range whose sum differs: with a list of its keys if they are few, and else with the sums
// of the parts of the range. Whoever gets a list offers what is not in it, and requests what
// only the list has. No answer means that all is equal.
//
// Nothing has to be remembered meanwhile: a message has all that its answer depends on. If too much
// differs for one answer, the rest is left out, and the next comparison begins there. Otherwise
// differences that stay, because a peer takes or gives nothing, would hide those behind them.
const (
	maxParts  = 8
	maxList   = 32  // keys of a list
	maxDiffer = 128 // ranges that are answered, so there are at most MaxRanges parts and MaxKeys keys
)

// compared is the range in which boards are compared: above both floors.
func (f *flood) compared(p *peer) peersync.Range {
	return peersync.Range{Lo: peersync.Key{Born: max(f.state.Floor, p.floor)}}
}

// clip cuts a range of a peer to what is compared, and reports whether something is left.
func (f *flood) clip(p *peer, in *peersync.Range) bool {
	if lo := f.compared(p).Lo; in.Lo.Compare(lo) < 0 {
		in.Lo = lo
	}
	return in.Hi == (peersync.Key{}) || in.Lo.Compare(in.Hi) < 0
}

func (f *flood) startComparison(ctx context.Context, p *peer) {
	p.compareAt = f.now + comparePeriod
	in := f.compared(p)
	if in.Lo.Compare(p.compareFrom) < 0 {
		in.Lo, p.compareFrom = p.compareFrom, peersync.Key{}
		f.compareAgain(p) // from the beginning, if nothing is left out this time
	}
	sums, err := f.host.RangeSum(ctx, p.number, []peersync.Range{in})
	if err == nil {
		err = f.host.Send(ctx, p.number, encodeSums([]rangeSum{{in, sums[0]}}))
	}
	f.noteError(p, err)
}

// answerMessage ignores messages that make no sense, and closes the link to a peer that sends too many of
// any kind.
func (f *flood) answerMessage(ctx context.Context, m peersync.PeerMessage) {
	p := f.findPeer(m.Peer)
	if p == nil {
		return
	}
	if f.now >= p.minute+time.Minute {
		p.minute, p.messages = f.now, 0
	}
	if p.messages++; p.messages > maxMessages {
		if p.messages == maxMessages+1 {
			f.host.Drop(ctx, p.number, "its twin sends too many messages")
		}
		return
	}
	if sums, ok := decodeSums(m.Data); ok {
		sums = slices.DeleteFunc(sums, func(s rangeSum) bool { return !f.clip(p, &s.in) })
		f.answerSums(ctx, p, sums)
	}
	if lists, ok := decodeLists(m.Data); ok {
		f.answerLists(ctx, p, lists)
	}
}

// answerSums compares sums of a peer with those of the same ranges here.
func (f *flood) answerSums(ctx context.Context, p *peer, theirs []rangeSum) {
	if len(theirs) == 0 {
		return
	}
	var ranges []peersync.Range
	for _, s := range theirs {
		ranges = append(ranges, s.in)
	}
	mine, err := f.host.RangeSum(ctx, p.number, ranges)
	if err != nil {
		f.noteError(p, err)
		return
	}
	var answer []rangeSum
	var list, split []peersync.Range
	for i, s := range theirs {
		if len(answer)+len(list)+len(split) == maxDiffer {
			p.compareFrom = s.in.Lo
			f.compareAgain(p)
			break
		}
		switch {
		case mine[i] == s.sum:
		case mine[i].Count <= maxList:
			list = append(list, s.in)
		case s.sum.Count <= maxList: // the twin will answer with a list
			answer = append(answer, rangeSum{s.in, mine[i]})
		default:
			split = append(split, s.in)
		}
	}
	f.noteError(p, f.sendParts(ctx, p, answer, split))
	f.noteError(p, f.sendLists(ctx, p, list))
}

// sendParts sends sums, and those of the parts of ranges.
func (f *flood) sendParts(ctx context.Context, p *peer, sums []rangeSum, split []peersync.Range) error {
	if len(split) > 0 {
		parts, err := f.host.Split(ctx, p.number, split, maxParts)
		if err != nil {
			return err
		}
		for i, in := range split {
			sums = append(sums, coverRange(in, parts[i])...)
		}
	}
	if len(sums) == 0 {
		return nil
	}
	return f.host.Send(ctx, p.number, encodeSums(sums))
}

// coverRange returns adjacent ranges that cover a range, each with the keys of one part. The
// peer may have keys before the first part, between two of them, and after the last one.
func coverRange(in peersync.Range, parts []peersync.Part) (sums []rangeSum) {
	for i, part := range parts {
		r := peersync.Range{Lo: part.First, Hi: in.Hi}
		if i == 0 {
			r.Lo = in.Lo
		}
		if i+1 < len(parts) {
			r.Hi = parts[i+1].First
		}
		sums = append(sums, rangeSum{r, part.Sum})
	}
	return sums
}

// sendLists sends the keys of ranges.
func (f *flood) sendLists(ctx context.Context, p *peer, ranges []peersync.Range) error {
	if len(ranges) == 0 {
		return nil
	}
	keys, err := f.host.Keys(ctx, ranges, peersync.MaxKeys)
	if err != nil {
		return err
	}
	var lists []rangeList
	for i := range keys {
		lists = append(lists, rangeList{ranges[i], keys[i]})
	}
	return f.host.Send(ctx, p.number, encodeLists(lists))
}

// answerLists offers what is here and not in the lists of a peer, and requests what is only there.
func (f *flood) answerLists(ctx context.Context, p *peer, lists []rangeList) {
	var ranges []peersync.Range
	for _, l := range lists {
		ranges = append(ranges, l.in)
	}
	mine, err := f.host.Keys(ctx, ranges, peersync.MaxKeys)
	if err != nil {
		f.noteError(p, err)
		return
	}
	var offer []storage.ID
	var request []peersync.Key
	count := 0
	for i, keys := range mine {
		count += len(keys)
		if count == peersync.MaxKeys { // the last list may go on
			f.offerLater(p, peersync.Range{Lo: keys[len(keys)-1].Next(), Hi: lists[i].in.Hi})
			lists[i].keys = slices.DeleteFunc(lists[i].keys, func(k peersync.Key) bool { return k.Compare(keys[len(keys)-1]) > 0 })
		}
		here, there := subtractKeys(keys, lists[i].keys), subtractKeys(lists[i].keys, keys)
		for _, k := range here {
			offer = append(offer, k.ID)
		}
		request = append(request, there...)
	}
	if len(mine) < len(lists) {
		f.compareAgain(p)
	}
	f.offer(ctx, p, offer)
	f.request(ctx, p, request)
}

// subtractKeys returns the keys of a that are not in b. Both are ascending.
func subtractKeys(a, b []peersync.Key) (rest []peersync.Key) {
	for _, k := range a {
		if _, found := slices.BinarySearchFunc(b, k, peersync.Key.Compare); !found {
			rest = append(rest, k)
		}
	}
	return rest
}

// request requests envelopes, apart from those that are requested already, even from another peer:
// if that one does not send them, a comparison finds them missing.
func (f *flood) request(ctx context.Context, p *peer, keys []peersync.Key) {
	if !p.gives {
		return
	}
	count := len(keys)
	keys = slices.DeleteFunc(keys, func(k peersync.Key) bool { return f.asked[k.ID] })
	if len(keys) < count {
		f.compareAgain(p)
	}
	for some := range slices.Chunk(keys, peersync.MaxIDs) {
		if err := f.host.Request(ctx, p.number, some); err != nil {
			f.noteError(p, err)
			return
		}
		for _, k := range some {
			f.asked[k.ID] = true
		}
	}
}

// offerLater has a range offered piece by piece, in which the peer has nearly nothing.
func (f *flood) offerLater(p *peer, in peersync.Range) {
	f.compareAgain(p) // after that
	if p.rest == nil && p.takes && f.clip(p, &in) {
		p.rest = &in
	}
}

// offerRest goes on with what offerLater has begun, until too much is under way.
func (f *flood) offerRest(ctx context.Context, p *peer) {
	for p.rest != nil && !p.busy && f.now >= p.fullUntil {
		keys, err := f.host.Keys(ctx, []peersync.Range{*p.rest}, peersync.MaxIDs)
		if err != nil {
			return // the next Tick tries again
		}
		if len(keys[0]) == 0 {
			p.rest = nil
			return
		}
		var ids []storage.ID
		for _, k := range keys[0] {
			ids = append(ids, k.ID)
		}
		if err := f.host.Offer(ctx, p.number, ids); err != nil {
			f.noteError(p, err)
			return
		}
		p.rest.Lo = keys[0][len(keys[0])-1].Next()
	}
}
