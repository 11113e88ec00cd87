package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var prunerChecks = []check{
	{"Prune", "an envelope that was born before the floor is pruned: it is not in the log", checkPrune},
	{"PruneAtOnce", "all envelopes below a new floor leave the log at one moment, whether they have been removed yet or not", checkPruneAtOnce},
	{"PruneMax", "Prune removes pruned envelopes, as many as there are and at most req.Max; 0 means MaxPrune. Less than 0 or more than MaxPrune is ErrTooLarge and changes nothing", checkPruneMax},
	{"FloorRises", "Prune never lowers the floor: with a lower one, such as 0, it only removes", checkFloorRises},
	{"Expired", "Expired: the envelope was born before the floor of the store; nothing changed, and the nullifier is not spent. The nullifier is checked first, Born second, the ID third, the signature fourth", checkExpired},
	{"PrunedTokens", "spent tokens stay spent. A store may forget which envelope a token has paid for once that is pruned", checkPrunedTokens},
	{"PrunedAgain", "a pruned envelope is not in the log, so it is stored again if it is appended again", checkPrunedAgain},
	{"PrunedSignature", "when the envelope that Find returns is pruned, its signature is forgotten, even if later envelopes have it; the next one that is stored with it counts as the lowest", checkPrunedSignature},
	{"PrunedNumbers", "sequence numbers of pruned envelopes are not used again, and Last does not fall", checkPrunedNumbers},
	{"PruneReopened", "the floor is as durable as the epoch", checkPruneReopened},
	{"PruneReaders", "from one moment on Log, Find, Info, Hours, Keys and Get show no envelope below a new floor", checkPruneReaders},
	{"PruneAppends", "all methods may be called at the same time: nothing that is appended during a Prune is lost", checkPruneAppends},
	{"PruneCost", "the cost of a Prune depends on what it removes, and that of Hours on the number of hours, not on what the store keeps", checkPruneCost},
	{"Hours", "Hours returns the hours from req.From on in which envelopes of the log were born, ascending; none means that there are no more", checkHours},
	{"HoursMax", "Hours returns as many as there are and at most req.Max; 0 means MaxHours. Less than 0 or more than MaxHours is ErrTooLarge", checkHoursMax},
	{"PruneKilled", "Prune raises the floor and removes in one transaction, and returns when that is durable", checkPruneKilled},
}

// mustPruner returns the store as a Pruner, or skips the check if it is none.
func (f *fixture) mustPruner() storage.Pruner {
	p, ok := storage.As[storage.Pruner](f.store)
	if !ok {
		f.Skip("the store is no storage.Pruner, which is optional")
	}
	return p
}

func (f *fixture) mustPrune(req storage.PruneRequest) storage.Pruned {
	f.Helper()
	p, err := f.mustPruner().Prune(f.Context(), req)
	if err != nil {
		f.Fatalf("prune below %d: %v", req.Floor, err)
	}
	if p.Floor < req.Floor {
		f.Fatalf("prune below %d: the floor is %d", req.Floor, p.Floor)
	}
	return p
}

// expectPruned prunes and compares the answer, all of which is determined.
func (f *fixture) expectPruned(req storage.PruneRequest, want storage.Pruned) {
	f.Helper()
	if got := f.mustPrune(req); got != want {
		f.Errorf("prune below %d, at most %d: %+v, want %+v", req.Floor, req.Max, got, want)
	}
}

// pruneAll prunes until nothing is left to be removed.
func (f *fixture) pruneAll(floor storage.Hour, limit int) {
	f.Helper()
	for range 100_000 {
		if p := f.mustPrune(storage.PruneRequest{Floor: floor, Max: limit}); !p.More {
			return
		}
	}
	f.Fatal("prune says again and again that there is more")
}

func (f *fixture) mustHours(req storage.HoursRequest) []storage.HourSize {
	f.Helper()
	hours, err := f.mustPruner().Hours(f.Context(), req)
	if err != nil {
		f.Fatalf("hours from %d: %v", req.From, err)
	}
	return hours
}

