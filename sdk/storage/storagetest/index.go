package storagetest

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var indexChecks = []check{
	{"Keys", "Keys returns the first keys of req.Range, ascending: by Born first, then by the bytes of the ID; Lo is in the range, Hi is not, and the zero Hi stands for the end", checkKeys},
	{"KeysMax", "Keys returns as many as there are and at most req.Max; 0 means MaxKeys. Less than 0 or more than MaxKeys is ErrTooLarge", checkKeysMax},
	{"Get", "Get returns the entries with the given ids that are in the log, in the order of ids; the others are left out. An id that is there twice is answered twice", checkGet},
	{"GetBytes", "the answer of Get ends with the last id, or where one more entry would exceed PageBytes, and never earlier; one entry is always allowed", checkGetBytes},
	{"GetTooLarge", "more than MaxGet ids is ErrTooLarge", checkGetTooLarge},
	{"GetBelongsToCaller", "the entries of Get belong to the caller", checkGetBelongsToCaller},
	{"OneBorn", "an Index keeps the lower hour: a Duplicate whose Born is lower than that of the entry lowers it, but at most MaxAging hours before that with which the entry was stored", checkOneBorn},
	{"OneBornInAnyOrder", "relays that store an envelope with one Born and then get it in other hours agree on its key, whatever the order", checkOneBornInAnyOrder},
	{"IndexCost", "the cost of Keys and Get depends on what they return, not on what the store keeps", checkIndexCost},
}

// mustIndex returns the store as an Index, or skips the check if it is none.
func (f *fixture) mustIndex() storage.Index {
	i, ok := storage.As[storage.Index](f.store)
	if !ok {
		f.Skip("the store is no storage.Index, which is optional")
	}
	return i
}

func (f *fixture) mustKeys(req storage.KeysRequest) []storage.Key {
	f.Helper()
	keys, err := f.mustIndex().Keys(f.Context(), req)
	if err != nil {
		f.Fatalf("keys: %v", err)
	}
	return keys
}

func (f *fixture) mustGet(ids ...storage.ID) []storage.Entry {
	f.Helper()
	entries, err := f.mustIndex().Get(f.Context(), ids)
	if err != nil {
		f.Fatalf("get %d ids: %v", len(ids), err)
	}
	return entries
}

// readKeys reads all keys of a range in pages.
func (f *fixture) readKeys(in storage.Range, limit int) (all []storage.Key) {
	f.Helper()
	for {
		page := f.mustKeys(storage.KeysRequest{Range: in, Max: limit})
		if all = append(all, page...); len(page) == 0 {
			return all
		}
		next := page[len(page)-1].Next()
		if next.Compare(in.Lo) <= 0 {
			f.Fatalf("a page of keys from %v ends before it", in.Lo)
		}
		in.Lo = next
	}
}

// expectIndexed checks that Keys and Get, if the store is an Index, show the records of
// want and not those of gone.
func (f *fixture) expectIndexed(want map[storage.Seq]storage.Record, gone ...storage.Record) {
	f.Helper()
	if _, ok := storage.As[storage.Index](f.store); !ok {
		return
	}
	keys := keysOf(slices.Collect(maps.Values(want)))
	if got := f.readKeys(storage.Range{}, 0); !slices.Equal(got, keys) {
		f.Errorf("%d keys, want %d, or others than expected", len(got), len(keys))
	}
	seqs := slices.Sorted(maps.Keys(want))
	var ids []storage.ID
	for _, r := range gone {
		ids = append(ids, r.ID)
	}
	for _, seq := range seqs {
		ids = append(ids, want[seq].ID)
	}
	var got []storage.Entry
	for part := range slices.Chunk(ids, storage.PageBytes/storage.MaxEnvelope) { // which always fit
		got = append(got, f.mustGet(part...)...)
	}
	if len(got) != len(want) {
		f.Errorf("get %d ids: %d entries, want %d", len(ids), len(got), len(want))
		return
	}
	for i, seq := range seqs {
		if got[i].Seq != seq || !sameRecord(got[i], want[seq]) {
			f.Errorf("get: entry %d is not what was appended", seq)
		}
	}
}

