package replica

import (
	"context"
	"errors"
	"fmt"
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
	page, ok := r.readNewest(from, limit)
	if ok {
		return page, nil
	}
	state, err := r.scanLog(ctx, from, limit, func(e storage.Entry) bool {
		known := r.recent.noteEntry(e)
		page.Entries = append(page.Entries, peersync.Entry{Seq: e.Seq, Key: keyOf(e), Size: known.size, Via: known.via})
		r.bodies.keep(recordOf(e))
		return len(page.Entries) < limit
	})
	if err != nil {
		return peersync.LogPage{}, translateError("log", err)
	}
	page.Epoch, page.Last = state.Epoch, state.Last
	return page, nil
}

// readNewest returns a page of the log without asking the store. It reports whether all of the page is
// in memory and not in doubt: above the floor, with the Born that the log has.
func (r *Replica) readNewest(from storage.Seq, limit int) (page peersync.LogPage, ok bool) {
	b, err := r.board()
	if err != nil || b.Err() != nil {
		return page, false
	}
	end := b.End().Seq
	entries, ok := r.newest.entriesFrom(b, from, end, limit)
	if !ok {
		return page, false
	}
	floor := storage.Hour(r.floor.Load())
	for i := range entries {
		e := &entries[i]
		known := r.recent.find(e.ID)
		if !known.held || known.lowered || known.born < floor {
			return page, false
		}
		e.Born, e.Via = known.born, known.via
	}
	return peersync.LogPage{Epoch: b.Epoch(), Entries: entries, Last: end}, true
}

// Keys implements [peersync.Replica].
func (r *Replica) Keys(ctx context.Context, ranges []peersync.Range, max int) ([][]peersync.Key, error) {
	if err := peersync.CheckKeys(ranges, max); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	index, err := r.findIndex(ctx)
	if err != nil {
		return nil, translateError("keys", err)
	}
	lists := make([][]peersync.Key, 0, len(ranges))
	for _, in := range ranges {
		if max == 0 {
			break
		}
		keys := index.Keys(in, max)
		lists, max = append(lists, keys), max-len(keys)
		for _, k := range keys {
			r.recent.note(k.ID, func(f *facts) { f.born, f.held = k.Born, true })
		}
	}
	return lists, nil
}

// RangeSum implements [peersync.Replica]. Each sum is of a moment of its own, so that
// nobody who posts waits for all of them.
func (r *Replica) RangeSum(ctx context.Context, peer peersync.Peer, ranges []peersync.Range) ([]peersync.Sum, error) {
	if err := peersync.CheckRanges(ranges); err != nil {
		return nil, fmt.Errorf("range sum: %w", err)
	}
	index, err := r.findSums(ctx, peer)
	if err != nil {
		return nil, fmt.Errorf("range sum: %w", err)
	}
	defer restAfter(ctx, time.Now())
	sums := make([]peersync.Sum, len(ranges))
	for i, in := range ranges {
		sums[i] = index.Sum(in)
	}
	return sums, nil
}

// Split implements [peersync.Replica].
func (r *Replica) Split(ctx context.Context, peer peersync.Peer, ranges []peersync.Range, parts int) ([][]peersync.Part, error) {
	if err := peersync.CheckSplit(ranges, parts); err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	index, err := r.findSums(ctx, peer)
	if err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	defer restAfter(ctx, time.Now())
	lists := make([][]peersync.Part, len(ranges))
	for i, in := range ranges {
		lists[i] = index.Split(in, parts)
	}
	return lists, nil
}

// sums computes sums of keys: a [keyindex.Index], or a [keyindex.Keyed] of one.
type sums interface {
	Sum(in storage.Range) peersync.Sum
	Split(in storage.Range, parts int) []peersync.Part
}

// findSums returns what computes the sums for a peer, or those of plain ids for peer 0.
func (r *Replica) findSums(ctx context.Context, peer peersync.Peer) (sums, error) {
	var l *link
	if peer != 0 {
		r.linksMu.Lock()
		l = r.links[peer]
		r.linksMu.Unlock()
		if l == nil {
			return nil, peersync.ErrPeerUnknown
		}
	}
	index, err := r.findIndex(ctx)
	if err != nil {
		return nil, translateError("look at the keys", err)
	}
	if l == nil {
		return index, nil
	}
	return l.sums(index), nil
}

// restAfter waits for as long as a call has computed, unless that was too short to matter.
func restAfter(ctx context.Context, begin time.Time) {
	if took := time.Since(begin); took > time.Millisecond {
		sleepContext(ctx, took)
	}
}

func keyOf(e storage.Entry) peersync.Key { return peersync.Key{Born: e.Born, ID: e.ID} }

func recordOf(e storage.Entry) storage.Record {
	return storage.Record{ID: e.ID, Born: e.Born, Signature: e.Signature, Ciphertext: e.Ciphertext}
}

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
