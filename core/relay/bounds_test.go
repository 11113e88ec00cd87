package relay

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// slowAppend is a store whose appends take so long that as many posts wait as may.
type slowAppend struct {
	storage.Store
	mu      sync.Mutex
	largest int
}

func (s *slowAppend) Append(ctx context.Context, rs []storage.Record) ([]storage.Outcome, error) {
	s.mu.Lock()
	s.largest = max(s.largest, len(rs))
	s.mu.Unlock()
	time.Sleep(50 * time.Millisecond) // what it is about: a slow disk
	return s.Store.Append(ctx, rs)
}

// TestUnansweredPostsAreBounded shows that a client that posts faster than the store
// commits is read more slowly. What waits when an append ends is the next batch,
// so no batch of a single client can be larger than what it may have unanswered.
func TestUnansweredPostsAreBounded(t *testing.T) {
	store := &slowAppend{Store: storagetest.NewMemory()}
	r := startServer(t, func(c *Config) { c.Store, c.Limits.OutstandingPosts = store, 4 })
	p := r.connect()
	const n = 40
	tokens := make([]token.Token, n)
	for i := range tokens {
		tokens[i] = r.token()
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range n {
			p.post(fmt.Sprint("m", i), tokens[i])
		}
	})
	for range n {
		p.expect("posted true")
	}
	sending.Wait()
	store.mu.Lock()
	defer store.mu.Unlock()
	if store.largest > 4 {
		t.Errorf("%d posts of one connection waited, limit 4", store.largest)
	}
}