// keysOf returns the keys of records, in order.
func keysOf(records []storage.Record) (keys []storage.Key) {
	for _, r := range records {
		keys = append(keys, storage.Key{Born: r.Born, ID: r.ID})
	}
	slices.SortFunc(keys, storage.Key.Compare)
	return keys
}

func checkKeys(f *fixture) {
	f.mustIndex()
	if keys := f.mustKeys(storage.KeysRequest{}); len(keys) != 0 {
		f.Errorf("keys of an empty log: %v", keys)
	}
	var all []storage.Record
	for i, hour := range []storage.Hour{7, 0, 7, 300, 7, math.MaxUint32, 255, 256, 7, 65536} {
		records := newRecordsIn(slices.Repeat([]storage.Hour{hour}, 1+i%3)...)
		f.mustAppend(records...)
		all = append(all, records...)
	}
	want := keysOf(all)
	ends := []storage.Key{{}, {Born: 7}, {Born: 8}, {Born: math.MaxUint32}, {Born: 256}}
	for _, k := range want {
		ends = append(ends, k, k.Next())
	}
	for range 2 {
		for _, lo := range ends {
			for _, hi := range ends {
				in := storage.Range{Lo: lo, Hi: hi}
				inRange := slices.DeleteFunc(slices.Clone(want), func(k storage.Key) bool { return !in.Has(k) })
				if got := f.mustKeys(storage.KeysRequest{Range: in}); !slices.Equal(got, inRange) {
					f.Fatalf("from %v to %v: %d keys, want %d, or others than expected", lo, hi, len(got), len(inRange))
				}
			}
		}
		f.reopenStore()
	}
	for _, limit := range []int{1, 2, len(want) - 1} {
		if got := f.readKeys(storage.Range{}, limit); !slices.Equal(got, want) {
			f.Errorf("in pages of %d: %d keys, want %d, or others than expected", limit, len(got), len(want))
		}
	}
}

func checkKeysMax(f *fixture) {
	i := f.mustIndex()
	var all []storage.Record
	for len(all) < storage.MaxKeys+10 {
		batch := newRecords(storage.MaxBatch, 16)
		for i := range batch {
			batch[i].Born = storage.Hour(len(all) % 7)
		}
		f.mustAppend(batch...)
		all = append(all, batch...)
	}
	want := keysOf(all)
	for limit, n := range map[int]int{0: storage.MaxKeys, 1: 1, 7: 7, storage.MaxKeys: storage.MaxKeys} {
		req := storage.KeysRequest{Range: storage.Range{Lo: want[3]}, Max: limit}
		if got := f.mustKeys(req); !slices.Equal(got, want[3:3+n]) {
			f.Errorf("at most %d: %d keys, want %d, or others than expected", limit, len(got), n)
		}
	}
	for _, limit := range []int{-1, math.MinInt, storage.MaxKeys + 1, math.MaxInt} {
		if _, err := i.Keys(f.Context(), storage.KeysRequest{Max: limit}); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("at most %d: %v, want ErrTooLarge", limit, err)
		}
	}
}

func checkGet(f *fixture) {
	f.mustIndex()
	a, b, c, missing := newRecord(100), newRecord(100), signedRecord(nil, 0), newRecord(100)
	f.mustAppend(a, b, c)
	for range 2 {
		for _, seqs := range [][]storage.Seq{{}, {1}, {3, 1, 2}, {0}, {0, 2, 0, 0, 1, 0}, {2, 2, 1, 2}} {
			var ids []storage.ID
			var want []storage.Seq
			for _, seq := range seqs {
				ids = append(ids, []storage.ID{missing.ID, a.ID, b.ID, c.ID}[seq])
				if seq > 0 {
					want = append(want, seq)
				}
			}
			got := f.mustGet(ids...)
			if !slices.EqualFunc(got, want, func(e storage.Entry, seq storage.Seq) bool {
				return e.Seq == seq && sameRecord(e, []storage.Record{a, b, c}[seq-1])
			}) {
				f.Errorf("get %d ids: %d entries, want %v, or others than expected", len(ids), len(got), want)
			}
		}
		f.reopenStore()
	}
}

