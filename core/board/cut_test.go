package board

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// observed is a store that tells of every append before it begins.
type observed struct {
	*flaky
	before func()
}

func (o *observed) Append(ctx context.Context, rs []storage.Record) ([]storage.Outcome, error) {
	o.before()
	return o.flaky.Append(ctx, rs)
}

// TestResultComesBeforeEnvelopeOfACutAppend: the store has the envelope before
// its poster has an answer, but cursors have not.
func TestResultComesBeforeEnvelopeOfACutAppend(t *testing.T) {
	var b *Board
	var early atomic.Bool
	store := &observed{&flaky{Store: storagetest.NewMemory()}, func() { early.Store(b.End().Seq > 0) }}
	b = open(t, Config{Store: store})
	cut := fmt.Errorf("killed: %w", storage.ErrUnavailable)
	store.after.Store(&cut)
	end := b.End()
	if r := send(b, 1, 1); !r.Success {
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
