package rpc

import "context"

// Lease allows one call to an implementation.
type Lease[I any] struct {
	Implementation I
	// Ending is done when calls that only wait, and long ones, have to return.
	Ending context.Context
	// Release ends the lease. It is called when the call has returned.
	Release func()
}

// untilEnding returns a context that ends with ctx, and when the call has to return.
func (l Lease[I]) untilEnding(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.Ending, cancel)
	return ctx, func() { stop(); cancel() }
}

// Acquire returns a lease, or the reason why no call may begin now.
type Acquire[I any] func() (Lease[I], error)

// withLease makes one call under a lease and turns its error into a gRPC status.
func withLease[I, R any](acquire Acquire[I], codes ErrorCodes, call func(Lease[I]) (R, error)) (R, error) {
	var none R
	lease, err := acquire()
	if err != nil {
		return none, codes.ToStatus(err)
	}
	defer lease.Release()
	resp, err := call(lease)
	if err != nil {
		return none, codes.ToStatus(err)
	}
	return resp, nil
}

// turn lets one call at a time through. It holds an element while a call is under way.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the call before to return, and until ctx ends. Unless it fails, the
// caller has to give the turn back.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) giveBack() { <-t }
