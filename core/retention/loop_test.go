package retention

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// logText keeps a log.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// keeperTest is a keeper with all that it has to do with. Time is that of synctest.
type keeperTest struct {
	*testing.T
	store  *storagetest.Memory
	config Config
	log    logText

	mu      sync.Mutex
	grown   storage.HourSize
	refused error
	crowded error
	floors  int // how often the floor rose
	disk    Disk
	open    bool
	serial  uint64
	wrong   time.Duration // how far the clock of the machine is ahead
}

func newKeeperTest(t *testing.T, p limits.Retention) *keeperTest {
	p.Written = true
	k := &keeperTest{T: t, store: storagetest.NewMemory(), open: true, disk: Disk{Free: 1 << 40}}
	k.config = Config{
		Store: k.store, Limits: p, Dir: t.TempDir(),
		Grown: func() (uint64, uint64) {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.grown.Count, k.grown.Bytes
		},
		FloorRose: func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.floors++
		},
		Refuse: func(reason error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.refused = reason
		},
		RefusePeers: func(reason error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.crowded = reason
		},
		Open: func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.open
		},
		Disk: func() (Disk, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			d := k.disk
			d.At = time.Now()
			return d, nil
		},
		Compacting: &sync.Mutex{},
		Now: func() time.Time {
			k.mu.Lock()
			defer k.mu.Unlock()
			return time.Now().Add(k.wrong)
		},
		Logger: slog.New(slog.NewTextHandler(&k.log, nil)),
	}
	return k
}

func (k *keeperTest) start() *Keeper {
	keeper := Start(k.config)
	k.Cleanup(keeper.Stop)
	synctest.Wait()
	return keeper
}

// post adds envelopes of 100 bytes that were born the given time ago.
func (k *keeperTest) post(n int, ago time.Duration) {
	k.Helper()
	for n > 0 {
		batch := make([]storage.Record, min(n, 200))
		for i := range batch {
			k.serial++
			body := binary.BigEndian.AppendUint64(make([]byte, 92), k.serial)
			batch[i] = storage.Record{ID: storage.NewID(nil, body), Born: storage.HourOf(time.Now().Add(-ago)), Ciphertext: body}
		}
		if _, err := k.store.Append(context.Background(), batch); err != nil {
			k.Fatal(err)
		}
		n -= len(batch)
		k.mu.Lock()
		k.grown.Count += uint64(len(batch))
		k.grown.Bytes += uint64(100 * len(batch))
		k.mu.Unlock()
	}
}

func (k *keeperTest) info() storage.Info {
	k.Helper()
	info, err := k.store.Info(context.Background())
	if err != nil {
		k.Fatal(err)
	}
	return info
}

func (k *keeperTest) reason() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refused == nil {
		return ""
	}
	return k.refused.Error()
}

func (k *keeperTest) setDisk(d Disk) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.disk = d
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestKeeperRemovesByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: 10 * day})
		k.post(500, 9*day)
		k.post(20, 0)
		keeper := k.start()
		if n := k.info().Count; n != 520 {
			t.Fatalf("%d envelopes of 520 after the start", n)
		}
		sleep(day + 2*time.Hour)
		info := k.info()
		if info.Count != 20 || info.InUse != 2000 {
			t.Errorf("%d envelopes, %d bytes; want 20 and 2000", info.Count, info.InUse)
		}
		st := keeper.Status()
		if st.Removed != 500 || st.Removing || st.Floor == nil || time.Since(*st.Floor) < 10*day || st.Envelopes != 20 {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestKeeperRemovesBySizeInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxCount: 10_000, MinAge: day})
		for ago := range 11 {
			k.post(1000, time.Duration(12-ago)*day)
		}
		k.start()
		sleep(time.Minute)
		if n := k.info().Count; n != 9000 {
			t.Fatalf("%d envelopes, want 9000", n)
		}
		k.post(1001, 0)
		sleep(every)
		if info := k.info(); info.Count != 8001 {
			t.Errorf("%d envelopes, want 8001: it grew beyond the limit by one, and with one day less 9001 are left", info.Count)
		}
	})
}

