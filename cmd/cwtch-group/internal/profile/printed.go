package profile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// MessageID names a message of a group; see [Printed.Has].
type MessageID [32]byte

// MaxPrinted is how many printed messages a group remembers, at 8 bytes each.
const MaxPrinted = 2048

// Printed remembers which messages of a group were printed last, since a replay
// begins before the position where reading ended. It holds a keyed hash of each.
type Printed struct {
	key    [16]byte
	hashes []uint64 // oldest first
	known  map[uint64]bool
	large  bool // of a server-less group
}

// Max is how many messages are remembered.
func (p *Printed) Max() int {
	if p.large {
		return maxHostPrinted
	}
	return MaxPrinted
}

// WithoutMessages returns a Printed of the same size that remembers nothing.
func (p *Printed) WithoutMessages() Printed { return Printed{large: p.large} }

func (p *Printed) hashID(id MessageID) uint64 {
	sum := sha256.Sum256(append(p.key[:], id[:]...))
	return binary.BigEndian.Uint64(sum[:])
}

// Has reports whether a message was printed.
func (p *Printed) Has(id MessageID) bool { return p.known[p.hashID(id)] }

// Add remembers messages that were printed.
func (p *Printed) Add(ids []MessageID) {
	if p.key == [16]byte{} {
		rand.Read(p.key[:]) // never fails
	}
	for _, id := range ids {
		p.addHash(p.hashID(id))
	}
}

func (p *Printed) addHash(h uint64) {
	if p.known == nil {
		p.known = make(map[uint64]bool)
	}
	if p.known[h] {
		return
	}
	if len(p.hashes) >= p.Max() {
		delete(p.known, p.hashes[0])
		p.hashes = p.hashes[1:]
	}
	p.hashes = append(p.hashes, h)
	p.known[h] = true
}

func (p *Printed) encode() []byte {
	if len(p.hashes) == 0 {
		return nil
	}
	b := slices.Clone(p.key[:])
	for _, h := range p.hashes {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return b
}

func (p *Printed) decode(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(b)%8 != 0 || len(b) < 16 || len(b) > 16+8*p.Max() {
		return errors.New("wrong length")
	}
	p.key = [16]byte(b)
	for b = b[16:]; len(b) > 0; b = b[8:] {
		p.addHash(binary.BigEndian.Uint64(b))
	}
	return nil
}
