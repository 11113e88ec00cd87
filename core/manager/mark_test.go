package manager

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// exchanged is a store in whose place another one may come.
type exchanged struct {
	now atomic.Pointer[storagetest.Memory]
}

func (e *exchanged) Info(ctx context.Context) (storage.Info, error) { return e.now.Load().Info(ctx) }
func (e *exchanged) Append(ctx context.Context, r []storage.Record) ([]storage.Outcome, error) {
	return e.now.Load().Append(ctx, r)
}
func (e *exchanged) Log(ctx context.Context, r storage.LogRequest) (storage.Page, error) {
	return e.now.Load().Log(ctx, r)
}
func (e *exchanged) Find(ctx context.Context, s []byte) (storage.Seq, error) {
	return e.now.Load().Find(ctx, s)
}
func (e *exchanged) Close() error { return nil }

// holdUp is a network on which something happens before a service is published.
type holdUp struct {
	onion.Network
	before func() error
}

func (h *holdUp) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	if err := h.before(); err != nil {
		return nil, err
	}
	return h.Network.Listen(ctx, key, port)
}

// storeOf is a store with some envelopes.
func storeOf(t *testing.T, names ...string) *storagetest.Memory {
	store := storagetest.NewMemory()
	extend(t, store, names...)
	return store
}

