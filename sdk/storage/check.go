package storage

import (
	"context"
	"fmt"
)

// Sizes that bound the calls of a [Checker].
const (
	// MaxFaults is the greatest number of faults that one Check returns.
	MaxFaults = 256
	// MaxCheckState is the greatest number of bytes of Checked.Next.
	MaxCheckState = 64
	// MaxFaultText is the greatest number of bytes of each text of a Fault. The relay cuts
	// off what exceeds it.
	MaxFaultText = 256
)

// Checker is implemented by a store that was opened for inspection, see [plugin.Config]: to be
// looked at as it is, however damaged. Such a store changes nothing on the disk, not even
// what an ordinary start would repair or upgrade. The relay calls none of the methods that
// change something. Info, Log, Find, SpentTokens, Hours, Keys and Get return what can be read
// and is whole, and leave out the rest; Info may say more than Log returns. A page is still
// empty at the end only. Opening fails only if nothing at all can be read.
//
// The relay does not look for a Checker with a type assertion but with [As].
//
// [plugin.Config]: https://pkg.go.dev/github.com/cwtch-relay/cwtch-relay/sdk/plugin#Config
type Checker interface {
	// Check verifies the next part of the store, as much as a few seconds allow, and returns
	// the faults that it finds. Together the parts are the whole store: every page of a file,
	// every record and every index. A store that is whole has no faults. Check returns
	// within a second after the end of ctx.
	Check(ctx context.Context, req CheckRequest) (Checked, error)
}

// CheckRequest asks for a part of a check.
type CheckRequest struct {
	// After is Checked.Next of the part before; empty for the first part. More than
	// MaxCheckState bytes are ErrTooLarge.
	After []byte
}

// Bound returns an error that is [ErrTooLarge] when r.After exceeds its limit, and nil
// otherwise. Stores call it first.
func (r CheckRequest) Bound() error {
	if len(r.After) > MaxCheckState {
		return fmt.Errorf("check after a state of %d bytes, limit %d: %w", len(r.After), MaxCheckState, ErrTooLarge)
	}
	return nil
}

// Checked says what a Check has found.
type Checked struct {
	Faults []Fault // at most MaxFaults
	// Next is where the next part begins, at most MaxCheckState bytes, and not where this
	// one began. It is empty after the last part.
	Next []byte
	// Done is how many bytes of the store have been verified so far, and Total how many
	// there are. Both are the same after the last part of a store that is whole.
	Done, Total uint64
}

// Fault is damage in a store. Its texts are for the operator. They hold no identifiers,
// signatures, ciphertexts or tokens.
type Fault struct {
	Place string // such as "messages.db, page 17"
	Text  string // what is wrong there and, if that is known, what is lost
}
