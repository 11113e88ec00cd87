package main

import (
	"context"
	"maps"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// lowerBorn keeps the lower hour when two relays have accepted one envelope in different
// hours, so that they agree on its key in the end.
func (s *store) lowerBorn(seq storage.Seq, other storage.Hour) {
	e := &s.log[seq-1]
	born := storage.LowerBorn(s.stored[seq-1], e.Born, other)
	if born == e.Born {
		return
	}
	s.removeFromHour(e.Born, slices.Index(s.hours[e.Born].seqs, seq))
	e.Born = born
	s.addToHour(*e)
}

// Keys implements [storage.Index]. It sorts an hour when it is asked for after a change.
func (s *store) Keys(ctx context.Context, req storage.KeysRequest) (page []storage.Key, err error) {
	limit, err := req.Bound()
	if err := s.checkAndLock(ctx, err); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, at := range slices.Sorted(maps.Keys(s.hours)) {
		if at < max(req.Range.Lo.Born, s.floor) {
			continue
		}
		seqs := s.sortedHour(at)
		from, _ := slices.BinarySearchFunc(seqs, req.Range.Lo, func(seq storage.Seq, k storage.Key) int { return s.keyOf(seq).Compare(k) })
		for _, seq := range seqs[from:] {
			if len(page) == limit || !req.Range.Has(s.keyOf(seq)) {
				return page, nil
			}
			page = append(page, s.keyOf(seq))
		}
	}
	return page, nil
}

func (s *store) keyOf(seq storage.Seq) storage.Key {
	return storage.Key{Born: s.log[seq-1].Born, ID: s.log[seq-1].ID}
}

func (s *store) sortedHour(at storage.Hour) []storage.Seq {
	h := s.hours[at]
	if !h.sorted {
		slices.SortFunc(h.seqs, func(a, b storage.Seq) int { return s.keyOf(a).Compare(s.keyOf(b)) })
		h.sorted = true
	}
	return h.seqs
}

// Get implements [storage.Index].
func (s *store) Get(ctx context.Context, ids []storage.ID) (entries []storage.Entry, err error) {
	if err := s.checkAndLock(ctx, storage.CheckGet(ids)); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	size := 0
	for _, id := range ids {
		seq := s.seqs[id]
		if !s.inLog(seq) {
			continue
		}
		if size += sizeOf(s.log[seq-1]); size > storage.PageBytes && len(entries) > 0 { // one entry always fits
			break
		}
		entries = append(entries, s.cloneEntry(seq))
	}
	return entries, nil
}
