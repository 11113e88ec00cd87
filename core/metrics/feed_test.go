package metrics

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeServer counts one post for each question.
type fakeServer struct {
	mu    sync.Mutex
	since time.Time
	posts uint64
	away  bool
}

func (s *fakeServer) counts(context.Context) (relay.Status, RelayStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts++
	return relay.Status{Since: s.since, Posts: relay.PostCounts{Stored: s.posts}}, RelayStatus{}, !s.away
}

func (s *fakeServer) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.posts = time.Now(), 0
}

// recordingExporter remembers what it got.
type recordingExporter struct {
	mu      sync.Mutex
	got     []stats.Snapshot
	flushed int // how many had come at the last flush
	err     error
	hang    chan struct{} // where set, an export waits for it or the end of its context
}

func (e *recordingExporter) Export(ctx context.Context, s stats.Snapshot) error {
	if e.hang != nil {
		select {
		case <-e.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	e.got = append(e.got, s)
	return s.Validate()
}

func (e *recordingExporter) ForceFlush(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flushed = len(e.got)
	return nil
}

func (e *recordingExporter) Close() error { return nil }

func (e *recordingExporter) seqs() (seqs []uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.got {
		seqs = append(seqs, s.Seq)
	}
	return seqs
}

func newFeed(source Source) *Feed { return NewFeed("club", source, slog.New(slog.DiscardHandler)) }

func TestFeedNumbersSnapshotsByEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := &fakeServer{since: time.Now()}, &recordingExporter{}
		f := newFeed(s.counts)
		o := f.Add("stats/test", e)
		f.Distribute(t.Context())
		synctest.Wait()
		if got := len(e.seqs()); got != 1 {
			t.Errorf("%d snapshots at the start, want one", got)
		}
		time.Sleep(2*Interval + time.Second)
		s.restart()
		time.Sleep(Interval)
		o.Stop(t.Context())
		f.Close()
		if len(e.got) != 5 || e.flushed != 5 {
			t.Fatalf("got %v, flushed %d; want 5 snapshots, all flushed", e.seqs(), e.flushed)
		}
		for i, want := range []uint64{1, 2, 3, 1, 2} {
			if e.got[i].Seq != want {
				t.Errorf("the sequence is %v", e.seqs())
			}
		}
		if e.got[2].Epoch == e.got[3].Epoch || e.got[3].Epoch != e.got[4].Epoch {
			t.Error("an epoch is not one run of counting")
		}
		if got := o.Status(); got != (Status{Exported: 5}) {
			t.Errorf("status is %+v", got)
		}
	})
}

// A slow exporter misses snapshots and gets the newest one next.
func TestSlowExporterHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{since: time.Now()}
		slow, quick := &recordingExporter{hang: make(chan struct{})}, &recordingExporter{}
		f := newFeed(s.counts)
		a, b := f.Add("stats/slow", slow), f.Add("stats/quick", quick)
		f.Distribute(t.Context())
		time.Sleep(2*Interval + time.Second) // each export that hangs ends after host.ExportTimeout
		close(slow.hang)
		synctest.Wait()
		time.Sleep(Interval)
		if got := quick.seqs(); len(got) != 4 {
			t.Errorf("the quick exporter got %v", got)
		}
		st := a.Status()
		if st.Failed == 0 || st.LastError != "" || st.Exported == 0 {
			t.Errorf("the slow exporter has the status %+v", st)
		}
		a.Stop(t.Context())
		b.Stop(t.Context())
		f.Close()
		if seqs := slow.seqs(); seqs[len(seqs)-1] != 5 {
			t.Errorf("the slow exporter got %v, the last should be 5", seqs)
		}
	})
}

func TestOlderSnapshotIsDropped(t *testing.T) {
	f := newFeed((&fakeServer{}).counts)
	o := &Outlet{feed: f, next: make(chan stats.Snapshot, 1)}
	for seq := range uint64(3) {
		o.offerSnapshot(stats.Snapshot{Seq: seq})
	}
	if s := <-o.next; s.Seq != 2 || o.status.Dropped != 2 {
		t.Errorf("snapshot %d waits and %d were dropped, want 2 and 2", s.Seq, o.status.Dropped)
	}
	f.Close()
}

func TestFailedExportsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := &fakeServer{since: time.Now()}, &recordingExporter{err: errors.New("disk full")}
		f := newFeed(s.counts)
		o := f.Add("stats/test", e)
		f.Distribute(t.Context())
		time.Sleep(Interval + time.Second)
		if st := o.Status(); st.Failed != 2 || st.LastError != "disk full" {
			t.Errorf("status is %+v", st)
		}
		o.Stop(t.Context())
		f.Close()
	})
}

// Without a server there is no snapshot, and no number is used up.
func TestNoSnapshotWithoutAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := &fakeServer{since: time.Now(), away: true}, &recordingExporter{}
		f := newFeed(s.counts)
		o := f.Add("stats/test", e)
		f.Distribute(t.Context())
		time.Sleep(Interval + time.Second)
		s.mu.Lock()
		s.away = false
		s.mu.Unlock()
		time.Sleep(Interval)
		if got := e.seqs(); len(got) != 1 || got[0] != 1 {
			t.Errorf("got %v, want the first", got)
		}
		o.Stop(t.Context())
		f.Close()
	})
}