// bornIn returns r as if it had been accepted in another hour.
func bornIn(hour storage.Hour, r storage.Record) storage.Record {
	r.Born = hour
	return r
}

// newRecordsIn makes a record of 100 bytes for each of the hours.
func newRecordsIn(hours ...storage.Hour) []storage.Record {
	records := newRecords(len(hours), 100)
	for i := range records {
		records[i].Born = hours[i]
	}
	return records
}

// expectKept checks that all methods show the records of want, by sequence number, and
// not those of gone. Their signatures are all different.
func (f *fixture) expectKept(floor storage.Hour, last storage.Seq, want map[storage.Seq]storage.Record, gone ...storage.Record) {
	f.Helper()
	first := storage.Seq(0)
	if len(want) > 0 {
		first = slices.Min(slices.Collect(maps.Keys(want)))
	}
	if info := f.mustInfo(); info.Floor != floor || info.First != first || info.Last != last || info.Count != uint64(len(want)) {
		f.Errorf("info: floor %d, %d entries, %d to %d; want floor %d, %d entries, %d to %d",
			info.Floor, info.Count, info.First, info.Last, floor, len(want), first, last)
	}
	entries := f.readPrunedLog()
	if len(entries) != len(want) {
		f.Errorf("the log has %d entries, want %d", len(entries), len(want))
	}
	for _, e := range entries {
		if r, ok := want[e.Seq]; !ok || !sameRecord(e, r) {
			f.Errorf("entry %d should not be there, or is not what was appended", e.Seq)
		}
	}
	for seq, r := range want {
		f.expectFound(r.Signature, seq)
	}
	for _, r := range gone {
		if seq, err := f.store.Find(f.Context(), r.Signature); !errors.Is(err, storage.ErrNotFound) {
			f.Errorf("find an envelope that was pruned: %d, %v", seq, err)
		}
	}
	records := slices.Collect(maps.Values(want))
	if got, sizes := f.mustHours(storage.HoursRequest{}), sizesOf(records); !slices.Equal(got, sizes) {
		f.Errorf("hours: %v, want %v", got, sizes)
	}
	f.expectIndexed(want, gone...)
}

// sizesOf returns what Hours returns of a log with the records.
func sizesOf(records []storage.Record) (sizes []storage.HourSize) {
	byHour := make(map[storage.Hour]storage.HourSize)
	for _, r := range records {
		h := byHour[r.Born]
		byHour[r.Born] = storage.HourSize{Hour: r.Born, Count: h.Count + 1, Bytes: h.Bytes + uint64(len(r.Signature)+len(r.Ciphertext))}
	}
	for _, at := range slices.Sorted(maps.Keys(byHour)) {
		sizes = append(sizes, byHour[at])
	}
	return sizes
}

func checkPrune(f *fixture) {
	f.mustPruner()
	all := newRecordsIn(5, 3, 7, 5, 9, 3, 7, 5, 5)
	f.mustAppend(all...)
	want := make(map[storage.Seq]storage.Record)
	for i, r := range all {
		want[storage.Seq(i+1)] = r
	}
	f.expectKept(0, 9, want)
	var gone []storage.Record
	for _, floor := range []storage.Hour{3, 4, 6, 8, 100} {
		removed := uint64(0)
		for i, r := range all {
			if _, kept := want[storage.Seq(i+1)]; kept && r.Born < floor {
				delete(want, storage.Seq(i+1))
				gone = append(gone, r)
				removed++
			}
		}
		f.expectPruned(storage.PruneRequest{Floor: floor}, storage.Pruned{Floor: floor, Envelopes: removed, Bytes: removed * 100})
		f.expectKept(floor, 9, want, gone...)
	}
	later := bornIn(100, newRecord(100))
	f.expectOutcomes([]storage.Record{later}, storedAt(10))
	f.expectKept(100, 10, map[storage.Seq]storage.Record{10: later}, gone...)
}

