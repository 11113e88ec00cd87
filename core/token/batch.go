package token

import (
	"encoding/base64"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// element is an encoded ristretto255 element.
type element = [32]byte

// reply is a server's answer to blinded points: each of them multiplied with k, and
// the two encoded scalars of a non-interactive proof that k was the same for all of
// them and for the published key.
type reply struct {
	signed []element
	c, s   [32]byte
}

// signBatch answers blinded points. The nonce must be fresh, random and secret: two
// proofs with one nonce, or one proof with a known nonce, give k away.
func (k *Key) signBatch(t *tapir.Transcript, blinded []element, nonce *scalar.Scalar) (reply, error) {
	points, err := decodePoints(blinded)
	if err != nil {
		return reply{}, err
	}
	signed := make([]element, len(points))
	for i, p := range points {
		signed[i] = encodePoint(curve.NewRistrettoPoint().Mul(p, k.k))
	}
	// Z, the same combination of the signed points, is k·M.
	m := weightedSum(batchWeights(t, k.public, blinded, signed), points)
	z := curve.NewRistrettoPoint().Mul(m, k.k)

	a := mulBase(nonce)
	b := curve.NewRistrettoPoint().Mul(m, nonce)
	c := proofChallenge(t, k.public, m, z, a, b)
	s := scalar.New().Mul(c, k.k)
	s.Sub(nonce, s)
	return reply{signed: signed, c: encodeScalar(c), s: encodeScalar(s)}, nil
}

// verifyBatch checks that each signed point is the blinded one multiplied with the
// scalar behind service, and returns the signed points.
func (r reply) verifyBatch(t *tapir.Transcript, service element, blinded []element) ([]*curve.RistrettoPoint, error) {
	y, err := decodePoint(service)
	if err != nil {
		return nil, fmt.Errorf("service key: %w", err)
	}
	ps, err := decodePoints(blinded)
	if err != nil {
		return nil, err
	}
	qs, err := decodePoints(r.signed)
	if err != nil {
		return nil, err
	}
	c, err := decodeScalar(r.c)
	if err != nil {
		return nil, err
	}
	s, err := decodeScalar(r.s)
	if err != nil {
		return nil, err
	}
	weights := batchWeights(t, service, blinded, r.signed)
	m, z := weightedSum(weights, ps), weightedSum(weights, qs)

	// The server knows all these values: variable time does no harm.
	a := curve.NewRistrettoPoint().DoubleScalarMulBasepointVartime(c, y, s)
	b := weightedSum([]*scalar.Scalar{s, c}, []*curve.RistrettoPoint{m, z})
	if proofChallenge(t, service, m, z, a, b).Equal(c) != 1 {
		return nil, ErrProof
	}
	return qs, nil
}

// batchWeights absorbs the batch and returns the random weights that fold it
// into a single pair of points. The label w is unconfirmed (R 82 %).
func batchWeights(t *tapir.Transcript, service element, blinded, signed []element) []*scalar.Scalar {
	t.Protocol("privacy-pass-batch-proof")
	t.Append("X-batch", generator[:])
	t.Append("Y-batch", service[:])
	t.Append("P-vector", vectorText(blinded))
	t.Append("Q-vector", vectorText(signed))
	w := commitPRNG(t, "w")
	weights := make([]*scalar.Scalar, len(blinded))
	for i := range weights {
		weights[i] = w.nextScalar()
	}
	return weights
}

// proofChallenge returns the challenge of the proof that log_X Y = log_M Z. The
// label c, and with it s = t - c·k, is unconfirmed (R 85 %).
func proofChallenge(t *tapir.Transcript, service element, m, z, a, b *curve.RistrettoPoint) *scalar.Scalar {
	t.Append("X", generator[:])
	t.Append("Y", service[:])
	for _, step := range []struct {
		label string
		point *curve.RistrettoPoint
	}{{"P", m}, {"Q", z}, {"A", a}, {"B", b}} {
		encoding := encodePoint(step.point)
		t.Append(step.label, encoding[:])
	}
	return commitScalar(t, "c")
}

// vectorText writes elements as Go prints a slice of structs whose only field is an
// element, "[{base64} {base64}]". Unconfirmed (R 85 %).
func vectorText(elements []element) []byte {
	text := make([]byte, 0, 2+len(elements)*(base64Size+3))
	text = append(text, '[')
	for i, e := range elements {
		if i > 0 {
			text = append(text, ' ')
		}
		text = append(text, '{')
		text = base64.StdEncoding.AppendEncode(text, e[:])
		text = append(text, '}')
	}
	return append(text, ']')
}

// weightedSum returns the sum of weights[i]·points[i] in variable time, for public
// values only.
func weightedSum(weights []*scalar.Scalar, points []*curve.RistrettoPoint) *curve.RistrettoPoint {
	return curve.NewRistrettoPoint().MultiscalarMulVartime(weights, points)
}

func decodePoints(encodings []element) ([]*curve.RistrettoPoint, error) {
	points := make([]*curve.RistrettoPoint, len(encodings))
	for i, e := range encodings {
		p, err := decodePoint(e)
		if err != nil {
			return nil, fmt.Errorf("token %d: %w", i, err)
		}
		points[i] = p
	}
	return points, nil
}
