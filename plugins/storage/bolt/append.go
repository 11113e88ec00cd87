package bolt

import (
	"context"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"go.etcd.io/bbolt"
)

// Append implements [storage.Store]. A batch that changes nothing, such as one
// of spent tokens, costs no flush.
func (s *Store) Append(ctx context.Context, records []storage.Record) (outcomes []storage.Outcome, err error) {
	if err := storage.CheckBatch(records); err != nil {
		return nil, fmt.Errorf("append to %s: %w", s.path, err)
	}
	s.appending.Lock()
	defer s.appending.Unlock()
	err = s.do(ctx, "append to", func() (err error) {
		outcomes, err = s.append(records)
		return err
	})
	return outcomes, err
}

func (s *Store) append(records []storage.Record) ([]storage.Outcome, error) {
	b := newBatch(&s.index, len(records), s.arena[:0])
	err := s.db.Update(func(tx *bbolt.Tx) error { return b.apply(tx, records) })
	s.arena = b.arena
	switch {
	case err == errUnchanged:
		return b.outcomes, nil
	case err != nil:
		return nil, s.failed(err, b.before)
	}
	s.show(b)
	return b.outcomes, nil
}

// show tells readers of a batch that is durable.
func (s *Store) show(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.drop(b.moved, b.before)
	for _, k := range b.keys {
		s.index.add(k)
	}
	s.shown = b.state
}

// failed returns the error of a transaction that bbolt took back because of
// err. The store outlives a full disk: the pages that the transaction wrote
// were free and are free again. After any other failure nobody knows what the
// disk holds, and flushing once more does not tell, since Linux reports a lost
// page once (https://lwn.net/Articles/752063/); so the file must be opened anew.
func (s *Store) failed(err error, before storage.Seq) error {
	err = full(err)
	if errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrFull) && s.endsAt(before) {
		return err
	}
	err = fmt.Errorf("%w until the file is opened anew: %w", storage.ErrUnavailable, err)
	s.broken.Store(&err)
	return err
}

// endsAt reports whether readers see a log that ends at last.
func (s *Store) endsAt(last storage.Seq) bool {
	var st state
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		st, err = readState(tx)
		return err
	})
	return err == nil && st.last == last
}