// TestKeeperRefusesPostsWhenAllIsYoung shows that posts are refused, and taken again when
// the envelopes are old enough to go.
func TestKeeperRefusesPostsWhenAllIsYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxBytes: 50_000, MinAge: 2 * day})
		k.post(501, 0)
		keeper := k.start()
		if r := k.reason(); !strings.Contains(r, "max_bytes") || !strings.Contains(r, "min_age") {
			t.Errorf("refused because of %q", r)
		}
		if r := keeper.Status().Refuses; r != k.reason() {
			t.Errorf("the status says %q", r)
		}
		sleep(day)
		if n := strings.Count(k.log.String(), "posts are refused"); n != 1 {
			t.Errorf("said %d times", n)
		}
		sleep(day + 2*time.Hour)
		if r := k.reason(); r != "" || k.info().Count != 0 {
			t.Errorf("%q, and %d envelopes", r, k.info().Count)
		}
	})
}

// TestFloodByAPeerLeavesRoomForPosts: a peer that brings as much as it is let, with hours of its
// choice, keeps no post out, and pushes out nothing that is younger than min_age.
func TestFloodByAPeerLeavesRoomForPosts(t *testing.T) {
	for name, ago := range map[string]time.Duration{"new envelopes": 0, "old envelopes": day, "hours to come": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeperTest(t, limits.Retention{MaxCount: 10_000, MinAge: 3 * day})
				keeper := k.start()
				taken, waits := 0, 0
				for hour := range 12 * 24 {
					if k.isCrowded() {
						waits++
					} else {
						k.post(200, ago)
						taken += 200
					}
					k.post(24, 0) // 1 728 in three days, of the quarter that is left
					sleep(time.Hour)
					if r := k.reason(); r != "" {
						t.Fatalf("after %d hours posts are refused: %s", hour, r)
					}
				}
				st := keeper.Status()
				if st.Envelopes > 10_000 || st.Floor != nil && time.Since(*st.Floor) < 3*day {
					t.Errorf("status: %+v", st)
				}
				if taken < 10_000 || waits == 0 {
					t.Errorf("%d were taken, and it waited for %d hours: that is no flood", taken, waits)
				}
			})
		})
	}
}

func (k *keeperTest) isCrowded() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.crowded != nil
}

func TestKeeperFollowsAnotherRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{})
		k.post(5, 9*day)
		k.post(5, 0)
		keeper := k.start()
		keeper.SetRetention(limits.Retention{Written: true, MaxAge: day})
		synctest.Wait()
		if n := k.info().Count; n != 5 || k.floors != 1 {
			t.Errorf("%d envelopes are left, want 5; the floor rose %d times", n, k.floors)
		}
	})
}

// TestKeeperIsNotMovedByAClock shows it for a store whose server has run until a year
// ago, as far as anybody knows: the newest envelope and the saved clock are that old.
func TestKeeperIsNotMovedByAClock(t *testing.T) {
	for name, known := range map[string]bool{"first start": false, "later start": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeperTest(t, limits.Retention{MaxAge: 30 * day, MaxCount: 1, MinAge: 7 * day})
				k.post(5, 366*day)
				k.post(5, 365*day)
				if known {
					k.post(5, 0) // by a clock that was ahead before, too
					if err := (state{Clock: Clock{Hour: storage.HourOf(time.Now().Add(-365 * day))}}).save(k.config.Dir); err != nil {
						t.Fatal(err)
					}
				}
				before, after := k.info().Count, uint64(0)
				if known {
					after = 5
				}
				keeper := k.start()
				sleep(23 * time.Hour)
				if n := k.info().Count; n != before {
					t.Fatalf("%d envelopes of %d after a year that nobody has seen", n, before)
				}
				if keeper.Status().Waits == "" {
					t.Error("the status does not say why")
				}
				sleep(3 * time.Hour)
				if n := k.info().Count; n != after {
					t.Errorf("%d envelopes after a day, want %d", n, after)
				}
			})
		})
	}
}

