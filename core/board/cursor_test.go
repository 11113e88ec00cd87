package board

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// TestCursorHoldsOnePage shows that a page from the store is read once, handed out in
// parts, and let go of when the reader has caught up.
func TestCursorHoldsOnePage(t *testing.T) {
	const n = 3*encodeAtOnce + 1
	b := openBoard(t, Config{Store: storagetest.NewMemory(), RecentBytes: 1})
	for i := range n {
		postAndWait(b, i, i)
	}
	awaitSeq(b, n)
	c := b.CursorAt(1)
	var got int
	for !c.Passed(n - 1) { // the last one is in memory
		part, err := c.Next(t.Context(), n-1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i, json := range part {
			if want := envelope(got + i).AppendJSON(nil); string(json) != string(want) {
				t.Fatalf("envelope %d is %s", got+i, json)
			}
		}
		if got += len(part); len(part) > encodeAtOnce {
			t.Errorf("%d envelopes were encoded at once", len(part))
		}
	}
	if got != n-1 || c.Passed(n) {
		t.Errorf("%d envelopes of %d", got, n-1)
	}
	if pages := b.Counts.StorePages.Load(); pages != 1 {
		t.Errorf("%d pages were read, 1 holds them all", pages)
	}
	if len(c.page) != 0 || c.buf != nil {
		t.Error("a cursor that has caught up holds memory")
	}
}
