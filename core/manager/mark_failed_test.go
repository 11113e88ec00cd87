package manager

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestMarkOfABoardThatWasGivenUp holds what the board has served before: what is
// missing when the store comes back may be just that.
func TestMarkOfABoardThatWasGivenUp(t *testing.T) {
	store := storeOf(t, "a")
	m, s := bare(t, func() error { return nil })
	if err := m.publishOn(t.Context(), s, someLimits, store); err != nil {
		t.Fatal(err)
	}
	b := s.board.Load()
	extend(t, store, "b")
	for end := b.End(); end.Seq < 2; end = b.End() {
		select {
		case <-end.Changed:
		case <-t.Context().Done():
			t.Fatal("the board does not follow its store")
		}
	}
	if err := b.Admit(t.Context(), shorter{store}, false); err == nil {
		t.Fatal("a store that lost an envelope is admitted")
	}
	if err := m.withdrawServer(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if known, _, err := loadMark(s.dir); err != nil || known.Last != 2 {
		t.Errorf("the mark is %+v (%v): the next start would take a store without what was served", known, err)
	}
}

// shorter is a store that has lost all envelopes but the first.
type shorter struct{ storage.Store }

func (s shorter) Info(ctx context.Context) (storage.Info, error) {
	info, err := s.Store.Info(ctx)
	info.Last = 1
	return info, err
}

// TestMarkThatIsANamedPipe holds up neither a start nor the way on.
func TestMarkThatIsANamedPipe(t *testing.T) {
	m, s := bare(t, func() error { return nil })
	if err := syscall.Mkfifo(filepath.Join(s.dir, markName), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.publishOn(t.Context(), s, someLimits, storeOf(t, "a")); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	if _, err := AcceptStore(s.dir); err != nil {
		t.Error(err)
	}
}