func checkGetBytes(f *fixture) {
	f.mustIndex()
	full := storage.PageBytes / storage.MaxEnvelope
	large := newRecords(full+2, storage.MaxEnvelope)
	small := newRecords(storage.MaxGet, 16)
	var ids []storage.ID
	for _, r := range small {
		ids = append(ids, r.ID)
	}
	f.mustAppend(large...)
	f.mustAppend(small...)
	if got := f.mustGet(ids...); len(got) != storage.MaxGet {
		f.Errorf("get %d ids: %d entries", len(ids), len(got))
	}
	var largeIDs []storage.ID
	for _, r := range large {
		largeIDs = append(largeIDs, r.ID)
	}
	for name, c := range map[string]struct {
		ids  []storage.ID
		want int
	}{
		"what fits":            {largeIDs[:full], full},
		"one too many":         {largeIDs[:full+1], full},
		"two too many":         {largeIDs, full},
		"a small one too many": {slices.Concat(largeIDs[:full], ids[:1]), full},
		"a large one at last":  {slices.Concat(ids[:1], largeIDs[:full]), full},
		"the same ones":        {slices.Repeat(largeIDs[:1], storage.MaxGet), full},
		"missing ones between": {slices.Concat(make([]storage.ID, 100), largeIDs[:full-1], make([]storage.ID, 50), ids[:3]), full + 2},
	} {
		got := f.mustGet(c.ids...)
		if len(got) != c.want {
			f.Errorf("%s: %d entries, want %d", name, len(got), c.want)
		}
	}
}

func checkGetTooLarge(f *fixture) {
	i := f.mustIndex()
	f.mustAppend(newRecord(100))
	if got := f.mustGet(make([]storage.ID, storage.MaxGet)...); len(got) != 0 {
		f.Errorf("get ids that are not there: %d entries", len(got))
	}
	if got, err := i.Get(f.Context(), make([]storage.ID, storage.MaxGet+1)); !errors.Is(err, storage.ErrTooLarge) {
		f.Errorf("get %d ids: %d entries, %v, want ErrTooLarge", storage.MaxGet+1, len(got), err)
	}
}

func checkGetBelongsToCaller(f *fixture) {
	f.mustIndex()
	all := newRecords(3, 100)
	f.mustAppend(all...)
	entries := f.mustGet(all[0].ID, all[1].ID, all[2].ID)
	for i := range entries {
		clear(entries[i].Signature)
		clear(entries[i].Ciphertext)
		entries[i].Signature = append(entries[i].Signature, "not the ciphertext"...)
	}
	clear(entries)
	f.expectLog(all...)
	f.expectIndexed(map[storage.Seq]storage.Record{1: all[0], 2: all[1], 3: all[2]})
}

