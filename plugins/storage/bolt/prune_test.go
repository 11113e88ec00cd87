package bolt

import (
	"errors"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// smallRecords makes paid records of one hour, so small that a batch may be large.
func smallRecords(n int, born storage.Hour) []storage.Record {
	records := storefiletest.RandomRecords(n)
	for i := range records {
		records[i].Born, records[i].Ciphertext = born, records[i].Ciphertext[:8]
	}
	return records
}

func pruneAll(t *testing.T, s *Store, floor storage.Hour, limit int) (removed uint64) {
	t.Helper()
	for {
		p, err := s.Prune(t.Context(), storage.PruneRequest{Floor: floor, Max: limit})
		if err != nil {
			t.Fatal(err)
		}
		if removed += p.Envelopes; !p.More {
			return removed
		}
	}
}

// countKeys counts the keys of each kind in the tree.
func countKeys(t *testing.T, s *Store) (n [bornKind + 1]int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(indexBucket).ForEach(func(k, _ []byte) error {
			n[k[0]]++
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPrunedKeysLeaveTheTree fills and prunes a store again and again. Keys of removed
// envelopes do not pile up in the tree, and those of their tokens stay.
func TestPrunedKeysLeaveTheTree(t *testing.T) {
	const perHour, kept, rounds = 500, 3, 20
	opts := Options{MaxRecent: 256}
	s := openNewStore(t, opts)
	s.db.NoSync = true
	for hour := range storage.Hour(rounds) {
		appendAll(t, s, smallRecords(perHour, hour))
		pruneAll(t, s, max(hour, kept)-kept+1, 77)
		if s.index.goners > opts.MaxRecent+2*perHour {
			t.Fatalf("%d keys wait to be deleted", s.index.goners)
		}
		checkRecent(t, s)
	}
	n := countKeys(t, s)
	most := kept*perHour + s.index.goners
	if n[envelopeKind]+n[idKind] > 2*kept*perHour+s.index.goners || n[bornKind] > most {
		t.Errorf("%d keys of envelopes, %d of ids and %d of born in the tree; %d envelopes are kept and %d keys wait to be deleted", n[envelopeKind], n[idKind], n[bornKind], kept*perHour, s.index.goners)
	}
	tokens := n[tokenKind]
	for shard := shardsPerKind; shard < 2*shardsPerKind; shard++ {
		tokens += s.index.recentCount(shard)
	}
	if tokens != rounds*perHour || s.shown.tokens != rounds*perHour {
		t.Errorf("%d keys of tokens, counted as %d, want %d", tokens, s.shown.tokens, rounds*perHour)
	}
}

// TestPruneCutShort raises the floor over entries that stay in the file for now, and shows the
// first that is left. Then a start and a compaction find what is below it: the tokens are
// spent, and everything is removed in the end.
func TestPruneCutShort(t *testing.T) {
	s := openNewStore(t, Options{})
	old := smallRecords(100, 1)
	appendAll(t, s, old)
	appendAll(t, s, smallRecords(10, 9))
	if _, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 5, Max: 10}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		info, err := s.Info(t.Context())
		if err != nil || info.First != 101 || info.Count != 10 {
			t.Fatalf("%+v, %v", info, err)
		}
		if _, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 5, Max: 10}); err != nil {
			t.Fatal(err)
		}
	}
	compactAll(t, s, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, s.path, Options{})
	for i := range old {
		old[i].Born = 9
	}
	outcomes, err := s.Append(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Status != storage.Spent {
			t.Fatalf("the token of entry %d is spent again: %v", i+1, o)
		}
	}
	if removed := pruneAll(t, s, 5, 10); removed != 70 {
		t.Errorf("%d entries were left to be removed, want 70", removed)
	}
	checkRecent(t, s)
	if s.shown.lowest != 101 {
		t.Errorf("the log begins at %d, want 101", s.shown.lowest)
	}
}

// checkRecent compares the recent keys with those that a start would find.
func checkRecent(t *testing.T, s *Store) {
	t.Helper()
	x := index{hash: s.index.hash, max: s.index.max}
	var hours hourTable
	err := s.db.View(func(tx *bbolt.Tx) error {
		if err := hours.load(tx.Bucket(hoursBucket)); err != nil {
			return err
		}
		return x.loadRecent(tx, &s.shown, &hours)
	})
	if err != nil {
		t.Fatal(err)
	}
	expectSameIndex(t, &s.index, &x)
	if !slices.Equal(hours.sizes, s.hours.sizes) {
		t.Errorf("a start would find the hours %v, want %v", hours.sizes, s.hours.sizes)
	}
}

// TestKeysOfLargeHourAreTrimmed removes an hour in several calls. Its keys stay, to find the
// rest of it after a start, until all of it is removed.
func TestKeysOfLargeHourAreTrimmed(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 16})
	appendAll(t, s, smallRecords(2000, 5))
	appendAll(t, s, smallRecords(200, 6))
	if p, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 6, Max: 1500}); err != nil || p.Envelopes != 1500 || !p.More {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, s.path, Options{MaxRecent: 16})
	if removed := pruneAll(t, s, 0, 0); removed != 500 {
		t.Errorf("%d envelopes are removed after a start, want 500", removed)
	}
	if n := countKeys(t, s); n[bornKind] > 200 {
		t.Errorf("%d keys of born in the tree, 200 envelopes are kept", n[bornKind])
	}
}

