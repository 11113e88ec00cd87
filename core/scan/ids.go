package scan

import (
	"hash/maphash"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// IDSet is a set of ids in some 20 bytes each. It keeps 64 bits of a hash that nobody can
// foresee, so in a set of a million ids the chance that it takes any other id for one of
// them is less than one in ten million million for each question.
type IDSet struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
}

// NewIDSet returns an empty set.
func NewIDSet() *IDSet {
	return &IDSet{seed: maphash.MakeSeed(), hashes: make(map[uint64]struct{})}
}

// Add adds an id and reports whether it was missing.
func (s *IDSet) Add(id storage.ID) bool {
	before := len(s.hashes)
	s.hashes[maphash.Bytes(s.seed, id[:])] = struct{}{}
	return len(s.hashes) > before
}

// Has reports whether the set has an id.
func (s *IDSet) Has(id storage.ID) bool {
	_, ok := s.hashes[maphash.Bytes(s.seed, id[:])]
	return ok
}
