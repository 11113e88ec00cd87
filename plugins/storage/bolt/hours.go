package bolt

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// hourTable says what the file holds of each hour, pruned or not. It is in memory. The
// bucket hours has it as of an earlier entry, state.counted, and a start adds the entries
// of the log after that one. So an append does not write the bucket; transactions that
// write many pages, that remove entries or that change their hours do.
type hourTable struct {
	sizes []storage.HourSize    // ascending
	dirty map[storage.Hour]bool // which the bucket has otherwise
}

// hourChange is how much there is more, or less, of an hour.
type hourChange struct{ count, bytes int64 }

type hourChanges map[storage.Hour]hourChange

func (c hourChanges) add(hour storage.Hour, count, bytes int64) {
	h := c[hour]
	c[hour] = hourChange{h.count + count, h.bytes + bytes}
}

func (t *hourTable) search(hour storage.Hour) (int, bool) {
	return slices.BinarySearchFunc(t.sizes, hour, func(h storage.HourSize, hour storage.Hour) int { return cmp.Compare(h.Hour, hour) })
}

// changed returns the size of an hour after a change.
func (t *hourTable) changed(hour storage.Hour, c hourChange) storage.HourSize {
	size := storage.HourSize{Hour: hour}
	if i, ok := t.search(hour); ok {
		size = t.sizes[i]
	}
	size.Count += uint64(c.count)
	size.Bytes += uint64(c.bytes)
	return size
}

// apply changes the table. written means that the changes, and all before, are in the bucket.
func (t *hourTable) apply(changes hourChanges, written bool) {
	if written {
		clear(t.dirty)
	}
	for hour, c := range changes {
		if !written {
			t.dirty[hour] = true
		}
		size := t.changed(hour, c)
		switch i, ok := t.search(hour); {
		case ok && size.Count == 0:
			t.sizes = slices.Delete(t.sizes, i, i+1)
		case ok:
			t.sizes[i] = size
		case size.Count > 0:
			t.sizes = slices.Insert(t.sizes, i, size)
		}
	}
}

// write puts what the table will be after the changes into the bucket.
func (t *hourTable) write(bucket *bbolt.Bucket, changes hourChanges) error {
	hours := maps.Clone(t.dirty)
	for hour := range changes {
		hours[hour] = true
	}
	for hour := range hours {
		size := t.changed(hour, changes[hour])
		key := binary.BigEndian.AppendUint32(nil, uint32(hour))
		var err error
		if size.Count == 0 {
			err = bucket.Delete(key)
		} else {
			value := binary.BigEndian.AppendUint64(nil, size.Count)
			err = bucket.Put(key, binary.BigEndian.AppendUint64(value, size.Bytes))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// load reads the bucket.
func (t *hourTable) load(bucket *bbolt.Bucket) error {
	t.sizes, t.dirty = nil, make(map[storage.Hour]bool)
	return bucket.ForEach(func(k, v []byte) error {
		if len(k) != 4 || len(v) != 16 {
			return storefile.CorruptError("the size of an hour makes no sense")
		}
		t.sizes = append(t.sizes, storage.HourSize{
			Hour:  storage.Hour(binary.BigEndian.Uint32(k)),
			Count: binary.BigEndian.Uint64(v),
			Bytes: binary.BigEndian.Uint64(v[8:]),
		})
		return nil
	})
}

// from returns the sizes of an hour and later ones.
func (t *hourTable) from(hour storage.Hour) []storage.HourSize {
	i, _ := t.search(hour)
	return t.sizes[i:]
}

// countOf returns how many envelopes there are of an hour and later ones.
func (t *hourTable) countOf(hour storage.Hour) (n uint64) {
	for _, h := range t.from(hour) {
		n += h.Count
	}
	return n
}

// Hours implements [storage.Pruner].
func (s *Store) Hours(ctx context.Context, req storage.HoursRequest) (sizes []storage.HourSize, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the hours of %s: %w", s.path, err)
	}
	look := func(st *state) {
		found := s.hours.from(max(req.From, st.floor))
		sizes = slices.Clone(found[:min(len(found), limit)])
	}
	err = s.viewHours(ctx, "list the hours of", look, func(tx *bbolt.Tx, _ *state) error {
		_, err := readState(tx)
		return err
	})
	return sizes, err
}
