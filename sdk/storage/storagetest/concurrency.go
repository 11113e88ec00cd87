package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var concurrencyChecks = []check{
	{"Readers", "once a reader has seen number s, nothing appears at or below s", checkReaders},
	{"ShownAtOnce", "Log, Find, Info, SpentTokens, Hours, Keys and Get show all that an Append changes from the same moment on", checkShownAtOnce},
	{"Appenders", "all methods may be called at the same time from several goroutines", checkAppenders},
	{"Watch", "Watch blocks until the log holds an entry above after, and returns the highest sequence number; or until ctx ends, and returns its error", checkWatch},
}

// checkReaders follows the log with several readers while it grows.
func checkReaders(f *fixture) {
	const readers, batches = 3, 40
	var wg sync.WaitGroup
	var acknowledged atomic.Uint64 // last sequence number of an Append that returned
	done := make(chan struct{})
	for range readers {
		wg.Go(func() {
			r := reader{store: f.store, acknowledged: &acknowledged}
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true // once more, for the end
				default:
				}
				if err := r.readAll(f.Context()); err != nil {
					f.Error(err)
					return
				}
			}
			if len(r.seen) != int(acknowledged.Load()) {
				f.Errorf("a reader ends with %d of %d entries", len(r.seen), acknowledged.Load())
			}
		})
	}
	for i := range batches {
		batch := newRecords(1+i*7%40, 200)
		outcomes, err := f.store.Append(f.Context(), batch)
		if err != nil {
			f.Errorf("append: %v", err)
			break
		}
		acknowledged.Store(uint64(outcomes[len(outcomes)-1].Seq))
	}
	close(done)
	wg.Wait()
}

// reader follows a log.
type reader struct {
	store        storage.Store
	acknowledged *atomic.Uint64
	seen         []storage.ID // of the entries from 1 on
}

func (r *reader) readAll(ctx context.Context) error {
	floor := max(storage.Seq(r.acknowledged.Load()), storage.Seq(len(r.seen)))
	info, err := r.store.Info(ctx)
	if err != nil {
		return fmt.Errorf("info: %w", err)
	}
	from := storage.Seq(1 + rand.IntN(len(r.seen)+1)) // what was seen must be there again
	page, err := r.store.Log(ctx, storage.LogRequest{From: from})
	if err != nil {
		return fmt.Errorf("log from %d: %w", from, err)
	}
	if err := checkPage(page, from); err != nil {
		return fmt.Errorf("log from %d: %w", from, err)
	}
	if info.Last < floor || page.Last < info.Last || storage.Seq(info.Count) != info.Last {
		return fmt.Errorf("the log was known to reach %d, info says %d with %d entries, the page after it %d", floor, info.Last, info.Count, page.Last)
	}
	if len(page.Entries) == 0 && page.Last >= from {
		return fmt.Errorf("log from %d: no entries, and the log ends at %d", from, page.Last)
	}
	for _, e := range page.Entries {
		switch i := int(e.Seq - 1); {
		case i == len(r.seen):
			r.seen = append(r.seen, e.ID)
		case r.seen[i] != e.ID:
			return fmt.Errorf("entry %d is another than before", e.Seq)
		}
	}
	return nil
}