func checkPruneAtOnce(f *fixture) {
	f.mustPruner()
	var gone []storage.Record
	want := make(map[storage.Seq]storage.Record)
	for i := range 20 {
		r := bornIn(10, newRecord(100))
		if i%2 == 0 {
			r.Born = 20
			want[storage.Seq(i+1)] = r
		} else {
			gone = append(gone, r)
		}
		f.mustAppend(r)
	}
	f.expectPruned(storage.PruneRequest{Floor: 15, Max: 1}, storage.Pruned{Floor: 15, Envelopes: 1, Bytes: 100, More: true})
	f.expectKept(15, 20, want, gone...)
	for _, more := range []bool{true, true, false} {
		f.expectPruned(storage.PruneRequest{Max: 3}, storage.Pruned{Floor: 15, Envelopes: 3, Bytes: 300, More: more})
		f.expectKept(15, 20, want, gone...)
	}
	f.expectPruned(storage.PruneRequest{}, storage.Pruned{Floor: 15})
	f.expectKept(15, 20, want, gone...)
}

func checkPruneMax(f *fixture) {
	p := f.mustPruner()
	old := slices.Repeat([]storage.Hour{10}, storage.MaxBatch)
	left := uint64(0)
	for left < storage.MaxPrune+100 {
		f.mustAppend(newRecordsIn(old...)...)
		left += storage.MaxBatch
	}
	f.expectUnchanged(func() {
		for _, limit := range []int{-1, math.MinInt, storage.MaxPrune + 1, math.MaxInt} {
			if _, err := p.Prune(f.Context(), storage.PruneRequest{Floor: 15, Max: limit}); !errors.Is(err, storage.ErrTooLarge) {
				f.Errorf("at most %d: %v, want ErrTooLarge", limit, err)
			}
		}
	})
	for _, limit := range []int{1, 7, 0, storage.MaxPrune} {
		want := storage.Pruned{Floor: 15, Envelopes: left}
		if most := uint64(limit); limit > 0 {
			want.Envelopes = min(left, most)
		} else {
			want.Envelopes = min(left, storage.MaxPrune)
		}
		left -= want.Envelopes
		want.Bytes, want.More = want.Envelopes*100, left > 0
		f.expectPruned(storage.PruneRequest{Floor: 15, Max: limit}, want)
	}
}

func checkFloorRises(f *fixture) {
	f.mustPruner()
	r := newRecordsIn(10, 20, math.MaxUint32)
	f.mustAppend(r...)
	f.expectPruned(storage.PruneRequest{Floor: 15}, storage.Pruned{Floor: 15, Envelopes: 1, Bytes: 100})
	for _, lower := range []storage.Hour{10, 0, 14, 15} {
		f.expectUnchanged(func() {
			f.expectPruned(storage.PruneRequest{Floor: lower}, storage.Pruned{Floor: 15})
			f.expectOutcomes(newRecordsIn(14, 10, 0), expired, expired, expired)
		})
	}
	f.expectPruned(storage.PruneRequest{Floor: math.MaxUint32}, storage.Pruned{Floor: math.MaxUint32, Envelopes: 1, Bytes: 100})
	f.expectOutcomes(newRecordsIn(math.MaxUint32-1), expired)
	f.expectKept(math.MaxUint32, 3, map[storage.Seq]storage.Record{3: r[2]}, r[:2]...)
}

func checkExpired(f *fixture) {
	f.mustPruner()
	x, y, z := newToken(), newToken(), newToken()
	a := withToken(bornIn(20, newRecord(100)), x)
	f.mustAppend(a)
	f.mustPrune(storage.PruneRequest{Floor: 10})
	old, theft := withToken(bornIn(9, newRecord(100)), y), withToken(bornIn(9, newRecord(100)), x)
	free, again, forged := a, a, withToken(signedRecord(a.Signature, 50), z)
	free.Nullifier, again.Nullifier = nil, z
	f.expectUnchanged(func() {
		f.expectOutcomes([]storage.Record{old, theft, bornIn(9, a), bornIn(9, free), bornIn(9, again), bornIn(9, forged), bornIn(10, forged)},
			expired, spent, replayOf(1), expired, expired, expired, conflict)
	})
	f.expectOutcomes([]storage.Record{old, bornIn(10, old), bornIn(9, old), again}, expired, storedAt(2), replayOf(2), duplicateOf(1))
	kept := map[storage.Seq]storage.Record{1: a, 2: bornIn(10, old)}
	f.expectKept(10, 2, kept, theft)
	f.reopenStore()
	f.expectOutcomes([]storage.Record{bornIn(9, newRecord(100)), bornIn(0, free)}, expired, expired)
	f.expectKept(10, 2, kept, theft)
}

