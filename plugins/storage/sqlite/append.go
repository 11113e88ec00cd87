package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

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
		case err == nil && !b.hasChanged(before):
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
	s.markCommits()
	cut := s.cutsLog && time.Since(s.cutAt) >= cutEvery
	if cut || fileSize(s.path+walSuffix) > s.maxWAL {
		// Nobody reads until the log is copied and the next transaction has begun, which
		// then can begin the log anew.
		s.checkpointMu.Lock()
		defer s.checkpointMu.Unlock()
	}
	var err error
	if cut {
		err = s.explainStoreError(s.cutLog())
	} else {
		err = s.explainStoreError(s.checkpointIfLong())
	}
	if err != nil && !errors.Is(err, storage.ErrFull) && !errors.Is(err, errBusy) {
		s.breakStore(err) //nolint:errcheck // for later calls
		return
	}
	s.writer.takeWriteLock() //nolint:errcheck // see above
}

// cutEvery is how often the log of SQLite is tried to be cut off while another program
// reads it.
const cutEvery = time.Second

// cutLog copies the log of SQLite, which has removed envelopes, and cuts it off.
func (s *Store) cutLog() error {
	s.cutAt = time.Now()
	busy, err := s.writer.truncateLogNow()
	if err == nil && !busy {
		s.cutsLog = false
	}
	return err
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
	meta  meta                       // as it will be
	hours map[storage.Hour]hourDelta // what the table hours lacks
}

// hourDelta is what a batch changes in an hour.
type hourDelta struct{ count, bytes int64 }

func (b *batch) hasChanged(before meta) bool { return b.meta != before || len(b.hours) > 0 }

func (b *batch) changeHour(at storage.Hour, count, bytes int64) {
	if b.hours == nil {
		b.hours = make(map[storage.Hour]hourDelta)
	}
	d := b.hours[at]
	b.hours[at] = hourDelta{d.count + count, d.bytes + bytes}
}

// appendRecord looks for what refuses a record or makes it a duplicate before it spends the token,
// so that the one statement which spends it also finds out whether it was spent.
func (b *batch) appendRecord(r *storage.Record) (storage.Outcome, error) {
	if r.Born < b.meta.floor {
		return b.refuseRecord(r, storage.Expired)
	}
	known, err := b.findEnvelope(r.ID)
	if err != nil {
		return storage.Outcome{}, err
	}
	seq := known.seq
	var signed bool
	if seq == 0 {
		seq = b.meta.last + 1
		if signed, err = b.hasSignature(r.Signature); err != nil {
			return storage.Outcome{}, err
		}
		if signed && r.Nullifier != nil && len(r.Signature) > 0 {
			return b.refuseRecord(r, storage.Conflict)
		}
	}
	if r.Nullifier != nil {
		token := storage.NewTokenID(*r.Nullifier)
		unspent, err := b.spendToken(token, int64(seq))
		if err != nil {
			return storage.Outcome{}, err
		}
		if !unspent {
			return b.checkToken(token, r.ID)
		}
	}
	if known.seq > 0 {
		return storage.Outcome{Status: storage.Duplicate, Seq: seq}, b.lowerBorn(known, r.Born)
	}
	e := storage.Entry{Seq: seq, ID: r.ID, Born: r.Born, Signature: r.Signature, Ciphertext: r.Ciphertext}
	return storage.Outcome{Status: storage.Stored, Seq: seq}, b.storeEntry(&e, int64(checksumOf(&e, 0)), signed)
}

// refuseRecord returns the outcome of a record that is refused, unless its token is spent.
func (b *batch) refuseRecord(r *storage.Record, status storage.OutcomeStatus) (storage.Outcome, error) {
	if r.Nullifier != nil {
		if o, err := b.checkToken(storage.NewTokenID(*r.Nullifier), r.ID); o.Status != 0 || err != nil {
			return o, err
		}
	}
	return storage.Outcome{Status: status}, nil
}

