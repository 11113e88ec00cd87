package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/client"
)

const (
	// quietLimit is how long a board may be silent before follow asks for an empty
	// replay, to find out whether the connection still works: an onion circuit can
	// break without notice.
	quietLimit = 10 * time.Minute
	// saveEvery limits how often a busy group is saved to the profile.
	saveEvery = 5 * time.Second
	// Waits between attempts to connect again double from the first to the last.
	firstBackoff = time.Second
	lastBackoff  = time.Minute
)

// runFollow prints messages until ^C, until -timeout has passed, or until there were
// -n messages. It connects again when the connection ends or cannot be made.
func (a *app) runFollow(ctx context.Context, args []string) error {
	if a.n < 0 || a.timeout < 0 {
		return usageError{"-n and -timeout cannot be negative", listHint}
	}
	outer := ctx
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	r, hangUp, err := a.startReading(ctx, args[0], a.all)
	if err != nil && outer.Err() != nil {
		return nil // ^C before there was anything to follow
	}
	if err != nil {
		return err
	}
	defer hangUp()
	err = r.followUntil(ctx, a.n)
	if errors.As(err, new(final)) && !errors.Is(err, errEnough) {
		return err // what could not be printed does not count as read
	}
	connected, lost := r.connection()
	switch {
	case errors.Is(err, errEnough), outer.Err() != nil: // as asked, or ^C
		err = nil
	case ctx.Err() != nil && !connected:
		err = notConnected(a.timeout, lost)
	case ctx.Err() != nil && a.n == 0:
		err = nil
	case ctx.Err() != nil:
		err = fmt.Errorf("follow: %d of %d messages came within %s", r.counted().messageCount(), a.n, a.timeout)
	}
	return errors.Join(err, r.save(ctx, true))
}

// notConnected returns the error after a whole -timeout without a connection.
func notConnected(timeout time.Duration, lost error) error {
	if lost == nil {
		return fmt.Errorf("follow: no connection within %s", timeout)
	}
	return fmt.Errorf("follow: no connection within %s: %w", timeout, lost)
}

// final is an error that another connection would not cure.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// errEnough ends follow after -n messages.
var errEnough error = final{errors.New("enough")}

// followUntil reads over one connection after the other.
func (r *readJob) followUntil(ctx context.Context, limit int) error {
	r.limit = limit
	retry := backoff.Backoff{Min: firstBackoff, Max: lastBackoff}
	for {
		board, err := r.syncAndPrint(ctx)
		if err == nil {
			r.connected = true
			retry.Reset()
			r.app.progress.Note("following %q", r.messages.name)
			err = r.printLive(ctx, board)
			board.Close()
		}
		if errors.As(err, new(final)) || ctx.Err() != nil {
			return err
		}
		r.lost = err
		r.app.progress.Stage("no connection, trying again: %v", err)
		delay := retry.Next()
		r.app.progress.Detail("in %s", delay.Round(100*time.Millisecond))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
	}
}

// printLive prints new messages until the connection ends.
func (r *readJob) printLive(ctx context.Context, board *client.Board) error {
	for {
		if time.Since(r.saved) >= saveEvery {
			r.saved = time.Now()
			if err := r.messages.saveProgress(ctx, r.app.profile, true); err != nil {
				return final{err}
			}
		}
		last := r.messages.reader.Position().Last().Signature
		probe := time.AfterFunc(quietLimit, func() {
			board.Replay(last) //nolint:errcheck // its answer, or its absence, is for Next
		})
		e, err := board.Next(ctx)
		probe.Stop()
		if err != nil {
			return err
		}
		if err := r.printEvent(e); err != nil {
			return err
		}
	}
}
