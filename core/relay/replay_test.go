package relay

import (
	"context"
	"fmt"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// pruneDuring is a store that prunes entries when pages of its log were read.
type pruneDuring struct {
	*storagetest.Pruning
	then func() // after the third page, counted down in left
	left int
}

func (p *pruneDuring) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	page, err := p.Pruning.Log(ctx, req)
	if p.left--; p.left == 0 {
		p.then()
	}
	return page, err
}

func filled(t *testing.T, n int) *storagetest.Pruning {
	t.Helper()
	store := storagetest.NewPruning()
	for i := range n {
		e := env(fmt.Sprint("m", i+1))
		r := storage.Record{ID: storage.NewID(e.Signature, e.Ciphertext), Signature: e.Signature, Ciphertext: e.Ciphertext}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// TestReplayAcrossGaps: the count is that of the entries that are there.
func TestReplayAcrossGaps(t *testing.T) {
	store := filled(t, 6)
	store.Prune(2, 5)
	r := start(t, func(c *Config) { c.Store = store })
	p := r.connect()
	p.replay("")
	p.expect("count 4", "old m1", "old m3", "old m4", "old m6")
	p.replay("m4")
	p.expect("count 2", "old m4", "old m6")
	p.post("m7", r.token())
	p.expect("posted true", "new m7")
}

// TestReplayWhilePruning: entries that are pruned after they were counted are made
// up for, and the connection goes on.
func TestReplayWhilePruning(t *testing.T) {
	store := &pruneDuring{Pruning: filled(t, 6)}
	store.Prune(3, 4, 6)
	r := start(t, func(c *Config) {
		c.Store = store
		c.Limits.ReaderBuffer = 1 // a page is an envelope
	})
	p := r.connect()
	// The page of m1, that of m2 and m5, and the one that shows that there are no more.
	store.left, store.then = 3, func() { store.Prune(5) }
	p.replay("")
	p.expect("count 3", "old m1", "old m2", "old m2")
	p.post("m7", r.token())
	p.expect("posted true", "new m7")
}

// TestDuplicateIsDeliveredOnce, where the cursor of its poster has yet to come to it.
func TestDuplicateIsDeliveredOnce(t *testing.T) {
	store := &held{storagetest.NewMemory(), make(chan struct{})}
	r := start(t, func(c *Config) { c.Store = store })
	p := r.connect()
	p.replay("")
	p.expect("count 0")
	p.post("m1", r.token())
	p.post("m2", r.token()) // waits for the first, so these are a batch
	p.post("m2", r.token())
	p.post("m3", r.token())
	p.replay("")
	p.expect("count 0") // so the posts before it are in the queue
	close(store.goOn)
	got := map[string]int{}
	for range 7 {
		got[p.next()]++
	}
	if got["posted true"] != 4 || got["new m1"] != 1 || got["new m2"] != 1 || got["new m3"] != 1 {
		t.Errorf("the poster got %v", got)
	}
}