// checkShownAtOnce appends batches of one size while readers look for a part of a
// batch.
func checkShownAtOnce(f *fixture) {
	const readers, batches, size = 2, 100, 8
	done := make(chan struct{})
	var all [batches * size]storage.Record
	for i := range all {
		all[i] = withToken(newRecord(100), newToken())
	}
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for {
				if err := f.checkWholeBatches(all[:], size); err != nil {
					f.Error(err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for batch := range slices.Chunk(all[:], size) {
		if _, err := f.store.Append(f.Context(), batch); err != nil {
			f.Errorf("append: %v", err)
			break
		}
	}
	close(done)
	wg.Wait()
}

// checkWholeBatches checks that the log ends where a batch does, and that the answers of all
// methods agree with it.
func (f *fixture) checkWholeBatches(all []storage.Record, size int) error {
	info, err := f.store.Info(f.Context())
	if err != nil {
		return fmt.Errorf("info: %w", err)
	}
	page, err := f.store.Log(f.Context(), storage.LogRequest{From: info.Last + 1})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	last := page.Last
	if n := storage.Seq(size); info.Last%n != 0 || last%n != 0 || info.Tokens != uint64(info.Last) || len(page.Entries) != int(last-info.Last) {
		return fmt.Errorf("%d tokens in a log that ends at %d and then at %d, with %d entries between, after batches of %d", info.Tokens, info.Last, last, len(page.Entries), size)
	}
	for seq := last; seq > info.Last; seq-- {
		if found, err := f.store.Find(f.Context(), all[seq-1].Signature); found != seq {
			return fmt.Errorf("find entry %d, which Log has shown: %d, %w", seq, found, err)
		}
	}
	if err := f.checkWholeKeys(last, size); err != nil {
		return err
	}
	l, ok := storage.As[storage.Ledger](f.store)
	if !ok {
		return nil
	}
	tokens, err := l.SpentTokens(f.Context(), storage.SpentTokensRequest{})
	if err != nil {
		return fmt.Errorf("spendings: %w", err)
	}
	if len(tokens) < int(last) || len(tokens)%size != 0 {
		return fmt.Errorf("%d spent tokens, after a log that ended at %d and batches of %d", len(tokens), last, size)
	}
	return nil
}

// checkWholeKeys checks that the answers of a Pruner and of an Index, if the store is one,
// end where a batch does, and not before what is known.
func (f *fixture) checkWholeKeys(last storage.Seq, size int) error {
	if p, ok := storage.As[storage.Pruner](f.store); ok {
		hours, err := p.Hours(f.Context(), storage.HoursRequest{})
		if err != nil {
			return fmt.Errorf("hours: %w", err)
		}
		count := 0
		for _, h := range hours {
			count += int(h.Count)
		}
		if count < int(last) || count%size != 0 {
			return fmt.Errorf("hours of %d envelopes, after a log that ended at %d and batches of %d", count, last, size)
		}
	}
	if i, ok := storage.As[storage.Index](f.store); ok {
		keys, err := i.Keys(f.Context(), storage.KeysRequest{})
		if err != nil {
			return fmt.Errorf("keys: %w", err)
		}
		if len(keys) < int(last) || len(keys)%size != 0 {
			return fmt.Errorf("%d keys, after a log that ended at %d and batches of %d", len(keys), last, size)
		}
	}
	return nil
}

// checkAppenders has several goroutines append the same envelopes, and others
// with the same tokens, in different orders.
func checkAppenders(f *fixture) {
	const appenders, envelopes, batch = 4, 60, 12
	all := make([]storage.Record, 0, 2*envelopes)
	for range envelopes {
		token := newToken()
		all = append(all, withToken(newRecord(100), token), withToken(newRecord(100), token))
	}
	outcomes := make(chan map[storage.ID][]storage.Outcome, appenders)
	for range appenders {
		mine := slices.Clone(all)
		rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		go func() {
			got := make(map[storage.ID][]storage.Outcome)
			defer func() { outcomes <- got }()
			for part := range slices.Chunk(mine, batch) {
				answers, err := f.store.Append(f.Context(), part)
				if err != nil || len(answers) != len(part) {
					f.Errorf("append: %d outcomes, %v", len(answers), err)
					return
				}
				for i, r := range part {
					got[r.ID] = append(got[r.ID], answers[i])
				}
			}
		}()
	}
	won := make(map[storage.Seq]storage.ID)
	lost := make(map[storage.ID]int) // how often an envelope was refused because its token paid for another
	repeats := 0
	for range appenders {
		for id, answers := range <-outcomes {
			for _, o := range answers {
				switch o.Status {
				case storage.Stored:
					if _, twice := won[o.Seq]; twice {
						f.Errorf("two envelopes were stored at %d", o.Seq)
					}
					won[o.Seq] = id
				case storage.Spent:
					lost[id]++
				case storage.Replayed:
					repeats++
				default:
					f.Errorf("an envelope is %v", o.Status)
				}
			}
		}
	}
	for _, n := range lost {
		if n != appenders {
			f.Errorf("%d of %d appends of one envelope say that its token paid for another", n, appenders)
		}
	}
	if len(won) != envelopes || len(lost) != envelopes || repeats != envelopes*(appenders-1) {
		f.Errorf("%d envelopes stored, %d refused, %d repeats; want %d, %d and %d", len(won), len(lost), repeats, envelopes, envelopes, envelopes*(appenders-1))
	}
	entries := f.readLog()
	if len(entries) != envelopes {
		f.Errorf("the log has %d entries, want %d", len(entries), envelopes)
	}
	for _, e := range entries {
		if won[e.Seq] != e.ID {
			f.Errorf("entry %d is not the envelope that was stored there", e.Seq)
		}
	}
}

func checkWatch(f *fixture) {
	w := f.mustWatcher()
	type result struct {
		last storage.Seq
		err  error
	}
	watch := func(ctx context.Context, after storage.Seq) <-chan result {
		c := make(chan result, 1)
		go func() {
			last, err := w.Watch(ctx, after)
			c <- result{last, err}
		}()
		return c
	}
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	first, second, never := watch(f.Context(), 0), watch(f.Context(), 1), watch(ctx, 1000)
	f.mustAppend(newRecord(100))
	if r := <-first; r != (result{1, nil}) {
		f.Errorf("watch an empty log until it has an entry: %d, %v", r.last, r.err)
	}
	f.mustAppend(newRecords(3, 100)...)
	if r := <-second; r != (result{4, nil}) {
		f.Errorf("watch after 1: %d, %v, want 4", r.last, r.err)
	}
	if r := <-watch(f.Context(), 2); r != (result{4, nil}) {
		f.Errorf("watch after 2 of 4: %d, %v", r.last, r.err)
	}
	cancel()
	if r := <-never; !errors.Is(r.err, context.Canceled) {
		f.Errorf("watch until the context ends: %d, %v", r.last, r.err)
	}
	if r := <-watch(canceled, 4); !errors.Is(r.err, context.Canceled) {
		f.Errorf("watch with a context that has ended: %d, %v", r.last, r.err)
	}
}
