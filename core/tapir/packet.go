package tapir

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/crypto/nacl/secretbox"
)

const (
	// PacketSize is the size of every packet on the wire, in bytes.
	PacketSize = 8192
	// MaxPayload is the greatest length of a message, in bytes. A clear packet
	// would have room for more, but no message of the protocol needs it.
	//
	// Unconfirmed: follows from the sizes, not seen from a peer.
	MaxPayload = sealedPlainSize - lengthSize

	lengthSize      = 2
	nonceSize       = 24
	sealedPlainSize = PacketSize - nonceSize - secretbox.Overhead

	// maxClearPayload is the greatest length that a clear packet can state: upstream
	// treats a length that fills the packet as an empty message.
	maxClearPayload = PacketSize - lengthSize - 1
)

// packet is one packet on the wire, or the plain text of one.
type packet [PacketSize]byte

// sessionKey seals the packets of both directions.
type sessionKey [32]byte

// putClear makes p the clear packet of payload, which has 1 to MaxPayload bytes.
func (p *packet) putClear(payload []byte) {
	putClearLength(p[:], len(payload))
	copyPadded(p[lengthSize:], payload)
}

// openClear returns the payload of a clear packet; it aliases p.
func (p *packet) openClear() ([]byte, error) {
	n, ok := readClearLength(p[:])
	if !ok || n > maxClearPayload {
		return nil, ErrPacket
	}
	return p[lengthSize:][:n], nil
}

// putSealed makes p the encrypted packet of payload, which has 1 to MaxPayload
// bytes. It uses scratch for the plain text.
func (p *packet) putSealed(key *sessionKey, payload []byte, scratch *packet) {
	var nonce [nonceSize]byte
	rand.Read(nonce[:]) // never fails, see crypto/rand
	p.putSealedWith(key, &nonce, payload, scratch)
}

func (p *packet) putSealedWith(key *sessionKey, nonce *[nonceSize]byte, payload []byte, scratch *packet) {
	plain := scratch[:sealedPlainSize]
	putSealedLength(plain, len(payload))
	copyPadded(plain[lengthSize:], payload)
	copy(p[:], nonce[:])
	secretbox.Seal(p[:nonceSize], plain, nonce, (*[32]byte)(key))
}

// openSealed returns the payload of an encrypted packet; it aliases scratch.
func (p *packet) openSealed(key *sessionKey, scratch *packet) ([]byte, error) {
	nonce := (*[nonceSize]byte)(p[:nonceSize])
	plain, ok := secretbox.Open(scratch[:0], p[nonceSize:], nonce, (*[32]byte)(key))
	if !ok {
		return nil, ErrPacket
	}
	n, ok := readSealedLength(plain)
	if !ok || n > MaxPayload {
		return nil, ErrPacket
	}
	return plain[lengthSize:][:n], nil
}

// copyPadded copies payload to the start of dst and zeros the rest.
func copyPadded(dst, payload []byte) {
	n := copy(dst, payload)
	clear(dst[n:])
}

// putClearLength writes the length field of a clear packet: an unsigned LEB128
// number in two bytes, so n must be under 1<<14.
func putClearLength(dst []byte, n int) {
	dst[1] = 0
	binary.PutUvarint(dst[:lengthSize], uint64(n))
}

// readClearLength reads the length field of a clear packet.
func readClearLength(src []byte) (n int, ok bool) {
	v, size := binary.Uvarint(src[:lengthSize])
	return int(v), size > 0
}

// putSealedLength writes the length field inside an encrypted packet.
//
// Unconfirmed from 128 on: the one peer we could test with sends nothing longer,
// and below 128 its 16-bit little-endian form is the same bytes. Only this function
// and readSealedLength would have to change.
func putSealedLength(dst []byte, n int) { putClearLength(dst, n) }

// readSealedLength reads the length field inside an encrypted packet.
func readSealedLength(src []byte) (n int, ok bool) { return readClearLength(src) }
