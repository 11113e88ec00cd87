package peersync

import (
	"encoding/binary"
	"math/bits"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Add adds an envelope to the set, whose sum is not keyed.
func (s *Sum) Add(id storage.ID) { s.Join(Sum{Count: 1, IDs: id}) }

// Join adds a set that has no envelope in common with this one.
func (s *Sum) Join(other Sum) {
	s.Count += other.Count
	var carry uint64
	for i := 0; i < len(s.IDs); i += 8 {
		var limb uint64
		limb, carry = bits.Add64(binary.LittleEndian.Uint64(s.IDs[i:]), binary.LittleEndian.Uint64(other.IDs[i:]), carry)
		binary.LittleEndian.PutUint64(s.IDs[i:], limb)
	}
}
