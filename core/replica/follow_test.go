package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// openBoard opens a board until the end of the test.
func openBoard(t *testing.T, store storage.Store) *board.Board {
	t.Helper()
	b, err := board.Open(t.Context(), board.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

// envelope returns the envelope with a number.
func envelope(n int) wire.Envelope {
	return wire.Envelope{Signature: fmt.Append(nil, "signature ", n), Ciphertext: []byte("ciphertext")}
}

// tokens counts the tokens of the tests.
var tokens atomic.Uint32

// postEnvelope posts an envelope with a new token, and waits for the result.
func postEnvelope(t *testing.T, b *board.Board, n int) {
	t.Helper()
	token := storage.Nullifier{}
	for i, rest := 0, tokens.Add(1); rest > 0; i, rest = i+1, rest>>8 {
		token[i] = byte(rest)
	}
	done := make(chan board.Result, 1)
	b.Post(t.Context(), envelope(n), []byte("{}"), token, func(r board.Result) { done <- r })
	if r := <-done; !r.Success {
		t.Errorf("post %d is refused", n)
	}
}

// appendAs appends an envelope without a token, as another relay of a shared store does.
func appendAs(t *testing.T, store storage.Store, n int, born storage.Hour) {
	t.Helper()
	env := envelope(n)
	r := storage.Record{ID: storage.NewID(env.Signature, env.Ciphertext), Born: born, Signature: env.Signature, Ciphertext: env.Ciphertext}
	if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
		t.Fatal(err)
	}
}

// expectKeys checks that a replica has the keys of the store.
func expectKeys(t *testing.T, r *Replica, store storage.Index, when string) {
	t.Helper()
	want, err := store.Keys(t.Context(), storage.KeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := listKeys(t.Context(), r, peersync.Range{}, peersync.MaxKeys)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: %d keys, %v; the store has %d", when, len(got), err, len(want))
	}
	sums, err := r.RangeSum(t.Context(), 0, []peersync.Range{{}})
	if err != nil || sums[0] != sumOf(want) {
		t.Errorf("%s: the sum is %v, %v", when, sums, err)
	}
}

// TestKeysFollowTheBoard shows that the keys are those of the store after posts, after a
// post of an envelope that another relay had later, and after a prune; with every store that
// there is.
func TestKeysFollowTheBoard(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := storagetest.NewMemory()
				store := storage.Store(memory)
				if plain {
					store = plainStore{memory}
				}
				now := storage.HourOf(time.Now())
				appendAs(t, store, 1, now-5)
				appendAs(t, store, 2, now+3)
				b := openBoard(t, store)
				r := newReplicaOf(t, store, b)
				followBoards(t, r)
				expectKeys(t, r, memory, "at first")
				postEnvelope(t, b, 3)
				postEnvelope(t, b, 4)
				synctest.Wait() // followers learn of a post after its poster
				expectKeys(t, r, memory, "after posts")
				if !plain { // a store that is no Index leaves the Born as it is
					postEnvelope(t, b, 2)
					time.Sleep(lookEvery)
					synctest.Wait()
					expectKeys(t, r, memory, "after a post of what is there")
				}
				if _, err := memory.Prune(t.Context(), storage.PruneRequest{Floor: now}); err != nil {
					t.Fatal(err)
				}
				expectKeys(t, r, memory, "after a prune")
				if state, err := r.readState(t.Context()); err != nil || state.Floor != now || state.Count != 3 {
					t.Errorf("the state is %+v, %v", state, err)
				}
			})
		})
	}
}

// TestKeysFollowASharedStore shows that what other relays append is there at once, and that
// a Born that they have lowered is noticed within minutes.
func TestKeysFollowASharedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewMemory()
		now := storage.HourOf(time.Now())
		r := newReplicaOf(t, store, openBoard(t, store))
		followBoards(t, r)
		for n := range 100 {
			appendAs(t, store, n, now)
		}
		synctest.Wait()
		expectKeys(t, r, store, "after appends of another relay")
		for n := range 100 {
			appendAs(t, store, n, now-storage.Hour(n%40))
		}
		if got, err := listKeys(t.Context(), r, peersync.Range{}, 1); err != nil || got[0].Born != now {
			t.Fatalf("the store does not tell of a lower Born, and yet the lowest key is %v, %v", got, err)
		}
		time.Sleep(rereadEvery + lookEvery)
		synctest.Wait()
		expectKeys(t, r, store, "after other relays have lowered the hours")
	})
}

// cutStore is a Memory whose next append is done and reported as cut off.
type cutStore struct {
	*storagetest.Memory
	cut error
}

func (s *cutStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	outcomes, err := s.Memory.Append(ctx, records)
	if cut := s.cut; cut != nil {
		s.cut = nil
		return nil, cut
	}
	return outcomes, err
}

