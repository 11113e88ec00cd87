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

// cutOnce is a store whose process ends during a call and is then back.
type cutOnce struct {
	storage.Store
	cut atomic.Bool // the next call
}

func (s *cutOnce) away() error {
	if s.cut.Swap(false) {
		return fmt.Errorf("killed: %w", storage.ErrUnavailable)
	}
	return nil
}

func (s *cutOnce) Info(ctx context.Context) (storage.Info, error) {
	if err := s.away(); err != nil {
		return storage.Info{}, err
	}
	return s.Store.Info(ctx)
}

func (s *cutOnce) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if err := s.away(); err != nil {
		return 0, err
	}
	return s.Store.Find(ctx, signature)
}

func (s *cutOnce) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	if err := s.away(); err != nil {
		return storage.Page{}, err
	}
	return s.Store.Log(ctx, req)
}

// TestReadersOutliveARestart shows that a reader does not notice that the process of the
// store ends while it is asked for a page, or where the log begins. A search is
// not repeated.
func TestReadersOutliveARestart(t *testing.T) {
	store := &cutOnce{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: store, RecentBytes: 1}) // cursors have to ask the store
	for i := range 3 {
		postAndWait(b, i, i)
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