// TestKeysOfEqualBeginnings lists ids whose beginnings are equal, in the tree and recent.
func TestKeysOfEqualBeginnings(t *testing.T) {
	for _, recent := range []int{1, 1000} {
		s := openNewStore(t, Options{MaxRecent: recent})
		var want []storage.Key
		for _, last := range []byte{3, 1, 2, 7, 5, 0, 6, 4} {
			r := smallRecords(1, 9)[0]
			r.ID = storage.ID{0: 8, 31: last}
			if last > 5 {
				r.ID = storage.ID{0: 9, 31: last}
			}
			appendAll(t, s, []storage.Record{r})
			want = append(want, storage.Key{Born: 9, ID: r.ID})
		}
		slices.SortFunc(want, storage.Key.Compare)
		for lo := range want {
			for limit := 1; lo+limit <= len(want); limit++ {
				for _, hi := range []storage.Key{{}, want[lo+limit-1].Next()} {
					got, err := s.Keys(t.Context(), storage.KeysRequest{Range: storage.Range{Lo: want[lo], Hi: hi}, Max: limit})
					if err != nil || !slices.Equal(got, want[lo:lo+limit]) {
						t.Fatalf("%d keys from %d: %v, %v", limit, lo, got, err)
					}
				}
			}
		}
	}
}

// TestMissingEntry takes an entry out of the log of a store that has pruned nothing.
func TestMissingEntry(t *testing.T) {
	damaged := func() *Store {
		s := openNewStore(t, Options{})
		appendAll(t, s, smallRecords(3, 5))
		if err := s.db.Update(func(tx *bbolt.Tx) error { return removeRecord(tx.Bucket(logBucket), 2) }); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if _, err := damaged().Log(t.Context(), storage.LogRequest{}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("log: %v, want ErrCorrupt", err)
	}
	s := damaged()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.path, Options{}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("open: %v, want ErrCorrupt", err)
	}
}

// TestForgottenSignatureIsFoundAgain prunes all envelopes of a signature that had two, until
// the index has none of their keys, and stores another one.
func TestForgottenSignatureIsFoundAgain(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 1})
	records := smallRecords(3, 5)
	for i := range records {
		records[i].Signature, records[i].Nullifier = []byte("signature"), nil
	}
	records[2].Born = 10
	appendAll(t, s, records[:2])
	for hour := storage.Hour(5); hour < 9; hour++ {
		appendAll(t, s, smallRecords(100, hour))
		pruneAll(t, s, hour+1, 0)
	}
	err := s.db.View(func(tx *bbolt.Tx) error {
		prefix := envelopePrefix(s.index.signatureTag(records[0].Signature))
		if seqs := s.index.findSeqs(tx.Bucket(indexBucket).Cursor(), prefix); len(seqs) > 0 {
			t.Errorf("the index still has the entries %v", seqs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, records[2:])
	checkFound(t, s, "signature", s.shown.last)
}

// TestReadersWaitForPrune begins to read while bbolt shows a Prune that is not durable.
func TestReadersWaitForPrune(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 16})
	appendAll(t, s, slices.Concat(smallRecords(10, 5), smallRecords(10, 6)))
	r := removal{index: &s.index, table: &s.hours, hours: make(hourChanges)}
	read := make(chan int)
	err := s.updateFile(func(tx *bbolt.Tx) (bool, error) {
		return true, r.apply(tx, 6, 10)
	}, func() {
		s.mu.Unlock() // as between the commit and publish
		defer s.mu.Lock()
		if s.viewMu.TryRLock() {
			t.Error("a reader may begin")
			s.viewMu.RUnlock()
		}
		go func() {
			page, err := s.Log(t.Context(), storage.LogRequest{})
			if err != nil {
				t.Error(err)
			}
			read <- len(page.Entries)
		}()
		select {
		case n := <-read:
			t.Errorf("%d entries are read before the prune is shown", n)
		default: // it waits
		}
		s.publishRemoval(&r)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := <-read; n != 10 {
		t.Errorf("the log has %d entries, want 10", n)
	}
}

// BenchmarkPrune removes the older half of a store.
func BenchmarkPrune(b *testing.B) {
	const each = 50_000
	for b.Loop() {
		b.StopTimer()
		s := openNewStore(b, Options{})
		s.db.NoSync = true
		for born := range storage.Hour(2) {
			for n := 0; n < each; n += storage.MaxBatch / 2 {
				batch := storefiletest.RandomRecords(storage.MaxBatch / 2)
				for i := range batch {
					batch[i].Born = born
				}
				if _, err := s.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
		}
		s.db.NoSync = false
		if err := s.db.Sync(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for more := true; more; {
			p, err := s.Prune(b.Context(), storage.PruneRequest{Floor: 1, Max: 512})
			if err != nil {
				b.Fatal(err)
			}
			more = p.More
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*each)/b.Elapsed().Seconds(), "envelopes/s")
}
