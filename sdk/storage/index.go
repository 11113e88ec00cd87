package storage

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
)

// Sizes that bound the calls of an [Index].
const (
	// MaxKeys is the greatest number of keys that one Keys returns.
	MaxKeys = 4096
	// MaxGet is the greatest number of ids in one Get.
	MaxGet = 256
	// MaxAging is the greatest number of hours by which a store lowers the Born of
	// an envelope.
	MaxAging = 24
)

// Index is implemented by a store that finds envelopes by their keys and ids, which
// relays need to compare their boards.
//
// Two relays may have accepted one envelope in different hours. For them to agree on
// its key in the end, an Index keeps the lower hour: a Duplicate whose Born is lower
// than that of the entry lowers it. See [LowerBorn] for how far. In a store that is no
// Index, the Born of an entry never changes.
//
// The relay does not look for an Index with a type assertion but with [As].
type Index interface {
	// Keys returns the first keys of req.Range, ascending, as many as there are and
	// at most req.Max. They are those of one moment. The cost of a call depends on
	// the number of keys it returns, not on what the store keeps. The slice belongs
	// to the caller.
	Keys(ctx context.Context, req KeysRequest) ([]Key, error)

	// Get returns the entries with the given ids that are in the log, in the order
	// of ids; the others are left out. An id that is there twice is answered twice.
	// The answer ends with the last id, or where one more entry would exceed
	// PageBytes, and never earlier, so an empty one means that no id is in the log.
	// One entry is always allowed. The entries are those of one moment, and belong
	// to the caller. More than MaxGet ids is ErrTooLarge.
	Get(ctx context.Context, ids []ID) ([]Entry, error)
}

// Key is an envelope in the order of keys, which is the same on all relays: by Born
// first, then by the bytes of the ID.
type Key struct {
	Born Hour
	ID   ID
}

// Compare orders keys; see [slices.SortFunc].
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Born, other.Born), bytes.Compare(k.ID[:], other.ID[:]))
}

// Next returns the key that follows k. It is the zero Key after the last one.
func (k Key) Next() Key {
	for i := len(k.ID) - 1; i >= 0; i-- {
		if k.ID[i]++; k.ID[i] != 0 {
			return k
		}
	}
	k.Born++
	return k
}

// Range is a half-open range of keys: Lo is in it, Hi is not. The zero Hi stands for
// the end, so that the zero Range holds every key.
type Range struct{ Lo, Hi Key }

// Has reports whether the key is in the range.
func (r Range) Has(k Key) bool {
	return k.Compare(r.Lo) >= 0 && (r.Hi == Key{} || k.Compare(r.Hi) < 0)
}

// KeysRequest asks for a page of keys.
type KeysRequest struct {
	Range Range
	// Max bounds the number of keys; 0 means MaxKeys. Less than 0 or more than
	// MaxKeys is ErrTooLarge.
	Max int
}

// Bound returns the greatest number of keys to return, with the default filled in, or
// an error that is [ErrTooLarge]. Stores call it first.
func (r KeysRequest) Bound() (int, error) {
	if r.Max < 0 || r.Max > MaxKeys {
		return 0, fmt.Errorf("page of %d keys, limit %d: %w", r.Max, MaxKeys, ErrTooLarge)
	}
	return cmp.Or(r.Max, MaxKeys), nil
}

// CheckGet returns an error that is [ErrTooLarge] when ids exceed the limit of one
// Get, and nil otherwise. Stores call it first.
func CheckGet(ids []ID) error {
	if len(ids) > MaxGet {
		return fmt.Errorf("get of %d ids, limit %d: %w", len(ids), MaxGet, ErrTooLarge)
	}
	return nil
}

// LowerBorn returns the Born of an entry after a Duplicate of it: the lower one of born,
// as it was, and other, that of the Duplicate, but at most MaxAging hours before first,
// with which the entry was stored. Without this limit, a hostile relay could have every
// envelope of another pruned at once.
func LowerBorn(first, born, other Hour) Hour {
	return max(min(born, other), first-min(first, MaxAging))
}
