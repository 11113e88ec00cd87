package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Hours implements [storage.Pruner].
func (s *Store) Hours(ctx context.Context, req storage.HoursRequest) (hours []storage.HourSize, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the hours of %s: %w", s.path, err)
	}
	err = s.withSnapshot(ctx, "list the hours of", func(r *reader, x snapshot) error {
		from := max(req.From, x.meta.floor)
		return x.readRows(r.hours, []any{int64(from), limit}, func(rows *sql.Rows) error {
			var h storage.HourSize
			err := rows.Scan(&h.Hour, &h.Count, &h.Bytes)
			hours = append(hours, h)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return hours, nil
}

// Prune implements [storage.Pruner].
func (s *Store) Prune(ctx context.Context, req storage.PruneRequest) (p storage.Pruned, err error) {
	limit, err := req.Bound()
	if err != nil {
		return storage.Pruned{}, fmt.Errorf("prune %s: %w", s.path, err)
	}
	err = s.writeBatch(ctx, "prune", func(b *batch) error {
		if err := b.raiseFloor(req.Floor); err != nil {
			return err
		}
		if p, err = b.removePruned(limit); err == nil && p.Envelopes > 0 && !p.More {
			s.cutsLog, s.cutAt = true, time.Time{} // after the commit
		}
		return err
	})
	if err != nil {
		return storage.Pruned{}, err
	}
	return p, nil
}

// raiseFloor hides what was born before the floor.
func (b *batch) raiseFloor(floor storage.Hour) error {
	if floor <= b.meta.floor {
		return nil
	}
	var pruned uint64
	if err := b.sum.QueryRowContext(uncanceled, int64(b.meta.floor), int64(floor)).Scan(&pruned); err != nil {
		return explainScanError(err)
	}
	if pruned > b.meta.count {
		return storefile.CorruptError("the hours have more envelopes than the log")
	}
	b.meta.floor = floor
	b.meta.count -= pruned
	// The rows that this walks over are pruned, and first never goes back to them.
	if err := b.next.QueryRowContext(uncanceled, int64(b.meta.first), int64(floor)).Scan(&b.meta.first); err != nil {
		return explainScanError(err)
	}
	if (b.meta.first == 0) != (b.meta.count == 0) {
		return storefile.CorruptError("the hours have other envelopes than the log")
	}
	return nil
}

// removePruned removes envelopes that were born before the floor, and gives back free pages.
func (b *batch) removePruned(limit int) (storage.Pruned, error) {
	p := storage.Pruned{Floor: b.meta.floor}
	seqs, err := b.findPruned(limit + 1)
	if err != nil || len(seqs) == 0 {
		return p, err
	}
	p.More = len(seqs) > limit
	seqs = seqs[:min(len(seqs), limit)]
	slices.Sort(seqs) // neighbors share pages
	_, before, err := b.countPages()
	if err != nil {
		return p, err
	}
	for _, seq := range seqs {
		size, err := b.removeEntry(seq)
		if err != nil {
			return p, err
		}
		p.Envelopes++
		p.Bytes += size
	}
	return p, b.shrink(before)
}

// findPruned returns where in the table envelopes some are that were born before the floor,
// the oldest first.
func (b *batch) findPruned(limit int) (seqs []int64, err error) {
	if b.meta.floor == 0 {
		return nil, nil
	}
	rows, err := b.older.QueryContext(uncanceled, int64(b.meta.floor), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // reads only
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, explainScanError(err)
		}
		seqs = append(seqs, seq)
	}
	return seqs, rows.Err()
}

// removeEntry removes an envelope, and its signature if that is in its table.
func (b *batch) removeEntry(seq int64) (size uint64, err error) {
	var born storage.Hour
	var signature []byte
	var length uint64
	if err := b.remove.QueryRowContext(uncanceled, seq).Scan(&born, &signature, &length); err != nil {
		return 0, explainScanError(err)
	}
	size = uint64(len(signature)) + length
	b.changeHour(born, -1, -int64(size))
	_, err = b.forget.ExecContext(uncanceled, hashOf(signature), seq)
	return size, err
}

// freePart is the part of the pages that may be free before some are given back. What
// appends use again need not be moved.
const freePart = 10

// shrink gives back free pages if they are more than the freePart: those that this
// transaction has freed, and some more of what earlier ones have left.
func (b *batch) shrink(freeBefore int64) error {
	pages, free, err := b.countPages()
	if err != nil {
		return err
	}
	n := min(free-pages/freePart, free-freeBefore+64)
	if n <= 0 {
		return nil
	}
	rows, err := b.conn.QueryContext(uncanceled, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", n))
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // nothing is under way
	for rows.Next() {  // gives back a page for each row
	}
	return rows.Err()
}

// countPages returns the number of pages of the database, and how many of them are free.
func (b *batch) countPages() (pages, free int64, err error) {
	err = b.free.QueryRowContext(uncanceled).Scan(&pages, &free)
	return pages, free, err
}