// cutStore is a store whose calls fail while err is set, and that counts them.
type cutStore struct {
	*storagetest.Memory
	mu     sync.Mutex
	err    error
	lie    *storage.Pruned
	prunes int
}

func (c *cutStore) set(err error, lie *storage.Pruned) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.lie = err, lie
}

func (c *cutStore) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prunes++
	if c.err != nil {
		return storage.Pruned{}, c.err
	}
	if c.lie != nil {
		return *c.lie, nil
	}
	return c.Memory.Prune(ctx, req)
}

func TestKeeperTriesAgainAndSaysItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: day})
		store := &cutStore{Memory: k.store}
		k.config.Store = store
		k.post(5, 9*day)
		k.post(5, 0)
		if err := (state{Clock: Clock{Hour: storage.HourOf(time.Now())}}).save(k.config.Dir); err != nil {
			t.Fatal(err)
		}
		store.set(errors.New("no"), nil)
		k.start()
		sleep(30 * time.Minute)
		if n := strings.Count(k.log.String(), "cannot be removed"); n != 1 {
			t.Errorf("said %d times", n)
		}
		store.set(nil, nil)
		sleep(time.Minute)
		if n := k.info().Count; n != 5 {
			t.Errorf("%d envelopes, want 5", n)
		}
	})
}

func TestKeeperNoticesAPluginThatLies(t *testing.T) {
	for name, lie := range map[string]storage.Pruned{
		"the floor does not rise": {},
		"nothing is removed":      {Floor: 1 << 31, More: true},
		"there is always more":    {Floor: 1 << 31, Envelopes: 64, More: true},
		"the hours stay":          {Floor: 1 << 31},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeperTest(t, limits.Retention{MaxAge: day})
				store := &cutStore{Memory: k.store}
				k.config.Store = store
				k.post(5, 9*day)
				k.post(5, 0)
				if err := (state{Clock: Clock{Hour: storage.HourOf(time.Now())}}).save(k.config.Dir); err != nil {
					t.Fatal(err)
				}
				store.set(nil, &lie)
				keeper := k.start()
				sleep(30 * time.Minute)
				if n := strings.Count(k.log.String(), storage.ErrCorrupt.Error()); n != 1 {
					t.Errorf("said %d times: %s", n, k.log.String())
				}
				if st := keeper.Status(); !strings.Contains(st.Trouble, storage.ErrCorrupt.Error()) {
					t.Errorf("the status says %q", st.Trouble)
				}
				if n := store.prunes; n > 10 {
					t.Errorf("%d calls in half an hour", n)
				}
				store.set(nil, nil)
				keeper.SetRetention(limits.Retention{MaxAge: day, Written: true})
				sleep(2 * wholeEvery)
				if st := keeper.Status(); st.Trouble != "" || k.info().Count != 5 {
					t.Errorf("after the lie %q, and %d envelopes", st.Trouble, k.info().Count)
				}
			})
		})
	}
}

// hugeStore is a store that says that it has some hours, and removes what they hold.
type hugeStore struct {
	*storagetest.Memory
	mu    sync.Mutex
	hours []storage.HourSize // below floor they are pruned and not removed yet
	info  storage.Info
	steps int
}

func (h *hugeStore) Info(context.Context) (storage.Info, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.info, nil
}

func (h *hugeStore) Hours(_ context.Context, req storage.HoursRequest) (hours []storage.HourSize, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hour := range h.hours {
		if hour.Hour >= req.From && len(hours) < storage.MaxHours {
			hours = append(hours, hour)
		}
	}
	return hours, nil
}

