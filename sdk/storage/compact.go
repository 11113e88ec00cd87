package storage

import (
	"context"
	"fmt"
)

// Sizes, in bytes, that bound the calls of a [Compactor].
const (
	// MaxCompact is the greatest number of bytes that one Compact moves.
	MaxCompact = 64 << 20
	// MinCompact is what every Compact may move, so that a store need not divide what
	// it keeps together.
	MinCompact = 64 << 10
)

// Compactor is implemented by a store that can give the room of what it removed back to the
// disk. The relay decides when, and calls Compact again and again until nothing is left to do.
//
// The relay does not look for a Compactor with a type assertion but with [As].
type Compactor interface {
	// Compact moves data, at most req.Max bytes, so that the store takes less room: a store
	// may fill a new file step by step and exchange the files in the last step, or move
	// data within its file. If no compaction is under way, a call begins one.
	//
	// The other methods work meanwhile, and see what they would see without it, apart from
	// Bytes and InUse of Info. None of them waits for more than a moment, however large the
	// store is. A compaction that is interrupted, at any moment and for any reason, loses
	// nothing: the store resumes it, or gives its room back and begins again.
	//
	// When a compaction ends, what had been removed before it began has left the disk,
	// overwritten or cut off.
	//
	// [ErrFull] means that the compaction needs more room than req.Room. Its text says how
	// much. It is over then, its room is given back, and nothing else was changed.
	//
	// A call may move less than req.Max, to keep to the deadline of ctx. It returns within
	// a second after the end of ctx, which ends when the relay stops. The relay makes one
	// call at a time.
	Compact(ctx context.Context, req CompactRequest) (Compacted, error)
}

// CompactRequest asks for a step of a compaction.
type CompactRequest struct {
	// Room is how many bytes the store may take on the disk beside those that it takes
	// without a compaction.
	Room uint64
	// Max bounds the bytes that are moved; 0 means MaxCompact, and less than MinCompact
	// means MinCompact. Less than 0 or more than MaxCompact is ErrTooLarge and changes
	// nothing.
	Max int
}

// Compacted says what a Compact has done.
type Compacted struct {
	Moved uint64 // bytes that this call has written, at most Max
	More  bool   // whether the compaction is not finished
}

// Bound returns the greatest number of bytes to move, with the default filled in, or an error
// that is ErrTooLarge. Stores call it first.
func (r CompactRequest) Bound() (int, error) {
	switch {
	case r.Max < 0 || r.Max > MaxCompact:
		return 0, fmt.Errorf("a compaction moves 0 to %d bytes in one call, not %d: %w", MaxCompact, r.Max, ErrTooLarge)
	case r.Max == 0:
		return MaxCompact, nil
	}
	return max(r.Max, MinCompact), nil
}
