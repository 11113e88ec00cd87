package negentropy_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// keySet is a Storage of sorted keys with the sum of all keys before each. It fails beyond the
// limits of peersync.
type keySet struct {
	keys                           []storage.Key
	sums                           []peersync.Sum
	last                           int // where findRange has ended
	sumCalls, splitCalls, keyCalls int
}

// newKeySet returns the set of the keys. With a secret its sums are keyed, as those for a peer.
func newKeySet(keys []storage.Key, secret []byte) *keySet {
	s := &keySet{keys: slices.Clone(keys), sums: make([]peersync.Sum, 1, len(keys)+1)}
	slices.SortFunc(s.keys, storage.Key.Compare)
	s.keys = slices.Compact(s.keys)
	for i, k := range s.keys {
		id := k.ID
		if secret != nil {
			id = sha256.Sum256(append(slices.Clone(secret), k.ID[:]...))
		}
		sum := s.sums[i]
		sum.Add(id)
		s.sums = append(s.sums, sum)
	}
	return s
}

// findRange returns the indices of the first key of a range and of the first one after it. It
// begins at the end of the range before, because ranges of a message follow each other.
func (s *keySet) findRange(r storage.Range) (from, to int) {
	if s.last > 0 && s.keys[s.last-1].Compare(r.Lo) >= 0 {
		s.last = 0
	}
	from = s.findKey(r.Lo, s.last)
	to = len(s.keys)
	if (r.Hi != storage.Key{}) {
		to = s.findKey(r.Hi, from)
	}
	s.last = to
	return from, max(from, to)
}

// findKey returns the index of the first key that is not before k, at least from.
func (s *keySet) findKey(k storage.Key, from int) int {
	step := 1
	for from+step < len(s.keys) && s.keys[from+step].Compare(k) < 0 {
		from, step = from+step, 2*step
	}
	i, _ := slices.BinarySearchFunc(s.keys[from:min(from+step, len(s.keys))], k, storage.Key.Compare)
	return from + i
}

// subtractSums returns the sum of the keys with the indices from, to to-1.
func (s *keySet) subtractSums(from, to int) peersync.Sum {
	difference := peersync.Sum{Count: uint64(to - from)}
	var borrow uint64
	for i := 0; i < len(difference.IDs); i += 8 {
		var limb uint64
		limb, borrow = bits.Sub64(binary.LittleEndian.Uint64(s.sums[to].IDs[i:]), binary.LittleEndian.Uint64(s.sums[from].IDs[i:]), borrow)
		binary.LittleEndian.PutUint64(difference.IDs[i:], limb)
	}
	return difference
}

func (s *keySet) Sums(_ context.Context, ranges []storage.Range) ([]peersync.Sum, error) {
	s.sumCalls++
	sums := make([]peersync.Sum, 0, len(ranges))
	for _, r := range ranges {
		sums = append(sums, s.subtractSums(s.findRange(r)))
	}
	return sums, peersync.CheckRanges(ranges)
}

func (s *keySet) Split(_ context.Context, ranges []storage.Range, parts int) ([][]peersync.Part, error) {
	s.splitCalls++
	splits := make([][]peersync.Part, len(ranges))
	for i, r := range ranges {
		from, to := s.findRange(r)
		size, extra := (to-from)/parts, (to-from)%parts
		for part := 0; part < parts && from < to; part++ {
			end := from + size
			if part < extra {
				end++
			}
			splits[i] = append(splits[i], peersync.Part{First: s.keys[from], Last: s.keys[end-1], Sum: s.subtractSums(from, end)})
			from = end
		}
	}
	return splits, peersync.CheckSplit(ranges, parts)
}

func (s *keySet) Keys(_ context.Context, ranges []storage.Range, max int) ([][]storage.Key, error) {
	s.keyCalls++
	if err := peersync.CheckKeys(ranges, max); err != nil {
		return nil, err
	}
	var lists [][]storage.Key
	for _, r := range ranges {
		from, to := s.findRange(r)
		list := s.keys[from:min(to, from+max):min(to, from+max)]
		if lists, max = append(lists, list), max-len(list); max == 0 {
			break
		}
	}
	return lists, nil
}