func (h *hugeStore) Prune(_ context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	limit, err := req.Bound()
	time.Sleep(time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.info.Floor = max(h.info.Floor, req.Floor)
	p := storage.Pruned{Floor: h.info.Floor}
	for h.steps++; len(h.hours) > 0 && h.hours[0].Hour < h.info.Floor; h.hours = h.hours[1:] {
		n := min(h.hours[0].Count, uint64(limit)-p.Envelopes)
		p.Envelopes += n
		if h.hours[0].Count -= n; h.hours[0].Count > 0 {
			p.More = true
			break
		}
	}
	return p, err
}

// TestKeeperRemovesAHugeHour shows that an hour of a million envelopes goes in bounded
// steps, as a whole, and that the hours after it stay.
func TestKeeperRemovesAHugeHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxCount: 1000, MinAge: day})
		now := storage.HourOf(time.Now())
		store := &hugeStore{Memory: k.store, info: storage.Info{First: 1, Last: 1_000_500, Count: 1_000_500}, hours: []storage.HourSize{{Hour: now - 30, Count: 1_000_000}, {Hour: now - 3, Count: 500}}}
		k.config.Store = store
		keeper := k.start()
		sleep(2 * time.Millisecond)
		if st := keeper.Status(); st.Envelopes != 500 || !st.Removing || *st.Floor != *timeOf(now - 29) {
			t.Errorf("%+v", st)
		}
		sleep(time.Minute)
		if st := keeper.Status(); st.Removed != 1_000_000 || st.Removing || store.steps < 1_000_000/storage.MaxPrune || store.steps > 300 {
			t.Errorf("%d removed in %d steps", st.Removed, store.steps)
		}
	})
}

// slowStore is a hugeStore that takes 50 µs to remove an envelope, and notes what posts would
// have waited for.
type slowStore struct {
	hugeStore
	busy, longest time.Duration
}

func (s *slowStore) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	begin := time.Now()
	p, err := s.hugeStore.Prune(ctx, req)
	time.Sleep(time.Duration(p.Envelopes) * 50 * time.Microsecond)
	took := time.Since(begin)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy, s.longest = s.busy+took, max(s.longest, took)
	return p, err
}

func (s *slowStore) times() (busy, longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy, s.longest
}

// TestPostersWaitLittleForARemoval shows that a removal leaves a store nine tenths of the time
// to posters, and none of them waits for it longer than a few hundredths of a second.
func TestPostersWaitLittleForARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxCount: 1000, MinAge: day})
		now := storage.HourOf(time.Now())
		store := &slowStore{hugeStore: hugeStore{
			Memory: k.store, info: storage.Info{First: 1, Last: 1_000_500, Count: 1_000_500},
			hours: []storage.HourSize{{Hour: now - 30, Count: 1_000_000}, {Hour: now - 3, Count: 500}},
		}}
		k.config.Store = store
		keeper := k.start()
		sleep(time.Minute)
		busy, longest := store.times()
		if st := keeper.Status(); !st.Removing || busy < 5*time.Second || busy > 6100*time.Millisecond || longest > 30*time.Millisecond {
			t.Errorf("in a minute the store removed for %v, at most %v at a time: %+v", busy, longest, st)
		}
		sleep(10 * time.Minute)
		if st := keeper.Status(); st.Removed != 1_000_000 {
			t.Errorf("after ten minutes %d are removed", st.Removed)
		}
	})
}

// endlessStore is a store whose hours never end.
type endlessStore struct {
	*storagetest.Memory
	calls atomic.Int64
}

func (e *endlessStore) Hours(_ context.Context, req storage.HoursRequest) ([]storage.HourSize, error) {
	e.calls.Add(1)
	hours := make([]storage.HourSize, storage.MaxHours)
	for i := range hours {
		hours[i] = storage.HourSize{Hour: req.From + storage.Hour(i), Count: 1}
	}
	return hours, nil
}

func TestHoursWithoutEndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: day})
		store := &endlessStore{Memory: k.store}
		k.config.Store = store
		keeper := k.start()
		sleep(wholeEvery - time.Minute)
		if n := store.calls.Load(); n != maxHours/storage.MaxHours {
			t.Errorf("asked for %d pages within ten minutes", n)
		}
		if st := keeper.Status(); !strings.Contains(st.Trouble, "more than") {
			t.Errorf("the status says %q", st.Trouble)
		}
	})
}

