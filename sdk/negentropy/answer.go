package negentropy

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// buckets is how many parts a range is divided into, and minSplit how many keys it must
	// have. All implementations have these numbers, which the protocol does not prescribe.
	buckets  = 16
	minSplit = 2 * buckets

	// maxListed is the greatest number of keys to read for one message.
	maxListed = MaxMessage / len(storage.ID{})
)

// reply is what answers a range.
type reply uint8

const (
	replySkip    reply = iota // it is done
	replySplit                // fingerprints of its parts
	replyIDs                  // the ids here
	replyCompare              // it is done when its ids have been compared with those here
)

// answer is the answer to one message, while it is made.
type answer struct {
	in         storage.Range
	initiator  bool
	out        writer
	listed     int // keys that were read
	have, need []storage.Key

	// Reused from call to call.
	asked  []*span
	ranges []storage.Range
}

func newAnswer(in storage.Range, initiator bool) *answer {
	return &answer{in: in, initiator: initiator, out: newWriter(in)}
}

// readMessage answers a message, as many ranges at a time as one call of the Storage may have.
func (a *answer) readMessage(ctx context.Context, s Storage, message []byte) error {
	ranges, ids, err := checkMessage(a.in, message)
	if err != nil {
		return err
	}
	if a.initiator {
		a.need = make([]storage.Key, 0, ids)
	}
	a.ranges = make([]storage.Range, 0, min(ranges, peersync.MaxRanges))
	for d := newDecoder(a.in, message, ranges); d.more(); {
		spans, err := d.nextSpans()
		if err != nil {
			return err
		}
		if err := a.compareSpans(ctx, s, spans); err != nil {
			return err
		}
		if err := a.writeReplies(ctx, s, spans); err != nil {
			return err
		}
	}
	return nil
}

// compareSpans sets the reply of each span, with one call for the sums of those that have
// fingerprints.
func (a *answer) compareSpans(ctx context.Context, s Storage, spans []span) error {
	ranges := a.ranges[:0]
	for i := range spans {
		switch sp := &spans[i]; {
		case sp.mode == modeFingerprint:
			ranges = append(ranges, sp.Range)
		case sp.mode == modeIDs && a.initiator:
			sp.reply = replyCompare
		case sp.mode == modeIDs:
			sp.reply = replyIDs
		}
	}
	if a.ranges = ranges; len(ranges) == 0 {
		return nil
	}
	sums, err := s.Sums(ctx, ranges)
	if err != nil {
		return err
	}
	if len(sums) != len(ranges) {
		return fmt.Errorf("storage returned %d sums for %d ranges", len(sums), len(ranges))
	}
	for i := range spans {
		sp := &spans[i]
		if sp.mode != modeFingerprint {
			continue
		}
		switch {
		case newFingerprint(sums[0]) == fingerprint(sp.payload):
			sp.reply = replySkip
		case sums[0].Count < minSplit:
			sp.reply = replyIDs
		default:
			sp.reply = replySplit
		}
		sums = sums[1:]
	}
	return nil
}

// writeReplies reads what the replies of the spans need, and carries them out.
func (a *answer) writeReplies(ctx context.Context, s Storage, spans []span) error {
	if err := a.splitSpans(ctx, s, spans); err != nil {
		return err
	}
	if err := a.listSpans(ctx, s, spans); err != nil {
		return err
	}
	for i := range spans {
		switch sp := &spans[i]; sp.reply {
		case replySkip:
			a.out.skip(sp.Hi)
		case replySplit:
			for i := range sp.parts {
				a.out.writeFingerprint(boundPart(sp.Range, sp.parts, i).Hi, newFingerprint(sp.parts[i].Sum))
			}
		case replyIDs:
			a.out.writeIDs(sp.Hi, len(sp.keys))
			for _, k := range sp.keys {
				a.out.bytes = append(a.out.bytes, k.ID[:]...)
			}
		case replyCompare:
			a.compareIDs(sp)
			a.out.skip(sp.Hi)
		}
		if len(a.out.bytes) > MaxMessage {
			return ErrTooLarge
		}
	}
	return nil
}