func checkPrunedTokens(f *fixture) {
	f.mustPruner()
	x, y := newToken(), newToken()
	a, b := withToken(bornIn(5, newRecord(100)), x), withToken(bornIn(5, newRecord(100)), y)
	f.mustAppend(a, b)
	f.expectPruned(storage.PruneRequest{Floor: 10, Max: 1}, storage.Pruned{Floor: 10, Envelopes: 1, Bytes: 100, More: true})
	for i := range 3 {
		f.expectUnchanged(func() {
			f.expectOutcomes([]storage.Record{
				a, b, bornIn(15, a), bornIn(15, b), withToken(bornIn(15, newRecord(100)), x), withToken(bornIn(5, newRecord(100)), y),
			}, spent, spent, spent, spent, spent, spent)
		})
		if info := f.mustInfo(); info.Tokens != 2 {
			f.Errorf("%d tokens are spent, want 2", info.Tokens)
		}
		f.expectForgettable(spendingOf(a), spendingOf(b))
		switch i {
		case 0:
			f.pruneAll(10, 0)
		case 1:
			f.reopenStore()
		}
	}
	free := bornIn(15, a)
	free.Nullifier = nil
	f.expectOutcomes([]storage.Record{free, withToken(bornIn(15, newRecord(100)), x)}, storedAt(3), spent)
	if o := f.mustAppend(bornIn(15, a))[0]; o != replayOf(3) && o != spent {
		f.Errorf("an envelope that was stored again, and the token that had paid for it: %v at %d", o.Status, o.Seq)
	}
}

// expectForgettable checks that the ledger, if there is one, has the tokens, whose
// envelopes were pruned.
func (f *fixture) expectForgettable(want ...storage.SpentToken) {
	f.Helper()
	if _, ok := storage.As[storage.Ledger](f.store); !ok {
		return
	}
	slices.SortFunc(want, byToken)
	got := f.readLedger()
	if !slices.EqualFunc(got, want, func(got, want storage.SpentToken) bool {
		return got.Token == want.Token && (got.ID == want.ID || got.ID == storage.ID{})
	}) {
		f.Errorf("the ledger is %x, want %x, with or without the ids", got, want)
	}
}

func checkPrunedAgain(f *fixture) {
	f.mustPruner()
	a, b, c := bornIn(5, newRecord(100)), bornIn(5, newRecord(100)), bornIn(5, newRecord(100))
	f.mustAppend(a, b, c)
	f.mustPrune(storage.PruneRequest{Floor: 10, Max: 1})
	a.Born, b.Born = 12, 11
	f.expectOutcomes([]storage.Record{a, b, a}, storedAt(4), storedAt(5), duplicateOf(4))
	for range 3 {
		f.expectKept(10, 5, map[storage.Seq]storage.Record{4: a, 5: b}, c)
		f.expectOutcomes([]storage.Record{b, a, c}, duplicateOf(5), duplicateOf(4), expired)
		f.pruneAll(10, 0)
		f.reopenStore()
	}
	c.Born = 10
	f.expectOutcomes([]storage.Record{withToken(c, newToken())}, storedAt(6))
	f.expectKept(10, 6, map[storage.Seq]storage.Record{4: a, 5: b, 6: c})
}