// storeEntry puts an entry at the end of the log, and its signature into the table of those
// unless it is signed, that is, Find finds an earlier one.
func (b *batch) storeEntry(e *storage.Entry, checksum int64, signed bool) error {
	n := countPieces(len(e.Signature), len(e.Ciphertext))
	head := len(e.Ciphertext) - n*pieceSize
	if _, err := b.writer.store.ExecContext(uncanceled, int64(e.Seq), e.ID[:], int64(e.Born), 0, checksum, n, emptyIfNil(e.Signature), emptyIfNil(e.Ciphertext[:head])); err != nil {
		return err
	}
	if n > 0 {
		if _, err := b.storePieces.ExecContext(uncanceled, firstPiece(e.Seq), e.Ciphertext[head:], n); err != nil {
			return err
		}
	}
	if !signed {
		if _, err := b.sign.ExecContext(uncanceled, hashOf(e.Signature), int64(e.Seq)); err != nil {
			return err
		}
	}
	b.changeHour(e.Born, 1, int64(len(e.Signature)+len(e.Ciphertext)))
	b.meta.last = e.Seq
	b.meta.count++
	if b.meta.first == 0 {
		b.meta.first = e.Seq
	}
	return nil
}

// checkToken returns the outcome of a record whose token is spent, or the zero Outcome.
func (b *batch) checkToken(token storage.TokenID, id storage.ID) (storage.Outcome, error) {
	var paid any
	var paidID []byte
	var born sql.NullInt64
	switch err := explainScanError(b.spentOn.QueryRowContext(uncanceled, token[:]).Scan(&paid, &paidID, &born)); {
	case err == sql.ErrNoRows:
		return storage.Outcome{}, nil
	case err != nil:
		return storage.Outcome{}, err
	}
	t, err := toSpentToken(token[:], paid, paidID)
	if err != nil || t.ID != id {
		return storage.Outcome{Status: storage.Spent}, err
	}
	if seq, ok := paid.(int64); ok {
		if born.Int64 < int64(b.meta.floor) {
			return storage.Outcome{Status: storage.Spent}, nil
		}
		return storage.Outcome{Status: storage.Replayed, Seq: storage.Seq(seq)}, nil
	}
	e, err := b.findEnvelope(id)
	if e.seq == 0 {
		return storage.Outcome{Status: storage.Spent}, err
	}
	return storage.Outcome{Status: storage.Replayed, Seq: e.seq}, err
}

// spendToken spends a token on the envelope at a sequence number, or with an id, and reports
// whether it was unspent.
func (b *batch) spendToken(token storage.TokenID, paid any) (bool, error) {
	spent, err := insertRow(b.spend, token[:], paid)
	if spent {
		b.meta.tokens++
		b.meta.sum += checksumOfToken(token[:], paid)
	}
	return spent, err
}

// lowerBorn gives an entry a lower hour, see [storage.LowerBorn].
func (b *batch) lowerBorn(e envelope, other storage.Hour) error {
	born := storage.LowerBorn(e.born+e.lowered, e.born, other)
	if born == e.born {
		return nil
	}
	entry, err := b.readEntry(e.seq)
	if err != nil {
		return err
	}
	size := int64(len(entry.Signature) + len(entry.Ciphertext))
	b.changeHour(e.born, -1, -size)
	b.changeHour(born, 1, size)
	entry.Born = born
	lowered := e.lowered + e.born - born
	_, err = b.age.ExecContext(uncanceled, int64(born), int64(lowered), int64(checksumOf(&entry, lowered)), int64(e.seq))
	return err
}

// readEntry reads an entry that is there.
func (b *batch) readEntry(seq storage.Seq) (storage.Entry, error) {
	var found []partial
	err := readRows(b.bySeq, []any{int64(seq)}, func(rows *sql.Rows) error {
		p, err := scanPartial(rows)
		found = append(found, p)
		return err
	})
	if err == nil && len(found) == 0 {
		err = errMissingEntry
	}
	if err == nil {
		err = addPieces(b.pieces, found)
	}
	if err != nil {
		return storage.Entry{}, err
	}
	return found[0].toEntry()
}

// commitBatch writes the counters, and makes them and the rows durable.
func (b *batch) commitBatch() error {
	if err := b.writeHours(); err != nil {
		return err
	}
	m := b.meta
	if _, err := b.advance.ExecContext(uncanceled, int64(m.last), int64(m.tokens), m.sum, int64(m.floor), int64(m.first), int64(m.count)); err != nil {
		return err
	}
	return b.commitAndRelease()
}

func (b *batch) writeHours() error {
	for at, d := range b.hours {
		if d == (hourDelta{}) {
			continue
		}
		if _, err := b.addToHour.ExecContext(uncanceled, int64(at), d.count, d.bytes); err != nil {
			return err
		}
		if d.count < 0 {
			if _, err := b.emptyHour.ExecContext(uncanceled, int64(at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// emptyIfNil returns b, or an empty slice for nil, which SQLite would take for NULL.
func emptyIfNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
