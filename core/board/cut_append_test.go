package board

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// observedAppend is a store that calls before at the beginning of every append.
type observedAppend struct {
	*switchable
	before func()
}

func (o *observedAppend) Append(ctx context.Context, rs []storage.Record) ([]storage.Outcome, error) {
	o.before()
	return o.switchable.Append(ctx, rs)
}

// TestResultComesBeforeEnvelopeOfACutAppend shows that cursors do not yield an envelope
// that the store has and whose poster has no answer yet.
func TestResultComesBeforeEnvelopeOfACutAppend(t *testing.T) {
	var b *Board
	var early atomic.Bool
	store := &observedAppend{&switchable{Store: storagetest.NewMemory()}, func() { early.Store(b.End().Seq > 0) }}
	b = openBoard(t, Config{Store: store})
	cut := fmt.Errorf("killed: %w", storage.ErrUnavailable)
	store.after.Store(&cut)
	end := b.End()
	if r := postAndWait(b, 1, 1); !r.Success {
		t.Fatalf("post: %+v", r)
	}
	if store.appends.Load() != 2 {
		t.Fatalf("%d appends, want 2", store.appends.Load())
	}
	if early.Load() {
		t.Error("the envelope was visible before its result was delivered")
	}
	<-end.Changed
}

// TestEnvelopeOfARefusedPostIsShownWithItsDuplicate shows that what a refused append has
// stored is shown at the latest when another post of it succeeds.
func TestEnvelopeOfARefusedPostIsShownWithItsDuplicate(t *testing.T) {
	store := &switchable{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: store})
	late := errors.New("no answer in time")
	store.after.Store(&late)
	if r := postAndWait(b, 1, 1); r.Success {
		t.Fatalf("post whose append failed: %+v", r)
	}
	end := b.End()
	if r := postAndWait(b, 1, 2); !r.Success {
		t.Fatalf("post of a duplicate: %+v", r)
	}
	select {
	case <-end.Changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the envelope is stored and acknowledged, and nobody sees it")
	}
	if got := readAll(t, b, 1); len(got) != 1 {
		t.Errorf("log holds %d envelopes, want 1", len(got))
	}
}

// unanswered is a store whose Info is not answered.
type unanswered struct {
	storage.Store
	on    atomic.Bool
	asked chan struct{}
}

func (d *unanswered) Info(ctx context.Context) (storage.Info, error) {
	if d.on.Load() {
		d.asked <- struct{}{}
		<-ctx.Done()
		return storage.Info{}, ctx.Err()
	}
	return d.Store.Info(ctx)
}

// TestReopeningHoldsUpPostsABoundedTime shows that posts do not wait for all the time
// that the caller of Reopened has.
func TestReopeningHoldsUpPostsABoundedTime(t *testing.T) {
	store := &unanswered{Store: storagetest.NewMemory(), asked: make(chan struct{}, 1)}
	b := openBoard(t, Config{Store: store, PostTimeout: 200 * time.Millisecond})
	store.on.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	looked := make(chan error, 1)
	go func() { looked <- b.Reopened(ctx) }()
	<-store.asked
	postAndWait(b, 1, 1)
	if ctx.Err() != nil {
		t.Error("the post waited for all the time that the look at the store had")
	}
	if err := <-looked; err == nil {
		t.Error("a look that was not answered succeeded")
	}
}
