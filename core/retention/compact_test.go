package retention

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// compactedStore is a store whose files do not shrink before they are compacted, which
// takes the room of what is in use, and a step of a tenth of a second for each MiB.
type compactedStore struct {
	*storagetest.Memory

	mu      sync.Mutex
	bytes   uint64 // of the files
	inUse   uint64
	copied  uint64 // by the compaction under way
	calls   int
	done    int                 // compactions
	lie     *storage.Compacted  // the answer to each call
	offered map[uint64]struct{} // that were offered
}

func (c *compactedStore) Info(ctx context.Context) (storage.Info, error) {
	info, err := c.Memory.Info(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	info.Bytes, info.InUse = c.bytes, c.inUse
	return info, err
}

func (c *compactedStore) Compact(ctx context.Context, req storage.CompactRequest) (storage.Compacted, error) {
	limit, err := req.Bound()
	if err != nil {
		return storage.Compacted{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.offered[req.Room] = struct{}{}
	if c.lie != nil {
		return *c.lie, nil
	}
	if req.Room < c.inUse {
		c.copied = 0
		return storage.Compacted{}, fmt.Errorf("%d bytes are needed: %w", c.inUse, storage.ErrFull)
	}
	moved := min(uint64(limit), c.inUse-c.copied)
	select {
	case <-time.After(time.Duration(moved) * 100 * time.Millisecond / (1 << 20)):
	case <-ctx.Done():
		return storage.Compacted{}, ctx.Err()
	}
	if c.copied += moved; c.copied < c.inUse {
		return storage.Compacted{Moved: moved, More: true}, nil
	}
	c.bytes, c.copied = c.inUse, 0
	c.done++
	return storage.Compacted{Moved: moved}, nil
}

func (c *compactedStore) set(bytes, inUse uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes, c.inUse = bytes, inUse
}

// counts returns how many compactions were done, and how often Compact was called.
func (c *compactedStore) counts() (done, calls int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done, c.calls
}

func newCompactTest(t *testing.T, r limits.Retention) (*keeperTest, *compactedStore) {
	k := newKeeperTest(t, r)
	store := &compactedStore{Memory: k.store, offered: make(map[uint64]struct{})}
	store.set(100<<20, 100<<20)
	k.config.Store = store
	return k, store
}

// TestKeeperCompactsWhenMuchIsFree shows it at an eighth of the store, and that it does not
// repeat that when nothing was gained.
func TestKeeperCompactsWhenMuchIsFree(t *testing.T) {
	for name, c := range map[string]struct {
		bytes, inUse uint64
		want         int
	}{
		"an eighth":               {160 << 20, 140 << 20, 1},
		"less than an eighth":     {160 << 20, 140<<20 + 1, 0},
		"an eighth of little":     {32 << 20, 28 << 20, 0},
		"16 MiB":                  {32 << 20, 16 << 20, 1},
		"the store does not tell": {160 << 20, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, store := newCompactTest(t, limits.Retention{})
				store.set(c.bytes, c.inUse)
				keeper := k.start()
				sleep(48 * time.Hour)
				if n, _ := store.counts(); n != c.want {
					t.Errorf("%d compactions, want %d", n, c.want)
				}
				st := keeper.Status().Compaction
				if c.want > 0 && (st.Last == nil || *st.Last != Compaction{c.bytes, c.inUse, c.inUse} || st.Running) {
					t.Errorf("status: %+v", st)
				}
			})
		})
	}
}

// TestKeeperDoesNotCompactInVain shows that a store that calls much of itself free after a
// compaction, too, is not compacted again and again.
func TestKeeperDoesNotCompactInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newCompactTest(t, limits.Retention{})
		store.set(100<<20, 1<<20)
		store.lie = &storage.Compacted{}
		k.start()
		sleep(10 * day)
		if _, n := store.counts(); n != 1 {
			t.Errorf("compacted %d times", n)
		}
	})
}

