// Package backoff spaces the attempts at something that fails: each delay may be twice
// as long as the one before, up to a limit. It is for code that restarts a process or
// dials again.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff gives the delays between attempts. Its fields are set once; Next and Reset
// are for one goroutine.
type Backoff struct {
	Min time.Duration // bounds the first delay
	Max time.Duration // bounds all delays

	bound time.Duration // of the latest delay
}

// Next returns the delay before the next attempt: a random time between half of its
// bound and the bound, which is Min at first and doubles up to Max. What failed
// together does not come back together.
func (b *Backoff) Next() time.Duration {
	b.bound = min(max(2*b.bound, b.Min), b.Max)
	return b.bound/2 + rand.N(b.bound/2+1)
}

// Reset makes the next delay a first one. Call it when an attempt has worked, or has
// worked for long enough.
func (b *Backoff) Reset() { b.bound = 0 }
