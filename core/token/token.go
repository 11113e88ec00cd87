// Package token is the postage of a Cwtch server: a client pays for a batch of
// tokens with a proof of work on the token onion, and spends one of them with each
// post on the board. It is for the relay, which issues tokens ([Issue]) and checks
// them ([Key.Verify]), and for clients, which buy them ([Buy]) and spend them
// ([Token.Spend]).
//
// The scheme is Privacy Pass over ristretto255. The client blinds random points. The
// server multiplies them with its secret scalar without learning them, and proves
// for the whole batch at once that this was the scalar behind its published key. So
// the server cannot tell which of its tokens is spent, nor single out a client by a
// key that only that client has.
//
// # Guarantees
//
//   - A token that [Buy] returns is valid for the service key it was given; a
//     batch whose proof fails yields none.
//   - One proof of work buys one batch of at most [MaxBatch] tokens, whatever
//     the client sends after it.
//   - No input makes this package panic, and what a peer sends is bounded
//     before memory is taken for it. Every step of a purchase has a deadline.
//   - Operations on the secret scalar, on blinding factors and on MACs take
//     constant time.
//
// # Caveats
//
// [Key.Verify] does not know which tokens were spent before. The store tells, in the
// same commit that takes the post.
//
// Some constants of Cwtch's dialect could not be compared with a Cwtch peer.
// Each is a single constant or function, marked "unconfirmed" with an estimate
// that it is right; docs/compatibility.md has the state of each.
package token

import (
	"crypto/hmac"
	"crypto/sha3"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// A Key is the secret of a token service: the scalar k behind its published
// point Y = k·X. It is safe for concurrent use. It formats as "[secret]".
type Key struct {
	k      *scalar.Scalar
	public curve.CompressedRistretto
}

// NewKey returns the key with the given little-endian scalar. It refuses zero,
// under which every token would be the identity, and values not below the
// order of the group.
func NewKey(secret [32]byte) (*Key, error) {
	k, err := decodeScalar(secret)
	if err != nil {
		return nil, errors.New("token: key is not a canonical ristretto255 scalar")
	}
	if k.Equal(scalar.New()) == 1 {
		return nil, errors.New("token: key is zero")
	}
	return &Key{k: k, public: encodePoint(mulBase(k))}, nil
}

// Public returns the encoding of Y, by which clients know the service.
func (k *Key) Public() [32]byte { return k.public }

// CheckPublic reports whether public can be the key of a token service: the
// canonical encoding of a point other than the identity.
func CheckPublic(public [32]byte) error {
	if _, err := decodePoint(public); err != nil {
		return fmt.Errorf("token: public key: %w", err)
	}
	return nil
}

// Verify reports whether s was made from a token of this key and is bound to the
// concatenation of data. It does not tell whether s.T was seen before. It takes some
// 40 µs of processor time, and 5 µs for each KiB of data, whatever the answer.
func (k *Key) Verify(s Spent, data ...[]byte) bool {
	w := encodePoint(curve.NewRistrettoPoint().Mul(hashToGroup(s.T), k.k))
	mac := spendMAC(s.T, w, data)
	return hmac.Equal(mac[:], s.MAC[:])
}

// A Token is an unspent token: the client's random T and the server's point
// W = k·H(T). Everybody who knows both can spend it. It formats as "[secret]".
type Token struct {
	T, W [32]byte
}

// Spend binds the token to the concatenation of data. For a post, data is the JSON
// of the envelope followed by the board's 56-character hostname. If a token is spent
// on two different data, the server accepts the first.
func (t Token) Spend(data ...[]byte) Spent {
	return Spent{T: t.T, MAC: spendMAC(t.T, t.W, data)}
}

// Spent is a token bound to the one post it pays for, as the server sees it.
type Spent struct {
	T   [32]byte
	MAC [64]byte
}

// spendMAC binds data to a token. That the key is SHA3-256 over T and W, and
// the MAC HMAC-SHA3-512, is unconfirmed (R 88 %).
func spendMAC(t, w [32]byte, data [][]byte) (sum [64]byte) {
	key := spendKey(t, w)
	mac := hmac.New(func() hash.Hash { return sha3.New512() }, key[:])
	for _, d := range data {
		mac.Write(d)
	}
	mac.Sum(sum[:0])
	return sum
}

func spendKey(t, w [32]byte) [32]byte {
	return sha3.Sum256(append(t[:], w[:]...))
}

const redacted = "[secret]"

// Format keeps the scalar out of logs and error texts.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue keeps the scalar out of structured logs.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format keeps the token out of logs and error texts.
func (Token) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue keeps the token out of structured logs.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }
