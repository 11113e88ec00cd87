package sqlite

import (
	"cmp"
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
		if p, err = b.removePruned(limit); err != nil || p.Envelopes == 0 {
			return err
		}
		s.wiped = false
		if !p.More {
			s.cutsLog, s.cutAt = true, time.Time{} // after the commit
		}
		return nil
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
	found, err := b.findPruned(limit + 1)
	if err != nil {
		return p, err
	}
	p.More = len(found) > limit
	found = found[:min(len(found), limit)]
	slices.SortFunc(found, func(x, y prunedEntry) int { return cmp.Compare(x.seq, y.seq) })
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n].seq == found[0].seq+int64(n) {
			n++
		}
		if err := b.removeRun(found[:n]); err != nil {
			return p, err
		}
		for _, e := range found[:n] {
			p.Envelopes++
			p.Bytes += e.size
		}
		found = found[n:]
	}
	return p, nil
}

// prunedEntry is what Prune has to know of an envelope.
type prunedEntry struct {
	seq    int64
	born   storage.Hour
	pieces uint64
	size   uint64 // of the signature and the ciphertext
	hash   int64  // of the signature
}

// findPruned returns envelopes that were born before the floor, the oldest first.
func (b *batch) findPruned(limit int) (found []prunedEntry, err error) {
	if b.meta.floor == 0 {
		return nil, nil
	}
	err = readRows(b.older, []any{int64(b.meta.floor), limit}, func(rows *sql.Rows) error {
		var e prunedEntry
		var signature sql.RawBytes
		if err := rows.Scan(&e.seq, &e.born, &e.pieces, &e.size, &signature); err != nil {
			return err
		}
		e.size += uint64(len(signature)) + e.pieces*pieceSize
		e.hash = hashOf(signature)
		found = append(found, e)
		return nil
	})
	return found, err
}

// removeRun removes envelopes that follow one another in the log, and their signatures if
// those are in their table.
func (b *batch) removeRun(run []prunedEntry) error {
	first, last := run[0].seq, run[len(run)-1].seq
	if _, err := b.remove.ExecContext(uncanceled, first, last); err != nil {
		return err
	}
	if _, err := b.removePieces.ExecContext(uncanceled, firstPiece(storage.Seq(first)), firstPiece(storage.Seq(last))+maxPieces); err != nil {
		return err
	}
	for _, e := range run {
		b.changeHour(e.born, -1, -int64(e.size))
		if _, err := b.forget.ExecContext(uncanceled, e.hash, e.seq); err != nil {
			return err
		}
	}
	return nil
}
