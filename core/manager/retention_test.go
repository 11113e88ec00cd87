package manager

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// waitUntilLooked waits until a server runs and its keeper has looked at the store.
func (h *testRelay) waitUntilLooked(m *Manager) {
	h.Helper()
	h.waitUntilRunning(m, "main")
	h.waitUntil("somebody looks at the store", func() bool {
		st := h.serverStatus(m, "main").Retention
		return st != nil && st.Looked != nil
	})
}

func (h *testRelay) waitUntil(what string, is func() bool) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("waited in vain until %s", what)
		}
	}
}

// appendBorn appends an envelope of 1000 bytes for each hour.
func (h *testRelay) appendBorn(store storage.Store, born ...storage.Hour) {
	h.Helper()
	for n, hour := range born {
		r := storage.Record{ID: storage.ID{byte(n)}, Born: hour, Ciphertext: make([]byte, 1000)}
		if _, err := store.Append(h.Context(), []storage.Record{r}); err != nil {
			h.Fatal(err)
		}
	}
}

func (h *testRelay) storeInfo(store storage.Store) storage.Info {
	h.Helper()
	info, err := store.Info(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	return info
}

// republish withdraws the server and publishes it again, as a start does, with the same
// process of the store.
func (h *testRelay) republish(m *Manager) {
	h.Helper()
	h.cfg.Limits.QueueRecords++
	if plan, err := m.Reload(h.Context(), false); err != nil || plan.Failed() > 0 {
		h.Fatalf("%+v, %v", plan, err)
	}
	h.waitUntilLooked(m)
}

// TestReloadOfARetention shows that a dry run says what another retention would delete and
// deletes nothing, and that a reload deletes it.
func TestReloadOfARetention(t *testing.T) {
	h := newTestRelay(t, "main")
	m := h.start()
	h.waitUntilLooked(m)
	store, now := m.findServer("main").store.plugin.Storage(), storage.HourOf(time.Now())
	h.appendBorn(store, now-50, now-49, now-49, now)
	count := func() uint64 { return h.storeInfo(store).Count }
	h.cfg.Servers[0].Retention = limits.Retention{MaxAge: 40 * time.Hour, MaxCount: 1000}
	want := fmt.Sprintf("set server main retention.max_age, retention.max_count: deletes 3 envelopes with 0.0 MiB, of 2 hours, the newest from %s",
		time.Unix(int64(now-49)*3600, 0).UTC().Format("2006-01-02 15:04 MST"))
	for _, dry := range []bool{true, false} {
		plan, err := m.Reload(t.Context(), dry)
		if err != nil || len(plan.Steps) != 1 || plan.Steps[0].String() != want || !plan.Deletes() || plan.Steps[0].Done == dry {
			t.Fatalf("dry %v: %+v, %v; want %s", dry, plan, err, want)
		}
		if n := count(); dry && n != 4 {
			t.Fatalf("a dry run left %d envelopes", n)
		}
	}
	h.waitUntil("it is deleted", func() bool { return count() == 1 })
	if plan, err := m.Reload(t.Context(), true); err != nil || len(plan.Steps) > 0 {
		t.Errorf("the second time: %+v, %v", plan, err)
	}
	if st := h.serverStatus(m, "main").Retention; st == nil || st.Unable {
		t.Errorf("the status says %+v", st)
	}
}

// TestRetentionIsKeptByARestart shows that a server that is published again keeps what a
// reload has set.
func TestRetentionIsKeptByARestart(t *testing.T) {
	h := newTestRelay(t, "main")
	m := h.start()
	h.waitUntilRunning(m, "main")
	h.cfg.Servers[0].Retention = limits.Retention{MaxCount: 1000}
	h.cfg.Limits.QueueRecords++ // which takes the board from its server
	plan, err := m.Reload(t.Context(), false)
	if err != nil || len(plan.Steps) != 2 || plan.Failed() > 0 || plan.Deletes() {
		t.Fatalf("%+v, %v", plan, err)
	}
	if s := m.findServer("main"); s.retention.MaxCount != 1000 || s.keeper == nil {
		t.Errorf("the retention is %+v", s.retention)
	}
	if plan, err := m.Reload(t.Context(), true); err != nil || len(plan.Steps) > 0 {
		t.Errorf("the second time: %+v, %v", plan, err)
	}
}

// TestClockJumpDeletesNothing shows it for a clock that is suddenly a year ahead, with which
// the server is started twice, and that goes back again.
func TestClockJumpDeletesNothing(t *testing.T) {
	h := newTestRelay(t, "main")
	var ahead atomic.Int64
	h.cfg.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	h.cfg.Servers[0].Retention = limits.Retention{MaxAge: 100 * time.Hour, MinAge: 24 * time.Hour, MaxCount: 3}
	m := h.start()
	h.waitUntilLooked(m)
	store, now := m.findServer("main").store.plugin.Storage(), storage.HourOf(time.Now())
	h.appendBorn(store, now-50, now-40, now)
	ahead.Store(int64(365 * 24 * time.Hour))
	for range 2 {
		h.republish(m)
		if st := h.serverStatus(m, "main").Retention; st.Waits == "" {
			t.Errorf("the status does not say that the clock is not believed: %+v", st)
		}
		if info := h.storeInfo(store); info.Count != 3 || info.Floor >= now {
			t.Fatalf("a year ahead: %d envelopes of 3 are left, the floor is hour %d, and it is %d", info.Count, info.Floor, now)
		}
	}
	h.cfg.Servers[0].Retention.MaxAge = 60 * time.Hour
	plan, err := m.Reload(t.Context(), true)
	if err != nil || plan.Deletes() {
		t.Errorf("another retention would delete by the wrong clock: %+v, %v", plan, err)
	} else if later := plan.Steps[0].DeletesLater; !plan.DeletesLater() || later.Envelopes != 3 || later.After != "24h0m0s" {
		t.Errorf("the plan does not say what is deleted when the clock is believed: %+v", later)
	}
	ahead.Store(0)
	h.cfg.Servers[0].Retention.MaxAge = 45 * time.Hour
	h.republish(m)
	h.waitUntil("the oldest one goes", func() bool { return h.storeInfo(store).Count == 2 })
	if st := h.serverStatus(m, "main").Retention; st.Waits != "" || st.Refuses != "" {
		t.Errorf("with the right clock: %+v", st)
	}
}

// TestOldServerIsAsked shows that the defaults delete nothing of a server that has messages
// and has never had a retention, that a dry run says what they would delete, and that an
// empty block puts them in force.
func TestOldServerIsAsked(t *testing.T) {
	h := newTestRelay(t, "main")
	m := h.start()
	h.waitUntilLooked(m)
	store, now := m.findServer("main").store.plugin.Storage(), storage.HourOf(time.Now())
	h.appendBorn(store, now-50, now-40, now)
	if err := os.Remove(filepath.Join(h.cfg.Servers[0].Dir, "retention")); err != nil {
		t.Fatal(err)
	}
	h.cfg.Servers[0].Retention = limits.Retention{MaxAge: 45 * time.Hour}
	h.republish(m)
	if st := h.serverStatus(m, "main").Retention; !st.Undecided || h.storeInfo(store).Count != 3 {
		t.Fatalf("%d envelopes of 3 are left, %+v", h.storeInfo(store).Count, st)
	}
	h.cfg.Servers[0].Retention.Written = true
	for _, dry := range []bool{true, false} {
		plan, err := m.Reload(t.Context(), dry)
		if err != nil || len(plan.Steps) != 1 || !plan.Deletes() || plan.Steps[0].Deletes.Envelopes != 1 || !strings.HasPrefix(plan.Steps[0].String(), "set server main retention: what exceeds its limits is removed from now on: deletes 1 envelope") {
			t.Fatalf("dry %v: %+v, %v", dry, plan, err)
		}
	}
	h.waitUntil("the oldest one goes", func() bool { return h.storeInfo(store).Count == 2 })
	if st := h.serverStatus(m, "main").Retention; st.Undecided {
		t.Errorf("%+v", st)
	}
}

// TestCompactOverTheControlSocket shows the answer for one server, for all, for one that
// does not run and for one that is not there.
func TestCompactOverTheControlSocket(t *testing.T) {
	h := newTestRelay(t, "main", "other")
	if err := os.WriteFile(h.awayFile("other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := h.start()
	h.waitUntilLooked(m)
	store, now := m.findServer("main").store.plugin.Storage(), storage.HourOf(time.Now())
	h.appendBorn(store, now-50, now-40, now)
	pruner, _ := storage.As[storage.Pruner](store)
	if _, err := pruner.Prune(t.Context(), storage.PruneRequest{Floor: now - 30}); err != nil {
		t.Fatal(err)
	}
	before := h.storeInfo(store)
	done, err := AskCompact(t.Context(), h.cfg.DataDir, "main")
	if err != nil || len(done) != 1 || done[0].Error != "" || done[0].Before != before.Bytes || done[0].After != h.storeInfo(store).Bytes || done[0].After >= done[0].Before {
		t.Errorf("%+v, %v; the store had %d bytes", done, err, before.Bytes)
	}
	if done, err = AskCompact(t.Context(), h.cfg.DataDir, ""); err != nil || len(done) != 2 || done[0].Error != "" || done[1].Error != "the server does not run" {
		t.Errorf("all servers: %+v, %v", done, err)
	}
	var refused *RefusedError
	if done, err = AskCompact(t.Context(), h.cfg.DataDir, "nobody"); !errors.As(err, &refused) {
		t.Errorf("a server that is not there: %+v, %v", done, err)
	}
}

// TestBudgetFollowsTheRetention shows that what a server takes in follows from its retention,
// unless the limits say it, and that a reload of either changes it.
func TestBudgetFollowsTheRetention(t *testing.T) {
	h := newTestRelay(t, "main")
	h.cfg.Servers[0].Retention = limits.Retention{MaxCount: 100_000}
	m := h.start()
	h.waitUntilRunning(m, "main")
	for _, c := range []struct {
		change func()
		want   int
	}{
		{func() {}, 3749}, // nine tenths of 100 000 in 24 hours
		{func() { h.cfg.Servers[0].Retention.MinAge = 24 * time.Hour }, 1874},
		{func() { h.cfg.Limits.PostsPerHour = 500 }, 500},
		{func() { h.cfg.Servers[0].Retention.MinAge = 0 }, 500},
		{func() { h.cfg.Limits.PostsPerHour = 0 }, 3749},
	} {
		c.change()
		if plan, err := m.Reload(t.Context(), false); err != nil || plan.Failed() > 0 {
			t.Fatalf("%+v, %v", plan, err)
		}
		if got := h.serverStatus(m, "main").Relay.Budget.PostsPerHour; got != c.want {
			t.Errorf("the server takes %d posts an hour, want %d", got, c.want)
		}
	}
}
