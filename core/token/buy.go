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
// Asking for another would tell this client apart. Unconfirmed (R 85 %).
const DefaultBatch = 10

// ErrProof means that a server signed with another key than it published, for
// some of the tokens or for all. None of them may be spent: the key could be
// this client's alone.
var ErrProof = errors.New("batch proof does not verify")

// Buy buys n tokens, 1 to [MaxBatch], on a fresh connection to a token onion,
// from the service with the given public key. It solves the proof of work on
// the calling goroutine, some 65,536 tries, and calls progress, unless nil, with
// 0 when it begins and every few thousand with their number so far. When ctx ends, Buy closes c and returns
// its cause; otherwise closing c, after any outcome, is the caller's. A server
// that refuses just closes, which comes back as io.EOF or another error of the
// connection. Each step of the server may take [DefaultStepTimeout].
func Buy(ctx context.Context, c *tapir.Conn, service [32]byte, n int, progress func(tries int)) ([]Token, error) {
	if n < 1 || n > MaxBatch {
		return nil, fmt.Errorf("token: buy: %d tokens, want 1 to %d", n, MaxBatch)
	}
	if err := CheckPublic(service); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	tokens, err := buyOver(ctx, newConversation(c, DefaultStepTimeout), service, n, progress)
	if err != nil {
		return nil, fmt.Errorf("token: buy: %w", endCause(ctx, err))
	}
	return tokens, nil
}

func buyOver(ctx context.Context, s conversation, service element, n int, progress func(tries int)) ([]Token, error) {
	puzzle, err := s.receivePuzzle()
	if err != nil {
		return nil, fmt.Errorf("receive seed: %w", err)
	}
	solution, err := puzzle.findSolution(ctx, progress)
	if err != nil {
		return nil, err
	}
	purse := newPurchase(n)
	// The server answers nothing to a solution, the request follows at once.
	request := appendRequest(nil, purse.blinded)
	if err := s.sendStep(solution[:], request); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	reply, err := s.receiveReply()
	if err != nil {
		return nil, fmt.Errorf("receive reply: %w", err)
	}
	return purse.unblindTokens(beginPurchase(puzzle, solution), service, reply)
}

func (s conversation) receivePuzzle() (p *puzzle, err error) {
	err = s.receiveStep(func(payload []byte) error {
		p = newPuzzle(payload)
		return nil
	})
	return p, err
}

func (s conversation) receiveReply() (r reply, err error) {
	err = s.receiveStep(func(payload []byte) (err error) {
		r, err = decodeReply(payload)
		return err
	})
	return r, err
}

// purchase is a purchase under way: token i has the random secrets[i] and its
// point is blinded with factors[i].
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

// unblindTokens makes tokens of a reply whose proof verifies.
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
