package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Append implements [storage.Store]. A batch that changes nothing, such as one
// of spent tokens, costs no flush.
func (s *Store) Append(ctx context.Context, records []storage.Record) (outcomes []storage.Outcome, err error) {
	if err := storage.CheckBatch(records); err != nil {
		return nil, fmt.Errorf("append to %s: %w", s.path, err)
	}
	outcomes = make([]storage.Outcome, len(records))
	err = s.write(ctx, "append to", func(b *batch) (err error) {
		for i := range records {
			if outcomes[i], err = b.append(&records[i]); err != nil {
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

// write calls f with a transaction, and commits what it did.
func (s *Store) write(ctx context.Context, op string, f func(*batch) error) error {
	s.appending.Lock()
	defer s.appending.Unlock()
	return s.do(ctx, op, func() error {
		if err := s.ready(); err != nil {
			return err
		}
		if err := s.writer.hold(); err != nil {
			return s.failed(err, nil)
		}
		before, err := scanMeta(s.writer.meta.QueryRowContext(ever))
		if err != nil {
			return s.failed(err, nil)
		}
		b := &batch{writer: s.writer, meta: before}
		err = f(b)
		switch {
		case err == nil && b.meta == before:
			return nil
		case err == nil:
			err = b.commit()
		}
		if err != nil {
			return s.failed(err, &before)
		}
		s.settle()
		return nil
	})
}

// settle keeps the log of SQLite short, and takes the write lock again. Where
// either cannot be, the next Append finds out; this one is durable.
func (s *Store) settle() {
	if size(s.path+walSuffix) > s.maxWAL {
		// Nobody reads for as long as the log is copied and the next transaction
		// begun, which then does not need what is in it.
		s.calm.Lock()
		defer s.calm.Unlock()
	}
	err := s.explain(s.shortenLog())
	if err != nil && !errors.Is(err, storage.ErrFull) && !errors.Is(err, errBusy) {
		s.breaks(err) //nolint:errcheck // for those that come
		return
	}
	s.writer.hold() //nolint:errcheck // see above
}

// shortenLog copies the log of SQLite into the database when it is long.
//
// SQLite would do so by itself, and take no notice of a sync that fails. It would
// try again later, but write again only the pages that it has not written before
// that try: those of an earlier one, which stopped at a reader, are lost with the
// sync, and then the log begins anew.
func (s *Store) shortenLog() error {
	n, err := s.writer.logPages()
	if err != nil || n*pageSize < s.maxWAL/4 && size(s.path+walSuffix) <= s.maxWAL {
		return err
	}
	return s.writer.copyLog()
}

// failed takes back a transaction that met err, and returns the error of the
// Append. The store outlives a full disk: what was written of the transaction
// is behind the end of the log, where the next one will write. After any other
// failure nobody knows what the disk holds, and the file must be opened anew. A
// sync that failed is worse, see [ground.Distrust].
func (s *Store) failed(err error, before *meta) error {
	s.writer.undo()
	err = s.explain(err)
	switch {
	case errors.Is(err, errBusy), errors.Is(err, storage.ErrFull) && (before == nil || s.isAt(*before)):
		return err
	}
	return s.breaks(err)
}

// isAt reports whether the store is as it was.
func (s *Store) isAt(before meta) bool {
	if s.writer.hold() != nil {
		return false
	}
	now, err := scanMeta(s.writer.meta.QueryRowContext(ever))
	return err == nil && now == before
}

// breaks ends the use of the store because of err, and returns what is said
// from now on.
func (s *Store) breaks(err error) error {
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

func (b *batch) append(r *storage.Record) (storage.Outcome, error) {
	if r.Nullifier != nil {
		token := storage.NewTokenID(*r.Nullifier)
		if conflict, err := b.conflict(token, r); conflict || err != nil {
			return storage.Outcome{Status: storage.Conflict}, err
		}
		switch spent, err := b.pay(token, r.ID); {
		case err != nil:
			return storage.Outcome{}, err
		case !spent:
			return b.repeat(token, r.ID)
		}
	}
	seq := b.meta.last + 1
	sum := checksum(seq, r.ID, r.Born, r.Signature, r.Ciphertext)
	switch stored, err := inserted(b.writer.store, int64(seq), r.ID[:], int64(r.Born), int64(sum), blob(r.Signature), blob(r.Ciphertext)); {
	case err != nil:
		return storage.Outcome{}, err
	case stored:
		b.meta.last = seq
		return storage.Outcome{Status: storage.Stored, Seq: seq}, nil
	}
	seq, err := b.seq(r.ID)
	if err == nil && seq == 0 {
		err = damaged("an entry of the log is missing")
	}
	return storage.Outcome{Status: storage.Duplicate, Seq: seq}, err
}

// conflict reports whether a record must be refused because another envelope has
// its signature. Mostly none has, and that is one look.
func (b *batch) conflict(token storage.TokenID, r *storage.Record) (bool, error) {
	if len(r.Signature) == 0 {
		return false, nil
	}
	if has, err := exists(b.signed, r.Signature); !has || err != nil {
		return false, err
	}
	if spent, err := exists(b.spentOn, token[:]); spent || err != nil {
		return false, err
	}
	seq, err := b.seq(r.ID)
	return seq == 0, err
}

// pay spends a token on an envelope, and reports whether it could.
func (b *batch) pay(token storage.TokenID, id storage.ID) (bool, error) {
	spent, err := inserted(b.spend, token[:], id[:])
	if spent {
		b.meta.tokens++
	}
	return spent, err
}

// repeat is the outcome of a record whose token was spent before.
func (b *batch) repeat(token storage.TokenID, id storage.ID) (storage.Outcome, error) {
	switch paid, err := b.payment(token); {
	case err != nil:
		return storage.Outcome{}, err
	case paid != id:
		return storage.Outcome{Status: storage.Spent}, nil
	}
	switch seq, err := b.seq(id); {
	case err != nil:
		return storage.Outcome{}, err
	case seq == 0:
		return storage.Outcome{Status: storage.Spent}, nil
	default:
		return storage.Outcome{Status: storage.Replayed, Seq: seq}, nil
	}
}

// commit writes what goes with the rows, and makes all of it durable.
func (b *batch) commit() error {
	if _, err := b.advance.ExecContext(ever, int64(b.meta.last), int64(b.meta.tokens)); err != nil {
		return err
	}
	return b.finish()
}

// blob makes of nil, which would be NULL, what it means.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
