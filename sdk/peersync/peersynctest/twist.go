package peersynctest

import (
	"bytes"
	"math/rand/v2"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// maxHeard is how many messages a twist remembers, to repeat them.
const maxHeard = 64

// NewTwist returns a [Replica.Twist] that makes the messages of an honest replicator those of a
// hostile one. Some arrive as they are. Others are lost, repeated much later, cut, changed, of
// another version (as far as the first byte tells it), random, or as long as can be.
func NewTwist(seed uint64) func(message []byte) [][]byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	var heard [][]byte
	return func(message []byte) [][]byte {
		if len(heard) < maxHeard {
			heard = append(heard, bytes.Clone(message))
		} else {
			heard[rng.IntN(maxHeard)] = bytes.Clone(message)
		}
		old := bytes.Clone(heard[rng.IntN(len(heard))])
		switch rng.IntN(8) {
		case 0:
			return nil
		case 1:
			return [][]byte{old, bytes.Clone(old), message}
		case 2:
			return [][]byte{old[:1+rng.IntN(len(old))], message}
		case 3:
			old[rng.IntN(len(old))] ^= byte(1 + rng.IntN(255))
			return [][]byte{old, message}
		case 4:
			old[0] += byte(1 + rng.IntN(255))
			return [][]byte{old, message}
		case 5:
			return [][]byte{randomBytes(rng, 1+rng.IntN(1<<rng.IntN(12))), message}
		case 6:
			return [][]byte{append(old, randomBytes(rng, peersync.MaxMessage-len(old))...), message}
		}
		return [][]byte{message}
	}
}

func randomBytes(rng *rand.Rand, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rng.Uint32())
	}
	return out
}
