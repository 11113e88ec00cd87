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
	s.appending.Lock()
	defer s.appending.Unlock()
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
	b := newBatch(&s.index, len(records), s.arena[:0])
	before := 0
	err := s.db.Update(func(tx *bbolt.Tx) error {
		before = tx.ID() - 1
		return b.applyRecords(tx, records)
	})
	s.arena = b.arena
	switch {
	case err == errUnchanged:
		return b.outcomes, nil
	case err != nil:
		return nil, s.takeBackFailed(err, before)
	}
	s.showBatch(b)
	return b.outcomes, nil
}

// showBatch tells readers of a batch that is durable.
func (s *Store) showBatch(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.dropShards(b.moved, b.before)
	for _, k := range b.keys {
		s.index.addKey(k)
	}
	s.shown = b.state
}

// takeBackFailed returns the error of a transaction that bbolt took back because of
// err, when before was the last one. The store outlives a full disk that a write
// met: the pages that the transaction wrote were free and are free again. After
// any other failure nobody knows what the disk holds. A sync that failed, for
// whatever reason, is no reason to try again, since Linux reports a lost page once
// (https://lwn.net/Articles/752063/); the next process has to know of it, see
// [storefile.MarkSyncFailed].
func (s *Store) takeBackFailed(err error, before int) error {
	cause := fullError(err)
	switch {
	case errors.Is(cause, storage.ErrCorrupt):
		return cause
	case isSyncError(err):
		err = storefile.MarkSyncFailed(s.path, err)
	case errors.Is(cause, storage.ErrFull) && s.endsWith(before):
		return cause
	default:
		err = fmt.Errorf("%w until the file is opened anew: %w", storage.ErrUnavailable, cause)
	}
	s.broken.Store(&err)
	return err
}

// endsWith reports whether readers see what the given transaction left.
func (s *Store) endsWith(last int) bool {
	seen := 0
	err := s.db.View(func(tx *bbolt.Tx) error {
		seen = tx.ID()
		return nil
	})
	return err == nil && seen == last
}