func checkPrunedSignature(f *fixture) {
	f.mustPruner()
	known := [][]byte{[]byte("a signature that strangers know"), []byte("another signature that strangers know")}
	for i, signature := range known {
		f.mustAppend(bornIn(5, signedRecord(signature, 50)), bornIn(20, signedRecord(signature, 50)))
		f.expectFound(signature, storage.Seq(2*i+1))
	}
	f.mustPrune(storage.PruneRequest{Floor: 10, Max: 1}) // one of them, so that the other is only hidden
	forgotten := func() {
		f.Helper()
		for _, signature := range known {
			if seq, err := f.store.Find(f.Context(), signature); !errors.Is(err, storage.ErrNotFound) {
				f.Fatalf("find a signature whose first envelope was pruned: %d, %v", seq, err)
			}
		}
	}
	forgotten()
	f.expectOutcomes([]storage.Record{bornIn(5, signedRecord(known[0], 60))}, expired)
	forgotten()
	for i, signature := range known {
		paid := withToken(bornIn(20, signedRecord(signature, 70)), newToken())
		f.expectOutcomes([]storage.Record{paid}, storedAt(storage.Seq(5+i)))
		f.expectOutcomes([]storage.Record{withToken(bornIn(20, signedRecord(signature, 80)), newToken())}, conflict)
	}
	for range 2 {
		for i, signature := range known {
			f.expectFound(signature, storage.Seq(5+i))
		}
		f.pruneAll(10, 0)
		f.reopenStore()
	}
	f.pruneAll(21, 0)
	forgotten()
}

func checkPrunedNumbers(f *fixture) {
	f.mustPruner()
	f.mustAppend(newRecordsIn(20, 20, 5, 5)...) // the latest are the oldest
	floor := storage.Hour(10)
	for last := storage.Seq(4); last < 8; last++ {
		f.pruneAll(floor, 0)
		f.reopenStore()
		if info := f.mustInfo(); info.Last != last {
			f.Fatalf("the log ended at %d before the prune and ends at %d", last, info.Last)
		}
		page := f.mustPage(storage.LogRequest{From: 3})
		if len(page.Entries) != 0 || page.Last != last {
			f.Errorf("a page behind all that is kept has %d entries and ends at %d, want %d", len(page.Entries), page.Last, last)
		}
		f.expectOutcomes(newRecordsIn(floor), storedAt(last+1))
		floor += 10
	}
}

func checkPruneReopened(f *fixture) {
	f.mustPruner()
	r := newRecordsIn(5, 20, 5, 20, 5)
	f.mustAppend(r...)
	f.mustPrune(storage.PruneRequest{Floor: 10, Max: 1})
	want := map[storage.Seq]storage.Record{2: r[1], 4: r[3]}
	for range 2 {
		f.reopenStore()
		f.expectKept(10, 5, want, r[0], r[2], r[4])
		f.expectOutcomes([]storage.Record{r[0], bornIn(9, newRecord(100))}, expired, expired)
		f.pruneAll(0, 0)
	}
	f.pruneAll(30, 0)
	f.reopenStore()
	f.expectKept(30, 5, nil, r...)
	f.mustPrune(storage.PruneRequest{Floor: 40}) // of nothing
	f.reopenStore()
	f.expectKept(40, 5, nil, r...)
}

// The envelopes that checkPruneReaders prunes: some in each hour, in turn.
const (
	readHours   = 24
	readPerHour = 10
)

func checkPruneReaders(f *fixture) {
	f.mustPruner()
	all := make([]storage.Record, readHours*readPerHour)
	for i := range all {
		all[i] = bornIn(storage.Hour(i%readHours), newRecord(100))
	}
	f.mustAppend(all...)
	done, failed := make(chan struct{}), make(chan struct{})
	read := make(chan struct{}, 1) // holds an element when a reader has called all methods
	var wg sync.WaitGroup
	var once sync.Once
	for range 2 {
		wg.Go(func() {
			r := prunedReader{fixture: f, all: all}
			for {
				if err := r.readAll(); err != nil {
					f.Error(err)
					once.Do(func() { close(failed) })
					return
				}
				select {
				case <-done:
					return
				case read <- struct{}{}:
				default:
				}
			}
		})
	}
	for floor := range storage.Hour(readHours) {
		select {
		case <-read:
		case <-failed:
		}
		for more := true; more; {
			p, err := f.mustPruner().Prune(f.Context(), storage.PruneRequest{Floor: floor, Max: 7})
			if err != nil {
				f.Errorf("prune: %v", err)
			}
			more = p.More && err == nil
		}
	}
	close(done)
	wg.Wait()
}