// TestFloorInTheFuture shows that a plugin that invents a floor is told of, and that it
// leaves nothing behind: when its floor is true again, all goes on.
func TestFloorInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: 2 * day})
		now := storage.HourOf(time.Now())
		store := &hugeStore{Memory: k.store, info: storage.Info{First: 1, Last: 500, Count: 500, Floor: now + 1000}, hours: []storage.HourSize{{Hour: now, Count: 500}}}
		k.config.Store = store
		k.start()
		sleep(time.Hour)
		if n := strings.Count(k.log.String(), "posts are refused until then"); n != 1 || !strings.Contains(k.log.String(), "hours=1000") {
			t.Errorf("said %d times: %s", n, k.log.String())
		}
		store.mu.Lock()
		store.info.Floor = now - 60
		store.mu.Unlock()
		sleep(3 * day)
		if info, _ := store.Info(t.Context()); info.Floor < storage.HourOf(time.Now())-49 || len(store.hours) > 0 {
			t.Errorf("%+v at hour %d", info, storage.HourOf(time.Now()))
		}
		if strings.Contains(k.log.String(), storage.ErrCorrupt.Error()) {
			t.Errorf("the log is %s", k.log.String())
		}
	})
}

// TestFallenFloorIsTold shows that a floor that falls is raised again and told of.
func TestFallenFloorIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: 10 * day})
		store := &hugeStore{Memory: k.store, info: storage.Info{First: 1, Last: 500, Count: 500}}
		k.config.Store = store
		k.start()
		sleep(time.Hour)
		store.mu.Lock()
		store.info.Floor -= 5
		store.mu.Unlock()
		sleep(wholeEvery)
		if info, _ := store.Info(t.Context()); info.Floor < storage.HourOf(time.Now())-241 || !strings.Contains(k.log.String(), "fell by 5 hours") {
			t.Errorf("%+v, and the log is %s", info, k.log.String())
		}
	})
}

func TestKeepFreeLargerThanTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{KeepFree: 100 << 20})
		k.setDisk(Disk{Free: 90 << 20, Size: 95 << 20})
		k.start()
		if r := k.reason(); !strings.Contains(r, "lower keep_free") {
			t.Errorf("refused because of %q", r)
		}
	})
}

func TestKeeperOfAStoreThatCannotPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: day, KeepFree: 100})
		k.config.Store = struct{ storage.Store }{k.store}
		k.post(5, 9*day)
		keeper := k.start()
		k.setDisk(Disk{Free: 99})
		sleep(every)
		if st := keeper.Status(); !st.Unable || k.info().Count != 5 || k.reason() == "" {
			t.Errorf("%+v, refused because of %q", st, k.reason())
		}
	})
}

// TestKeeperKeepsTheReserve shows who is said to have filled the disk, and when posts are
// taken again.
func TestKeeperKeepsTheReserve(t *testing.T) {
	for name, c := range map[string]struct {
		own  int // envelopes that this store gets
		want string
	}{"by others": {0, "something else fills the disk"}, "by the store": {80_000, "lower max_bytes"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeperTest(t, limits.Retention{KeepFree: 100 << 20})
				k.setDisk(Disk{Free: 108 << 20, Used: 1 << 30})
				k.start()
				sleep(5 * time.Hour)
				if r := k.reason(); r != "" {
					t.Fatalf("refused because of %q", r)
				}
				k.post(c.own, 0)
				k.setDisk(Disk{Free: 100<<20 - 1, Used: 1<<30 + 8<<20})
				sleep(every)
				if r := k.reason(); !strings.Contains(r, c.want) || !strings.Contains(r, "8 MiB were used up in 5 hours") {
					t.Errorf("refused because of %q", r)
				}
				k.setDisk(Disk{Free: 109 << 20})
				sleep(every)
				if k.reason() == "" {
					t.Error("posts are taken again when there is hardly more room than before")
				}
				k.setDisk(Disk{Free: 110 << 20})
				sleep(every)
				if r := k.reason(); r != "" {
					t.Errorf("still refused because of %q", r)
				}
				if n := strings.Count(k.log.String(), "posts are refused"); n != 1 {
					t.Errorf("said %d times", n)
				}
			})
		})
	}
}

