package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// sumOf adds up keys with plain loops.
func sumOf(keys []peersync.Key) (s peersync.Sum) {
	for _, k := range keys {
		s.Count++
		carry := 0
		for i := range s.IDs {
			carry += int(s.IDs[i]) + int(k.ID[i])
			s.IDs[i] = byte(carry)
			carry >>= 8
		}
	}
	return s
}

// TestKeysSumsAndPartsAreRight compares the answers of a replica with the keys in memory,
// over ranges that begin and end at, between and beyond keys.
func TestKeysSumsAndPartsAreRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		store := storagetest.NewMemory()
		keys := appendEnvelopes(t, store, rng, 500)
		r := newReplica(t, store)
		followBoards(t, r)
		for round := range 60 {
			lo, hi := rng.IntN(len(keys)), rng.IntN(len(keys)+1)
			in := peersync.Range{Lo: keys[lo]}
			if hi < len(keys) {
				in.Hi = keys[hi]
			}
			if round%3 == 0 {
				in.Lo.ID, lo = storage.ID{}, slices.IndexFunc(keys, func(k peersync.Key) bool { return k.Born >= in.Lo.Born })
			}
			want := keys[lo:max(lo, hi)]
			limit := 1 + rng.IntN(100)
			got, err := listKeys(t.Context(), r, in, limit)
			if err != nil || !slices.Equal(got, want[:min(limit, len(want))]) {
				t.Fatalf("keys %d to %d, at most %d: %d keys, %v", lo, hi, limit, len(got), err)
			}
			sums, err := r.RangeSum(t.Context(), 0, []peersync.Range{{}, in})
			if err != nil || !slices.Equal(sums, []peersync.Sum{sumOf(keys), sumOf(want)}) {
				t.Fatalf("sum of keys %d to %d: %v, %v", lo, hi, sums, err)
			}
			parts := 1 + rng.IntN(20)
			split, err := splitRange(t.Context(), r, in, parts)
			if err != nil {
				t.Fatal(err)
			}
			checkParts(t, split, want, parts)
		}
	})
}

// checkParts checks that split cuts keys into runs of equal length. The first ones may be
// longer by one.
func checkParts(t *testing.T, split []peersync.Part, keys []peersync.Key, parts int) {
	t.Helper()
	if len(split) != min(parts, len(keys)) {
		t.Fatalf("%d keys in %d parts: %d parts", len(keys), parts, len(split))
	}
	short, longer := len(keys)/parts, len(keys)%parts
	for i, p := range split {
		n := short
		if i < longer {
			n++
		}
		if p != (peersync.Part{First: keys[0], Last: keys[n-1], Sum: sumOf(keys[:n])}) {
			t.Fatalf("part %d is %v", i, p)
		}
		keys = keys[n:]
	}
}

func TestLogPages(t *testing.T) {
	store := storagetest.NewMemory()
	appendEnvelopes(t, store, rand.New(rand.NewPCG(1, 2)), 300) // more than a page of the store
	r := newReplica(t, store)
	info, err := store.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var next storage.Seq = 1
	for {
		page, err := r.Log(t.Context(), peersync.LogRequest{From: next, Max: 200})
		if err != nil || page.Epoch != info.Epoch || page.Last != 300 {
			t.Fatalf("log from %d: epoch %v, last %d, %v", next, page.Epoch, page.Last, err)
		}
		if len(page.Entries) == 0 {
			break
		}
		if want := min(200, 301-int(next)); len(page.Entries) != want {
			t.Fatalf("log from %d: %d entries, want %d", next, len(page.Entries), want)
		}
		for _, e := range page.Entries {
			full, err := store.Log(t.Context(), storage.LogRequest{From: next, Max: 1})
			if err != nil {
				t.Fatal(err)
			}
			entry := full.Entries[0]
			want := peersync.Entry{Seq: next, Key: keyOf(entry), Size: uint32(len(entry.Signature) + len(entry.Ciphertext))}
			if e != want {
				t.Fatalf("entry %+v, want %+v", e, want)
			}
			next++
		}
	}
	if next != 301 {
		t.Errorf("the log ended before %d", next)
	}
}

