package bolt

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// compactAll compacts a store in steps of limit bytes, and returns how many it took.
func compactAll(t testing.TB, s *Store, limit int) (steps int) {
	t.Helper()
	for more := true; more; steps++ {
		done, err := s.Compact(t.Context(), storage.CompactRequest{Room: math.MaxInt64, Max: limit})
		if err != nil {
			t.Fatal(err)
		}
		more = done.More
	}
	return steps
}

// content is all that a store shows.
type content struct {
	info   storage.Info
	log    []storage.Entry
	tokens []storage.SpentToken
	hours  []storage.HourSize
	keys   []storage.Key
	found  []storage.Seq // by the signatures of the log
	got    int           // by the ids of the log
}

func readContent(t testing.TB, s storage.Store) (c content) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	c.info, err = s.Info(t.Context())
	check(err)
	c.info.Bytes, c.info.InUse, c.info.Epoch = 0, 0, storage.Epoch{}
	for from := storage.Seq(0); ; from = c.log[len(c.log)-1].Seq + 1 {
		page, err := s.Log(t.Context(), storage.LogRequest{From: from})
		check(err)
		if len(page.Entries) == 0 {
			break
		}
		c.log = append(c.log, page.Entries...)
	}
	for after := (*storage.TokenID)(nil); ; after = &c.tokens[len(c.tokens)-1].Token {
		page, err := s.(storage.Ledger).SpentTokens(t.Context(), storage.SpentTokensRequest{After: after})
		check(err)
		if len(page) == 0 {
			break
		}
		c.tokens = append(c.tokens, page...)
	}
	c.hours, err = s.(storage.Pruner).Hours(t.Context(), storage.HoursRequest{})
	check(err)
	for lo := (storage.Key{}); ; lo = c.keys[len(c.keys)-1].Next() {
		page, err := s.(storage.Index).Keys(t.Context(), storage.KeysRequest{Range: storage.Range{Lo: lo}})
		check(err)
		if len(page) == 0 {
			break
		}
		c.keys = append(c.keys, page...)
	}
	for _, e := range c.log {
		seq, err := s.Find(t.Context(), e.Signature)
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // forgotten when its first envelope was pruned
			t.Fatal(err)
		}
		c.found = append(c.found, seq)
		entries, err := s.(storage.Index).Get(t.Context(), []storage.ID{e.ID})
		check(err)
		c.got += len(entries)
	}
	return c
}

func (c *content) equal(other *content) bool {
	sameEntry := func(a, b storage.Entry) bool {
		return a.Seq == b.Seq && a.ID == b.ID && a.Born == b.Born && bytes.Equal(a.Signature, b.Signature) && bytes.Equal(a.Ciphertext, b.Ciphertext)
	}
	return c.info == other.info && slices.EqualFunc(c.log, other.log, sameEntry) && slices.Equal(c.tokens, other.tokens) &&
		slices.Equal(c.hours, other.hours) && slices.Equal(c.keys, other.keys) && slices.Equal(c.found, other.found) && c.got == other.got
}

func expectEqualContent(t *testing.T, got, want storage.Store) {
	t.Helper()
	g, w := readContent(t, got), readContent(t, want)
	if !g.equal(&w) {
		t.Fatalf("the contents differ: %+v, %d entries, %d tokens, %d keys, %d hours, %d got; want %+v, %d, %d, %d, %d, %d",
			g.info, len(g.log), len(g.tokens), len(g.keys), len(g.hours), g.got, w.info, len(w.log), len(w.tokens), len(w.keys), len(w.hours), w.got)
	}
}

// TestCompactionChangesNothing makes the same random calls to two stores, one of which
// compacts all the while in steps of any size. It does so with firsts, removed and older
// entries, tokens of any kind and starts in between.
func TestCompactionChangesNothing(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	opts := Options{MaxRecent: 128}
	s, twin := openNewStore(t, opts), openNewStore(t, opts)
	s.db.NoSync, twin.db.NoSync = true, true
	random := rand.New(rand.NewPCG(7, 0))
	var posted []storage.Record
	finished := 0
	for round := range 600 {
		hour := storage.Hour(100 + round/20)
		batch := mixedRecords(random, hour, posted)
		posted = append(posted, batch...)
		for _, x := range []*Store{s, twin} {
			appendAll(t, x, batch)
			if round%9 == 0 {
				token := storage.SpentToken{Token: storage.NewTokenID(storage.Nullifier{1: byte(round), 2: byte(round >> 8)})}
				if err := x.Spend(t.Context(), []storage.SpentToken{token}); err != nil {
					t.Fatal(err)
				}
			}
			if round%5 == 0 {
				if _, err := x.Prune(t.Context(), storage.PruneRequest{Floor: hour - 8, Max: 50}); err != nil {
					t.Fatal(err)
				}
			}
		}
		done, err := s.Compact(t.Context(), storage.CompactRequest{Room: math.MaxInt64, Max: 1 + random.IntN(1<<(8+round%12))})
		if err != nil {
			t.Fatal(err)
		}
		if !done.More {
			finished++
			expectEqualContent(t, s, twin)
		}
		if round%199 == 198 {
			for _, x := range []**Store{&s, &twin} {
				if err := (*x).Close(); err != nil {
					t.Fatal(err)
				}
				*x = mustOpen(t, (*x).path, opts)
			}
		}
	}
	if finished < 5 {
		t.Errorf("%d compactions are finished", finished)
	}
	expectEqualContent(t, s, twin)
}