// TestKeysAfterAnAppendThatWasCut shows that nothing is lost when the store goes away in the
// middle of an append and comes back, nor when an append fails that was done.
func TestKeysAfterAnAppendThatWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &cutStore{Memory: storagetest.NewMemory()}
		appendAs(t, store, 1, storage.HourOf(time.Now())+3)
		b := openBoard(t, store)
		r := newReplicaOf(t, store, b)
		followBoards(t, r)
		store.cut = fmt.Errorf("killed: %w", storage.ErrUnavailable)
		postEnvelope(t, b, 2)
		if err := b.Reopened(t.Context()); err != nil {
			t.Fatal(err)
		}
		expectKeys(t, r, store, "after a cut append")
		store.cut = errors.New("no answer in time")
		done := make(chan board.Result, 1)
		b.Post(t.Context(), envelope(1), []byte("{}"), storage.Nullifier{31: 1}, func(r board.Result) { done <- r })
		if r := <-done; r.Success {
			t.Error("the post succeeded")
		}
		time.Sleep(rereadEvery + lookEvery)
		synctest.Wait()
		expectKeys(t, r, store, "after an append that failed has lowered an hour")
	})
}

// eitherStore is one of two stores.
type eitherStore struct {
	storage.Store
	second    *storagetest.Memory
	useSecond *atomic.Bool
}

func (s *eitherStore) Info(ctx context.Context) (storage.Info, error) {
	if s.useSecond.Load() {
		return s.second.Info(ctx)
	}
	return s.Store.Info(ctx)
}

func (s *eitherStore) As(target any) bool {
	index, ok := target.(*storage.Index)
	if !ok {
		return false
	}
	if *index = s.second; !s.useSecond.Load() {
		*index = s.Store.(storage.Index)
	}
	return true
}

// TestOtherBoard shows that the keys are those of the board that is published, also if its
// store has another epoch, and that the cursors stay.
func TestOtherBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stores := []*storagetest.Memory{storagetest.NewMemory(), storagetest.NewMemory()}
		rng := rand.New(rand.NewPCG(1, 2))
		keys := [][]peersync.Key{appendEnvelopes(t, stores[0], rng, 20), appendEnvelopes(t, stores[1], rng, 30)}
		var second atomic.Bool
		inUse := &eitherStore{stores[0], stores[1], &second}
		r := newReplicaOf(t, inUse, nil)
		var published atomic.Pointer[testBoard]
		published.Store(&testBoard{store: inUse})
		r.board = func() (Board, error) {
			if b := published.Load(); b != nil {
				return b, nil
			}
			return nil, errors.New("the server is not published")
		}
		followBoards(t, r)
		if err := r.Save(t.Context(), peersync.Cursor{Name: "up", Value: []byte("here")}); err != nil {
			t.Fatal(err)
		}
		expect := func(want []peersync.Key) {
			t.Helper()
			if got, err := listKeys(t.Context(), r, peersync.Range{}, 100); err != nil || !slices.Equal(got, want) {
				t.Errorf("%d keys, %v; want %d", len(got), err, len(want))
			}
		}
		expect(keys[0])
		before, err := r.readState(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		published.Store(nil)
		if _, err := listKeys(t.Context(), r, peersync.Range{}, 1); !errors.Is(err, peersync.ErrUnavailable) {
			t.Errorf("keys of nothing: %v", err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		second.Store(true)
		published.Store(&testBoard{store: inUse})
		if _, err := listKeys(t.Context(), r, peersync.Range{}, 1); !errors.Is(err, peersync.ErrUnavailable) {
			t.Errorf("keys before they were read: %v", err)
		}
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		expect(keys[1])
		if now, err := r.readState(t.Context()); err != nil || now.Epoch == before.Epoch || now.Last != 30 {
			t.Errorf("the state is %+v, %v", now, err)
		}
		if value, err := r.Load(t.Context(), "up"); err != nil || string(value) != "here" {
			t.Errorf("the cursor is %q, %v", value, err)
		}
	})
}

