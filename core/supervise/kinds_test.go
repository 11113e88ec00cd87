package supervise

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestExporterDoesNotWait(t *testing.T) {
	r := startSupervised(t, func(c *setup) {
		stayInBackoff(c)
		c.Kind = plugin.KindStats
	}, "stats")
	r.mustBeReady()
	e := r.Stats()
	epoch := stats.NewEpoch()
	if err := e.Export(r.ctx(), stats.Snapshot{Epoch: epoch, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	if err := e.ForceFlush(r.ctx()); err != nil {
		t.Error(err)
	}
	if err := e.Export(r.ctx(), stats.Snapshot{Epoch: epoch, Seq: 13}); !errors.Is(err, stats.ErrUnavailable) {
		t.Errorf("export of the deadly snapshot: %v", err)
	}
	r.await("in backoff", func(s Status) bool { return s.State == Backoff })
	// The next call does not wait: its context never ends.
	if err := e.Export(context.Background(), stats.Snapshot{Epoch: epoch, Seq: 14}); !errors.Is(err, stats.ErrUnavailable) || !strings.Contains(err.Error(), "dropped") || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("export without an incarnation: %v", err)
	}
	r.reload()
	if err := e.Export(r.ctx(), stats.Snapshot{Epoch: epoch, Seq: 15}); err != nil {
		t.Error(err)
	}
}

// reportRecorder is a host that records reports.
type reportRecorder struct {
	peersync.HostServices
	got chan string
}

func (h reportRecorder) Report(_ context.Context, r peersync.Report) error {
	h.got <- r.Summary
	return nil
}

func TestReplicatorStartsAnew(t *testing.T) {
	h := reportRecorder{got: make(chan string, 16)}
	ready := make(chan int, 16)
	r := startSupervised(t, func(c *setup) {
		c.Kind, c.Host = plugin.KindPeerSync, h
		c.OnReady = func(n int) { ready <- n }
	}, "peersync")
	r.mustBeReady()
	replicator := r.PeerSync()
	start := []peersync.Event{peersync.Start{}}
	must := func(events []peersync.Event, report string) {
		t.Helper()
		if err := replicator.Handle(r.ctx(), events); err != nil {
			t.Fatal(err)
		}
		if got := <-h.got; got != report {
			t.Fatalf("reported %q, want %q", got, report)
		}
	}
	must(start, "peersync.Start")
	must([]peersync.Event{peersync.Tick{Now: time.Second}}, "peersync.Tick")

	// A replicator that was killed begins anew, and says so.
	syscall.Kill(r.Status().PID, syscall.SIGKILL)
	r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
	if err := replicator.Handle(r.ctx(), []peersync.Event{peersync.Tick{Now: 2 * time.Second}}); !errors.Is(err, peersync.ErrNotStarted) {
		t.Errorf("handle of a new incarnation: %v", err)
	}
	must(start, "peersync.Start")

	// A replicator that returns an error is replaced.
	if err := replicator.Handle(r.ctx(), []peersync.Event{peersync.PeerMessage{Peer: 1, Data: []byte("x")}}); err == nil || !strings.Contains(err.Error(), "cannot go on") {
		t.Errorf("handle: %v", err)
	}
	s := r.await("replaced", func(s Status) bool { return s.State == Ready && s.Incarnation == 3 })
	if !strings.Contains(s.LastError, "cannot go on") {
		t.Errorf("status %+v", s)
	}
	must(start, "peersync.Start")
	for want := range 3 {
		if n := <-ready; n != want+1 {
			t.Errorf("OnReady was called with %d, want %d", n, want+1)
		}
	}
}

// TestLongHandleIsShownAndThenEnded shows that the status tells of a Handle that takes long
// while it is under way, and that a Handle which never returns ends the process.
func TestLongHandleIsShownAndThenEnded(t *testing.T) {
	h := reportRecorder{got: make(chan string, 1)}
	r := startSupervised(t, func(c *setup) {
		c.Kind, c.Host = plugin.KindPeerSync, h
		c.timing.hang, c.timing.step = 50*time.Millisecond, 200*time.Millisecond
	}, "peersync")
	r.mustBeReady()
	replicator := r.PeerSync()
	if err := replicator.Handle(r.ctx(), []peersync.Event{peersync.Start{}}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, giveUp := context.WithTimeout(r.ctx(), time.Second)
	defer giveUp()
	go func() { ended <- replicator.Handle(ctx, []peersync.Event{peersync.PeerReady{Peer: 1}}) }()
	s := r.await("shown", func(s Status) bool { return s.State == Degraded })
	if want := "a Handle has taken 50ms already; after 200ms the process is killed"; s.Reason != want || len(ended) > 0 {
		t.Errorf("the status has %q, and the Handle has ended: %v", s.Reason, len(ended) > 0)
	}
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("handle: %v", err)
	}
	s = r.await("replaced", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
	if s.LastError != "handle: no answer within 200ms" {
		t.Errorf("the last error is %q", s.LastError)
	}
}

// TestEarlierContractIsRefused starts a plugin with the description of one that was built
// before version 1 of the contract of peersync.
func TestEarlierContractIsRefused(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.Kind = plugin.KindPeerSync }, "earlier contract")
	err := r.WaitReady(r.ctx())
	if want := "the binary was built for an earlier contract of peersync than version 1: build it anew with the sdk of this release"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if s := r.Status(); s.State != Failed || s.Incarnation != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestStoreKeepsALedger(t *testing.T) {
	r := startSupervised(t, nil, "good")
	r.mustBeReady()
	ledger, ok := storage.As[storage.Ledger](r.Storage())
	if !ok {
		t.Fatal("the store keeps no ledger")
	}
	spent := storage.SpentToken{Token: storage.TokenID{1}, ID: storage.ID{2}}
	if err := ledger.Spend(r.ctx(), []storage.SpentToken{spent}); err != nil {
		t.Fatal(err)
	}
	if page, err := ledger.SpentTokens(r.ctx(), storage.SpentTokensRequest{}); err != nil || len(page) != 1 || page[0] != spent {
		t.Errorf("spendings: %v, %v", page, err)
	}
}

func TestStoreIsAPrunerAndAnIndex(t *testing.T) {
	r := startSupervised(t, nil, "good")
	r.mustBeReady()
	pruner, isPruner := storage.As[storage.Pruner](r.Storage())
	index, isIndex := storage.As[storage.Index](r.Storage())
	if !isPruner || !isIndex {
		t.Fatalf("the store is a pruner: %v, an index: %v", isPruner, isIndex)
	}
	records := []storage.Record{{ID: storage.ID{1}, Born: 5}, {ID: storage.ID{2}, Born: 7}}
	if _, err := r.Storage().Append(r.ctx(), records); err != nil {
		t.Fatal(err)
	}
	if p, err := pruner.Prune(r.ctx(), storage.PruneRequest{Floor: 6}); err != nil || p != (storage.Pruned{Floor: 6, Envelopes: 1}) {
		t.Errorf("prune: %+v, %v", p, err)
	}
	if hours, err := pruner.Hours(r.ctx(), storage.HoursRequest{}); err != nil || len(hours) != 1 || hours[0].Hour != 7 {
		t.Errorf("hours: %v, %v", hours, err)
	}
	if keys, err := index.Keys(r.ctx(), storage.KeysRequest{}); err != nil || len(keys) != 1 || keys[0] != (storage.Key{Born: 7, ID: storage.ID{2}}) {
		t.Errorf("keys: %v, %v", keys, err)
	}
	if entries, err := index.Get(r.ctx(), []storage.ID{{1}, {2}}); err != nil || len(entries) != 1 || entries[0].Seq != 2 {
		t.Errorf("get: %v, %v", entries, err)
	}
}

func TestStoreIsACompactorUnlessItIsInspected(t *testing.T) {
	r := startSupervised(t, nil, "good")
	r.mustBeReady()
	compactor, isCompactor := storage.As[storage.Compactor](r.Storage())
	if _, isChecker := storage.As[storage.Checker](r.Storage()); !isCompactor || isChecker {
		t.Fatalf("the store is a compactor: %v, a checker: %v", isCompactor, isChecker)
	}
	if c, err := compactor.Compact(r.ctx(), storage.CompactRequest{}); err != nil || c != (storage.Compacted{}) {
		t.Errorf("compact: %+v, %v", c, err)
	}

	r = startSupervised(t, func(c *setup) { c.Inspect = true }, "good")
	r.mustBeReady()
	checker, isChecker := storage.As[storage.Checker](r.Storage())
	if !isChecker {
		t.Fatal("a store that is open for inspection is no checker")
	}
	if c, err := checker.Check(r.ctx(), storage.CheckRequest{}); err != nil || len(c.Faults) > 0 || len(c.Next) > 0 {
		t.Errorf("check: %+v, %v", c, err)
	}
	if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); err == nil {
		t.Error("a store that is open for inspection takes records")
	}
}
