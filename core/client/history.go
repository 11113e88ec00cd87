package client

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// historyLength is how many signatures a history remembers, at 4 bytes each.
const historyLength = 8192

// History is the order in which a client first saw the last few thousand
// signatures of a board. It numbers them from 1. The numbers belong to the
// client: a server does not know them.
//
// It holds 32 bits of a keyed hash of each signature. A false match costs one
// envelope that is read again.
type History struct {
	key    [16]byte
	first  uint64   // number of hashes[0]
	hashes []uint32 // no two alike
}

// NewHistory returns the history of a client that has seen nothing.
func NewHistory() *History {
	h := &History{first: 1}
	rand.Read(h.key[:]) // never fails
	return h
}

// Add appends a signature, unless the history has it, and returns its number.
func (h *History) Add(signature []byte) uint64 { return h.addHash(h.hashSignature(signature)) }

// End is the number of the last signature, and 0 in an empty history.
func (h *History) End() uint64 { return h.first + uint64(len(h.hashes)) - 1 }

func (h *History) hashSignature(signature []byte) uint32 {
	sum := sha256.Sum256(append(h.key[:], signature...))
	return binary.BigEndian.Uint32(sum[:])
}

// find returns the number of a signature, or 0.
func (h *History) find(signature []byte) uint64 { return h.findHash(h.hashSignature(signature)) }

func (h *History) findHash(hash uint32) uint64 {
	if i := slices.Index(h.hashes, hash); i >= 0 {
		return h.first + uint64(i)
	}
	return 0
}

func (h *History) addHash(hash uint32) uint64 {
	if number := h.findHash(hash); number > 0 {
		return number
	}
	if h.hashes = append(h.hashes, hash); len(h.hashes) > historyLength {
		h.hashes = h.hashes[1:]
		h.first++
	}
	return h.End()
}

// MarshalBinary encodes the history: the key, the first number, the hashes.
func (h *History) MarshalBinary() ([]byte, error) {
	b := binary.BigEndian.AppendUint64(slices.Clone(h.key[:]), h.first)
	for _, hash := range h.hashes {
		b = binary.BigEndian.AppendUint32(b, hash)
	}
	return b, nil
}

// UnmarshalBinary decodes a history.
func (h *History) UnmarshalBinary(b []byte) error {
	const header = 16 + 8
	if len(b) < header || (len(b)-header)%4 != 0 || (len(b)-header)/4 > historyLength {
		return fmt.Errorf("decode history: wrong length %d", len(b))
	}
	d := History{key: [16]byte(b), first: binary.BigEndian.Uint64(b[16:])}
	if d.first == 0 || d.first > 1<<62 {
		return errors.New("decode history: wrong number")
	}
	for b = b[header:]; len(b) > 0; b = b[4:] {
		d.hashes = append(d.hashes, binary.BigEndian.Uint32(b))
	}
	if len(slices.Compact(slices.Sorted(slices.Values(d.hashes)))) != len(d.hashes) {
		return errors.New("decode history: it has a signature twice")
	}
	*h = d
	return nil
}
