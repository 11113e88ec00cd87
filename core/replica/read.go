package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Log implements [peersync.Replica].
func (r *Replica) Log(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	from, limit, err := req.Bounds()
	if err != nil {
		return peersync.LogPage{}, fmt.Errorf("log: %w", err)
	}
	var page peersync.LogPage
	state, err := r.scanLog(ctx, from, limit, func(e storage.Entry) bool {
		page.Entries = append(page.Entries, peersync.Entry{
			Seq: e.Seq, Key: keyOf(e), Size: uint32(len(e.Signature) + len(e.Ciphertext)),
		})
		return len(page.Entries) < limit
	})
	if err != nil {
		return peersync.LogPage{}, translateError("log", err)
	}
	page.Epoch, page.Last = state.Epoch, state.Last
	return page, nil
}

// Keys implements [peersync.Replica]. It reads the log once.
func (r *Replica) Keys(ctx context.Context, in peersync.Range, max int) ([]peersync.Key, error) {
	if err := peersync.CheckKeys(max); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	keys, _, err := r.lowestKeys(ctx, in, max)
	if err != nil {
		return nil, translateError("keys", err)
	}
	return keys, nil
}

// RangeSum implements [peersync.Replica]. It reads the log once for any number of ranges.
func (r *Replica) RangeSum(ctx context.Context, ranges []peersync.Range) ([]peersync.Sum, error) {
	if err := peersync.CheckRanges(ranges); err != nil {
		return nil, fmt.Errorf("range sum: %w", err)
	}
	sums := make([]peersync.Sum, len(ranges))
	if _, err := r.scanLog(ctx, 1, storage.MaxPage, func(e storage.Entry) bool {
		for i := range ranges {
			if ranges[i].Has(keyOf(e)) {
				sums[i].Add(e.ID)
			}
		}
		return true
	}); err != nil {
		return nil, translateError("range sum", err)
	}
	return sums, nil
}

// Split implements [peersync.Replica]. It holds maxHeldKeys keys at a time, and reads the
// whole log for each such part of the range.
func (r *Replica) Split(ctx context.Context, in peersync.Range, parts int) ([]peersync.Part, error) {
	if err := peersync.CheckParts(parts); err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	keys, count, err := r.lowestKeys(ctx, in, r.maxHeld)
	s := partBuilder{left: count, parts: parts}
	for err == nil && len(keys) > 0 && s.left > 0 {
		for _, k := range keys[:min(len(keys), s.left)] {
			s.addKey(k)
		}
		if s.left > 0 {
			in.Lo = keys[len(keys)-1].Next()
			keys, _, err = r.lowestKeys(ctx, in, r.maxHeld)
		}
	}
	if err != nil {
		return nil, translateError("split", err)
	}
	return s.out, nil
}

// partBuilder cuts ascending keys into parts of about equal length.
type partBuilder struct {
	left  int // keys to come
	parts int // parts to begin
	room  int // keys that the latest part still takes
	out   []peersync.Part
}

func (s *partBuilder) addKey(k peersync.Key) {
	if s.room == 0 {
		s.room = (s.left + s.parts - 1) / s.parts
		s.parts--
		s.out = append(s.out, peersync.Part{First: k})
	}
	part := &s.out[len(s.out)-1]
	part.Last = k
	part.Sum.Add(k.ID)
	s.room--
	s.left--
}

// lowestKeys returns the first keys of a range, ascending and at most max, and how many
// the range has in all.
func (r *Replica) lowestKeys(ctx context.Context, in peersync.Range, max int) (keys []peersync.Key, count int, err error) {
	shorten := func() {
		slices.SortFunc(keys, peersync.Key.Compare)
		keys = keys[:min(len(keys), max)]
	}
	_, err = r.scanLog(ctx, 1, storage.MaxPage, func(e storage.Entry) bool {
		if k := keyOf(e); in.Has(k) {
			count++
			if keys = append(keys, k); len(keys) == 2*max {
				shorten()
			}
		}
		return true
	})
	shorten()
	return keys, count, err
}

func keyOf(e storage.Entry) peersync.Key { return peersync.Key{Born: e.Born, ID: e.ID} }

// scanLog calls do with the entries of the log from a sequence number on, until do returns
// false or the log ends. It leaves out entries that come meanwhile, and fails if the store
// has been replaced by the end. A page has at most atOnce entries.
func (r *Replica) scanLog(ctx context.Context, from storage.Seq, atOnce int, do func(storage.Entry) bool) (peersync.State, error) {
	state, err := r.readState(ctx)
	if err != nil {
		return state, err
	}
	for more := true; more && from <= state.Last; {
		begin := time.Now()
		page, err := r.readPage(ctx, storage.LogRequest{From: from, Max: int(min(state.Last-from+1, storage.Seq(atOnce)))})
		if err != nil {
			return state, err
		}
		if len(page.Entries) == 0 {
			break // the rest has been pruned
		}
		for _, e := range page.Entries {
			if more = e.Seq <= state.Last && do(e); !more {
				break
			}
		}
		from = page.Entries[len(page.Entries)-1].Seq + 1
		if more && from <= state.Last && !sleepContext(ctx, time.Since(begin)) {
			return state, ctx.Err()
		}
	}
	now, err := r.readState(ctx)
	if err == nil && now.Epoch != state.Epoch {
		err = errors.New("the store was replaced by another one meanwhile")
	}
	return state, err
}

func (r *Replica) readPage(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	return r.store.Log(ctx, req)
}
