package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Append implements [storage.Store]. A batch that changes nothing, such as one
// of spent tokens, costs no flush.
func (s *Store) Append(ctx context.Context, records []storage.Record) (outcomes []storage.Outcome, err error) {
	if err := storage.CheckBatch(records); err != nil {
		return nil, fmt.Errorf("append to %s: %w", s.path, err)
	}
	outcomes = make([]storage.Outcome, len(records))
	err = s.writeBatch(ctx, "append to", func(b *batch) (err error) {
		for i := range records {
			if outcomes[i], err = b.appendRecord(&records[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

// writeBatch calls f with a transaction and commits it.
func (s *Store) writeBatch(ctx context.Context, op string, f func(*batch) error) error {
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	return s.runMethod(ctx, op, func() error {
		if err := s.ensureWriter(); err != nil {
			return err
		}
		if err := s.writer.takeWriteLock(); err != nil {
			return s.failTransaction(err, nil)
		}
		before, err := scanMeta(s.writer.meta.QueryRowContext(uncanceled))
		if err != nil {
			return s.failTransaction(err, nil)
		}
		b := &batch{writer: s.writer, meta: before}
		err = f(b)
		switch {
		case err == nil && b.meta == before:
			return nil
		case err == nil:
			err = b.commitBatch()
		}
		if err != nil {
			return s.failTransaction(err, &before)
		}
		s.checkpointAndRelock()
		return nil
	})
}

// checkpointAndRelock keeps the log of SQLite short, and takes the write lock again. If
// either fails, the next Append finds out; this one is durable.
func (s *Store) checkpointAndRelock() {
	if fileSize(s.path+walSuffix) > s.maxWAL {
		// Nobody reads until the log is copied and the next transaction has begun, which
		// then can begin the log anew.
		s.checkpointMu.Lock()
		defer s.checkpointMu.Unlock()
	}
	err := s.explainStoreError(s.checkpointIfLong())
	if err != nil && !errors.Is(err, storage.ErrFull) && !errors.Is(err, errBusy) {
		s.breakStore(err) //nolint:errcheck // for later calls
		return
	}
	s.writer.takeWriteLock() //nolint:errcheck // see above
}

// checkpointIfLong copies the log of SQLite into the database when it is long.
//
// SQLite would do so by itself, but ignore a sync that fails. It would try again later
// and write only the pages that no try has written. Pages that an earlier try wrote before
// it stopped at a reader would be lost with the failed sync, when the log begins anew.
func (s *Store) checkpointIfLong() error {
	n, err := s.writer.logPages()
	if err != nil || n*pageSize < s.maxWAL/4 && fileSize(s.path+walSuffix) <= s.maxWAL {
		return err
	}
	return s.writer.checkpointLog()
}

// failTransaction rolls back a transaction that met err, and returns the error of the
// Append. The store stays usable after a full disk: what the transaction wrote is behind
// the end of the log, where the next one will write. After any other failure nobody knows
// what the disk holds, and the file must be opened anew. A failed sync is worse, see
// [storefile.MarkSyncFailed].
func (s *Store) failTransaction(err error, before *meta) error {
	s.writer.rollBack()
	err = s.explainStoreError(err)
	switch {
	case errors.Is(err, errBusy), errors.Is(err, storage.ErrFull) && (before == nil || s.isUnchangedSince(*before)):
		return err
	}
	return s.breakStore(err)
}

// isUnchangedSince reports whether the counters of the store are as before.
func (s *Store) isUnchangedSince(before meta) bool {
	if s.writer.takeWriteLock() != nil {
		return false
	}
	now, err := scanMeta(s.writer.meta.QueryRowContext(uncanceled))
	return err == nil && now == before
}

// breakStore ends the use of the store because of err, and returns the error of all later
// calls.
func (s *Store) breakStore(err error) error {
	if !errors.Is(err, storage.ErrCorrupt) {
		err = fmt.Errorf("%w until the file is opened anew: %w", storage.ErrUnavailable, err)
	}
	s.broken.CompareAndSwap(nil, &err)
	return err
}

// batch is an open transaction.
type batch struct {
	*writer
	meta meta // as it will be
}

func (b *batch) appendRecord(r *storage.Record) (storage.Outcome, error) {
	if r.Nullifier != nil {
		token := storage.NewTokenID(*r.Nullifier)
		if conflict, err := b.isConflict(token, r); conflict || err != nil {
			return storage.Outcome{Status: storage.Conflict}, err
		}
		switch spent, err := b.spendToken(token, r.ID); {
		case err != nil:
			return storage.Outcome{}, err
		case !spent:
			return b.answerSpent(token, r.ID)
		}
	}
	seq := b.meta.last + 1
	sum := checksumOf(seq, r.ID, r.Born, r.Signature, r.Ciphertext)
	switch stored, err := insertRow(b.writer.store, int64(seq), r.ID[:], int64(r.Born), int64(sum), emptyIfNil(r.Signature), emptyIfNil(r.Ciphertext)); {
	case err != nil:
		return storage.Outcome{}, err
	case stored:
		b.meta.last = seq
		return storage.Outcome{Status: storage.Stored, Seq: seq}, nil
	}
	seq, err := b.findSeq(r.ID)
	if err == nil && seq == 0 {
		err = storefile.CorruptError("an entry of the log is missing")
	}
	return storage.Outcome{Status: storage.Duplicate, Seq: seq}, err
}

// isConflict reports whether a record must be refused because another envelope has its
// signature. Mostly none has, which takes one query.
func (b *batch) isConflict(token storage.TokenID, r *storage.Record) (bool, error) {
	if len(r.Signature) == 0 {
		return false, nil
	}
	if has, err := rowExists(b.signed, r.Signature); !has || err != nil {
		return false, err
	}
	if spent, err := rowExists(b.spentOn, token[:]); spent || err != nil {
		return false, err
	}
	seq, err := b.findSeq(r.ID)
	return seq == 0, err
}

// spendToken spends a token on an envelope, and reports whether it was unspent.
func (b *batch) spendToken(token storage.TokenID, id storage.ID) (bool, error) {
	spent, err := insertRow(b.spend, token[:], id[:])
	if spent {
		b.meta.tokens++
	}
	return spent, err
}

// answerSpent answers a record whose token was spent before.
func (b *batch) answerSpent(token storage.TokenID, id storage.ID) (storage.Outcome, error) {
	switch paid, err := b.findPayment(token); {
	case err != nil:
		return storage.Outcome{}, err
	case paid != id:
		return storage.Outcome{Status: storage.Spent}, nil
	}
	switch seq, err := b.findSeq(id); {
	case err != nil:
		return storage.Outcome{}, err
	case seq == 0:
		return storage.Outcome{Status: storage.Spent}, nil
	default:
		return storage.Outcome{Status: storage.Replayed, Seq: seq}, nil
	}
}

// commitBatch writes the counters, and makes them and the rows durable.
func (b *batch) commitBatch() error {
	if _, err := b.advance.ExecContext(uncanceled, int64(b.meta.last), int64(b.meta.tokens)); err != nil {
		return err
	}
	return b.commitAndRelease()
}

// emptyIfNil returns b, or an empty slice for nil, which SQLite would take for NULL.
func emptyIfNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
