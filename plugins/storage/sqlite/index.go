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
	err = s.withSnapshot(ctx, "list the keys of", func(r *reader, x snapshot) error {
		lo, hi := req.Range.Lo, req.Range.Hi
		if lo.Born < x.meta.floor {
			lo = storage.Key{Born: x.meta.floor}
		}
		query, values := r.rest, []any{int64(lo.Born), lo.ID[:], limit}
		if hi != (storage.Key{}) {
			query, values = r.keys, []any{int64(lo.Born), lo.ID[:], int64(hi.Born), hi.ID[:], limit}
		}
		return x.readRows(query, values, func(rows *sql.Rows) error {
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
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// Get implements [storage.Index].
func (s *Store) Get(ctx context.Context, ids []storage.ID) (entries []storage.Entry, err error) {
	if err := storage.CheckGet(ids); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	err = s.withSnapshot(ctx, "read", func(r *reader, x snapshot) error {
		size, full := 0, false
		for i := 0; i < len(ids) && !full; i++ {
			err := x.readRows(r.get, []any{ids[i][:], int64(x.meta.floor)}, func(rows *sql.Rows) error {
				var r row
				if err := rows.Scan(r.columns()...); err != nil {
					return err
				}
				if size += len(r.signature) + len(r.ciphertext); size > storage.PageBytes && len(entries) > 0 {
					full = true
					return errEnough
				}
				e, err := r.toEntry()
				if err != nil {
					return err
				}
				entries = append(entries, e)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}
