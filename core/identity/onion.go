package identity

import (
	"crypto/ed25519"
	"crypto/sha3"
	"encoding/base32"
	"errors"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/curve"
)

// An Onion is the name of a Tor v3 onion service: 56 characters of lower-case
// base32, without ".onion". The zero value names nothing.
type Onion string

// OnionLen is the length of an [Onion] in bytes.
const OnionLen = 56

const onionVersion = 3

// onionEncoding is the base32 of rend-spec-v3. 35 bytes fill 56 characters
// exactly, so every name has one spelling only.
var onionEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseOnion checks that s is the name of an onion service: length, alphabet,
// version and checksum as in Tor's rend-spec-v3, section 6, and a public key
// that [CheckPublicKey] accepts. Upper case and the suffix ".onion" are
// refused.
func ParseOnion(s string) (Onion, error) {
	if len(s) != OnionLen {
		return "", fmt.Errorf("parse onion name: it has %d characters instead of %d (and no \".onion\")", len(s), OnionLen)
	}
	raw, err := onionEncoding.DecodeString(s)
	if err != nil || len(raw) != ed25519.PublicKeySize+3 {
		return "", errors.New("parse onion name: it is not lower-case base32")
	}
	if raw[34] != onionVersion {
		return "", fmt.Errorf("parse onion name: its version is %d, only %d is known", raw[34], onionVersion)
	}
	pub := ed25519.PublicKey(raw[:ed25519.PublicKeySize])
	if [2]byte(raw[32:34]) != onionChecksum(pub) {
		return "", errors.New("parse onion name: the checksum does not match, a character may be wrong")
	}
	if err := CheckPublicKey(pub); err != nil {
		return "", fmt.Errorf("parse onion name: %w", err)
	}
	return Onion(s), nil
}

// OnionOf returns the name of the onion service with the given public key. It
// does not check the key, see [CheckPublicKey]. It panics if pub has not
// [ed25519.PublicKeySize] bytes.
func OnionOf(pub ed25519.PublicKey) Onion {
	if len(pub) != ed25519.PublicKeySize {
		panic(fmt.Sprintf("identity: public key of %d bytes", len(pub)))
	}
	checksum := onionChecksum(pub)
	raw := make([]byte, 0, ed25519.PublicKeySize+3)
	raw = append(raw, pub...)
	raw = append(raw, checksum[:]...)
	raw = append(raw, onionVersion)
	return Onion(onionEncoding.EncodeToString(raw))
}

// PublicKey returns the public key in the name, a new slice. It panics if o did
// not come from [ParseOnion] or [OnionOf].
func (o Onion) PublicKey() ed25519.PublicKey {
	raw, err := onionEncoding.DecodeString(string(o))
	if err != nil || len(raw) != ed25519.PublicKeySize+3 {
		panic("identity: public key of an onion name that was not parsed")
	}
	return raw[:ed25519.PublicKeySize:ed25519.PublicKeySize]
}

// CheckPublicKey reports whether pub may take part in a key exchange and in
// signatures: 32 bytes, the canonical encoding of a point other than the
// identity in the prime-order subgroup. Keys with a low-order part are refused
// as Tor refuses them in onion names: such a key has twins under other names
// that answer for the same secret.
func CheckPublicKey(pub ed25519.PublicKey) error {
	encoded, err := curve.NewCompressedEdwardsYFromBytes(pub)
	if err != nil {
		return fmt.Errorf("the public key has %d bytes instead of %d", len(pub), ed25519.PublicKeySize)
	}
	var point curve.EdwardsPoint
	if _, err := point.SetCompressedY(encoded); err != nil || !encoded.IsCanonicalVartime() {
		return errors.New("the public key is not a canonical curve point")
	}
	if point.IsIdentity() || !point.IsTorsionFree() {
		return errors.New("the public key has a low-order part")
	}
	return nil
}

// onionChecksum is the two-byte checksum of rend-spec-v3, section 6.
func onionChecksum(pub ed25519.PublicKey) [2]byte {
	h := sha3.New256()
	h.Write([]byte(".onion checksum"))
	h.Write(pub)
	h.Write([]byte{onionVersion})
	return [2]byte(h.Sum(nil))
}
