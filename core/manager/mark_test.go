package manager

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// swappableStore is a store that another one can replace.
type swappableStore struct {
	now atomic.Pointer[storagetest.Memory]
}

func (e *swappableStore) Info(ctx context.Context) (storage.Info, error) {
	return e.now.Load().Info(ctx)
}
func (e *swappableStore) Append(ctx context.Context, r []storage.Record) ([]storage.Outcome, error) {
	return e.now.Load().Append(ctx, r)
}
func (e *swappableStore) Log(ctx context.Context, r storage.LogRequest) (storage.Page, error) {
	return e.now.Load().Log(ctx, r)
}
func (e *swappableStore) Find(ctx context.Context, s []byte) (storage.Seq, error) {
	return e.now.Load().Find(ctx, s)
}
func (e *swappableStore) Close() error { return nil }

// hookedNetwork is a network that calls before when a service is about to be published.
type hookedNetwork struct {
	onion.Network
	before func() error
}

func (h *hookedNetwork) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	if err := h.before(); err != nil {
		return nil, err
	}
	return h.Network.Listen(ctx, key, port)
}

// newStoreWith returns a store with some envelopes.
func newStoreWith(t *testing.T, names ...string) *storagetest.Memory {
	store := storagetest.NewMemory()
	appendEnvelopes(t, store, names...)
	return store
}

