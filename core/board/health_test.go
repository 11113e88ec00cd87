package board

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// TestLastRefusal shows that a board tells why it refuses posts, as long as it does.
func TestLastRefusal(t *testing.T) {
	store := &switchable{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: store})
	full := error(storage.ErrFull)
	store.before.Store(&full)
	if postAndWait(b, 1, 1).Success {
		t.Fatal("the store was full, and the post stored")
	}
	if err := b.LastRefusal(); err == nil || !strings.Contains(err.Error(), full.Error()) {
		t.Errorf("the reason is %v", err)
	}
	if !postAndWait(b, 1, 2).Success {
		t.Fatal("the post was refused")
	}
	if err := b.LastRefusal(); err != nil {
		t.Errorf("posts are stored again, and it says %v", err)
	}
	store.before.Store(&full)
	postAndWait(b, 2, 3)
	if err := b.Reopened(t.Context()); err != nil || b.LastRefusal() != nil {
		t.Errorf("the store was started again (%v), and it says %v", err, b.LastRefusal())
	}
}

// TestStoreThatHangsDoesNotStallTheBoard shows that Stalled is not about the store,
// however many posts wait.
func TestStoreThatHangsDoesNotStallTheBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &switchable{Store: storagetest.NewMemory()}
		store.hang.Store(true)
		b := openBoard(t, Config{Store: store})
		for i := range 2000 {
			e := envelope(i)
			go b.Post(t.Context(), e, e.AppendJSON(nil), nullifier(i), func(Result) {})
			time.Sleep(100 * time.Millisecond)
			if b.Stalled() {
				t.Fatalf("it is stalled after %d posts", i)
			}
		}
		synctest.Wait()
		time.Sleep(time.Minute)
	})
}

// stuckAppend is a store whose Append returns when it is told to, and not with its context.
type stuckAppend struct {
	storage.Store
	release chan struct{}
}

func (s stuckAppend) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	<-s.release
	return s.Store.Append(ctx, records)
}

// TestStalled shows that a board is stalled when its committer does nothing.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stuckAppend{storagetest.NewMemory(), make(chan struct{})}
		b := openBoard(t, Config{Store: store})
		b.Post(t.Context(), envelope(1), nil, nullifier(1), func(Result) {})
		synctest.Wait() // the committer has taken it
		b.Post(t.Context(), envelope(2), nil, nullifier(2), func(Result) {})
		time.Sleep(stallTimeouts * b.cfg.PostTimeout)
		if b.Stalled() {
			t.Error("it is stalled too early")
		}
		time.Sleep(time.Second)
		if !b.Stalled() {
			t.Error("it is not stalled")
		}
		close(store.release)
		synctest.Wait()
		if b.Stalled() {
			t.Error("it is stalled though nothing waits")
		}
	})
}
