package token

import (
	"crypto/rand"
	"crypto/sha3"
	"errors"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

var (
	errNotPoint  = errors.New("not the canonical encoding of a ristretto255 element")
	errNotScalar = errors.New("not the canonical encoding of a ristretto255 scalar")
	errIdentity  = errors.New("identity element")
)

// generator is X, the standard generator, as it goes into the transcript.
var generator = *curve.RISTRETTO_BASEPOINT_COMPRESSED

// decodePoint decodes a point. It refuses encodings that are not canonical, and the
// identity, which no honest peer sends. The group has prime order: no point is of
// low order.
func decodePoint(encoding [32]byte) (*curve.RistrettoPoint, error) {
	p, err := curve.NewRistrettoPoint().SetCompressed((*curve.CompressedRistretto)(&encoding))
	if err != nil {
		return nil, errNotPoint
	}
	if p.IsIdentity() {
		return nil, errIdentity
	}
	return p, nil
}

func encodePoint(p *curve.RistrettoPoint) (c curve.CompressedRistretto) {
	c.SetRistrettoPoint(p)
	return c
}

func decodeScalar(encoding [32]byte) (*scalar.Scalar, error) {
	s, err := scalar.NewFromCanonicalBytes(encoding[:])
	if err != nil {
		return nil, errNotScalar
	}
	return s, nil
}

func encodeScalar(s *scalar.Scalar) [32]byte {
	return [32]byte(mustSucceed(s.MarshalBinary()))
}

// mulBase returns s·X in constant time.
func mulBase(s *scalar.Scalar) *curve.RistrettoPoint {
	return curve.NewRistrettoPoint().MulBasepoint(curve.RISTRETTO_BASEPOINT_TABLE, s)
}

// hashToGroup returns the point of a token. SHA3-512 in front of the one-way map of
// RFC 9496 is unconfirmed (R 90 %).
func hashToGroup(t [32]byte) *curve.RistrettoPoint {
	uniform := sha3.Sum512(t[:])
	return mustSucceed(curve.NewRistrettoPoint().SetUniformBytes(uniform[:]))
}

// randomScalar returns a uniform scalar. It is zero as rarely as somebody guesses a
// key.
func randomScalar() *scalar.Scalar {
	var uniform [64]byte
	rand.Read(uniform[:]) // does not fail, see crypto/rand
	return wideScalar(uniform)
}

func wideScalar(uniform [64]byte) *scalar.Scalar {
	return mustSucceed(scalar.NewFromBytesModOrderWide(uniform[:]))
}

// commitScalar extracts a challenge scalar from the transcript.
func commitScalar(t *tapir.Transcript, label string) *scalar.Scalar {
	return wideScalar(t.Commit(label))
}

// prng is a stream of scalars that both sides derive from their transcript.
// SHAKE256 and 64 bytes per scalar are unconfirmed (R 82 %).
type prng struct{ shake *sha3.SHAKE }

func commitPRNG(t *tapir.Transcript, label string) prng {
	seed := t.Commit(label)
	p := prng{sha3.NewSHAKE256()}
	p.shake.Write(seed[:])
	return p
}

func (p prng) nextScalar() *scalar.Scalar {
	var block [64]byte
	p.shake.Read(block[:])
	return wideScalar(block)
}

// mustSucceed returns v. It is for functions that fail only on inputs of the wrong
// length, which the types in this file rule out.
func mustSucceed[T any](v T, err error) T {
	if err != nil {
		panic("token: " + err.Error())
	}
	return v
}
