package board

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// countingStore counts the entries that are read from it. It is no Watcher, so that a board
// meets what others have appended with its next post.
type countingStore struct {
	storage.Store
	read atomic.Int64
}

func (c *countingStore) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	page, err := c.Store.Log(ctx, req)
	c.read.Add(int64(len(page.Entries)))
	return page, err
}

// A board whose posts come after those of another relay reads those, and not its own.
func TestPostsAfterThoseOfAnotherRelay(t *testing.T) {
	shared := storagetest.NewMemory()
	counting := &countingStore{Store: shared}
	one, other := openBoard(t, Config{Store: counting}), openBoard(t, Config{Store: shared})
	for round := range 3 {
		for i := range 3 {
			postAndWait(other, 10*round+i, 10*round+i)
		}
		if r := postAndWait(one, 10*round+9, 10*round+9); !r.Success {
			t.Fatal("the post was refused")
		}
		awaitSeq(one, storage.Seq(4*(round+1)))
	}
	if n := counting.read.Load(); n != 9 {
		t.Errorf("the board has read %d entries, want the 9 of the other relay", n)
	}
	awaitSeq(other, 12)
	if a, b := readAll(t, one, 1), readAll(t, other, 1); len(a) != 12 || !slices.Equal(a, b) {
		t.Errorf("the boards show %d and %d envelopes, or different ones", len(a), len(b))
	}
}
