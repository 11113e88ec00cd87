package relay

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// stuckFind is a store whose searches wait until the store is dead.
type stuckFind struct {
	storage.Store
	begun         chan struct{}
	dead          chan struct{}
	finds, atOnce atomic.Int64
	most          atomic.Int64
}

func (m *stuckFind) Find(ctx context.Context, _ []byte) (storage.Seq, error) {
	m.finds.Add(1)
	n := m.atOnce.Add(1)
	defer m.atOnce.Add(-1)
	for most := m.most.Load(); n > most && !m.most.CompareAndSwap(most, n); most = m.most.Load() {
	}
	select {
	case m.begun <- struct{}{}:
	default:
	}
	select {
	case <-m.dead:
		return 0, fmt.Errorf("killed: %w", storage.ErrUnavailable)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// TestSearchesHoldUpNobodyElse has many connections ask again and again for replays
// from a signature, while the store does not answer. Posts go on, and so does a reader
// that replays already. Then the store dies, and no search is repeated.
func TestSearchesHoldUpNobodyElse(t *testing.T) {
	const attackers, entries, posts = 60, 300, 20
	store := &stuckFind{Store: filledStore(t, entries), begun: make(chan struct{}, 2), dead: make(chan struct{})}
	r := startServer(t, func(c *Config) {
		c.Store = store
		c.Limits.ReaderBuffer = 1 // a page is an envelope
	})
	reader, poster := r.connect(), r.connect()
	reader.replay("")
	reader.expect(fmt.Sprint("count ", entries), "old m1")
	var many []*boardConn
	for range attackers {
		p := r.connect()
		for range 3 {
			p.replay("m1")
		}
		many = append(many, p)
	}
	<-store.begun
	<-store.begun
	for n := range posts {
		poster.post(fmt.Sprint("new", n), r.token())
		poster.expect("posted true")
	}
	for n := 2; n <= entries; n++ {
		reader.expect(fmt.Sprint("old m", n))
	}
	for n := range posts {
		reader.expect(fmt.Sprint("new new", n))
	}
	close(store.dead)
	for _, p := range many {
		if got := p.next(); !strings.Contains(got, "closed") && !strings.Contains(got, "reset") {
			t.Errorf("a client that searched got %q", got)
		}
	}
	if finds, most := store.finds.Load(), store.most.Load(); most != 2 || finds > attackers {
		t.Errorf("%d connections caused %d searches, %d at a time", attackers, finds, most)
	}
}

// countedCalls is a store that counts its calls.
type countedCalls struct {
	storage.Store
	pages, finds atomic.Int64
}

func (a *countedCalls) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	a.pages.Add(1)
	return a.Store.Log(ctx, req)
}

func (a *countedCalls) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	a.finds.Add(1)
	return a.Store.Find(ctx, signature)
}

// TestReplaysAreServedOneAfterTheOther shows that a client that asks for replays in a
// loop, and does not read, is not read from any further.
func TestReplaysAreServedOneAfterTheOther(t *testing.T) {
	store := &countedCalls{Store: filledStore(t, 2000)}
	synctest.Test(t, func(t *testing.T) {
		b, err := board.Open(t.Context(), board.Config{Store: store, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{board: b, log: slog.New(slog.DiscardHandler), budget: newQuietBudget(limits.Limits{})}
		s.limits.Store(&limits.Limits{IdleTimeout: time.Hour, StuckReader: time.Minute, OutstandingPosts: 1, ReaderBuffer: 64 << 10})
		near, far := net.Pipe()
		ses := newSession(s, tapir.Plain(near))
		ses.noteActivity = func() {}
		store.pages.Store(0) // Open read one
		var running sync.WaitGroup
		running.Go(func() { s.countEnd(ses.runSession(t.Context())) })
		conn := tapir.Plain(far)
		var sent atomic.Int64
		running.Go(func() {
			for conn.Send(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{LastCommit: []byte("m1")}})) == nil {
				sent.Add(1)
			}
		})
		synctest.Wait()
		// One is served, one waits with the reader; the third is not read.
		if sent.Load() != 2 || store.finds.Load() != 1 || store.pages.Load() != 1 {
			t.Errorf("%d requests were read, and cost %d searches and %d pages", sent.Load(), store.finds.Load(), store.pages.Load())
		}
		running.Wait() // the client is stuck
		if s.counts.stuck.Load() != 1 {
			t.Error("the connection did not end as stuck")
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