func extend(t *testing.T, store storage.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		r := storage.Record{ID: storage.NewID([]byte(name), nil), Signature: []byte(name)}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

// bare is a manager with a server on the loopback network.
func bare(t *testing.T, before func() error) (*Manager, *server) {
	t.Helper()
	network, err := onion.Loopback(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	dir := t.TempDir()
	keys, err := identity.LoadOrCreate(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	m := idle(t)
	m.network = &holdUp{network, before}
	return m, &server{name: "main", dir: dir, keys: keys}
}

var someLimits = relay.Limits{Connections: 10, ConnectionsPerSecond: 10, TokenBatchesPerSecond: 10, TokenBatch: 10, PostTimeout: time.Second}

// TestStoreThatIsExchangedWhileItsServerIsPublished: over Tor that takes up to
// minutes, and the board knows its store already.
func TestStoreThatIsExchangedWhileItsServerIsPublished(t *testing.T) {
	store := &exchanged{}
	store.now.Store(storeOf(t, "a", "b"))
	var refused error
	var s *server
	once := sync.OnceFunc(func() { // two services are published at a time
		info, err := storeOf(t, "a").Info(t.Context())
		if err == nil {
			refused = s.admit(info)
		}
	})
	m, s := bare(t, func() error { once(); return errors.New("enough") })
	if err := m.publishOn(t.Context(), s, someLimits, store); err == nil {
		t.Fatal("published")
	}
	if refused == nil {
		t.Error("a store that started again with another log was admitted unchecked")
	}
	if s.opened.Load() != nil {
		t.Error("a server that was not published is asked about its store")
	}
}

// exchangedOnce is a store in whose place another one comes once it was described.
type exchangedOnce struct {
	exchanged
	next *storagetest.Memory
}

func (e *exchangedOnce) Info(ctx context.Context) (storage.Info, error) {
	defer e.now.Store(e.next)
	return e.exchanged.Info(ctx)
}

// TestStoreThatIsExchangedBeforeItsBoardIsKnown has been admitted unchecked: there
// was nothing to compare it with.
func TestStoreThatIsExchangedBeforeItsBoardIsKnown(t *testing.T) {
	store := &exchangedOnce{next: storeOf(t, "a")}
	store.now.Store(storeOf(t, "a", "b"))
	m, s := bare(t, func() error { return errors.New("published") })
	if err := m.publishOn(t.Context(), s, someLimits, store); err == nil || strings.Contains(err.Error(), "published") {
		t.Errorf("got %v", err)
	}
	if s.opened.Load() != nil {
		t.Error("a server that was not published is asked about its store")
	}
}

// TestRolledBackStoreIsNoticed from one run of a server to the next.
func TestRolledBackStoreIsNoticed(t *testing.T) {
	original := storeOf(t, "a", "b", "c")
	older := &rolledBack{original, 2}
	m, s := bare(t, func() error { return nil })
	var log strings.Builder
	m.log = slog.New(slog.NewTextHandler(&log, nil))
	for _, run := range []struct {
		name  string
		store storage.Store
		want  string
	}{
		{"first", original, ""},
		{"the same", original, ""},
		{"older", older, "2 acknowledged posts or more may be gone"},
		{"older, known", older, ""},
		{"longer again", original, ""},
		{"another", storeOf(t, "a", "b", "c"), "not the one that this server ran on last"},
		{"another, longer", storeOf(t, "a", "b", "c", "d", "e"), "not the one that this server ran on last"},
	} {
		log.Reset()
		s.rolledBack = ""
		if err := m.publishOn(t.Context(), s, someLimits, run.store); err != nil {
			t.Fatalf("%s: %v", run.name, err)
		}
		if !strings.Contains(s.rolledBack, run.want) || run.want == "" && s.rolledBack != "" || !strings.Contains(log.String(), run.want) {
			t.Errorf("%s: status %q, log %s", run.name, s.rolledBack, &log)
		}
		if err := m.withdraw(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMarkThatCannotBeRead is said, whatever is wrong with it, and keeps no
// server from running and from a new mark.
func TestMarkThatCannotBeRead(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "cut": `{"format":1,"ep`, "nothing": "null", "no format": "{}", "from the future": `{"format":2,"state":"x"}`,
		"too long":     `{"format":1}` + strings.Repeat(" ", maxMark) + "x",
		"not a number": `{"format":1,"epoch":"x","last":-1}`,
	} {
		m, s := bare(t, func() error { return nil })
		if err := os.WriteFile(filepath.Join(s.dir, markName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"cannot be read", ""} {
			s.rolledBack = ""
			if err := m.publishOn(t.Context(), s, someLimits, storeOf(t, "a")); err != nil {
				t.Fatal(err)
			}
			if want != "" && !strings.Contains(s.rolledBack, want) || want == "" && strings.Contains(s.rolledBack, "cannot be read") {
				t.Errorf("%s: status %q, want %q", name, s.rolledBack, want)
			}
			if err := m.withdraw(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// rolledBack is a store as it was some envelopes ago.
type rolledBack struct {
	*storagetest.Memory
	by storage.Seq
}

func (r *rolledBack) Info(ctx context.Context) (storage.Info, error) {
	info, err := r.Memory.Info(ctx)
	info.Last -= r.by
	info.Count -= uint64(r.by)
	return info, err
}

func (r *rolledBack) Watch(ctx context.Context, _ storage.Seq) (storage.Seq, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// TestCopyTakesThePlaceOfItsSource without a warning, unless it is rolled back
// itself or the source has gone on.
func TestCopyTakesThePlaceOfItsSource(t *testing.T) {
	dir := t.TempDir()
	from, to := storage.Info{Epoch: storage.NewEpoch(), Last: 9}, storage.Info{Epoch: storage.NewEpoch(), Last: 7}
	if err := (mark{Epoch: from.Epoch.String(), Last: 9}).save(dir); err != nil {
		t.Fatal(err)
	}
	if checkMark(dir, to.Epoch, 7) == "" {
		t.Error("another store is not noticed")
	}
	rolled := from
	rolled.Last = 8
	if err := NoteCopy(dir, rolled, to); err != nil || checkMark(dir, to.Epoch, 7) == "" {
		t.Errorf("the copy of a store that was rolled back is not noticed: %v", err)
	}
	if err := NoteCopy(dir, from, to); err != nil || checkMark(dir, to.Epoch, 7) != "" || checkMark(dir, from.Epoch, 9) != "" {
		t.Errorf("copy: %q, source: %q, %v", checkMark(dir, to.Epoch, 7), checkMark(dir, from.Epoch, 9), err)
	}
	if checkMark(dir, to.Epoch, 6) == "" || checkMark(dir, from.Epoch, 8) == "" {
		t.Error("a copy or a source that was rolled back is not noticed")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
