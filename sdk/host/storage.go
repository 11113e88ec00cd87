package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// How long a call waits for its answer when its context sets no deadline.
const (
	infoTimeout  = 5 * time.Second
	callTimeout  = 30 * time.Second
	closeTimeout = 10 * time.Second
)

// maxOutcome is more than an outcome takes on the wire, in bytes.
const maxOutcome = 32

// store is a store on the other side of a connection.
type store struct{ client *Client }

// watchedStore is one to which others append.
type watchedStore struct{ *store }

func (s *store) Info(ctx context.Context) (storage.Info, error) {
	return call(ctx, "info", infoTimeout, func(ctx context.Context) (storage.Info, error) {
		resp, err := s.client.storage.Info(ctx, &pb.InfoRequest{}, atMost(maxShortAnswer))
		if err != nil {
			return storage.Info{}, err
		}
		return rpc.Info(resp)
	})
}

func (s *store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	return call(ctx, "append", callTimeout, func(ctx context.Context) ([]storage.Outcome, error) {
		req := rpc.AppendRequest(records)
		if proto.Size(req) > rpc.MaxMessage {
			return nil, storage.ErrTooLarge
		}
		resp, err := s.client.storage.Append(ctx, req, atMost(maxShortAnswer+maxOutcome*len(records)))
		if err != nil {
			return nil, err
		}
		return rpc.Outcomes(resp, len(records))
	})
}

func (s *store) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	return call(ctx, "log", callTimeout, func(ctx context.Context) (storage.Page, error) {
		if _, _, _, err := req.Bounds(); err != nil {
			return storage.Page{}, err
		}
		resp, err := s.client.storage.Log(ctx, &pb.LogRequest{
			From: uint64(req.From), Max: uint32(req.Max), MaxBytes: uint32(req.MaxBytes),
		}, atMost(maxAnswer))
		if err != nil {
			return storage.Page{}, err
		}
		return rpc.Page(resp, req)
	})
}

func (s *store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	return call(ctx, "find", callTimeout, func(ctx context.Context) (storage.Seq, error) {
		if len(signature) > rpc.MaxMessage-16 {
			return 0, storage.ErrTooLarge
		}
		resp, err := s.client.storage.Find(ctx, &pb.FindRequest{Signature: signature}, atMost(maxShortAnswer))
		if err != nil {
			return 0, err
		}
		return rpc.Found(resp)
	})
}

func (s *store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.client.Drain(ctx); err != nil {
		return err
	}
	return s.client.Shutdown(ctx)
}

func (s *watchedStore) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	return call(ctx, "watch", 0, func(ctx context.Context) (storage.Seq, error) {
		resp, err := s.client.storage.Watch(ctx, &pb.WatchRequest{After: uint64(after)}, atMost(maxShortAnswer))
		if err != nil {
			return 0, err
		}
		return rpc.Watched(resp, after)
	})
}

// call runs one call under a deadline and gives its error the meaning it has
// for the caller. A plugin that misses a deadline which the caller did not set is
// unavailable; whosesoever the deadline was, the error is a
// [context.DeadlineExceeded].
func call[R any](ctx context.Context, name string, timeout time.Duration, do func(context.Context) (R, error)) (R, error) {
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
	err = rpc.Error(err)
	// The deadline passes on the other side as well, and its answer may be here
	// before our own clock says so. Any earlier it is the plugin that gave up.
	passed := !deadline.IsZero() && time.Until(deadline) < time.Second
	switch {
	case errors.Is(err, context.DeadlineExceeded) && !passed, errors.Is(err, context.Canceled) && ctx.Err() == nil:
		err = fmt.Errorf("%w: the plugin gave up the call", storage.ErrUnavailable)
	case errors.Is(err, context.DeadlineExceeded) && !theirs:
		err = fmt.Errorf("%w: no answer within %v: %w", storage.ErrUnavailable, timeout, context.DeadlineExceeded)
	}
	var none R
	return none, fmt.Errorf("storage %s: %w", name, err)
}