// changedStore is a Memory with other calls.
type changedStore struct {
	*storagetest.Memory
	log  func(context.Context, storage.LogRequest) (storage.Page, error)
	info func(storage.Info) storage.Info
	keys func(context.Context, storage.KeysRequest) ([]storage.Key, error)
}

func (s *changedStore) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	if s.log == nil {
		return s.Memory.Log(ctx, req)
	}
	return s.log(ctx, req)
}

func (s *changedStore) Info(ctx context.Context) (storage.Info, error) {
	info, err := s.Memory.Info(ctx)
	if s.info != nil {
		info = s.info(info)
	}
	return info, err
}

func (s *changedStore) Keys(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	if s.keys == nil {
		return s.Memory.Keys(ctx, req)
	}
	return s.keys(ctx, req)
}

// plainStore is a store without any optional interface.
type plainStore struct{ storage.Store }

// TestReadingLeavesTheStoreHalfOfTheTime shows that a reading of all keys, or of the whole
// log for want of an Index, rests for as long as it uses the store.
func TestReadingLeavesTheStoreHalfOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &changedStore{Memory: storagetest.NewMemory()}
		appendEnvelopes(t, store, rand.New(rand.NewPCG(1, 2)), 9000)
		var busy time.Duration
		work := func() {
			time.Sleep(100 * time.Millisecond)
			busy += 100 * time.Millisecond
		}
		store.log = func(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
			work()
			return store.Memory.Log(ctx, req)
		}
		store.keys = func(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
			work()
			return store.Memory.Keys(ctx, req)
		}
		for _, store := range []storage.Store{store, plainStore{store}} {
			r, begin := newReplica(t, store), time.Now()
			busy = 0
			if _, _, err := r.readAll(t.Context(), &follower{board: &testBoard{store: store}, store: store, recent: new(recent), max: maxKeys}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); busy < 300*time.Millisecond || took < 2*busy-100*time.Millisecond {
				t.Errorf("%T: the store worked for %v of %v", store, busy, took)
			}
		}
	})
}

func TestStoreThatFailsIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &changedStore{Memory: storagetest.NewMemory()}
		appendEnvelopes(t, store, rand.New(rand.NewPCG(1, 2)), 10)
		r := newReplica(t, store)
		calls := 0
		store.info = func(info storage.Info) storage.Info { // another store in the end
			calls++
			info.Epoch[0] ^= byte(calls)
			return info
		}
		if _, err := r.Log(t.Context(), peersync.LogRequest{}); !errors.Is(err, peersync.ErrUnavailable) {
			t.Errorf("a store was replaced: %v", err)
		}
		store.info = nil
		var back atomic.Bool
		store.keys = func(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
			if !back.Load() {
				return nil, storage.ErrUnavailable
			}
			return store.Memory.Keys(ctx, req)
		}
		followBoards(t, r)
		if _, err := listKeys(t.Context(), r, peersync.Range{}, 1); !errors.Is(err, peersync.ErrUnavailable) {
			t.Errorf("a store is away: %v", err)
		}
		if got := r.Status().NoKeys; !strings.Contains(got, storage.ErrUnavailable.Error()) {
			t.Errorf("the status says %q", got)
		}
		back.Store(true)
		time.Sleep(2 * firstWait)
		synctest.Wait()
		if _, err := listKeys(t.Context(), r, peersync.Range{}, 1); err != nil || r.Status().NoKeys != "" {
			t.Errorf("the store is back: %v, %q", err, r.Status().NoKeys)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := listKeys(ctx, r, peersync.Range{}, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("with a canceled context: %v", err)
		}
	})
}