func TestReserve(t *testing.T) {
	for _, c := range []struct{ keepFree, size, want uint64 }{{0, 1 << 40, 1 << 30}, {0, 1 << 30, 1 << 30 / 10}, {2 << 30, 1 << 30, 2 << 30}} {
		if got := reserve(limits.Retention{KeepFree: c.keepFree}, Disk{Size: c.size}); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestKeeperSaysThatTheDiskIsTooSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxBytes: 100 << 20, KeepFree: 10 << 20})
		k.setDisk(Disk{Free: 109 << 20})
		keeper := k.start()
		if st := keeper.Status(); !strings.Contains(st.Tight, "room for 99 MiB") {
			t.Errorf("%+v", st)
		}
		keeper.SetRetention(limits.Retention{Written: true, MaxBytes: 99 << 20, KeepFree: 10 << 20})
		synctest.Wait()
		if st := keeper.Status(); st.Tight != "" {
			t.Errorf("%+v", st)
		}
	})
}

func TestKeeperPreviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{})
		k.post(5, 9*day)
		k.post(3, 8*day)
		k.post(2, 0)
		keeper := k.start()
		p, err := keeper.Preview(t.Context(), limits.Retention{MaxAge: day, Written: true})
		if d := p.Now; err != nil || d.Hours != 2 || d.Gone.Count != 8 || d.Gone.Bytes != 800 || d.Newest != storage.HourOf(time.Now().Add(-8*day)) || p.Waits != 0 || p.Later.Hours != 0 {
			t.Errorf("%+v, %v", p, err)
		}
		if n := k.info().Count; n != 10 {
			t.Errorf("%d envelopes are left", n)
		}
	})
}

// TestPreviewWithAClockAhead shows what goes at once, by the time that is certain, and what goes
// when the clock of the machine is believed, and that this comes true.
func TestPreviewWithAClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{})
		k.post(5, 9*day)
		k.post(3, 2*day)
		k.post(2, 0)
		k.mu.Lock()
		k.wrong = 30 * day
		k.mu.Unlock()
		keeper, r, newest := k.start(), limits.Retention{MaxAge: 7 * day, Written: true}, storage.HourOf(time.Now())
		for _, wait := range []time.Duration{Leap, Leap - 5*time.Hour} {
			p, err := keeper.Preview(t.Context(), r)
			if err != nil || p.Now.Gone.Count != 5 || p.Later.Gone.Count != 5 || p.Later.Hours != 2 || p.Later.Newest != newest || p.Waits > wait || p.Waits == 0 {
				t.Errorf("with %v to wait: %+v, %v", wait, p, err)
			}
			time.Sleep(6 * time.Hour)
		}
		keeper.SetRetention(r)
		time.Sleep(time.Minute)
		if n := k.info().Count; n != 5 {
			t.Errorf("%d envelopes are left at once, want 5", n)
		}
		time.Sleep(Leap)
		if n := k.info().Count; n != 0 {
			t.Errorf("%d envelopes are left a day later, want none", n)
		}
	})
}

func TestReadDisk(t *testing.T) {
	d, err := ReadDisk(t.TempDir())
	if err != nil || d.Free == 0 || d.Used == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := ReadDisk("/nowhere"); err == nil {
		t.Error("a directory that is not there has room")
	}
}

// TestStatusCountsWhatCameSince shows that the status agrees with the store soon after posts,
// although the keeper looks at all hours only now and then.
func TestStatusCountsWhatCameSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxCount: 1000})
		k.post(10, 0)
		keeper := k.start()
		looked := *keeper.Status().Looked
		k.post(3, 0)
		sleep(2 * every)
		if st := keeper.Status(); st.Envelopes != 13 || st.Bytes != 1300 || !st.Looked.Equal(looked) {
			t.Errorf("%+v", st)
		}
	})
}
