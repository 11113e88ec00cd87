package bolt

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Append implements [storage.Store]. A batch that changes nothing, such as one
// of spent tokens, costs no flush.
func (s *Store) Append(ctx context.Context, records []storage.Record) (outcomes []storage.Outcome, err error) {
	if err := storage.CheckBatch(records); err != nil {
		return nil, fmt.Errorf("append to %s: %w", s.path, err)
	}
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	err = s.runMethod(ctx, "append to", func() (err error) {
		if err := s.openForWriting(); err != nil {
			return err
		}
		outcomes, err = s.appendRecords(records)
		return err
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

func (s *Store) appendRecords(records []storage.Record) ([]storage.Outcome, error) {
	b := newBatch(&s.index, &s.hours, len(records), s.recordBuf[:0])
	err := s.updateFile(func(tx *bbolt.Tx) (bool, error) {
		err := b.applyRecords(tx, records)
		return b.rewritten, err
	}, func() { s.publishBatch(b) })
	s.recordBuf = b.recordBuf
	if err != nil {
		return nil, err
	}
	return b.outcomes, nil
}

// updateFile calls change in a transaction, and publish, with mu locked, when that is
// durable. change returns whether it rewrites what readers have been shown. Then no reader
// begins between the commit, which the file shows at once, and publish.
func (s *Store) updateFile(change func(*bbolt.Tx) (rewrites bool, _ error), publish func()) error {
	before, locked := 0, false
	defer func() { // even if bbolt panics
		if locked {
			s.viewMu.Unlock()
		}
	}()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		before = tx.ID() - 1
		rewrites, err := change(tx)
		if err == nil && rewrites {
			s.viewMu.Lock()
			locked = true
		}
		return err
	})
	switch {
	case err == errUnchanged:
		return nil
	case err != nil:
		return s.failTransaction(err, before)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	publish()
	if s.committed != nil {
		s.committed()
	}
	return nil
}

// publishBatch shows readers a batch that is durable.
func (s *Store) publishBatch(b *batch) {
	s.index.forgetShards(b.moved, b.before)
	for _, k := range b.dropped {
		s.index.dropKey(k)
	}
	for _, k := range b.keys {
		s.index.addKey(k)
	}
	for id, seq := range b.stored {
		s.index.tails[seq] = tailOf(id)
	}
	for _, k := range b.dropped { // also of entries of this batch
		delete(s.index.tails, k.seqOf())
	}
	s.index.marked = s.index.marked || b.marked
	s.hours.apply(b.hours, b.state.counted == b.state.last)
	s.shown = b.state
}

// failTransaction returns the error of a transaction that bbolt rolled back because of
// err; before is the transaction before it. The store stays usable if a write met a full
// disk: the pages of the transaction were free, and are free again. After any other
// failure nobody knows what the disk holds. A failed sync must not be tried again, because
// Linux reports a lost page once (https://lwn.net/Articles/752063/); the next process has
// to know of it, see [storefile.MarkSyncFailed].
func (s *Store) failTransaction(err error, before int) error {
	cause := fullError(err)
	switch {
	case errors.Is(cause, storage.ErrCorrupt):
		return cause
	case isSyncError(err):
		err = storefile.MarkSyncFailed(s.path, err)
	case errors.Is(cause, storage.ErrFull) && s.isAtTransaction(before):
		return cause
	default:
		err = fmt.Errorf("%w until the file is opened anew: %w", storage.ErrUnavailable, cause)
	}
	s.broken.Store(&err)
	return err
}

// isAtTransaction reports whether readers see the file as transaction last left it.
func (s *Store) isAtTransaction(last int) bool {
	seen := 0
	err := s.db.View(func(tx *bbolt.Tx) error {
		seen = tx.ID()
		return nil
	})
	return err == nil && seen == last
}
