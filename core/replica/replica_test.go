package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newReplica returns a replica of a board that has published all that its store holds.
func newReplica(t *testing.T, store storage.Store) *Replica {
	t.Helper()
	return newReplicaOf(t, store, &testBoard{store: store})
}

func newReplicaOf(t *testing.T, store storage.Store, b Board) *Replica {
	t.Helper()
	published := func() (Board, error) { return b, nil }
	r, err := New(Config{Store: store, Board: published, Cursors: filepath.Join(t.TempDir(), "cursors"), PeersFile: filepath.Join(t.TempDir(), "peers.json"), Plugin: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// testBoard is a board with the end of its store, or another one.
type testBoard struct {
	store    storage.Store
	end      func() storage.Seq // nil: that of the store
	err      atomic.Pointer[error]
	statuses []peersync.OutcomeStatus // that Replicate returns; nil: zeros
	follower atomic.Pointer[func(board.Change)]
}

func (b *testBoard) Err() error {
	if err := b.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (*testBoard) NoRoom() error  { return nil }
func (*testBoard) Crowded() error { return nil }

func (b *testBoard) Epoch() storage.Epoch {
	info, err := b.store.Info(context.Background())
	if err != nil {
		panic(err)
	}
	return info.Epoch
}

func (b *testBoard) End() board.Position {
	if b.end != nil {
		return board.Position{Seq: b.end()}
	}
	info, err := b.store.Info(context.Background())
	if err != nil {
		panic(err)
	}
	return board.Position{Seq: info.Last}
}

func (b *testBoard) Replicate(_ context.Context, records []storage.Record) []peersync.OutcomeStatus {
	if b.statuses != nil {
		return b.statuses
	}
	return make([]peersync.OutcomeStatus, len(records))
}

func (b *testBoard) Follow(f func(board.Change)) (stop func()) {
	b.follower.Store(&f)
	return func() {}
}

// followBoards has a replica follow its board until the end of the test, which runs in
// a bubble, and waits until it has read the keys or cannot.
func followBoards(t *testing.T, r *Replica) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.followBoards(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
}

// TestOnlyPublishedEntriesAreSeen: a store may show entries that are not durable yet. No
// answer and no announcement has anything of them.
func TestOnlyPublishedEntriesAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewMemory()
		published := appendEnvelopes(t, store, rand.New(rand.NewPCG(1, 2)), 10)
		extra := storage.Record{Born: published[0].Born, Signature: []byte("not durable"), ID: storage.NewID([]byte("not durable"), nil)}
		var end atomic.Uint64
		end.Store(10)
		b := &testBoard{store: store, end: func() storage.Seq { return storage.Seq(end.Load()) }}
		r := newReplicaOf(t, store, b)
		followBoards(t, r)
		if _, err := store.Append(t.Context(), []storage.Record{extra}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if keys, err := listKeys(t.Context(), r, peersync.Range{}, 100); err != nil || !slices.Equal(keys, published) {
				t.Errorf("keys: %d, %v", len(keys), err)
			}
			(*b.follower.Load())(board.Change{Unsure: true}) // so that all keys are read again
			time.Sleep(2 * rereadEvery)
			synctest.Wait()
		}
		if page, err := r.Log(t.Context(), peersync.LogRequest{}); err != nil || len(page.Entries) != 10 || page.Last != 10 {
			t.Errorf("log: %d entries to %d, %v", len(page.Entries), page.Last, err)
		}
		if sums, err := r.RangeSum(t.Context(), 0, []peersync.Range{{}}); err != nil || sums[0] != sumOf(published) {
			t.Errorf("range sum: %v, %v", sums, err)
		}
		if parts, err := splitRange(t.Context(), r, peersync.Range{}, 1); err != nil || parts[0].Sum != sumOf(published) {
			t.Errorf("split: %v, %v", parts, err)
		}
		if state, err := r.readState(t.Context()); err != nil || state.Last != 10 || state.Count != 10 || state.First != 1 {
			t.Errorf("announced: %+v, %v", state, err)
		}
		end.Store(0)
		if state, err := r.readState(t.Context()); err != nil || state.Last != 0 || state.Count != 0 || state.First != 0 {
			t.Errorf("announced of nothing: %+v, %v", state, err)
		}
		refuses := errors.New("the board refuses to serve")
		b.err.Store(&refuses)
		if _, err := listKeys(t.Context(), r, peersync.Range{}, 1); !errors.Is(err, peersync.ErrUnavailable) {
			t.Errorf("keys of a board that serves nothing: %v", err)
		}
	})
}

// appendEnvelopes appends n envelopes of random hours, and returns their keys in ascending
// order.
func appendEnvelopes(t *testing.T, store storage.Store, rng *rand.Rand, n int) (keys []peersync.Key) {
	t.Helper()
	for i := range n {
		r := storage.Record{Born: storage.Hour(100 + rng.IntN(20)), Signature: fmt.Append(nil, i), Ciphertext: make([]byte, rng.IntN(2000))}
		r.ID = storage.NewID(r.Signature, r.Ciphertext)
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, peersync.Key{Born: r.Born, ID: r.ID})
	}
	slices.SortFunc(keys, peersync.Key.Compare)
	return keys
}

