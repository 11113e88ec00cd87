package main

import (
	"context"
	"maps"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// hour has the entries that were born in one hour.
type hour struct {
	seqs   []storage.Seq
	sorted bool // by the ids of the entries
	bytes  uint64
}

func (s *store) addToHour(e storage.Entry) {
	h := s.hours[e.Born]
	if h == nil {
		h = &hour{}
		s.hours[e.Born] = h
	}
	h.seqs, h.sorted = append(h.seqs, e.Seq), false
	h.bytes += uint64(sizeOf(e))
}

// removeFromHour takes out the entry at seqs[i] of an hour.
func (s *store) removeFromHour(at storage.Hour, i int) {
	h := s.hours[at]
	h.bytes -= uint64(sizeOf(s.log[h.seqs[i]-1]))
	if h.seqs = slices.Delete(h.seqs, i, i+1); len(h.seqs) == 0 {
		delete(s.hours, at)
	}
}

// Hours implements [storage.Pruner]. The relay decides from it what to prune.
func (s *store) Hours(ctx context.Context, req storage.HoursRequest) (page []storage.HourSize, err error) {
	limit, err := req.Bound()
	if err := s.checkAndLock(ctx, err); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, at := range slices.Sorted(maps.Keys(s.hours)) {
		if h := s.hours[at]; at >= max(req.From, s.floor) && len(page) < limit {
			page = append(page, storage.HourSize{Hour: at, Count: uint64(len(h.seqs)), Bytes: h.bytes})
		}
	}
	return page, nil
}

// Prune implements [storage.Pruner]. A raised floor hides everything below it at once. What
// is removed stays removed, but a token that paid for it stays spent.
func (s *store) Prune(ctx context.Context, req storage.PruneRequest) (p storage.Pruned, err error) {
	limit, err := req.Bound()
	if err := s.checkAndLock(ctx, err); err != nil {
		return p, err
	}
	defer s.mu.Unlock()
	s.floor = max(s.floor, req.Floor)
	p.Floor = s.floor
	for at, h := range s.hours {
		for at < s.floor && len(h.seqs) > 0 {
			if p.Envelopes == uint64(limit) {
				p.More = true
				return p, nil
			}
			last := len(h.seqs) - 1
			e := s.log[h.seqs[last]-1]
			s.removeFromHour(at, last)
			s.removeEntry(e)
			p.Envelopes++
			p.Bytes += uint64(sizeOf(e))
		}
	}
	return p, nil
}

// removeEntry forgets an entry, whose sequence number is not used again. Its envelope may be
// in the log a second time, under a higher one.
func (s *store) removeEntry(e storage.Entry) {
	s.log[e.Seq-1] = storage.Entry{}
	s.bytes -= sizeOf(e)
	if s.seqs[e.ID] == e.Seq {
		delete(s.seqs, e.ID)
	}
	if s.first[string(e.Signature)] == e.Seq {
		delete(s.first, string(e.Signature))
	}
}
