package storage_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestLowerBornIsBoundByTheFirst(t *testing.T) {
	for _, c := range []struct{ first, born, other, want storage.Hour }{
		{100, 100, 100, 100},
		{100, 100, 101, 100},
		{100, 100, 99, 99},
		{100, 90, 95, 90},
		{100, 90, 76, 76},
		{100, 90, 75, 76},
		{100, 76, 0, 76},
		{10, 10, 0, 0},
		{24, 24, 0, 0},
		{25, 25, 0, 1},
		{0, 0, 0, 0},
		{math.MaxUint32, math.MaxUint32, 0, math.MaxUint32 - storage.MaxAging},
	} {
		if got := storage.LowerBorn(c.first, c.born, c.other); got != c.want {
			t.Errorf("stored with %d and now at %d, a duplicate of %d: %d, want %d", c.first, c.born, c.other, got, c.want)
		}
	}
}

func TestNextKeyFollows(t *testing.T) {
	full := storage.ID(bytes.Repeat([]byte{0xff}, len(storage.ID{})))
	for _, c := range []struct{ key, want storage.Key }{
		{storage.Key{}, storage.Key{ID: storage.ID{31: 1}}},
		{storage.Key{Born: 7, ID: storage.ID{30: 1, 31: 0xff}}, storage.Key{Born: 7, ID: storage.ID{30: 2}}},
		{storage.Key{Born: 7, ID: full}, storage.Key{Born: 8}},
		{storage.Key{Born: math.MaxUint32, ID: full}, storage.Key{}},
	} {
		got := c.key.Next()
		if got != c.want {
			t.Errorf("after %v: %v, want %v", c.key, got, c.want)
		}
		if got != (storage.Key{}) && c.key.Compare(got) != -1 {
			t.Errorf("%v does not come before %v", c.key, got)
		}
	}
}
