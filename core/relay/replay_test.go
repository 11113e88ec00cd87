package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// pruneDuring is a store that calls then after left pages of its log were read.
type pruneDuring struct {
	*storagetest.Pruning
	then func()
	left int
}

func (p *pruneDuring) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	page, err := p.Pruning.Log(ctx, req)
	if p.left--; p.left == 0 {
		p.then()
	}
	return page, err
}

func filledStore(t *testing.T, n int) *storagetest.Pruning {
	t.Helper()
	store := storagetest.NewPruning()
	for i := range n {
		e := envelopeOf(fmt.Sprint("m", i+1))
		r := storage.Record{ID: storage.NewID(e.Signature, e.Ciphertext), Signature: e.Signature, Ciphertext: e.Ciphertext}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// TestReplayAcrossGaps shows that the announced count is the number of entries that are
// there.
func TestReplayAcrossGaps(t *testing.T) {
	store := filledStore(t, 6)
	store.Prune(2, 5)
	r := startServer(t, func(c *Config) { c.Store = store })
	p := r.connect()
	p.replay("")
	p.expect("count 4", "old m1", "old m3", "old m4", "old m6")
	p.replay("m4")
	p.expect("count 2", "old m4", "old m6")
	p.post("m7", r.token())
	p.expect("posted true", "new m7")
}

// TestReplayWhilePruning shows that entries that are pruned after they were counted are
// made up for, and that the connection goes on.
func TestReplayWhilePruning(t *testing.T) {
	store := &pruneDuring{Pruning: filledStore(t, 6)}
	store.Prune(3, 4, 6)
	r := startServer(t, func(c *Config) {
		c.Store = store
		c.Limits.ReaderBuffer = 1 // a page is an envelope
	})
	p := r.connect()
	// A page with m1, one with m2 and m5, and one that shows that there are no more.
	store.left, store.then = 3, func() { store.Prune(5) }
	p.replay("")
	p.expect("count 3", "old m1", "old m2", "old m2")
	p.post("m7", r.token())
	p.expect("posted true", "new m7")
}

// TestMassPruneEndsTheReplay shows that it is bounded how many pruned entries are made
// up for. A client that asks again gets what is there.
func TestMassPruneEndsTheReplay(t *testing.T) {
	for name, c := range map[string]struct {
		gone int
		next []string
	}{
		"as many as are made up for": {maxReplayPadding, append(slices.Repeat([]string{"old m1"}, maxReplayPadding), "posted true", "new more")},
		"one more":                   {maxReplayPadding + 1, []string{"closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			store := &pruneDuring{Pruning: filledStore(t, c.gone+2)}
			store.Prune(2)
			r := startServer(t, func(cfg *Config) {
				cfg.Store = store
				cfg.Limits.ReaderBuffer = 1 // a page is an envelope
			})
			var gone []storage.Seq
			for seq := range storage.Seq(c.gone) {
				gone = append(gone, seq+3)
			}
			// The page of m1, and those that count the others.
			store.left, store.then = 2+(c.gone-1)/storage.MaxPage, func() { store.Prune(gone...) }
			p := r.connect()
			p.replay("")
			p.expect(fmt.Sprint("count ", c.gone+1), "old m1")
			if c.next[0] != "closed" {
				p.post("more", r.token())
			}
			p.expect(c.next...)
			if c.next[0] == "closed" {
				again := r.connect()
				again.replay("m1")
				again.expect("count 1", "old m1")
			}
		})
	}
}

// TestAnnouncedCountIsMet shows that a replay is complete and in order while a store
// prunes any entries at any moment.
func TestAnnouncedCountIsMet(t *testing.T) {
	const rounds, entries = 30, 60
	for round := range rounds {
		rng := rand.New(rand.NewPCG(1, uint64(round)))
		gone := make(map[int]bool)
		store := &pruneDuring{Pruning: filledStore(t, entries)}
		prune := func() {
			from := 1 + rng.IntN(entries)
			for n := from; n <= min(entries, from+rng.IntN(8)); n++ {
				gone[n] = true
				store.Prune(storage.Seq(n))
			}
		}
		store.then = func() { prune(); store.left = 1 + rng.IntN(3) }
		prune()
		r := startServer(t, func(c *Config) {
			c.Store = store
			c.Limits.ReaderBuffer = int64(rng.IntN(400))
		})
		store.left = 1
		p := r.connect()
		p.replay("")
		var count, seen int
		if _, err := fmt.Sscanf(p.next(), "count %d", &count); err != nil {
			t.Fatal(err)
		}
		got := make(map[int]bool)
		for range count {
			var n int
			if _, err := fmt.Sscanf(p.next(), "old m%d", &n); err != nil || n < seen || n == seen && len(got) == 0 {
				t.Fatalf("round %d: envelope %d after %d, %v", round, n, seen, err)
			}
			seen, got[n] = n, true
		}
		p.post("more", r.token())
		p.expect("posted true", "new more")
		for n := 1; n <= entries; n++ {
			if !got[n] && !gone[n] {
				t.Errorf("round %d: envelope %d was skipped", round, n)
			}
		}
	}
}

// TestDuplicatesOfOneBatchAreEchoedOnce shows that their envelope follows once.
func TestDuplicatesOfOneBatchAreEchoedOnce(t *testing.T) {
	store := &heldAppend{storagetest.NewMemory(), make(chan struct{}, 2)}
	r := startServer(t, func(c *Config) { c.Store = store })
	p := r.connect()
	p.replay("")
	p.expect("count 0")
	store.goOn <- struct{}{}
	p.post("m1", r.token())
	p.expect("posted true", "new m1")
	p.post("m2", r.token()) // waits for its append, so these are a batch
	p.post("m1", r.token())
	p.post("m1", r.token())
	p.replay("")
	p.expect("count 1", "old m1") // so the posts before it are in the queue
	close(store.goOn)
	p.expect("posted true")
	got := map[string]int{}
	for range 4 {
		got[p.next()]++
	}
	if got["posted true"] != 2 || got["new m1"] != 1 || got["new m2"] != 1 {
		t.Errorf("the poster got %v", got)
	}
	p.post("m3", r.token())
	p.expect("posted true", "new m3")
}

// TestDuplicateIsDeliveredOnce shows it for an envelope that the cursor of its poster
// has not reached yet.
func TestDuplicateIsDeliveredOnce(t *testing.T) {
	store := &heldAppend{storagetest.NewMemory(), make(chan struct{})}
	r := startServer(t, func(c *Config) { c.Store = store })
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
