package rpc

import "context"

// Lease lets one call to an implementation happen.
type Lease[I any] struct {
	Implementation I
	// Ending ends when calls that only wait are to return.
	Ending context.Context
	// Release is called when the call is over.
	Release func()
}

// Acquire gives a lease, or the reason why there is none now.
type Acquire[I any] func() (Lease[I], error)

// withImplementation runs one call on an implementation and gives its error the form that the
// vocabulary of its kind has for it on the wire.
func withImplementation[I, R any](acquire Acquire[I], errors Vocabulary, ctx context.Context, call func(context.Context, I) (R, error)) (R, error) {
	return callLeased(acquire, errors, func(l Lease[I]) (R, error) { return call(ctx, l.Implementation) })
}

// waitWithImplementation does the same for a call that only waits.
func waitWithImplementation[I, R any](acquire Acquire[I], errors Vocabulary, ctx context.Context, call func(context.Context, I) (R, error)) (R, error) {
	return callLeased(acquire, errors, func(l Lease[I]) (R, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(l.Ending, cancel)()
		return call(ctx, l.Implementation)
	})
}

func callLeased[I, R any](acquire Acquire[I], errors Vocabulary, call func(Lease[I]) (R, error)) (R, error) {
	var none R
	l, err := acquire()
	if err != nil {
		return none, errors.Status(err)
	}
	defer l.Release()
	resp, err := call(l)
	if err != nil {
		return none, errors.Status(err)
	}
	return resp, nil
}
