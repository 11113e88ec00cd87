package replica

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// countingLog is a Memory that counts the calls with which the log is read.
type countingLog struct {
	*storagetest.Memory
	calls atomic.Int64
}

func (c *countingLog) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	c.calls.Add(1)
	return c.Memory.Log(ctx, req)
}

func (c *countingLog) Info(ctx context.Context) (storage.Info, error) {
	c.calls.Add(1)
	return c.Memory.Info(ctx)
}

// readLog returns a page of the log as a plugin gets it, and how many calls of the store that took.
func readLog(t *testing.T, r *Replica, store *countingLog, req peersync.LogRequest) (peersync.LogPage, int64) {
	t.Helper()
	before := store.calls.Load()
	page, err := r.Log(t.Context(), req)
	if err != nil {
		t.Fatalf("log from %d: %v", req.From, err)
	}
	return page, store.calls.Load() - before
}

// expectLog checks a page that has all of the log from a sequence number on.
func expectLog(t *testing.T, store *countingLog, page peersync.LogPage, from storage.Seq) {
	t.Helper()
	full, err := store.Memory.Log(t.Context(), storage.LogRequest{From: from})
	if err != nil {
		t.Fatal(err)
	}
	info, _ := store.Memory.Info(t.Context())
	var want []peersync.Entry
	for _, e := range full.Entries {
		want = append(want, peersync.Entry{Seq: e.Seq, Key: keyOf(e), Size: uint32(len(e.Signature) + len(e.Ciphertext))})
	}
	if page.Epoch != info.Epoch || page.Last != info.Last || !slices.Equal(page.Entries, want) {
		t.Errorf("the page from %d is %+v, want %+v", from, page, want)
	}
}

// TestNewLogIsReadFromTheCommit shows that a plugin which follows the log costs the store nothing, and
// that it is asked as soon as memory and log may differ.
func TestNewLogIsReadFromTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingLog{Memory: storagetest.NewMemory()}
		now := storage.HourOf(time.Now())
		appendAs(t, store, 1, now)
		b := openBoard(t, store)
		r := newReplicaOf(t, store, b)
		followBoards(t, r)
		for n := range 20 {
			postEnvelope(t, b, 10+n)
		}
		old := envelope(50)
		record := storage.Record{ID: storage.NewID(old.Signature, old.Ciphertext), Born: now - 3, Signature: old.Signature, Ciphertext: old.Ciphertext}
		if s := b.Replicate(t.Context(), []storage.Record{record}); s[0] != peersync.Stored {
			t.Fatalf("the envelope of a peer is %v", s[0])
		}
		synctest.Wait()

		page, calls := readLog(t, r, store, peersync.LogRequest{From: 2})
		if expectLog(t, store, page, 2); calls != 0 {
			t.Errorf("what was committed took %d calls", calls)
		}
		part, calls := readLog(t, r, store, peersync.LogRequest{From: 4, Max: 5})
		if calls != 0 || !slices.Equal(part.Entries, page.Entries[2:7]) || part.Last != page.Last {
			t.Errorf("a part took %d calls and is %+v", calls, part)
		}
		if end, calls := readLog(t, r, store, peersync.LogRequest{From: 23}); calls != 0 || len(end.Entries) != 0 || end.Last != 22 {
			t.Errorf("at the end there is %+v after %d calls", end, calls)
		}
		page, calls = readLog(t, r, store, peersync.LogRequest{From: 1})
		if expectLog(t, store, page, 1); calls == 0 {
			t.Error("what was there before took no calls")
		}

		record.Born = now - 5
		if s := b.Replicate(t.Context(), []storage.Record{record}); s[0] != peersync.Known {
			t.Fatalf("again the envelope of a peer is %v", s[0])
		}
		synctest.Wait()
		for _, wantsStore := range []bool{true, false} {
			page, calls = readLog(t, r, store, peersync.LogRequest{From: 2})
			if expectLog(t, store, page, 2); calls > 0 != wantsStore {
				t.Errorf("after the hour was lowered the log took %d calls", calls)
			}
		}

		if _, err := store.Prune(t.Context(), storage.PruneRequest{Floor: now}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.readState(t.Context()); err != nil { // as each second
			t.Fatal(err)
		}
		page, _ = readLog(t, r, store, peersync.LogRequest{From: 2})
		if expectLog(t, store, page, 2); len(page.Entries) != 20 {
			t.Errorf("after a prune there are %d entries", len(page.Entries))
		}
	})
}

// TestNewestEntriesAreThoseOfOneBoard shows that nothing of another board is in an answer, and nothing
// across a gap.
func TestNewestEntriesAreThoseOfOneBoard(t *testing.T) {
	var n newestEntries
	first, second := Board(&testBoard{}), Board(&testBoard{})
	expect := func(b Board, from, end storage.Seq, want ...storage.Seq) {
		t.Helper()
		entries, ok := n.entriesFrom(b, from, end, 100)
		var got []storage.Seq
		for _, e := range entries {
			got = append(got, e.Seq)
		}
		if ok != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("from %d to %d: %v, %v, want %v", from, end, got, ok, want)
		}
	}
	add := func(b Board, seqs ...storage.Seq) {
		for _, seq := range seqs {
			n.addEntries(b, []storage.Entry{{Seq: seq}})
		}
	}
	add(first, 1)
	expect(first, 1, 1) // nobody has begun
	n.beginLog(first)
	expect(first, 1, 0) // nothing has come
	add(first, 4, 5, 6)
	expect(first, 4, 6, 4, 5, 6)
	expect(first, 5, 5, 5) // the board does not show the last one yet
	expect(first, 7, 6, []storage.Seq{}...)
	expect(first, 3, 6) // the first one is not here
	expect(first, 6, 7) // the last one is not here
	expect(second, 4, 6)
	add(first, 9)
	expect(first, 6, 9)
	expect(first, 9, 9, 9)
	n.beginLog(second)
	add(first, 10) // its Follow was under way
	expect(second, 10, 10)
}

// TestNewestEntriesAreBounded shows that only the latest are kept.
func TestNewestEntriesAreBounded(t *testing.T) {
	var n newestEntries
	b := Board(&testBoard{})
	n.beginLog(b)
	const added = 3 * maxNewest
	for seq := storage.Seq(1); seq <= added; seq++ {
		n.addEntries(b, []storage.Entry{{Seq: seq}})
		if len(n.entries) > maxNewest || cap(n.entries) > 3*maxNewest {
			t.Fatalf("%d entries in room for %d", len(n.entries), cap(n.entries))
		}
	}
	if _, ok := n.entriesFrom(b, added-maxNewest, added, 1); ok {
		t.Error("an old one is kept")
	}
	if es, ok := n.entriesFrom(b, added-maxNewest+1, added, maxNewest); !ok || len(es) != maxNewest {
		t.Errorf("of the latest there are %d", len(es))
	}
}