// prunedReader reads a log while it is pruned hour by hour.
type prunedReader struct {
	*fixture
	all  []storage.Record
	gone int // hours that the reader knows to be pruned
}

// readAll calls all methods once.
func (r *prunedReader) readAll() error {
	ctx := r.Context()
	info, err := r.store.Info(ctx)
	if err != nil {
		return fmt.Errorf("info: %w", err)
	}
	if err := r.noteHours("info counts", int(info.Count), int(info.Floor)); err != nil {
		return err
	}
	page, err := r.store.Log(ctx, storage.LogRequest{})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if err := r.noteEntries("log", page.Entries); err != nil {
		return err
	}
	pick := r.all[rand.IntN(len(r.all))]
	switch _, err := r.store.Find(ctx, pick.Signature); {
	case errors.Is(err, storage.ErrNotFound):
		r.gone = max(r.gone, int(pick.Born)+1)
	case err != nil:
		return fmt.Errorf("find: %w", err)
	case int(pick.Born) < r.gone:
		return fmt.Errorf("find shows an envelope of hour %d after %d hours were pruned", pick.Born, r.gone)
	}
	sizes, err := r.mustPruner().Hours(ctx, storage.HoursRequest{})
	if err != nil {
		return fmt.Errorf("hours: %w", err)
	}
	count := 0
	for _, h := range sizes {
		count += int(h.Count)
	}
	if err := r.noteHours("hours counts", count, readHours-len(sizes)); err != nil {
		return err
	}
	return r.readIndex()
}

// readIndex calls the methods of an Index, if the store is one.
func (r *prunedReader) readIndex() error {
	index, ok := storage.As[storage.Index](r.store)
	if !ok {
		return nil
	}
	keys, err := index.Keys(r.Context(), storage.KeysRequest{})
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	shown := make([]storage.Entry, len(keys))
	ids := make([]storage.ID, len(r.all))
	for i, k := range keys {
		shown[i].Born = k.Born
	}
	for i := range r.all {
		ids[i] = r.all[i].ID
	}
	if err := r.noteEntries("keys", shown); err != nil {
		return err
	}
	entries, err := index.Get(r.Context(), ids)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	return r.noteEntries("get", entries)
}

func (r *prunedReader) noteEntries(what string, entries []storage.Entry) error {
	oldest := storage.Hour(readHours)
	for _, e := range entries {
		oldest = min(oldest, e.Born)
	}
	return r.noteHours(what+" shows", len(entries), int(oldest))
}

// noteHours checks that count envelopes, of which the oldest hour is given, are whole
// hours, and none of those that are known to be pruned.
func (r *prunedReader) noteHours(what string, count, oldest int) error {
	if count != (readHours-oldest)*readPerHour || oldest < r.gone {
		return fmt.Errorf("%s %d envelopes from hour %d on after %d hours were pruned; each has %d", what, count, oldest, r.gone, readPerHour)
	}
	r.gone = oldest
	return nil
}

// checkPruneAppends appends old and new envelopes while the floor rises.
func checkPruneAppends(f *fixture) {
	f.mustPruner()
	const rounds = 60
	type stored struct {
		storage.Record
		seq storage.Seq
	}
	var all []stored
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := range storage.Hour(rounds) {
			batch := newRecordsIn(round, round+1, round+5, 1000)
			outcomes, err := f.store.Append(f.Context(), batch)
			if err != nil || len(outcomes) != len(batch) {
				f.Errorf("append: %d outcomes, %v", len(outcomes), err)
				return
			}
			for i, o := range outcomes {
				switch {
				case o.Status == storage.Stored:
					all = append(all, stored{batch[i], o.Seq})
				case o.Status != storage.Expired || batch[i].Born == 1000:
					f.Errorf("an envelope of hour %d is %v", batch[i].Born, o.Status)
				}
			}
		}
	}()
	floor := storage.Hour(0)
	for ended := false; !ended; floor++ {
		select {
		case <-done:
			ended = true
		default:
		}
		if _, err := f.mustPruner().Prune(f.Context(), storage.PruneRequest{Floor: min(floor, rounds), Max: 3}); err != nil {
			f.Errorf("prune: %v", err)
			<-done
			return
		}
	}
	f.pruneAll(rounds, 0)
	want, last := make(map[storage.Seq]storage.Record), storage.Seq(0)
	for _, r := range all {
		last = max(last, r.seq)
		if r.Born >= rounds {
			want[r.seq] = r.Record
		}
	}
	f.expectKept(rounds, last, want)
}

