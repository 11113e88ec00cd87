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
	// progressEvery is the number of tries between two reports of a solver, some
	// milliseconds.
	progressEvery = 2048
)

// puzzle is one proof of work after both sides know the seed.
type puzzle struct {
	transcript *tapir.Transcript
	challenge  [64]byte
	candidates prng
}

// newPuzzle makes the transcript of a connection's proof of work. The protocol
// label in front is unconfirmed (R 90 %), and that the chain of applications
// appends nothing of its own (R 92 %).
func newPuzzle(seed []byte) *puzzle {
	t := tapir.NewTranscript()
	t.Protocol("pow-app")
	t.Append("pow-seed", seed)
	// Both sides commit to the PRNG though only a client draws from it: a
	// commitment changes the transcript.
	return &puzzle{
		transcript: t,
		challenge:  t.Commit("pow-challenge"),
		candidates: commitPRNG(t, "pow-prng"),
	}
}

// findSolution tries the scalars of the transcript's PRNG in their order until one
// meets the difficulty. It calls progress, unless nil, with 0 and then every few
// thousand tries with their number so far, and gives up when ctx ends.
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

// isSolvedBy reports whether solution is good for this puzzle. Where it came from
// does not matter. The order of the two is unconfirmed (R 93 %).
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