// drawKeys returns n keys spread over the given hours.
func drawKeys(r *rand.Rand, n int, first, hours storage.Hour) []storage.Key {
	keys := make([]storage.Key, n)
	for i := range keys {
		keys[i].Born = first + storage.Hour(r.Uint32N(uint32(hours)))
		for j := 0; j < len(keys[i].ID); j += 8 {
			binary.LittleEndian.PutUint64(keys[i].ID[j:], r.Uint64())
		}
	}
	return keys
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// result is what a session has led to.
type result struct {
	rounds, bytes, largest int
	have, need             []storage.Key
	transcript             [][]byte // alternating, from the initiator first
}

func (r *result) count(message []byte) {
	r.bytes += len(message)
	r.largest = max(r.largest, len(message))
	r.transcript = append(r.transcript, message)
}

// reconcile runs a session with its first message, or the usual one if it is nil.
func reconcile(initiator, responder negentropy.Storage, in storage.Range, message []byte) (result, error) {
	var r result
	ctx := context.Background()
	if message == nil {
		var err error
		if message, err = negentropy.Initiate(ctx, initiator, in); err != nil {
			return r, err
		}
	}
	for message != nil {
		if r.rounds++; r.rounds > negentropy.MaxRounds {
			return r, errors.New("too many rounds")
		}
		r.count(message)
		answer, err := negentropy.Respond(ctx, responder, in, message)
		if err != nil {
			return r, fmt.Errorf("respond: %w", err)
		}
		r.count(answer)
		next, have, need, err := negentropy.Reconcile(ctx, initiator, in, answer)
		if err != nil {
			return r, fmt.Errorf("reconcile: %w", err)
		}
		r.have, r.need = append(r.have, have...), append(r.need, need...)
		message = next
	}
	return r, nil
}

// reconcileWindows compares windows and runs a session for each that differs, as a replicator
// does. Rounds are those of the longest session, and the comparison is part of the first.
func reconcileWindows(initiator, responder negentropy.Storage, in storage.Range, count int) (total result, windows, differing int, err error) {
	ctx := context.Background()
	message, ranges, err := negentropy.Compare(ctx, initiator, in, count)
	if err != nil {
		return total, 0, 0, err
	}
	total.rounds = 1
	total.count(message)
	different, err := negentropy.Differing(ctx, responder, in, message)
	if err != nil {
		return total, 0, 0, err
	}
	for _, window := range different {
		first, err := negentropy.Initiate(ctx, responder, window)
		if err != nil {
			return total, 0, 0, err
		}
		total.count(first)
		next, have, need, err := negentropy.Reconcile(ctx, initiator, window, first)
		if err != nil {
			return total, 0, 0, err
		}
		total.have, total.need = append(total.have, have...), append(total.need, need...)
		if next == nil {
			continue
		}
		r, err := reconcile(initiator, responder, window, next)
		if err != nil {
			return total, 0, 0, err
		}
		total.have, total.need = append(total.have, r.have...), append(total.need, r.need...)
		total.rounds = max(total.rounds, 1+r.rounds)
		total.bytes += r.bytes
		total.largest = max(total.largest, r.largest)
	}
	return total, len(ranges), len(different), nil
}

// mustReconcile is reconcile over all keys, which must succeed.
func mustReconcile(t testing.TB, initiator, responder negentropy.Storage) result {
	t.Helper()
	r, err := reconcile(initiator, responder, storage.Range{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// idsOf returns the ids of keys, ascending.
func idsOf(keys []storage.Key) []storage.ID {
	ids := make([]storage.ID, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	slices.SortFunc(ids, func(a, b storage.ID) int { return slices.Compare(a[:], b[:]) })
	return ids
}
