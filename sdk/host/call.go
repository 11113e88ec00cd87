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

// callErrors describes the errors of calls of one kind.
type callErrors struct {
	kind        plugin.Kind
	codes       rpc.ErrorCodes
	unavailable error // the ErrUnavailable of the kind
}

var (
	storageErrors = callErrors{plugin.KindStorage, rpc.StorageErrors, storage.ErrUnavailable}
	statsErrors   = callErrors{plugin.KindStats, rpc.StatsErrors, stats.ErrUnavailable}
)

// runCall makes one call under a deadline: the caller's if ctx has one, or else timeout. A
// plugin that misses the latter is unavailable. The error of a missed deadline always wraps
// [context.DeadlineExceeded].
func runCall[R any](ctx context.Context, kind callErrors, name string, timeout time.Duration, do func(context.Context) (R, error)) (R, error) {
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
	err = kind.codes.FromStatus(err)
	// The deadline is also set on the other side, whose answer may arrive a moment before
	// our clock reaches it. An earlier answer means that the plugin gave up.
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
