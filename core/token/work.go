package token

import (
	"context"
	"crypto/sha256"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

const (
	// solutionSize is the length of a solution in bytes.
	solutionSize = 32
	// seedSize is the length of the seed that the server sends: 10 random bytes
	// in hex. A client takes any.
	seedSize = 20
	// difficulty is how many leading bytes of the hash have to be zero, 65,536
	// tries on average. Unconfirmed (R 93 %).
	difficulty = 2
	// progressEvery is the number of tries between two calls of progress, which are
	// some milliseconds apart.
	progressEvery = 2048
)

// puzzle is the proof of work of one connection, once both sides know the seed.
type puzzle struct {
	transcript *tapir.Transcript
	challenge  [64]byte
	candidates prng
}

// newPuzzle begins the transcript of a connection. Unconfirmed are the protocol label
// in front (R 90 %), and that the chain of applications appends nothing of its own
// (R 92 %).
func newPuzzle(seed []byte) *puzzle {
	t := tapir.NewTranscript()
	t.Protocol("pow-app")
	t.Append("pow-seed", seed)
	// Only a client draws from the PRNG, but both sides commit to it: that changes
	// the transcript.
	return &puzzle{
		transcript: t,
		challenge:  t.Commit("pow-challenge"),
		candidates: commitPRNG(t, "pow-prng"),
	}
}

// findSolution tries the scalars of the PRNG in order until one meets the
// difficulty. It calls progress as [Buy] says, and gives up when ctx ends.
func (p *puzzle) findSolution(ctx context.Context, progress func(tries int)) ([solutionSize]byte, error) {
	if progress != nil {
		progress(0)
	}
	for tries := 1; ; tries++ {
		candidate := encodeScalar(p.candidates.nextScalar())
		if p.isSolvedBy(candidate) {
			return candidate, nil
		}
		if tries%progressEvery != 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return candidate, err
		}
		if progress != nil {
			progress(tries)
		}
	}
}

// isSolvedBy reports whether solution meets the difficulty; it need not come from the
// PRNG. That the solution is hashed first is unconfirmed (R 93 %).
func (p *puzzle) isSolvedBy(solution [solutionSize]byte) bool {
	var input [solutionSize + 64]byte
	copy(input[:], solution[:])
	copy(input[solutionSize:], p.challenge[:])
	sum := sha256.Sum256(input[:])
	return [difficulty]byte(sum[:]) == [difficulty]byte{}
}

// beginPurchase binds the transcript to the solution and begins its second stage.
// The label of the stage is unconfirmed (R 85 %).
func beginPurchase(p *puzzle, solution [solutionSize]byte) *tapir.Transcript {
	p.transcript.Append("pow-solution", solution[:])
	p.transcript.Protocol("token-app")
	return p.transcript
}
