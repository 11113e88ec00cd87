package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// compactPages is the greatest number of pages that one transaction of a compaction moves.
	// Appends wait for a transaction.
	compactPages = 512
	// compactLeast is the least number of pages that are worth a transaction.
	compactLeast = 32
	// pagesPerMap is about how many pages one page of the database says the place of. A
	// transaction that moves inner pages of the trees may change all such pages.
	pagesPerMap = pageSize / 5
)

// Compact implements [storage.Compactor]. It moves pages from the end of the database to free
// ones and cuts off the end, in transactions of at most compactPages. When no free page is left,
// it wipes what is unused in the others, if anything was removed since it did so last. At the
// end the log of SQLite is copied and cut off.
//
// Pages that are only read do not count as moved, so a call may read all of the database. It ends
// when half of the time until the deadline of ctx has passed, and the next one goes on there.
func (s *Store) Compact(ctx context.Context, req storage.CompactRequest) (storage.Compacted, error) {
	limit, err := req.Bound()
	if err != nil {
		return storage.Compacted{}, fmt.Errorf("compact %s: %w", s.path, err)
	}
	begin := time.Now()
	deadline, hasDeadline := ctx.Deadline()
	var done storage.Compacted
	for {
		moved, more, err := s.compactStep(ctx, req.Room, limit-int(done.Moved))
		if err != nil {
			return storage.Compacted{}, err
		}
		done.Moved += moved
		done.More = more
		// The last part of the limit would be too small for a step.
		isFull := done.Moved > 0 && int(done.Moved) > limit-2*compactLeast*pageSize
		isLate := hasDeadline && time.Since(begin) > deadline.Sub(begin)/2
		if !more || isFull || isLate || ctx.Err() != nil {
			return done, nil
		}
	}
}

// compactStep moves and cuts off pages, or wipes some, in one transaction. It reports how many
// bytes it has written, and whether anything is left to do.
func (s *Store) compactStep(ctx context.Context, room uint64, limit int) (moved uint64, more bool, err error) {
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	err = s.runMethod(ctx, "compact", func() error {
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
		pages, free, err := s.writer.countPages()
		if err != nil {
			return s.failTransaction(err, nil)
		}
		if free == 0 && s.wiped {
			if s.cutsLog { // a reader was in the way
				s.writer.rollBack()
				s.checkpointAndRelock()
			}
			return nil
		}
		n, err := boundStep(pages, room, limit)
		if err != nil {
			// What earlier steps took of the disk is given back.
			s.writer.rollBack()
			s.wipe, s.cutsLog, s.cutAt = nil, true, time.Time{}
			s.checkpointAndRelock()
			return err
		}
		if free > 0 {
			n = min(n, free)
			free -= n
			moved, err = s.writer.vacuum(n)
		} else {
			moved, err = s.wipeStep(pages, n)
		}
		if err != nil {
			s.wipe, s.wiped = nil, false
			return s.failTransaction(err, &before)
		}
		moved = min(moved, uint64(limit)) // one page is moved however little the limit is
		more = free > 0 || !s.wiped
		if !more || uint64(fileSize(s.path+walSuffix)) > room {
			s.cutsLog, s.cutAt = true, time.Time{}
		}
		wiping := s.wipe != nil
		s.checkpointAndRelock()
		if wiping && s.wipe == nil {
			return errWipeEnded
		}
		return nil
	})
	return moved, more, err
}

// boundStep returns how many pages a transaction may move, each of which may change another
// page, or an error that is [storage.ErrFull].
func boundStep(pages int64, room uint64, limit int) (n int64, err error) {
	maps := pages/pagesPerMap + 8
	if least := uint64(maps+2*compactLeast) * pageSize; room < least {
		return 0, fmt.Errorf("%w: a compaction needs %d KiB of room on the disk at a time, and may take %d", storage.ErrFull, least>>10, room>>10)
	}
	n = min(compactPages, int64(limit)/(2*pageSize), (int64(min(room, 1<<40))/pageSize-maps)/2)
	return max(n, 1), nil
}

// vacuum cuts off n pages of the database, commits, and returns how many bytes that has
// written.
func (w *writer) vacuum(n int64) (written uint64, err error) {
	rows, err := w.conn.QueryContext(uncanceled, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", n))
	if err != nil {
		return 0, err
	}
	for rows.Next() { // cuts off a page for each row
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	before := w.logged
	if err := w.commitAndRelease(); err != nil {
		return 0, err
	}
	after, err := w.logPages()
	if after >= before {
		return uint64(after-before) * pageSize, err
	}
	return uint64(after) * pageSize, err // the log has begun anew
}

// countPages returns the number of pages of the database, and how many of them are free.
func (w *writer) countPages() (pages, free int64, err error) {
	err = explainScanError(w.free.QueryRowContext(uncanceled).Scan(&pages, &free))
	return pages, free, err
}