// mixedRecords makes records of few signatures and any size, and repeats some that were
// posted before with earlier hours.
func mixedRecords(random *rand.Rand, hour storage.Hour, posted []storage.Record) []storage.Record {
	batch := storefiletest.RandomRecords(1 + random.IntN(12))
	for i := range batch {
		r := &batch[i]
		r.Born, r.Ciphertext = hour, r.Ciphertext[:random.IntN(3000)]
		if random.IntN(3) == 0 {
			r.Signature, r.Nullifier = []byte{byte(random.IntN(200))}, nil
		}
		if len(posted) > 0 && random.IntN(4) == 0 {
			born := posted[random.IntN(len(posted))]
			born.Born -= storage.Hour(random.IntN(3))
			born.Nullifier = r.Nullifier
			*r = born
		}
	}
	return batch
}

// TestCompactionGivesRoomBack removes most of a store. After a compaction the file has little
// more than what is left, nothing of what was removed, and is alone in its directory.
func TestCompactionGivesRoomBack(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 1024})
	s.db.NoSync = true
	removed := []byte("this ciphertext was removed")
	for hour := range storage.Hour(10) {
		for range 10 {
			records := storefiletest.RandomRecords(100)
			for i := range records {
				records[i].Born = hour
				if hour < 8 {
					records[i].Ciphertext = append(bytes.Clone(removed), make([]byte, 4000)...)
				}
			}
			appendAll(t, s, records)
		}
	}
	pruneAll(t, s, 8, 0)
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps := compactAll(t, s, 1<<20)
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, removed) {
		t.Error("the file has a ciphertext that was removed")
	}
	after, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const live = 2000 * storefiletest.EnvelopeSize
	if steps < 8 || after.Bytes > live*13/10 || after.InUse > after.Bytes || info.Bytes < 4*live {
		t.Errorf("after %d steps %+v, and before %+v; %d bytes of envelopes are kept", steps, after, info, live)
	}
	if names, err := os.ReadDir(filepath.Dir(s.path)); err != nil || len(names) != 1 {
		t.Errorf("the directory has %v, %v", names, err)
	}
	if n := countKeys(t, s); n[envelopeKind] > 2000 || n[idKind] > 2000 || n[bornKind] > 2000 {
		t.Errorf("the index has %v keys, 2000 envelopes are kept", n)
	}
}

// TestCompactionNeedsRoom refuses a compaction, before it begins and while it goes on, and
// gives the room of the new file back.
func TestCompactionNeedsRoom(t *testing.T) {
	s := openNewStore(t, Options{})
	s.db.NoSync = true
	for range 20 {
		appendAll(t, s, storefiletest.RandomRecords(100))
	}
	before := readContent(t, s)
	expectFull := func(room uint64, number string) {
		t.Helper()
		_, err := s.Compact(t.Context(), storage.CompactRequest{Room: room, Max: 1 << 20})
		if !errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), number) {
			t.Errorf("compact: %v, want ErrFull and %s", err, number)
		}
		if names, err := os.ReadDir(filepath.Dir(s.path)); err != nil || len(names) != 1 {
			t.Errorf("the directory has %v, %v", names, err)
		}
	}
	expectFull(0, "and may take 0")
	expectFull(4<<20, "and may take 4194304")
	var whole storage.Info
	for range 3 {
		done, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 30, Max: 1 << 20})
		if err != nil || !done.More || done.Moved > 1<<20 {
			t.Fatalf("%+v, %v", done, err)
		}
		if whole, err = s.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Stat(s.path + compactSuffix)
	if err != nil || whole.Bytes < before.info.Bytes+3<<20 || file.Size() < 3<<20 {
		t.Errorf("info says %d bytes with a new file of %v bytes, %v", whole.Bytes, file, err)
	}
	expectFull(3<<20, "and may take 3145728")
	if after := readContent(t, s); !after.equal(&before) {
		t.Error("the store has changed")
	}
	compactAll(t, s, 0)
}