// TestTooManyKeys shows that beyond the limit there are no keys and no memory for them, that
// the status says so, and that they are back once there are fewer.
func TestTooManyKeys(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := storagetest.NewMemory()
				store := storage.Store(memory)
				if plain {
					store = plainStore{memory}
				}
				b := openBoard(t, store)
				r := newReplicaOf(t, store, b)
				r.maxKeys = 20
				followBoards(t, r)
				born := storage.HourOf(time.Now())
				for n := range 20 {
					postEnvelope(t, b, n)
				}
				expectKeys(t, r, memory, "at the limit")
				f := r.followed.Load()
				time.Sleep(time.Hour)
				synctest.Wait()
				for n := range 2000 {
					postEnvelope(t, b, 100+n)
				}
				if n := f.index.Len(); n > r.maxKeys+storage.MaxBatch {
					t.Errorf("%d keys are held", n)
				}
				check := func(want string) {
					t.Helper()
					time.Sleep(2 * lastWait)
					synctest.Wait()
					_, err := listKeys(t.Context(), r, peersync.Range{}, 1)
					if !errors.Is(err, peersync.ErrUnavailable) || !strings.Contains(err.Error(), want) || !strings.Contains(r.Status().NoKeys, want) {
						t.Errorf("%v; the status says %q", err, r.Status().NoKeys)
					}
					if r.followed.Load() != nil {
						t.Error("keys are held")
					}
				}
				check("the store has 2020 envelopes and the relay keeps the keys of at most 20")
				if page, err := r.Log(t.Context(), peersync.LogRequest{}); err != nil || len(page.Entries) == 0 {
					t.Errorf("the log: %d entries, %v", len(page.Entries), err)
				}
				if _, err := memory.Prune(t.Context(), storage.PruneRequest{Floor: born + 2}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * lastWait)
				synctest.Wait()
				expectKeys(t, r, memory, "after a prune")
			})
		})
	}
}

// TestStoreThatUnderstatesItsCount shows that the limit does not depend on what the store
// says of itself.
func TestStoreThatUnderstatesItsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &changedStore{Memory: storagetest.NewMemory(), info: func(info storage.Info) storage.Info {
			info.Count = 1
			return info
		}}
		appendEnvelopes(t, store, rand.New(rand.NewPCG(1, 2)), 3*storage.MaxKeys)
		r := newReplica(t, store)
		r.maxKeys = 20
		f := &follower{board: &testBoard{store: store}, store: store, recent: new(recent), max: 20}
		if _, _, err := r.readAll(t.Context(), f); err == nil || f.index.Len() > storage.MaxKeys {
			t.Errorf("%d keys are held, %v", f.index.Len(), err)
		}
	})
}

// TestEntriesThatComeDuringAPage shows that a key is not lost that the board adds while the
// page in which it would be is on its way.
func TestEntriesThatComeDuringAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &changedStore{Memory: storagetest.NewMemory()}
		b := openBoard(t, store)
		r := newReplicaOf(t, store, b)
		n := 0
		store.keys = func(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
			keys, err := store.Memory.Keys(ctx, req)
			for range 10 {
				postEnvelope(t, b, n)
				n++
			}
			return keys, err
		}
		followBoards(t, r)
		expectKeys(t, r, store.Memory, "after the first reading")
		for range 3 {
			time.Sleep(rereadEvery + lookEvery) // a Memory is a shared store
			synctest.Wait()
			expectKeys(t, r, store.Memory, "after another reading")
		}
		if n < 40 {
			t.Errorf("the keys were read %d times", n/10)
		}
	})
}

// TestManyThingsAtOnce has posters, another relay, prunes and the plugin at work together.
// In the end the keys are those of the store.
func TestManyThingsAtOnce(t *testing.T) {
	store := storagetest.NewMemory()
	b := openBoard(t, store)
	r := newReplicaOf(t, store, b)
	f := &follower{board: b, store: store, recent: &r.recent, bodies: &r.bodies, newest: &r.newest, max: maxKeys}
	defer b.Follow(f.noteChange)()
	r.followed.Store(f)
	now := storage.HourOf(time.Now())
	var work, reading sync.WaitGroup
	for who := range 4 {
		work.Go(func() {
			for n := range 300 {
				postEnvelope(t, b, 1000*who+n)
			}
		})
	}
	work.Go(func() {
		for n := range 1500 {
			appendAs(t, store, n, now-storage.Hour(n%9))
			if n%100 == 0 {
				store.Prune(t.Context(), storage.PruneRequest{Floor: now - storage.Hour(20-n/100)})
			}
		}
	})
	done := make(chan struct{})
	repeat := func(do func() error) {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := do(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	repeat(func() error { return f.readKeys(t.Context(), store) })
	repeat(func() error {
		parts, err := splitRange(t.Context(), r, peersync.Range{}, 7)
		for i := 1; i < len(parts); i++ {
			if parts[i-1].Last.Compare(parts[i].First) >= 0 {
				return fmt.Errorf("part %d overlaps the next one", i-1)
			}
		}
		return err
	})
	repeat(func() error { _, err := r.RangeSum(t.Context(), 0, make([]peersync.Range, 20)); return err })
	work.Wait()
	close(done)
	reading.Wait()
	if err := f.readKeys(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	expectKeys(t, r, store, "in the end")
}
