package negentropy_test

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// moveHours returns the keys with other hours for the first n of them.
func moveHours(keys []storage.Key, n int, hours storage.Hour) []storage.Key {
	moved := slices.Clone(keys)
	for i := range moved[:n] {
		moved[i].Born += hours
	}
	return moved
}

// TestHoursInOneRange: an id under two hours is no difference where no bound lies between them.
func TestHoursInOneRange(t *testing.T) {
	for name, n := range map[string]int{"list": 20, "fingerprint": 100} {
		keys := drawKeys(newRand(1), n, 100, 1)
		slices.SortFunc(keys, storage.Key.Compare)
		// The last key moves within the last range.
		moved := slices.Clone(keys)
		moved[n-1].Born += 5
		r := mustReconcile(t, newKeySet(keys, nil), newKeySet(moved, nil))
		if r.rounds != 1 || len(r.have)+len(r.need) != 0 {
			t.Errorf("%s: %d rounds, have %d, need %d", name, r.rounds, len(r.have), len(r.need))
		}
	}
}

// TestHoursInTwoRanges: an id under two hours whose keys a bound divides is in both lists. The
// Born of the needed key is not before that of the peer, and the session takes no more rounds.
func TestHoursInTwoRanges(t *testing.T) {
	keys := drawKeys(newRand(1), 5000, 100, 500)
	for _, moved := range []int{1, 300, 5000} {
		here, there := newKeySet(keys, nil), newKeySet(moveHours(keys, moved, 30), nil)
		for name, ends := range map[string][2]*keySet{"later there": {here, there}, "later here": {there, here}} {
			r := mustReconcile(t, ends[0], ends[1])
			if r.rounds > 3 {
				t.Errorf("%d %s: %d rounds", moved, name, r.rounds)
			}
			if !slices.Equal(idsOf(r.have), idsOf(r.need)) {
				t.Errorf("%d %s: have %d and need %d are not the same ids", moved, name, len(r.have), len(r.need))
			}
			if len(r.have) > moved || len(r.have) < moved*9/10 {
				t.Errorf("%d %s: %d found", moved, name, len(r.have))
			}
			// At most two leaves for each id, and the way to them.
			if limit := 400 + 2*moved*(2*32*32+16*22); r.bytes > limit {
				t.Errorf("%d %s: %d bytes, limit %d", moved, name, r.bytes, limit)
			}
			born := make(map[storage.ID]storage.Hour)
			for _, k := range ends[1].keys {
				born[k.ID] = k.Born
			}
			for _, k := range r.need {
				if k.Born < born[k.ID] {
					t.Fatalf("%d %s: hour %d is given as at most %d", moved, name, born[k.ID], k.Born)
				}
			}
			t.Logf("%d %s: %d found, %d rounds, %d bytes", moved, name, len(r.have), r.rounds, r.bytes)
		}
	}
}

// TestHoursSettle: when both ends have taken the earlier hour of what was found, what remains is
// no difference in any range of the next session; and where hours may not fall so far, the next
// session finds the same again, at the same cost, and nothing else.
func TestHoursSettle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRand(rapid.Uint64().Draw(t, "seed"))
		keys := drawKeys(r, rapid.IntRange(0, 2000).Draw(t, "keys"), 1000, 200)
		moved := rapid.IntRange(0, len(keys)).Draw(t, "moved")
		aging := rapid.SampledFrom([]storage.Hour{storage.MaxAging, storage.MaxAging + 1}).Draw(t, "hours")
		a, b := keys, moveHours(keys, moved, aging)
		born := make(map[storage.ID]storage.Hour)
		for _, k := range a {
			born[k.ID] = k.Born
		}
		later := rapid.Bool().Draw(t, "the end with later hours initiates")
		for session := 0; ; session++ {
			one, other := newKeySet(a, nil), newKeySet(b, nil)
			if later {
				one, other = other, one
			}
			found := mustReconcileRapid(t, one, other)
			if !slices.Equal(idsOf(found.have), idsOf(found.need)) {
				t.Fatal("have and need are not the same ids")
			}
			if len(found.have) == 0 {
				return
			}
			if session == 20 {
				t.Fatal("the hours do not settle")
			}
			// Both ends have offered what was found, so b learns the hours of a.
			hours := make(map[storage.ID]storage.Hour)
			for _, id := range idsOf(found.have) {
				hours[id] = born[id]
			}
			lowered := slices.Clone(b)
			for i := range lowered {
				if hour, ok := hours[lowered[i].ID]; ok {
					lowered[i].Born = storage.LowerBorn(keys[i].Born+aging, lowered[i].Born, hour)
				}
			}
			if slices.Equal(lowered, b) { // as low as they may be
				again := mustReconcileRapid(t, one, other)
				if aging <= storage.MaxAging || again.bytes != found.bytes || !slices.Equal(again.have, found.have) {
					t.Fatalf("%d ids remain, then %d", len(found.have), len(again.have))
				}
				return
			}
			b = lowered
		}
	})
}

// TestHoursOfWindows: keys of an id in two windows are found in both sessions, of which each ends.
func TestHoursOfWindows(t *testing.T) {
	keys := drawKeys(newRand(3), 5000, 100, 500)
	a, b := newKeySet(keys, nil), newKeySet(moveHours(keys, 5, 300), nil)
	r, _, differing, err := reconcileWindows(a, b, storage.Range{}, 16)
	if err != nil || len(r.have) != 5 || !slices.Equal(idsOf(r.have), idsOf(r.need)) || differing < 2 || r.rounds > 3 {
		t.Errorf("have %d, need %d, %d windows differ, %d rounds, %v", len(r.have), len(r.need), differing, r.rounds, err)
	}
}

// TestLatestHour: the Born of a needed key is the last hour of the range it was found in.
func TestLatestHour(t *testing.T) {
	ctx := context.Background()
	s := newKeySet([]storage.Key{{Born: 7}}, nil)
	message, err := negentropy.Initiate(ctx, s, storage.Range{})
	if err != nil {
		t.Fatal(err)
	}
	for hi, want := range map[storage.Key]storage.Hour{
		{}:                               1<<32 - 1,
		{Born: 9}:                        8,
		{Born: 9, ID: storage.ID{31: 1}}: 9,
	} {
		_, _, need, err := negentropy.Reconcile(ctx, newKeySet(nil, nil), storage.Range{Hi: hi}, message)
		if err != nil || len(need) != 1 || need[0].Born != want {
			t.Errorf("range up to %d: need %d keys, %v", hi.Born, len(need), err)
		}
	}
}