func TestLimitsAreChecked(t *testing.T) {
	r := newReplica(t, storagetest.NewMemory())
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"log":       func() error { _, err := r.Log(ctx, peersync.LogRequest{Max: -1}); return err },
		"keys":      func() error { _, err := listKeys(ctx, r, peersync.Range{}, 0); return err },
		"range sum": func() error { _, err := r.RangeSum(ctx, 0, make([]peersync.Range, peersync.MaxRanges+1)); return err },
		"split":     func() error { _, err := splitRange(ctx, r, peersync.Range{}, peersync.MaxParts+1); return err },
		"save":      func() error { return r.Save(ctx, peersync.Cursor{Name: "UP", Value: []byte("x")}) },
		"wake":      func() error { return r.Wake(ctx, -1) },
		"load":      func() error { _, err := r.Load(ctx, ""); return err },
		"report":    func() error { return r.Report(ctx, peersync.Report{Summary: "\n"}) },
		"send":      func() error { return r.Send(ctx, 1, nil) },
		"push":      func() error { return r.Push(ctx, 1, nil) },
		"offer":     func() error { return r.Offer(ctx, 1, make([]storage.ID, peersync.MaxIDs+1)) },
		"request":   func() error { return r.Request(ctx, 1, nil) },
		"drop":      func() error { return r.Drop(ctx, 1, "\n") },
		"rest":      func() error { return r.Rest(ctx, 1, -1) },
	} {
		if err := call(); !errors.Is(err, peersync.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, rangeSum := r.RangeSum(ctx, 1, make([]peersync.Range, 1))
	_, split := r.Split(ctx, 1, make([]peersync.Range, 1), 1)
	for name, err := range map[string]error{
		"send": r.Send(ctx, 1, []byte("x")), "push": r.Push(ctx, 1, make([]storage.ID, 1)), "offer": r.Offer(ctx, 1, make([]storage.ID, 1)),
		"request": r.Request(ctx, 1, make([]peersync.Key, 1)), "drop": r.Drop(ctx, 1, ""), "rest": r.Rest(ctx, 1, 0),
		"range sum": rangeSum, "split": split,
	} {
		if !errors.Is(err, peersync.ErrPeerUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStatusShowsTheReport(t *testing.T) {
	r := newReplica(t, storagetest.NewMemory())
	report := peersync.Report{Summary: "in step", Peers: []peersync.PeerReport{{Peer: 1, Lacks: 2}}}
	if err := r.Report(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); s.Report.Summary != "in step" || len(s.Report.Peers) != 1 || s.Trouble != "" {
		t.Errorf("status %+v", s)
	}
}

// listKeys returns the keys of one range.
func listKeys(ctx context.Context, r *Replica, in peersync.Range, max int) ([]peersync.Key, error) {
	lists, err := r.Keys(ctx, []peersync.Range{in}, max)
	return slices.Concat(lists...), err
}

// splitRange returns the parts of one range.
func splitRange(ctx context.Context, r *Replica, in peersync.Range, parts int) ([]peersync.Part, error) {
	lists, err := r.Split(ctx, 0, []peersync.Range{in}, parts)
	return slices.Concat(lists...), err
}

// TestOneLostEnvelopeLeavesTheOthers: what the board has stored with it is stored.
func TestOneLostEnvelopeLeavesTheOthers(t *testing.T) {
	store := storagetest.NewMemory()
	r := newReplicaOf(t, store, &testBoard{store: store, statuses: []peersync.OutcomeStatus{
		peersync.Stored, peersync.Lost, peersync.Known, peersync.TooOld, peersync.Invalid,
	}})
	records := make([]storage.Record, 5)
	for i := range records {
		records[i].ID = storage.ID{byte(i)}
	}
	want := []storage.OutcomeStatus{storage.Stored, 0, storage.Duplicate, storage.Expired, storage.Conflict}
	if got, err := r.storeRecords(t.Context(), 7, records); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if r.recent.find(records[0].ID).via != 7 || r.recent.find(records[1].ID).via != 0 {
		t.Error("the peer is remembered of another envelope than it sent")
	}
}

// countingIndex counts calls of Get.
type countingIndex struct {
	*storagetest.Memory
	calls atomic.Int64
}

func (c *countingIndex) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	c.calls.Add(1)
	return c.Memory.Get(ctx, ids)
}

// TestRepeatedIDsAreReadOnce: a peer chooses the ids. It gets every place answered, and costs one
// read.
func TestRepeatedIDsAreReadOnce(t *testing.T) {
	store := &countingIndex{Memory: storagetest.NewMemory()}
	var held []storage.ID
	for i := range 2 {
		r := storage.Record{Born: 100, Signature: []byte{byte(i)}, Ciphertext: make([]byte, 16000)}
		r.ID = storage.NewID(r.Signature, r.Ciphertext)
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
		held = append(held, r.ID)
	}
	r := newReplica(t, store)
	ids := append(slices.Repeat([]storage.ID{held[0], {1}, held[1], held[1]}, 16), held[0])
	found, err := r.lookUp(t.Context(), ids)
	if err != nil || store.calls.Load() != 1 {
		t.Errorf("%d reads to look up, %v", store.calls.Load(), err)
	}
	records, err := r.fetchRecords(t.Context(), ids)
	if err != nil || store.calls.Load() != 2 {
		t.Errorf("%d reads to fetch, %v", store.calls.Load()-1, err)
	}
	for i, id := range ids {
		if found[i].Held != (id != storage.ID{1}) {
			t.Errorf("place %d: %+v", i, found[i])
		}
		if found[i].Held {
			if records[0].ID != id {
				t.Fatalf("place %d has another record", i)
			}
			records = records[1:]
		}
	}
}