// splitSpans reads the parts of the spans that are to be split.
func (a *answer) splitSpans(ctx context.Context, s Storage, spans []span) error {
	asked, ranges := a.selectSpans(spans, replySplit, replySplit)
	for len(asked) > 0 {
		n := min(len(asked), peersync.MaxParts/buckets)
		splits, err := s.Split(ctx, ranges[:n], buckets)
		if err != nil {
			return err
		}
		if len(splits) != n {
			return fmt.Errorf("storage has split %d ranges into %d lists", n, len(splits))
		}
		for i, sp := range asked[:n] {
			if sp.parts = splits[i]; len(sp.parts) == 0 {
				sp.reply = replyIDs // it has become empty since its sum was read
			}
		}
		asked, ranges = asked[n:], ranges[n:]
	}
	return nil
}

// listSpans reads the keys of the spans whose ids are asked for. Most need one call.
func (a *answer) listSpans(ctx context.Context, s Storage, spans []span) error {
	asked, ranges := a.selectSpans(spans, replyIDs, replyCompare)
	for len(asked) > 0 {
		lists, err := s.Keys(ctx, ranges, peersync.MaxKeys)
		if err != nil {
			return err
		}
		total := 0
		for _, keys := range lists {
			total += len(keys)
		}
		full := total >= peersync.MaxKeys
		if len(lists) > len(asked) || len(lists) == 0 || !full && len(lists) < len(asked) {
			return fmt.Errorf("storage returned %d lists of keys for %d ranges", len(lists), len(asked))
		}
		if a.listed += total; a.listed > maxListed {
			return ErrTooLarge
		}
		for i, keys := range lists {
			if asked[i].keys == nil {
				asked[i].keys = keys
			} else {
				asked[i].keys = append(asked[i].keys, keys...)
			}
		}
		if !full {
			return nil
		}
		// The last list may lack keys, unless it is that of a range that ends with its last key.
		done := len(lists) - 1
		if last := lists[done]; len(last) > 0 {
			ranges[done].Lo = last[len(last)-1].Next()
			if ranges[done].Lo == ranges[done].Hi {
				done++
			}
		}
		asked, ranges = asked[done:], ranges[done:]
	}
	return nil
}

// compareIDs finds what only one end has of a range whose ids are all in the message. What only
// this end has is listed in the order of keys, the rest in that of ids.
func (a *answer) compareIDs(sp *span) {
	latest := latestHour(sp.Hi)
	first := len(a.need)
	for id := range slices.Chunk(sp.payload, len(storage.ID{})) {
		a.need = append(a.need, storage.Key{Born: latest, ID: storage.ID(id)})
	}
	theirs := a.need[first:]
	slices.SortFunc(theirs, storage.Key.Compare)
	theirs = slices.Compact(theirs)
	shared := make([]bool, len(theirs))
	for _, k := range sp.keys {
		i, found := slices.BinarySearchFunc(theirs, storage.Key{Born: latest, ID: k.ID}, storage.Key.Compare)
		if found {
			shared[i] = true
		} else {
			a.have = append(a.have, k)
		}
	}
	a.need = a.need[:first]
	for i, k := range theirs {
		if !shared[i] {
			a.need = append(a.need, k)
		}
	}
}

// latestHour returns the hour of the last key before hi.
func latestHour(hi storage.Key) storage.Hour {
	switch {
	case hi == storage.Key{}:
		return math.MaxUint32
	case hi.ID == storage.ID{}:
		return hi.Born - 1
	}
	return hi.Born
}

// selectSpans returns the spans with one of two replies, and their ranges. Both are valid until
// the next call.
func (a *answer) selectSpans(spans []span, one, other reply) ([]*span, []storage.Range) {
	a.asked, a.ranges = a.asked[:0], a.ranges[:0]
	for i := range spans {
		if sp := &spans[i]; sp.reply == one || sp.reply == other {
			a.asked, a.ranges = append(a.asked, sp), append(a.ranges, sp.Range)
		}
	}
	return a.asked, a.ranges
}
