package manager

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMarkOfABoardThatWasGivenUp holds what the board has served before: what is
// missing when the store comes back may be just that.
func TestMarkOfABoardThatWasGivenUp(t *testing.T) {
	store := storeOf(t, "a")
	m, s := bare(t, func() error { return nil })
	if err := m.publishOn(t.Context(), s, someLimits, store); err != nil {
		t.Fatal(err)
	}
	r := s.opened.Load()
	extend(t, store, "b")
	for end := r.End(); end.Seq < 2; end = r.End() {
		select {
		case <-end.Changed:
		case <-t.Context().Done():
			t.Fatal("the board does not follow its store")
		}
	}
	info, err := store.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info.Last = 1
	if err := r.Admit(info); err == nil {
		t.Fatal("a store that lost an envelope is admitted")
	}
	if err := m.withdrawServer(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if known, _, err := loadMark(s.dir); err != nil || known.Last != 2 {
		t.Errorf("the mark is %+v (%v): the next start would take a store without what was served", known, err)
	}
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
