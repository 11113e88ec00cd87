package board

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// slowFind is a store whose Find calls find first.
type slowFind struct {
	storage.Store
	find  func(context.Context) error
	finds atomic.Int64
}

func (l *slowFind) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	l.finds.Add(1)
	if err := l.find(ctx); err != nil {
		return 0, err
	}
	return l.Store.Find(ctx, signature)
}

// TestSlowSearchesHoldUpNothingElse has two thousand clients search a store that never
// answers. Two searches reach it at a time and all end in time. Posts and pages go on,
// and clients that wait take little memory.
func TestSlowSearchesHoldUpNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 2000
		store := &slowFind{Store: storagetest.NewMemory(), find: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		b, err := Open(t.Context(), Config{Store: store, RecentBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(context.Background())
		postMany(b, 3)
		before := heapBytes()
		begin := time.Now()
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				if _, err := b.Find(t.Context(), []byte("x")); !errors.Is(err, ErrReadTimeout) {
					t.Errorf("find: %v", err)
				}
			})
		}
		synctest.Wait()
		if n := store.finds.Load(); n != maxFinds {
			t.Errorf("%d searches reached the store at a time, limit %d", n, maxFinds)
		}
		if each := (heapBytes() - before) / clients; each > 8<<10 {
			t.Errorf("a client that waits takes %d bytes", each)
		}
		if !postAndWait(b, 4, 4).Success {
			t.Error("posts do not go on")
		}
		if page, err := b.CursorAt(1).Next(t.Context(), 3, 1<<20); err != nil || len(page) != 3 {
			t.Errorf("a reader got %d envelopes, %v", len(page), err)
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("a post and a page took %v", took)
		}
		wg.Wait()
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("the clients were answered after %v, want 15 s in line and 15 s at the store at most", took)
		}
		if n := store.finds.Load(); n > 2*maxFinds {
			t.Errorf("%d searches reached the store", n)
		}
	})
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestDeadlySearchesAreNotRepeated has each search end the process of the store, which
// is back a second later.
func TestDeadlySearchesAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 500
		alive := make(chan struct{}, 1)
		store := &slowFind{Store: storagetest.NewMemory(), find: func(context.Context) error {
			alive <- struct{}{}
			time.Sleep(time.Second)
			<-alive
			return fmt.Errorf("killed: %w", storage.ErrUnavailable)
		}}
		b, err := Open(t.Context(), Config{Store: store, RecentBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(context.Background())
		postMany(b, 3)
		var failed atomic.Int64
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				if _, err := b.Find(t.Context(), []byte("x")); err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		// One a second, while the others wait in line for 15.
		if n := store.finds.Load(); failed.Load() != clients || n > 17 {
			t.Errorf("%d of %d clients met an error; %d searches were made", failed.Load(), clients, n)
		}
	})
}

// slowPages is a store whose pages take a second.
type slowPages struct{ storage.Store }

func (s slowPages) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	time.Sleep(time.Second)
	return s.Store.Log(ctx, req)
}

// TestReadersTakeTurns shows that all readers get equally many pages when each asks
// for the next as soon as it has one.
func TestReadersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readers, seconds = 24, 30
		b, err := Open(t.Context(), Config{Store: slowPages{storagetest.NewMemory()}, RecentBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(context.Background())
		postMany(b, 3)
		var pages [readers]int
		ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range readers {
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, err := b.CursorAt(1).Next(ctx, 1, 1); err == nil {
						pages[i]++
					}
				}
			})
		}
		wg.Wait()
		for i, n := range pages {
			if fair := seconds * maxReads / readers; n < fair-1 || n > fair+1 {
				t.Errorf("reader %d got %d pages, its share is %d", i, n, fair)
			}
		}
	})
}

// TestSlowPageEndsTheReader shows that a reader waits for a page for the time of the
// configuration, not longer and not less.
func TestSlowPageEndsTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &stuckPages{Store: storagetest.NewMemory()}
		b, err := Open(t.Context(), Config{Store: stuck, RecentBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(context.Background())
		postMany(b, 3)
		begin := time.Now()
		if _, err := b.CursorAt(1).Next(t.Context(), 1, 1); !errors.Is(err, ErrReadTimeout) || time.Since(begin) != 15*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.CursorAt(1).Next(canceled, 1, 1); errors.Is(err, ErrReadTimeout) || err == nil {
			t.Errorf("a reader that has left: %v", err)
		}
	})
}

type stuckPages struct{ storage.Store }

func (s *stuckPages) Log(ctx context.Context, _ storage.LogRequest) (storage.Page, error) {
	<-ctx.Done()
	return storage.Page{}, ctx.Err()
}

// TestChecksAgainAfterACutAppend shows that a post whose envelope the store may hold is
// not refused because the store cannot be checked for a while.
func TestChecksAgainAfterACutAppend(t *testing.T) {
	for name, c := range map[string]struct {
		blindFor time.Duration
		err      error
		success  bool
	}{
		"away for long":     {9 * time.Second, storage.ErrUnavailable, true},
		"another error":     {9 * time.Second, errors.New("disk on fire"), true},
		"away for too long": {11 * time.Second, storage.ErrUnavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &infoless{switchable: &switchable{Store: storagetest.NewMemory()}, err: c.err}
				b, err := Open(t.Context(), Config{Store: store})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close(context.Background())
				cut := fmt.Errorf("killed: %w", storage.ErrUnavailable)
				store.after.Store(&cut)
				begin := time.Now()
				store.until = begin.Add(c.blindFor) // before the post, so the committer sees it
				if r := postAndWait(b, 1, 1); r.Success != c.success {
					t.Errorf("%+v after %v", r, time.Since(begin))
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("answered after %v", took)
				}
			})
		})
	}
}

// infoless is a store whose Info fails until a time.
type infoless struct {
	*switchable
	until time.Time
	err   error
}

func (b *infoless) Info(ctx context.Context) (storage.Info, error) {
	if time.Now().Before(b.until) {
		return storage.Info{}, b.err
	}
	return b.switchable.Info(ctx)
}
