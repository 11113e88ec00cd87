package storage

import (
	"cmp"
	"context"
	"fmt"
)

// Sizes that bound the calls of a [Pruner].
const (
	// MaxHours is the greatest number of hours that one Hours returns.
	MaxHours = 1024
	// MaxPrune is the greatest number of envelopes that one Prune removes.
	MaxPrune = 4096
)

// Pruner is implemented by a store that can remove old envelopes. Such a store has a
// floor, an hour that begins at 0 and only rises. It is in [Info] and as durable as
// the epoch. An envelope that was born before the floor is pruned: it is not in the
// log, and Append refuses it as [Expired].
//
// All envelopes below a new floor leave the log at one moment, whether they have been
// removed yet or not: from then on Log, Find, Info, Hours, Keys and Get show none of
// them, and not before that is durable. Sequence numbers stay: those of pruned
// envelopes are not used again, and Last does not fall.
//
// Spent tokens stay spent. A store may forget which envelope a token has paid for once
// that is pruned. The token then has the zero [ID] in the ledger, and a record that
// shows it is Spent, even if its envelope is in the log again.
//
// What was removed leaves the disk as well, overwritten or cut off, within a time that
// the documentation of the store says.
//
// The relay does not look for a Pruner with a type assertion but with [As].
type Pruner interface {
	// Hours returns the hours from req.From on in which envelopes of the log were
	// born, ascending, as many as there are and at most req.Max; none means that
	// there are no more. They are those of one moment. The cost of a call depends on
	// the number of hours, not on the number of envelopes. The slice belongs to the
	// caller.
	Hours(ctx context.Context, req HoursRequest) ([]HourSize, error)

	// Prune raises the floor to req.Floor and removes pruned envelopes, as many as
	// there are and at most req.Max, all in one transaction, and returns when that
	// is durable. It never lowers the floor: with a lower one, such as 0, it only
	// removes. The cost of a call depends on what it removes, not on what the store
	// keeps. After an error the call may be repeated. [ErrFull] means that there is no
	// room for the transaction, and that nothing was changed.
	Prune(ctx context.Context, req PruneRequest) (Pruned, error)
}

// HourSize says what the log holds of one hour.
type HourSize struct {
	Hour  Hour
	Count uint64 // envelopes that were born in it, at least 1
	Bytes uint64 // of their signatures and ciphertexts
}

// HoursRequest asks for the sizes of hours.
type HoursRequest struct {
	From Hour // first hour wanted
	// Max bounds the number of hours; 0 means MaxHours. Less than 0 or more than
	// MaxHours is ErrTooLarge.
	Max int
}

// Bound returns the greatest number of hours to return, with the default filled in,
// or an error that is [ErrTooLarge]. Stores call it first.
func (r HoursRequest) Bound() (int, error) {
	if r.Max < 0 || r.Max > MaxHours {
		return 0, fmt.Errorf("page of %d hours, limit %d: %w", r.Max, MaxHours, ErrTooLarge)
	}
	return cmp.Or(r.Max, MaxHours), nil
}

// PruneRequest asks for the removal of what was born before a floor.
type PruneRequest struct {
	Floor Hour
	// Max bounds the number of envelopes that are removed; 0 means MaxPrune. Less
	// than 0 or more than MaxPrune is ErrTooLarge and changes nothing.
	Max int
}

// Bound returns the greatest number of envelopes to remove, with the default filled
// in, or an error that is [ErrTooLarge]. Stores call it first.
func (r PruneRequest) Bound() (int, error) {
	if r.Max < 0 || r.Max > MaxPrune {
		return 0, fmt.Errorf("prune of %d envelopes, limit %d: %w", r.Max, MaxPrune, ErrTooLarge)
	}
	return cmp.Or(r.Max, MaxPrune), nil
}

// Pruned says what a Prune has done.
type Pruned struct {
	Floor     Hour   // of the store now: that of the request, or a higher one
	Envelopes uint64 // that this call has removed
	Bytes     uint64 // of their signatures and ciphertexts
	More      bool   // whether pruned envelopes are left to be removed
}
