package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// DefaultBatch is the number of tokens that clients of Cwtch buy at a time.
// Asking for another would make this client recognizable. Unconfirmed (R 85 %).
const DefaultBatch = 10

// ErrProof means that a server signed some or all tokens with another key than it
// published. None of them may be spent: a key that only this client has would give
// the client away.
var ErrProof = errors.New("batch proof does not verify")

// Buy buys n tokens, 1 to [MaxBatch], on a fresh connection to a token onion, from
// the service with the given public key. It solves the proof of work on the calling
// goroutine, in some 65,536 tries. It calls progress, unless nil, with 0 at first
// and then every few thousand tries with their number.
//
// When ctx ends, Buy closes c and returns the cause. Otherwise the caller closes c,
// after success as well. A server that refuses closes the connection, which comes
// back as io.EOF or another error of the connection. The server has 30 seconds for
// each step.
func Buy(ctx context.Context, c *tapir.Conn, service [32]byte, n int, progress func(tries int)) ([]Token, error) {
	if n < 1 || n > MaxBatch {
		return nil, fmt.Errorf("token: buy: %d tokens, want 1 to %d", n, MaxBatch)
	}
	if err := CheckPublic(service); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	tokens, err := buyOver(ctx, newStepConn(c, defaultStepTimeout), service, n, progress)
	if err != nil {
		return nil, fmt.Errorf("token: buy: %w", endCause(ctx, err))
	}
	return tokens, nil
}

func buyOver(ctx context.Context, s stepConn, service element, n int, progress func(tries int)) ([]Token, error) {
	puzzle, err := s.receivePuzzle()
	if err != nil {
		return nil, fmt.Errorf("receive seed: %w", err)
	}
	solution, err := puzzle.findSolution(ctx, progress)
	if err != nil {
		return nil, err
	}
	purchase := newPurchase(n)
	// The server does not answer a solution: the request follows at once.
	request := appendRequest(nil, purchase.blinded)
	if err := s.sendStep(solution[:], request); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	reply, err := s.receiveReply()
	if err != nil {
		return nil, fmt.Errorf("receive reply: %w", err)
	}
	return purchase.unblindTokens(beginPurchase(puzzle, solution), service, reply)
}

func (s stepConn) receivePuzzle() (p *puzzle, err error) {
	err = s.receiveStep(func(payload []byte) error {
		p = newPuzzle(payload)
		return nil
	})
	return p, err
}

func (s stepConn) receiveReply() (r reply, err error) {
	err = s.receiveStep(func(payload []byte) (err error) {
		r, err = decodeReply(payload)
		return err
	})
	return r, err
}

// purchase is a purchase under way: token i has the random secrets[i], and
// factors[i] blinds its point.
type purchase struct {
	secrets [][32]byte
	factors []*scalar.Scalar
	blinded []element
}

func newPurchase(n int) *purchase {
	p := &purchase{}
	for range n {
		var t [32]byte
		rand.Read(t[:]) // does not fail, see crypto/rand
		p.addToken(t, randomScalar())
	}
	return p
}

func (p *purchase) addToken(t [32]byte, factor *scalar.Scalar) {
	p.secrets = append(p.secrets, t)
	p.factors = append(p.factors, factor)
	blinded := curve.NewRistrettoPoint().Mul(hashToGroup(t), factor)
	p.blinded = append(p.blinded, encodePoint(blinded))
}

// unblindTokens verifies the proof of a reply and makes tokens of it.
func (p *purchase) unblindTokens(t *tapir.Transcript, service element, r reply) ([]Token, error) {
	if len(r.signed) != len(p.blinded) {
		return nil, fmt.Errorf("%d tokens signed of %d", len(r.signed), len(p.blinded))
	}
	points, err := r.verifyBatch(t, service, p.blinded)
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, len(points))
	for i, q := range points {
		w := curve.NewRistrettoPoint().Mul(q, scalar.New().Invert(p.factors[i]))
		tokens[i] = Token{T: p.secrets[i], W: encodePoint(w)}
	}
	return tokens, nil
}
