package board

import (
	"context"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The process of a store may end at any time, and the next process may open another
// store, or the same one with less in it. This file keeps such a store from being
// called.

// Admit returns an error unless store can be the one whose log the board has served.
// It is asked whenever a process has opened a store, before any call of the board
// reaches it: a store that has lost or exchanged its log must not acknowledge
// anything. An error that is [storage.ErrUnavailable] may pass with another start.
// After a store with another log the board accepts nothing more, unless tried tells
// that the store goes back to an earlier configuration then.
func (b *Board) Admit(ctx context.Context, store storage.Store, tried bool) error {
	info, err := store.Info(ctx)
	switch {
	case errors.Is(err, storage.ErrCorrupt):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	err = b.recognizeLog(info)
	if err != nil && !tried {
		b.giveUp(err)
	}
	return err
}

// Reopened tells the board that another process has the store, after [Board.Admit].
// The board compares it once more and catches up with what the log holds beyond what
// it knows.
func (b *Board) Reopened(ctx context.Context) error {
	b.appendMu.Lock()
	defer b.appendMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PostTimeout) // posts wait meanwhile
	defer cancel()
	b.lastRefusal.Store(nil) // by the process before
	return b.resyncTail(ctx)
}

// recognizeLog returns an error unless info can describe the log that the board has served.
func (b *Board) recognizeLog(info storage.Info) error {
	last := b.tail.lastSeq()
	if info.Epoch == b.epoch && info.Last >= last {
		return nil
	}
	return fmt.Errorf("the store came back with epoch %s and %d envelopes, the board has served epoch %s and %d: acknowledged envelopes are gone; restore the database and start again",
		info.Epoch, info.Last, b.epoch, last)
}

// checkStore checks that the store still is the one whose log the board has served,
// and returns the end of its log. b.appendMu is held.
func (b *Board) checkStore(ctx context.Context) (storage.Seq, error) {
	info, err := b.store.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("look at the store again: %w", b.failIfCorrupt(err))
	}
	if err := b.recognizeLog(info); err != nil {
		b.giveUp(err)
		return 0, err
	}
	return info.Last, nil
}
