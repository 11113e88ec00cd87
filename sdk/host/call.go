package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// calls are those of one kind: how its errors are written on the wire, and which
// of them says that the plugin is away.
type calls struct {
	kind        plugin.Kind
	errors      rpc.ErrorCodes
	unavailable error
}

var (
	storageCalls = calls{plugin.KindStorage, rpc.StorageErrors, storage.ErrUnavailable}
	statsCalls   = calls{plugin.KindStats, rpc.StatsErrors, stats.ErrUnavailable}
)

// runCall runs one call under a deadline and gives its error the meaning it has
// for the caller. A plugin that misses a deadline which the caller did not set is
// unavailable. In either case the error wraps [context.DeadlineExceeded].
func runCall[R any](ctx context.Context, kind calls, name string, timeout time.Duration, do func(context.Context) (R, error)) (R, error) {
	deadline, theirs := ctx.Deadline()
	if !theirs && timeout > 0 {
		deadline = time.Now().Add(timeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	result, err := do(ctx)
	if err == nil {
		return result, nil
	}
	err = kind.errors.FromStatus(err)
	// The deadline passes on the other side as well, and its answer may be here
	// before our own clock says so. Any earlier it is the plugin that gave up.
	passed := !deadline.IsZero() && time.Until(deadline) < time.Second
	switch {
	case errors.Is(err, context.DeadlineExceeded) && !passed, errors.Is(err, context.Canceled) && ctx.Err() == nil:
		err = fmt.Errorf("%w: the plugin gave up the call", kind.unavailable)
	case errors.Is(err, context.DeadlineExceeded) && !theirs:
		err = fmt.Errorf("%w: no answer within %v: %w", kind.unavailable, timeout, context.DeadlineExceeded)
	}
	var none R
	return none, fmt.Errorf("%s %s: %w", kind.kind, name, err)
}