// checkOneBorn gives an envelope other hours. A record whose token is spent or that is
// Expired changes nothing.
func checkOneBorn(f *fixture) {
	f.mustIndex()
	token := newToken()
	a, b := withToken(bornIn(100, newRecord(100)), token), bornIn(100, newRecord(100))
	f.expectOutcomes([]storage.Record{a, b}, storedAt(1), storedAt(2))
	expect := func(born storage.Hour) {
		f.Helper()
		want := map[storage.Seq]storage.Record{1: bornIn(born, a), 2: b}
		for _, e := range f.readLog() {
			if !sameRecord(e, want[e.Seq]) {
				f.Errorf("entry %d was born in %d, want %d", e.Seq, e.Born, want[e.Seq].Born)
			}
		}
		f.expectIndexed(want)
		if _, ok := storage.As[storage.Pruner](f.store); ok {
			if got, sizes := f.mustHours(storage.HoursRequest{}), sizesOf(slices.Collect(maps.Values(want))); !slices.Equal(got, sizes) {
				f.Errorf("hours: %v, want %v", got, sizes)
			}
		}
	}
	free := a
	free.Nullifier = nil
	f.expectOutcomes([]storage.Record{bornIn(90, a), withToken(bornIn(90, b), token)}, replayOf(1), spent)
	expect(100)
	f.expectOutcomes([]storage.Record{bornIn(101, free), bornIn(math.MaxUint32, free)}, duplicateOf(1), duplicateOf(1))
	expect(100)
	f.expectOutcomes([]storage.Record{bornIn(98, free)}, duplicateOf(1))
	expect(98)
	f.expectOutcomes([]storage.Record{bornIn(99, free), withToken(bornIn(97, a), newToken()), bornIn(98, free)}, duplicateOf(1), duplicateOf(1), duplicateOf(1))
	expect(97)
	f.reopenStore()
	expect(97)
	f.expectOutcomes([]storage.Record{bornIn(0, free)}, duplicateOf(1))
	expect(100 - storage.MaxAging)
	f.reopenStore()
	f.expectOutcomes([]storage.Record{bornIn(0, free), bornIn(80, free)}, duplicateOf(1), duplicateOf(1))
	expect(100 - storage.MaxAging)
	if _, ok := storage.As[storage.Pruner](f.store); !ok {
		return
	}
	f.mustPrune(storage.PruneRequest{Floor: 100 - storage.MaxAging})
	f.expectOutcomes([]storage.Record{bornIn(0, free), bornIn(99-storage.MaxAging, b)}, expired, expired)
	expect(100 - storage.MaxAging)
	f.pruneAll(101-storage.MaxAging, 0)
	f.expectKept(101-storage.MaxAging, 2, map[storage.Seq]storage.Record{2: b}, a)
	f.expectOutcomes([]storage.Record{bornIn(90, free), bornIn(100-storage.MaxAging, free)}, storedAt(3), expired)
	f.expectKept(101-storage.MaxAging, 3, map[storage.Seq]storage.Record{2: b, 3: bornIn(90, a)})
}

func checkOneBornInAnyOrder(f *fixture) {
	f.mustIndex()
	for first, others := range map[storage.Hour][]storage.Hour{
		50: {49, 60, 45, 47}, 51: {10, 0, 60, 26, 27, 28}, 20: {3, 0, 7}, 5: {6, 7, 8}, 0: {5, 0},
	} {
		r := bornIn(first, newRecord(100))
		f.mustAppend(r)
		want := max(min(first, slices.Min(others)), first-min(first, storage.MaxAging))
		rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		for _, hour := range others {
			f.mustAppend(bornIn(hour, r))
		}
		if got := f.mustGet(r.ID); len(got) != 1 || got[0].Born != want {
			f.Errorf("stored in %d and got again in %v: %v, want %d", first, others, got, want)
		}
	}
}

// checkIndexCost compares the cost of calls before and after many envelopes are kept, all
// of them in one hour. The limits are as in checkCrowdedSignature.
func checkIndexCost(f *fixture) {
	f.mustIndex()
	const running = 1000
	batch := func() []storage.Record {
		return newRecordsIn(slices.Repeat([]storage.Hour{running}, storage.MaxBatch)...)
	}
	known := batch()
	f.mustAppend(known...)
	var ids []storage.ID
	for _, r := range known[:16] {
		ids = append(ids, r.ID)
	}
	in := storage.Range{Lo: storage.Key{Born: running, ID: storage.ID{0x80}}}
	calls := map[string]func(){
		"16 keys": func() {
			if got := f.mustKeys(storage.KeysRequest{Range: in, Max: 16}); len(got) != 16 {
				f.Fatalf("%d keys", len(got))
			}
		},
		"16 entries": func() {
			if got := f.mustGet(ids...); len(got) != 16 {
				f.Fatalf("%d entries", len(got))
			}
		},
	}
	limits := make(map[string]time.Duration)
	for name, call := range calls {
		limits[name] = 20*fastestOf(20, call) + time.Millisecond
	}
	for range f.opener.crowdSize() / storage.MaxBatch {
		f.mustAppend(batch()...)
	}
	for name, call := range calls {
		if took := fastestOf(20, call); took > limits[name] {
			f.Errorf("%s while %d envelopes are kept: %v, want at most %v", name, f.opener.crowdSize(), took, limits[name])
		}
	}
}
