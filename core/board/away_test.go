package board

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// restarting is a store whose process ends during a call and is then back.
type restarting struct {
	storage.Store
	cut atomic.Bool // the next call
}

func (s *restarting) away() error {
	if s.cut.Swap(false) {
		return fmt.Errorf("killed: %w", storage.ErrUnavailable)
	}
	return nil
}

func (s *restarting) Info(ctx context.Context) (storage.Info, error) {
	if err := s.away(); err != nil {
		return storage.Info{}, err
	}
	return s.Store.Info(ctx)
}

func (s *restarting) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if err := s.away(); err != nil {
		return 0, err
	}
	return s.Store.Find(ctx, signature)
}

func (s *restarting) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	if err := s.away(); err != nil {
		return storage.Page{}, err
	}
	return s.Store.Log(ctx, req)
}

// TestReadersOutliveARestart: a reader does not notice that the process of the
// store ends while it is asked for a page, or where the log begins. A search is
// not repeated.
func TestReadersOutliveARestart(t *testing.T) {
	store := &restarting{Store: storagetest.NewMemory()}
	b := open(t, Config{Store: store, RecentBytes: 1}) // cursors have to ask the store
	for i := range 3 {
		send(b, i, i)
	}
	for end := b.End(); end.Seq < 3; end = b.End() {
		<-end.Changed
	}
	store.cut.Store(true)
	from, err := b.Find(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	store.cut.Store(true)
	page, err := b.CursorAt(from).Next(t.Context(), b.End().Seq, 1<<20)
	if err != nil || len(page) != 3 {
		t.Errorf("from %d on there are %d envelopes, %v", from, len(page), err)
	}
	store.cut.Store(true)
	if _, err := b.Find(t.Context(), envelope(1).Signature); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the store died of a search, and it was repeated: %v", err)
	}
}
