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
	err = s.withSnapshot(ctx, "list the hours of", func(x snapshot) (err error) {
		hours, err = x.readHours(int64(max(req.From, x.meta.floor)), limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return hours, nil
}

// readHours reads hours from one on. With an error it returns what it has read before.
func (x snapshot) readHours(from int64, limit int) (hours []storage.HourSize, err error) {
	err = readRows(x.hours, []any{from, limit}, func(rows *sql.Rows) error {
		var h storage.HourSize
		if err := rows.Scan(&h.Hour, &h.Count, &h.Bytes); err != nil {
			return err
		}
		hours = append(hours, h)
		return nil
	})
	return hours, err
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

// removePruned removes envelopes that were born before the floor.
func (b *batch) removePruned(limit int) (storage.Pruned, error) {
	p := storage.Pruned{Floor: b.meta.floor}
	seqs, err := b.findPruned(limit + 1)
	if err != nil {
		return p, err
	}
	p.More = len(seqs) > limit
	seqs = seqs[:min(len(seqs), limit)]
	slices.Sort(seqs) // neighbors share pages
	for _, seq := range seqs {
		size, err := b.removeEntry(seq)
		if err != nil {
			return p, err
		}
		p.Envelopes++
		p.Bytes += size
	}
	return p, nil
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

// removeEntry removes an envelope, and its signature if that is in its table. It writes zeros
// over both first: SQLite does so when it deletes a row, but where it moves rows from page to
// page afterwards, it would leave copies of the row in the unused part of one.
func (b *batch) removeEntry(seq int64) (size uint64, err error) {
	var born storage.Hour
	var signature []byte
	var pieces uint64
	if err := b.signature.QueryRowContext(uncanceled, seq).Scan(&signature); err != nil {
		return 0, explainScanError(err)
	}
	if _, err := b.erase.ExecContext(uncanceled, seq); err != nil {
		return 0, err
	}
	if err := b.remove.QueryRowContext(uncanceled, seq).Scan(&born, &pieces, &size); err != nil {
		return 0, explainScanError(err)
	}
	if pieces > 0 {
		first := firstPiece(storage.Seq(seq))
		for _, s := range []*sql.Stmt{b.erasePieces, b.removePieces} {
			if _, err := s.ExecContext(uncanceled, first, first+maxPieces); err != nil {
				return 0, err
			}
		}
	}
	size += pieces * pieceSize
	b.changeHour(born, -1, -int64(size))
	_, err = b.forget.ExecContext(uncanceled, hashOf(signature), seq)
	return size, err
}