// TestCompactionOnFullDisk compacts on a disk that has no room for the new file.
func TestCompactionOnFullDisk(t *testing.T) {
	dir := storefiletest.MountSmallDisk(t)
	s := mustOpen(t, filepath.Join(dir, "messages.db"), Options{})
	for range 14 {
		appendAll(t, s, storefiletest.RandomRecords(100))
	}
	before := readContent(t, s)
	for more := true; more; {
		done, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 30, Max: 1 << 20})
		if more = done.More; err != nil && !errors.Is(err, storage.ErrFull) || err == nil && !more {
			t.Fatalf("compact: %+v, %v", done, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the directory has %v, %v", names, err)
	}
	if after := readContent(t, s); !after.equal(&before) {
		t.Error("the store has changed")
	}
	appendAll(t, s, storefiletest.RandomRecords(1))
}

// TestCompactionAfterKill opens what a process leaves that is killed while it compacts.
func TestCompactionAfterKill(t *testing.T) {
	s := openNewStore(t, Options{})
	appendAll(t, s, storefiletest.RandomRecords(200))
	if _, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 30, Max: 1 << 10}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, suffix := range []string{"", compactSuffix} {
		data, err := os.ReadFile(s.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, filepath.Base(s.path)+suffix), data)
	}
	left := mustOpen(t, filepath.Join(dir, filepath.Base(s.path)), Options{})
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the directory has %v, %v", names, err)
	}
	expectEqualContent(t, left, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(filepath.Dir(s.path)); err != nil || len(names) != 1 {
		t.Errorf("after a close the directory has %v, %v", names, err)
	}
}

// TestCompactionEndsWithItsContext goes on after a call whose context has ended.
func TestCompactionEndsWithItsContext(t *testing.T) {
	s := openNewStore(t, Options{})
	appendAll(t, s, storefiletest.RandomRecords(200))
	if _, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 30, Max: 1 << 18}); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Compact(ended, storage.CompactRequest{Room: 1 << 30}); !errors.Is(err, context.Canceled) {
		t.Errorf("compact: %v", err)
	}
	if s.compaction == nil || s.compaction.entries == 0 {
		t.Error("the compaction is lost")
	}
	compactAll(t, s, 0)
}

// TestCompactionReplacesNoOtherFile puts another file at the path of the store while it
// compacts.
func TestCompactionReplacesNoOtherFile(t *testing.T) {
	s := openNewStore(t, Options{})
	appendAll(t, s, storefiletest.RandomRecords(200))
	if _, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 30, Max: 1 << 10}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.path, []byte("a backup"))
	if _, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 30}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("compact: %v, want ErrCorrupt", err)
	}
	if data, err := os.ReadFile(s.path); err != nil || string(data) != "a backup" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

// TestTooManyChangesEndACompaction has more changes behind a compaction than may be noted.
func TestTooManyChangesEndACompaction(t *testing.T) {
	c := &changes{seqs: make([]storage.Seq, maxChanges)}
	c.noteKey(make([]byte, len(key{})))
	if c.lost {
		t.Error("a key was noted before the index was copied")
	}
	c.noteEntry(1)
	if !c.lost || c.count() != 0 {
		t.Errorf("%d changes are noted, lost: %t", c.count(), c.lost)
	}
	if err := new(compaction).takeChanges(c); err == nil {
		t.Error("the compaction goes on")
	}
}

// TestStoreThatWasExchangedIsNotOpened waits for the lock of a file that a compaction
// replaces.
func TestStoreThatWasExchangedIsNotOpened(t *testing.T) {
	s := openNewStore(t, Options{})
	file, err := os.Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := checkSameFile(s.path, file); err != nil {
		t.Fatal(err)
	}
	compactAll(t, s, 0)
	if err := checkSameFile(s.path, file); err == nil {
		t.Error("the file that is gone would be opened")
	}
}

// TestCompactionWhilePrunedEntriesWait compacts a store of which most is pruned and not yet
// removed, after a reader has passed over it. What waits is removed from the new file.
func TestCompactionWhilePrunedEntriesWait(t *testing.T) {
	s := openNewStore(t, Options{})
	for hour := range storage.Hour(4) {
		records := storefiletest.RandomRecords(50)
		for i := range records {
			records[i].Born = hour
		}
		appendAll(t, s, records)
	}
	if p, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 3, Max: 10}); err != nil || !p.More {
		t.Fatalf("%+v, %v", p, err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.First != 151 {
		t.Fatalf("%+v, %v", info, err)
	}
	before := readContent(t, s)
	compactAll(t, s, 0)
	pruneAll(t, s, 3, 0)
	compactAll(t, s, 0)
	after := readContent(t, s)
	if before.tokens, after.tokens = nil, nil; !reflect.DeepEqual(after, before) { // the tokens forget what is removed
		t.Errorf("%+v, before %+v", after.info, before.info)
	}
}
