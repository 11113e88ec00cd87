package manager

import (
	"fmt"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestReloadOfARetention shows that a dry run says what another retention would delete and
// deletes nothing, and that a reload deletes it.
func TestReloadOfARetention(t *testing.T) {
	h := newTestRelay(t, "main")
	m := h.start()
	h.waitUntilRunning(m, "main")
	for deadline := time.Now().Add(time.Minute); h.serverStatus(m, "main").Retention.Looked == nil; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody looks at the store")
		}
	}
	store, now := m.findServer("main").store.plugin.Storage(), storage.HourOf(time.Now())
	for n, born := range []storage.Hour{now - 50, now - 49, now - 49, now} {
		r := storage.Record{ID: storage.ID{byte(n)}, Born: born, Ciphertext: make([]byte, 1000)}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	count := func() uint64 {
		info, err := store.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.Count
	}
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
	for deadline := time.Now().Add(time.Minute); count() != 1; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is deleted")
		}
	}
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
