package board

import (
	"context"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// postMany posts envelopes 1 to n, which get the positions 1 to n.
func postMany(b *Board, n int) {
	for i := range n {
		postAndWait(b, i+1, i+1)
	}
	awaitSeq(b, storage.Seq(n))
}

// TestCursorStopsAtTheEndAskedFor shows it for a log with gaps, in which a page reaches
// further. What lies there comes later.
func TestCursorStopsAtTheEndAskedFor(t *testing.T) {
	store := storagetest.NewPruning()
	b := openBoard(t, Config{Store: store, RecentBytes: 1})
	postMany(b, 40)
	store.Prune(1, 2, 3, 5, 8, 13)
	var got []string
	c := b.CursorAt(1)
	for _, end := range []storage.Seq{10, 21, 22, 30, 40} {
		for !c.Passed(end) {
			page, err := c.Next(t.Context(), end, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for _, json := range page {
				got = append(got, string(json))
			}
			if n := len(c.page); n > 0 && c.page[n-1].Seq > end {
				t.Errorf("the cursor keeps entry %d, which may not be durable, in a log that ends at %d", c.page[n-1].Seq, end)
			}
		}
	}
	if len(got) != 34 {
		t.Errorf("%d of 34 envelopes", len(got))
	}
}

// TestCountIsExactWithGaps shows that Count counts what is there, wherever entries were
// pruned.
func TestCountIsExactWithGaps(t *testing.T) {
	for name, gone := range map[string][]storage.Seq{
		"none": nil, "beginning": {1, 2, 3}, "middle": {50, 51, 99}, "end": {98, 99}, "within the first page": {4},
	} {
		t.Run(name, func(t *testing.T) {
			store := storagetest.NewPruning()
			b := openBoard(t, Config{Store: store, RecentBytes: 1})
			postMany(b, 100)
			store.Prune(gone...)
			for _, from := range []storage.Seq{1, 3, 50, 97, 100, 101} {
				want := uint64(0)
				for seq := from; seq <= 100; seq++ {
					if !slices.Contains(gone, seq) {
						want++
					}
				}
				for _, maxBytes := range []int{1, 1 << 20} {
					c := b.CursorAt(from)
					if got, err := c.Count(t.Context(), 100, maxBytes); err != nil || got != want {
						t.Errorf("from %d: %d, %v; want %d", from, got, err, want)
					}
				}
			}
		})
	}
}

// hidesEntries is a store whose Info leaves out its last entries.
type hidesEntries struct {
	storage.Store
	hidden storage.Seq // how many entries
}

func (e *hidesEntries) Info(ctx context.Context) (storage.Info, error) {
	info, err := e.Store.Info(ctx)
	info.Last -= e.hidden
	info.Count -= uint64(e.hidden)
	return info, err
}

// TestCatchUpGoesNoFurtherThanTheEnd shows that entries beyond the end that the store
// gave are not published, because they may not be durable.
func TestCatchUpGoesNoFurtherThanTheEnd(t *testing.T) {
	pruning := storagetest.NewPruning()
	store := &hidesEntries{Store: pruning}
	b := openBoard(t, Config{Store: struct{ storage.Store }{store}})
	postMany(b, 3)
	for n := range 5 {
		if _, err := store.Append(t.Context(), []storage.Record{recordOf(100 + n)}); err != nil {
			t.Fatal(err)
		}
	}
	store.hidden = 2
	pruning.Prune(4) // so the page reaches further
	if err := b.Reopened(t.Context()); err != nil {
		t.Fatal(err)
	}
	if end := b.End().Seq; end != 6 {
		t.Errorf("the log ends at %d, want 6", end)
	}
}

// TestFindIsNeverBeyondTheEnd shows it for envelopes that are stored and not shown yet.
func TestFindIsNeverBeyondTheEnd(t *testing.T) {
	store := storagetest.NewMemory()
	b := openBoard(t, Config{Store: struct{ storage.Store }{store}})
	postMany(b, 3)
	for n := range 3 {
		if _, err := store.Append(t.Context(), []storage.Record{recordOf(100 + n)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{100, 101, 102} {
		if seq, err := b.Find(t.Context(), envelope(n).Signature); err != nil || seq != 4 {
			t.Errorf("a replay from envelope %d begins at %d, %v; the log ends at 3", n, seq, err)
		}
	}
	if err := b.Reopened(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b, 4); len(got) != 3 {
		t.Errorf("%d envelopes of 3", len(got))
	}
}

func recordOf(n int) storage.Record {
	e := envelope(n)
	return storage.Record{ID: storage.NewID(e.Signature, e.Ciphertext), Signature: e.Signature, Ciphertext: e.Ciphertext}
}