// checkPruneCost compares the cost of calls before and after many envelopes are kept, all
// of them in one hour. The limits are as in checkCrowdedSignature.
func checkPruneCost(f *fixture) {
	f.mustPruner()
	at := storage.Hour(0)
	prune := func() time.Duration {
		at++
		f.mustAppend(newRecordsIn(slices.Repeat([]storage.Hour{at}, storage.MaxBatch)...)...)
		start := time.Now()
		f.expectPruned(storage.PruneRequest{Floor: at + 1}, storage.Pruned{Floor: at + 1, Envelopes: storage.MaxBatch, Bytes: 100 * storage.MaxBatch})
		return time.Since(start)
	}
	const running = 1 << 20 // the hour of all that is kept
	hours := func() {
		if got := f.mustHours(storage.HoursRequest{}); len(got) != 1 || got[0].Hour != running {
			f.Fatalf("hours: %v", got)
		}
	}
	f.mustAppend(bornIn(running, newRecord(32)))
	slowPrune := 10*leastOf(5, prune) + 200*time.Millisecond
	slowHours := 20*fastestOf(50, hours) + time.Millisecond
	for range f.opener.crowdSize() / storage.MaxBatch {
		f.mustAppend(newRecordsIn(slices.Repeat([]storage.Hour{running}, storage.MaxBatch)...)...)
	}
	if took := leastOf(5, prune); took > slowPrune {
		f.Errorf("prune %d envelopes while %d are kept: %v, want at most %v", storage.MaxBatch, f.opener.crowdSize(), took, slowPrune)
	}
	if took := fastestOf(50, hours); took > slowHours {
		f.Errorf("one hour of %d envelopes: %v, want at most %v", f.opener.crowdSize(), took, slowHours)
	}
}

func checkHours(f *fixture) {
	f.mustPruner()
	if hours := f.mustHours(storage.HoursRequest{}); len(hours) != 0 {
		f.Errorf("hours of an empty log: %v", hours)
	}
	all := newRecordsIn(7, 5, 7, math.MaxUint32, 7, 0, 5)
	all[0], all[5] = bornIn(7, newRecord(4000)), bornIn(0, signedRecord(nil, 0))
	f.mustAppend(all[:4]...)
	f.mustAppend(all[4:]...)
	f.mustAppend(bornIn(5, all[1]), withToken(all[0], newToken())) // which are there
	want := []storage.HourSize{{Hour: 0, Count: 1}, {Hour: 5, Count: 2, Bytes: 200}, {Hour: 7, Count: 3, Bytes: 4200}, {Hour: math.MaxUint32, Count: 1, Bytes: 100}}
	for range 2 {
		for from, skip := range map[storage.Hour]int{0: 0, 1: 1, 5: 1, 6: 2, 7: 2, 8: 3, math.MaxUint32: 3} {
			if got := f.mustHours(storage.HoursRequest{From: from}); !slices.Equal(got, want[skip:]) {
				f.Errorf("hours from %d: %v, want %v", from, got, want[skip:])
			}
		}
		f.reopenStore()
	}
	f.mustPrune(storage.PruneRequest{Floor: 6, Max: 1})
	for _, from := range []storage.Hour{0, 5, 7} {
		if got := f.mustHours(storage.HoursRequest{From: from, Max: 1}); !slices.Equal(got, want[2:3]) {
			f.Errorf("the first hour from %d, above the floor: %v, want %v", from, got, want[2:3])
		}
	}
}