func appendEnvelopes(t *testing.T, store storage.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		r := storage.Record{ID: storage.NewID([]byte(name), nil), Signature: []byte(name)}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

// newLoopbackServer returns a manager and a server on the loopback network.
func newLoopbackServer(t *testing.T, before func() error) (*Manager, *server) {
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
	m := newIdleManager(t)
	m.network = &hookedNetwork{network, before}
	s := &server{name: "main", dir: dir, keys: keys}
	s.cfg.Storage.Name = "bolt"
	return m, s
}

var someLimits = limits.Limits{Connections: 10, ConnectionsPerSecond: 10, TokenBatchesPerSecond: 10, TokenBatch: 10, PostTimeout: time.Second}

// Publication over Tor takes up to minutes, and the board already knows its store.
func TestStoreExchangedDuringPublication(t *testing.T) {
	store := &swappableStore{}
	store.now.Store(newStoreWith(t, "a", "b"))
	var refused error
	var s *server
	once := sync.OnceFunc(func() { // two services are published at a time
		refused = s.board.Load().Admit(t.Context(), newStoreWith(t, "a"), false)
	})
	m, s := newLoopbackServer(t, func() error { once(); return errors.New("enough") })
	if err := m.publishOn(t.Context(), s, someLimits, store); err == nil {
		t.Fatal("published")
	}
	if refused == nil {
		t.Error("a store that started again with another log was admitted unchecked")
	}
	if s.board.Load() != nil {
		t.Error("a server that was not published is asked about its store")
	}
}

// storeSwappedAfterInfo is a store that another one replaces once it was described.
type storeSwappedAfterInfo struct {
	swappableStore
	next *storagetest.Memory
}

func (e *storeSwappedAfterInfo) Info(ctx context.Context) (storage.Info, error) {
	defer e.now.Store(e.next)
	return e.swappableStore.Info(ctx)
}

// The second store was admitted unchecked: there was nothing to compare it with.
func TestStoreExchangedBeforeItsBoardIsOpen(t *testing.T) {
	store := &storeSwappedAfterInfo{next: newStoreWith(t, "a")}
	store.now.Store(newStoreWith(t, "a", "b"))
	m, s := newLoopbackServer(t, func() error { return errors.New("published") })
	if err := m.publishOn(t.Context(), s, someLimits, store); err == nil || strings.Contains(err.Error(), "published") {
		t.Errorf("got %v", err)
	}
	if s.board.Load() != nil {
		t.Error("a server that was not published is asked about its store")
	}
}

// Each row is one run of the same server.
func TestLostStoreIsRefusedUntilAccepted(t *testing.T) {
	original := newStoreWith(t, "a", "b", "c")
	older := &rolledBackStore{original, 2}
	another, longer := newStoreWith(t, "a", "b", "c"), newStoreWith(t, "a", "b", "c", "d", "e")
	m, s := newLoopbackServer(t, func() error { return nil })
	for _, run := range []struct {
		name   string
		accept bool
		store  storage.Store
		want   string
	}{
		{"first", false, original, ""},
		{"the same", false, original, ""},
		{"older", false, older, "it ends at envelope 1 and had come to 3"},
		{"older, again", false, older, "it ends at envelope 1 and had come to 3"},
		{"the same, after that", false, original, ""},
		{"older, accepted", true, older, ""},
		{"longer again", false, original, ""},
		{"another", false, another, "not the one that this server ran on last"},
		{"another, longer", false, longer, "not the one that this server ran on last"},
		{"an empty one", false, newStoreWith(t), "had come to envelope 3, and this one ends at 0"},
		{"another, accepted", true, another, ""},
		{"and the first", false, original, "not the one that this server ran on last"},
	} {
		if run.accept {
			if known, err := AcceptStore(s.dir); err != nil || known.Last != 3 || known.Plugin != "bolt" {
				t.Fatalf("%s: %+v, %v", run.name, known, err)
			}
		}
		err := m.publishOn(t.Context(), s, someLimits, run.store)
		if run.want == "" && err != nil || run.want != "" && (!errors.As(err, new(refusedStoreError)) || !strings.Contains(err.Error(), run.want) ||
			!strings.Contains(err.Error(), "cwtch-relay storage accept -config "+m.cfg.Path+" -server main")) {
			t.Fatalf("%s: got %v, want %q", run.name, err, run.want)
		}
		if err := m.withdrawServer(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMarkIsWrittenBeforePublication(t *testing.T) {
	var s *server
	m, s := newLoopbackServer(t, func() error {
		_, err := os.Stat(filepath.Join(s.dir, markName))
		return err
	})
	if err := m.publishOn(t.Context(), s, someLimits, newStoreWith(t)); err != nil {
		t.Fatal(err)
	}
	if err := m.withdrawServer(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := m.publishOn(t.Context(), s, someLimits, newStoreWith(t)); !errors.As(err, new(refusedStoreError)) {
		t.Errorf("another store is taken: %v", err)
	}
}

// The loss is noticed before the plugin could make new files.
func TestLostStoreFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(StorageDir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(StorageDir(dir), "messages.db")
	for _, c := range []struct {
		name  string
		known storeMark
		file  bool
		lost  bool
	}{
		{"no mark", storeMark{}, false, false},
		{"a store elsewhere", storeMark{Epoch: "x", Last: 3, Plugin: "far"}, false, false},
		{"files", storeMark{Epoch: "x", Last: 3, Plugin: "bolt", Files: true}, true, false},
		{"no file", storeMark{Epoch: "x", Last: 3, Plugin: "bolt", Files: true}, false, true},
	} {
		os.Remove(file)
		if c.file {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.known.Epoch != "" {
			if err := c.known.writeMark(dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkStoreFiles(dir); (err != nil) != c.lost || err != nil && !strings.Contains(err.Error(), StorageDir(dir)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Whatever is wrong with the mark, the error says how to go on.
func TestUnreadableMarkIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"empty": {"", "damaged"}, "cut": {`{"format":1,"ep`, "damaged"}, "nothing": {"null", "damaged"}, "no format": {"{}", "damaged"},
		"no store":        {`{"format":2,"last":3}`, "damaged"},
		"too long":        {`{"format":1}` + strings.Repeat(" ", maxMark) + "x", "damaged"},
		"not a number":    {`{"format":1,"epoch":"x","last":-1}`, "damaged"},
		"from the future": {`{"format":3,"state":"x"}`, "has format 3 and this release knows formats up to 2: run the release that wrote it"},
	} {
		m, s := newLoopbackServer(t, func() error { return nil })
		if err := os.WriteFile(filepath.Join(s.dir, markName), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := m.publishOn(t.Context(), s, someLimits, newStoreWith(t, "a"))
		if err == nil || !strings.Contains(err.Error(), filepath.Join(s.dir, markName)) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "storage accept") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := AcceptStore(s.dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := m.publishOn(t.Context(), s, someLimits, newStoreWith(t, "a")); err != nil {
			t.Errorf("%s, accepted: %v", name, err)
		}
		if err := m.withdrawServer(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// Earlier releases have left these marks; those of the first had no number.
func TestMarksOfEarlierFormats(t *testing.T) {
	for _, format := range []string{"", `"format":1,`} {
		dir, epoch := t.TempDir(), storage.NewEpoch()
		content := `{` + format + `"epoch":"` + epoch.String() + `","last":7}`
		if err := os.WriteFile(filepath.Join(dir, markName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkMark(dir, epoch, 7); err != nil {
			t.Errorf("%q: %v", format, err)
		}
		if checkMark(dir, epoch, 6) == nil || checkMark(dir, storage.NewEpoch(), 7) == nil {
			t.Errorf("%q: a lost store is not noticed", format)
		}
	}
}

// rolledBackStore is a store as it was some envelopes ago.
type rolledBackStore struct {
	*storagetest.Memory
	by storage.Seq
}

func (r *rolledBackStore) Info(ctx context.Context) (storage.Info, error) {
	info, err := r.Memory.Info(ctx)
	info.Last -= r.by
	info.Count -= uint64(r.by)
	return info, err
}

func (r *rolledBackStore) Watch(ctx context.Context, _ storage.Seq) (storage.Seq, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// The copy is taken without a warning, unless the copy or its source was rolled back.
func TestNotedCopyReplacesItsSource(t *testing.T) {
	dir := t.TempDir()
	from, to := storage.Info{Epoch: storage.NewEpoch(), Last: 9}, storage.Info{Epoch: storage.NewEpoch(), Last: 7}
	if err := (storeMark{Epoch: from.Epoch.String(), Last: 9}).writeMark(dir); err != nil {
		t.Fatal(err)
	}
	if checkMark(dir, to.Epoch, 7) == nil {
		t.Error("another store is not noticed")
	}
	rolled := from
	rolled.Last = 8
	if err := NoteCopy(dir, rolled, to); err != nil || checkMark(dir, to.Epoch, 7) == nil {
		t.Errorf("the copy of a store that was rolled back is not noticed: %v", err)
	}
	if err := NoteCopy(dir, from, to); err != nil || checkMark(dir, to.Epoch, 7) != nil || checkMark(dir, from.Epoch, 9) != nil {
		t.Errorf("copy: %v, source: %v, %v", checkMark(dir, to.Epoch, 7), checkMark(dir, from.Epoch, 9), err)
	}
	if checkMark(dir, to.Epoch, 6) == nil || checkMark(dir, from.Epoch, 8) == nil {
		t.Error("a copy or a source that was rolled back is not noticed")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// If the content of the file changes, the format needs another number.
func TestMarkFormatIsFrozen(t *testing.T) {
	dir := t.TempDir()
	known := storeMark{Epoch: "ab", Last: 7, Plugin: "bolt", Files: true, Copy: &storeMark{Epoch: "cd", Last: 6}}
	if err := known.writeMark(dir); err != nil {
		t.Fatal(err)
	}
	const want = `{"format":2,"epoch":"ab","last":7,"storage":"bolt","files":true,"copy":{"epoch":"cd","last":6}}`
	if got, err := os.ReadFile(filepath.Join(dir, markName)); err != nil || string(got) != want {
		t.Errorf("the file is %s, %v; want %s, or another number", got, err, want)
	}
}

// A board gave up because its store lost an envelope that readers have seen. The mark must
// have that envelope, or the next start would take the store without it.
func TestMarkHasWhatAGivenUpBoardServed(t *testing.T) {
	store := newStoreWith(t, "a")
	m, s := newLoopbackServer(t, func() error { return nil })
	if err := m.publishOn(t.Context(), s, someLimits, store); err != nil {
		t.Fatal(err)
	}
	b := s.board.Load()
	appendEnvelopes(t, store, "b")
	for end := b.End(); end.Seq < 2; end = b.End() {
		select {
		case <-end.Changed:
		case <-t.Context().Done():
			t.Fatal("the board does not follow its store")
		}
	}
	if err := b.Admit(t.Context(), truncatedStore{store}, false); err == nil {
		t.Fatal("a store that lost an envelope is admitted")
	}
	if err := m.withdrawServer(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if known, _, err := loadMark(s.dir); err != nil || known.Last != 2 {
		t.Errorf("the mark is %+v (%v): the next start would take a store without what was served", known, err)
	}
}

// truncatedStore is a store that has lost all envelopes but the first.
type truncatedStore struct{ storage.Store }

func (s truncatedStore) Info(ctx context.Context) (storage.Info, error) {
	info, err := s.Store.Info(ctx)
	info.Last = 1
	return info, err
}

func TestMarkThatIsANamedPipeBlocksNothing(t *testing.T) {
	m, s := newLoopbackServer(t, func() error { return nil })
	if err := syscall.Mkfifo(filepath.Join(s.dir, markName), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.publishOn(t.Context(), s, someLimits, newStoreWith(t, "a")); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	if _, err := AcceptStore(s.dir); err != nil {
		t.Error(err)
	}
}