// TestKeeperCompactsADayAfterARemoval shows that it does so however little was removed, at
// the time that the status says, although more is removed every hour and the relay is
// restarted.
func TestKeeperCompactsADayAfterARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newCompactTest(t, limits.Retention{MaxAge: 5 * day})
		if err := (state{Clock: Clock{Hour: storage.HourOf(time.Now())}}).save(k.config.Dir); err != nil {
			t.Fatal(err)
		}
		for hour := range 150 {
			k.post(1, time.Duration(150-hour)*time.Hour)
		}
		keeper := k.start()
		due := keeper.Status().Compaction.Due
		if due == nil || time.Until(*due) > 24*time.Hour || time.Until(*due) < 23*time.Hour {
			t.Fatalf("due at %v", due)
		}
		for range 7 {
			sleep(3 * time.Hour)
			keeper.Stop()
			keeper = k.start()
		}
		if n, _ := store.counts(); n != 0 {
			t.Errorf("%d compactions after %v", n, 21*time.Hour)
		}
		sleep(3*time.Hour + wholeEvery + time.Minute)
		if n, _ := store.counts(); n != 1 {
			t.Errorf("%d compactions after more than a day", n)
		}
		sleep(3 * day)
		if n, _ := store.counts(); n != 3 {
			t.Errorf("%d compactions after four days, with a removal every hour", n)
		}
	})
}

// TestStoppedCompactionGoesOn shows that Stop cuts a compaction off at once, and that the
// next keeper goes on with it.
func TestStoppedCompactionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newCompactTest(t, limits.Retention{})
		keeper := k.start()
		failed := make(chan error)
		go func() {
			_, err := keeper.Compact(t.Context())
			failed <- err
		}()
		sleep(10 * time.Second)
		begin := time.Now()
		if !keeper.Status().Compaction.Running {
			t.Error("no compaction is under way")
		}
		keeper.Stop()
		if err := <-failed; !errors.Is(err, errStopped) || time.Since(begin) > 0 {
			t.Errorf("%v, after %v", err, time.Since(begin))
		}
		if _, err := keeper.Compact(t.Context()); !errors.Is(err, errStopped) {
			t.Errorf("after the end: %v", err)
		}
		k.start()
		sleep(time.Hour)
		if n, _ := store.counts(); n != 1 {
			t.Errorf("%d compactions", n)
		}
	})
}

// TestCompactByHand shows that everybody who asks gets the answer, that it works when
// nothing is due, and that the store rests for most of the time.
func TestCompactByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newCompactTest(t, limits.Retention{})
		keeper := k.start()
		begin := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if c, err := keeper.Compact(t.Context()); err != nil || c != (Compaction{100 << 20, 100 << 20, 100 << 20}) {
					t.Errorf("%+v, %v", c, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took < 39*time.Second {
			t.Errorf("it took %v, with 10 s of work", took)
		}
		if n, _ := store.counts(); n != 1 {
			t.Errorf("%d compactions", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := keeper.Compact(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an impatient caller: %v", err)
		}
		sleep(time.Minute)
		if n, _ := store.counts(); n != 2 {
			t.Errorf("the compaction did not go on: %d", n)
		}
	})
}

func TestStoreThatCannotBeCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{})
		k.config.Store = struct{ storage.Store }{k.store}
		if _, err := k.start().Compact(t.Context()); err == nil {
			t.Error("it was compacted")
		}
	})
}

// TestOneCompactionAtATime shows it for two servers of a relay.
func TestOneCompactionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storeA := newCompactTest(t, limits.Retention{})
		b, storeB := newCompactTest(t, limits.Retention{})
		b.config.Compacting = a.config.Compacting
		storeA.set(200<<20, 100<<20)
		storeB.set(200<<20, 100<<20)
		first := a.start()
		second := b.start()
		sleep(10 * time.Second)
		if first.Status().Compaction.Running == second.Status().Compaction.Running {
			t.Error("both are compacted, or none")
		}
		sleep(2 * time.Minute)
		for _, s := range []*compactedStore{storeA, storeB} {
			if n, _ := s.counts(); n != 1 {
				t.Errorf("%d compactions", n)
			}
		}
	})
}