func checkHoursMax(f *fixture) {
	p := f.mustPruner()
	all := newRecords(storage.MaxHours+10, 16)
	for i := range all {
		all[i].Born = storage.Hour(3 * i)
	}
	for batch := range slices.Chunk(all, storage.MaxBatch) {
		f.mustAppend(batch...)
	}
	for _, limit := range []int{0, 1, 7, storage.MaxHours} {
		hours := f.mustHours(storage.HoursRequest{From: 4, Max: limit})
		want := limit
		if limit == 0 {
			want = storage.MaxHours
		}
		if len(hours) != want || hours[0].Hour != 6 || hours[want-1].Hour != storage.Hour(3*(want+1)) {
			f.Errorf("at most %d: %d hours, want %d", limit, len(hours), want)
		}
	}
	if hours := f.mustHours(storage.HoursRequest{From: 9}); len(hours) != storage.MaxHours {
		f.Errorf("%d hours, want %d", len(hours), storage.MaxHours)
	}
	for _, limit := range []int{-1, math.MinInt, storage.MaxHours + 1, math.MaxInt} {
		if _, err := p.Hours(f.Context(), storage.HoursRequest{Max: limit}); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("at most %d: %v, want ErrTooLarge", limit, err)
		}
	}
}

// checkPruneKilled kills the process while it prunes and appends, again and again.
func checkPruneKilled(f *fixture) {
	f.mustPruner()
	if f.opened.Kill == nil {
		f.Skip("the store is no process of its own")
	}
	w := newTwin(f)
	for range 3 {
		if err := w.tryAppend(w.mixedBatch()); err != nil {
			f.Fatal(err)
		}
	}
	for range killedRounds {
		var batch []storage.Record // that was cut off; nil if a prune was
		var raised storage.Hour
		w.callUntilKilled(func() error {
			if batch = nil; rand.IntN(2) == 0 {
				batch = w.mixedBatch()
				return w.tryAppend(batch)
			}
			raised = w.nextFloor()
			return w.tryPrune(storage.PruneRequest{Floor: raised, Max: 1 + rand.IntN(20)})
		})
		w.reopenStore()
		w.settleKilled(batch, raised)
		w.pruneAll(0, 1+rand.IntN(100))
		w.compareAll()
	}
	w.reopenStore()
	w.compareAll()
	f.Logf("%d of %d envelopes are left above the floor", w.modelInfo().Count, w.model.lastSeq())
}

// settleKilled finds out what became of the call that a kill cut off: the append of a batch
// or, without one, a prune.
func (w *twin) settleKilled(batch []storage.Record, raised storage.Hour) {
	w.Helper()
	switch floor := w.mustInfo().Floor; {
	case batch != nil:
		w.settleCut(batch)
	case floor == raised:
		w.applyPrune(raised)
	}
	w.compareAll()
}

// nextFloor returns the hour of an envelope among the oldest, or the present floor.
func (w *twin) nextFloor() storage.Hour {
	hours, err := w.model.Hours(w.Context(), storage.HoursRequest{})
	if err != nil {
		w.Fatal(err)
	}
	if n := len(hours) / 3; n > 0 {
		return hours[rand.IntN(n)].Hour
	}
	return w.modelInfo().Floor
}

// tryPrune prunes the store and the model, or returns the error of the store.
func (w *twin) tryPrune(req storage.PruneRequest) error {
	w.Helper()
	p, err := w.mustPruner().Prune(w.Context(), req)
	if err != nil {
		return err
	}
	if w.applyPrune(req.Floor); p.Floor != w.model.floor {
		w.Fatalf("prune below %d: the floor is %d, want %d", req.Floor, p.Floor, w.model.floor)
	}
	return nil
}

func (w *twin) applyPrune(floor storage.Hour) {
	w.Helper()
	if _, err := w.model.Prune(w.Context(), storage.PruneRequest{Floor: floor}); err != nil {
		w.Fatal(err)
	}
}
