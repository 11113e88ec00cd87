package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Keys implements [storage.Index].
func (s *Store) Keys(ctx context.Context, req storage.KeysRequest) (keys []storage.Key, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the keys of %s: %w", s.path, err)
	}
	err = s.withSnapshot(ctx, "list the keys of", func(x snapshot) (err error) {
		keys, err = x.readKeys(req.Range, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// readKeys reads keys of a range. With an error it returns what it has read before.
func (x snapshot) readKeys(r storage.Range, limit int) (keys []storage.Key, err error) {
	lo, hi := r.Lo, r.Hi
	if lo.Born < x.meta.floor {
		lo = storage.Key{Born: x.meta.floor}
	}
	query, values := x.keysFrom, []any{int64(lo.Born), lo.ID[:], limit}
	if hi != (storage.Key{}) {
		query, values = x.keys, []any{int64(lo.Born), lo.ID[:], int64(hi.Born), hi.ID[:], limit}
	}
	err = readRows(query, values, func(rows *sql.Rows) error {
		var born int64
		var id sql.RawBytes
		if err := rows.Scan(&born, &id); err != nil {
			return err
		}
		if born < 0 || born > math.MaxUint32 || len(id) != len(storage.ID{}) {
			return storefile.CorruptError("a key makes no sense")
		}
		keys = append(keys, storage.Key{Born: storage.Hour(born), ID: storage.ID(id)})
		return nil
	})
	return keys, err
}

// Get implements [storage.Index].
func (s *Store) Get(ctx context.Context, ids []storage.ID) (entries []storage.Entry, err error) {
	if err := storage.CheckGet(ids); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	err = s.withSnapshot(ctx, "read", func(x snapshot) error {
		size := 0
		for i := range ids {
			e, found, err := x.readByID(ids[i])
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if size += len(e.Signature) + len(e.Ciphertext); size > storage.PageBytes && len(entries) > 0 {
				return nil
			}
			entries = append(entries, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// readByID reads the envelope with an id, and reports whether it is in the log.
func (x snapshot) readByID(id storage.ID) (e storage.Entry, found bool, err error) {
	var rows []partial
	err = readRows(x.get, []any{id[:], int64(x.meta.floor)}, func(r *sql.Rows) error {
		p, err := scanPartial(r)
		rows = append(rows, p)
		return err
	})
	if err != nil || len(rows) == 0 {
		return storage.Entry{}, false, err
	}
	if err := addPieces(x.pieces, rows[:1]); err != nil {
		return storage.Entry{}, false, err
	}
	e, err = rows[0].toEntry()
	return e, err == nil, err
}