// TestCompactionNeedsRoom shows that a compaction leaves keep_free and the room in which
// posts are taken again, that its want is said once, and that it is made up for.
func TestCompactionNeedsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newCompactTest(t, limits.Retention{KeepFree: 1000 << 20})
		store.set(200<<20, 100<<20)
		k.setDisk(Disk{Free: 1199 << 20})
		keeper := k.start()
		sleep(5 * time.Hour)
		if st := keeper.Status(); !strings.Contains(st.Compaction.Problem, "no room") || st.Refuses != "" {
			t.Errorf("%+v", st)
		}
		if n := strings.Count(k.log.String(), "cannot be compacted now"); n != 1 {
			t.Errorf("said %d times", n)
		}
		if _, ok := store.offered[99<<20]; !ok {
			t.Errorf("the offered were %v", store.offered)
		}
		if done, calls := store.counts(); done != 0 || calls > 6 {
			t.Errorf("%d compactions of %d attempts in five hours", done, calls)
		}
		k.setDisk(Disk{Free: 1200 << 20})
		sleep(2 * time.Hour)
		if n, _ := store.counts(); n != 1 || keeper.Status().Compaction.Problem != "" {
			t.Errorf("%d compactions when there is room, %+v", n, keeper.Status().Compaction)
		}
	})
}

// TestCompactionGivesItsRoomBack shows that a compaction ends when something else fills the
// disk below keep_free.
func TestCompactionGivesItsRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newCompactTest(t, limits.Retention{KeepFree: 1000 << 20})
		store.set(200<<20, 100<<20)
		k.setDisk(Disk{Free: 2000 << 20})
		keeper := k.start()
		sleep(10 * time.Second)
		k.setDisk(Disk{Free: 999 << 20})
		sleep(10 * time.Second)
		if st := keeper.Status().Compaction; st.Running || st.Problem == "" || store.copied != 0 {
			t.Errorf("%+v, and the copy has %d bytes", st, store.copied)
		}
	})
}

// TestCompactionThatNeverEnds shows that the relay gives up on a plugin that says again and
// again that there is more to do, and says so once a day at the most.
func TestCompactionThatNeverEnds(t *testing.T) {
	for name, lie := range map[string]storage.Compacted{
		"it moves nothing":    {More: true},
		"it moves for ever":   {More: true, Moved: 1 << 20},
		"it moves everything": {More: true, Moved: 1 << 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, store := newCompactTest(t, limits.Retention{})
				store.set(200<<20, 100<<20)
				store.lie = &lie
				keeper := k.start()
				sleep(20 * time.Hour)
				if st := keeper.Status().Compaction; st.Running || !strings.Contains(st.Problem, "not finished") {
					t.Errorf("%+v", st)
				}
				if _, n := store.counts(); n > 1000 {
					t.Errorf("%d calls", n)
				}
				if n := strings.Count(k.log.String(), "cannot be compacted now"); n != 1 {
					t.Errorf("said %d times", n)
				}
			})
		})
	}
}

// TestRemovalWhileCompacting shows that what is removed while a compaction runs is compacted
// within a day of that, although the relay is restarted in the middle or the compaction fails.
func TestRemovalWhileCompacting(t *testing.T) {
	for name, c := range map[string]struct {
		restart, full bool
	}{"it ends": {}, "a restart": {restart: true}, "a full disk": {full: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, store := newCompactTest(t, limits.Retention{MaxAge: 5 * day, KeepFree: 1 << 20})
				now := storage.HourOf(time.Now())
				earlier := now - 20
				if err := (state{Clock: Clock{Hour: now}, Removed: earlier}).save(k.config.Dir); err != nil {
					t.Fatal(err)
				}
				store.set(200<<20, 100<<20) // a compaction is due at once
				keeper := k.start()
				sleep(time.Second)
				k.post(5, 4*day)
				k.config.Limits.MaxAge = 3 * day
				keeper.SetRetention(k.config.Limits)
				sleep(2 * time.Second)
				if st := keeper.Status(); !st.Compaction.Running || st.Removed != 5 {
					t.Fatalf("%d removed while a compaction is running: %v", st.Removed, st.Compaction.Running)
				}
				if c.restart {
					keeper.Stop()
					keeper = k.start()
				}
				want := now // of the removal
				if c.full {
					k.setDisk(Disk{})
					want = earlier
				}
				sleep(3 * time.Minute)
				st := keeper.Status().Compaction
				if st.Running || (st.Last == nil) != c.full || st.Due == nil || *st.Due != *timeOf(want + 24) {
					t.Errorf("%+v, want another one by %v", st, timeOf(want+24))
				}
				k.setDisk(Disk{Free: 1 << 40})
				sleep(25 * time.Hour)
				if n, _ := store.counts(); c.full && n != 1 || !c.full && n != 2 || keeper.Status().Compaction.Due != nil {
					t.Errorf("%d compactions, %+v", n, keeper.Status().Compaction)
				}
			})
		})
	}
}
