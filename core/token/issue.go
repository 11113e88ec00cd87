package token

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// defaultStepTimeout is how long a peer may take for one step of a purchase. It
// allows for Tor's latency and for the proof of work on a slow telephone.
const defaultStepTimeout = 30 * time.Second

// lingerTimeout is how long a server waits after the reply for the client to close.
// Closing at once, with data of the client unread, could reset the connection and
// lose the reply.
const lingerTimeout = 5 * time.Second

// Mistakes of a client, which [Issue] returns wrapped.
var (
	// errWork means that the solution does not meet the difficulty.
	errWork = errors.New("proof of work does not meet the difficulty")
	// errRequest means that the request is not the JSON of a batch, that it is too
	// large, or that it has a point that no honest client sends.
	errRequest = errors.New("malformed token request")
)

// IssueConfig has the limits of a token service. The zero value works.
type IssueConfig struct {
	// MaxBatch is the most tokens that one proof of work buys, 1 to [MaxBatch].
	// Zero means MaxBatch. Clients of Cwtch ask for 10 and get none if it is less.
	MaxBatch int
	// StepTimeout bounds each step of a client. Zero means 30 seconds.
	StepTimeout time.Duration
	// Admit, unless nil, is called after a valid proof of work and a well-formed
	// request for n tokens, before the expensive part. It may wait. An error ends
	// the connection without a reply, after the client has done its work: to turn
	// clients away, do it before Issue.
	Admit func(ctx context.Context, n int) error
}

func (c IssueConfig) maxBatch() int {
	if c.MaxBatch <= 0 {
		return MaxBatch
	}
	return min(c.MaxBatch, MaxBatch)
}

// Issue serves one connection of the token onion: one proof of work, one batch. It
// returns the number of tokens that it sent, which is zero if err is not nil. A
// client that asks again gets no reply. When ctx ends, Issue closes c; otherwise
// the caller closes c, after success as well. An error tells the kind of a client's
// mistake and nothing else of the client.
func Issue(ctx context.Context, c *tapir.Conn, k *Key, cfg IssueConfig) (int, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s := newStepConn(c, cfg.StepTimeout)
	n, err := issueOver(ctx, s, k, cfg)
	if err != nil {
		return 0, fmt.Errorf("token: issue: %w", endCause(ctx, err))
	}
	s.awaitClose()
	return n, nil
}

func issueOver(ctx context.Context, s stepConn, k *Key, cfg IssueConfig) (int, error) {
	seed := randomSeed()
	if err := s.sendStep(seed); err != nil {
		return 0, fmt.Errorf("send seed: %w", err)
	}
	puzzle := newPuzzle(seed)
	solution, err := s.receiveSolution()
	if err != nil {
		return 0, fmt.Errorf("receive solution: %w", err)
	}
	if !puzzle.isSolvedBy(solution) {
		return 0, errWork
	}
	blinded, err := s.receiveRequest(cfg.maxBatch())
	if err != nil {
		return 0, fmt.Errorf("receive request: %w", err)
	}
	if cfg.Admit != nil {
		if err := cfg.Admit(ctx, len(blinded)); err != nil {
			return 0, fmt.Errorf("admit: %w", err)
		}
	}
	reply, err := k.signBatch(beginPurchase(puzzle, solution), blinded, randomScalar())
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errRequest, err)
	}
	if err := s.sendStep(reply.encodeJSON()); err != nil {
		return 0, fmt.Errorf("send reply: %w", err)
	}
	return len(blinded), nil
}

func randomSeed() []byte {
	var random [seedSize / 2]byte
	rand.Read(random[:]) // does not fail, see crypto/rand
	return hex.AppendEncode(nil, random[:])
}

func (s stepConn) receiveSolution() (solution [solutionSize]byte, err error) {
	err = s.receiveStep(func(payload []byte) error {
		if len(payload) != solutionSize {
			return fmt.Errorf("%w: %d bytes long", errWork, len(payload))
		}
		copy(solution[:], payload)
		return nil
	})
	return solution, err
}

func (s stepConn) receiveRequest(limit int) (blinded []element, err error) {
	err = s.receiveStep(func(payload []byte) error {
		if blinded, err = decodeRequest(payload); err != nil {
			// The cause may quote the client, so it stays here.
			return errRequest
		}
		if len(blinded) > limit {
			return fmt.Errorf("%w: %d tokens, at most %d", errRequest, len(blinded), limit)
		}
		return nil
	})
	return blinded, err
}
