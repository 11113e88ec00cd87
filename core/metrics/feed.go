package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// Interval is the time between two snapshots.
const Interval = 10 * time.Second

const (
	takeTimeout  = 2 * time.Second // for the store to say what it holds
	flushTimeout = 5 * time.Second // for the last snapshot and the flush
)

// Source returns what a server has counted, and the state of the relay. It is not ok while
// there is no server. After a restart the counts of the server begin at zero, with another Since.
type Source func(context.Context) (st relay.Status, r RelayStatus, ok bool)

// Feed takes snapshots of one server and gives them to any number of exporters. A slow
// exporter misses snapshots and delays no other. Methods may be called from any goroutine.
type Feed struct {
	server string // its name
	source Source
	log    *slog.Logger
	cancel context.CancelFunc
	wg     sync.WaitGroup

	snapshotMu sync.Mutex // held while a snapshot is taken, so that they keep their order

	mu      sync.Mutex
	since   time.Time // of the server that is counted
	epoch   stats.Epoch
	seq     uint64
	base    map[string]float64 // counters of the relay when the epoch began
	outlets []*Outlet

	// Of all outlets, also of removed ones: a counter never falls.
	exported, dropped, failed atomic.Uint64
}

// NewFeed takes a snapshot of the named server every [Interval] from now on, while there
// are outlets.
func NewFeed(server string, source Source, log *slog.Logger) *Feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Feed{server: server, source: source, log: log, cancel: cancel}
	f.wg.Go(func() {
		tick := time.NewTicker(Interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.Distribute(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	return f
}

// Close ends the feed. The outlets must be stopped before.
func (f *Feed) Close() {
	f.cancel()
	f.wg.Wait()
}

// Distribute takes a snapshot now and offers it to all outlets. It is called when a server
// begins to count, and when an exporter is available again.
func (f *Feed) Distribute(ctx context.Context) {
	f.mu.Lock()
	idle := len(f.outlets) == 0
	f.mu.Unlock()
	if idle {
		return
	}
	f.snapshotMu.Lock()
	defer f.snapshotMu.Unlock()
	s, ok := f.takeSnapshot(ctx)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.outlets {
		o.offerSnapshot(s)
	}
}

// takeSnapshot takes a snapshot; the caller holds snapshotMu.
func (f *Feed) takeSnapshot(ctx context.Context) (stats.Snapshot, bool) {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	st, r, ok := f.source(ctx)
	if !ok {
		return stats.Snapshot{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !st.Since.Equal(f.since) {
		f.since, f.epoch, f.seq = st.Since, stats.NewEpoch(), 0
	}
	f.seq++
	ofRelay := readAll(relayTable, relayFigures{r, f.countSnapshots()})
	f.subtractBase(ofRelay)
	return stats.Snapshot{Server: f.server, Epoch: f.epoch, Seq: f.seq, Metrics: append(readAll(serverTable, st), ofRelay...)}, true
}

// subtractBase makes the counters of the relay begin at zero with the epoch, as package
// stats promises. The relay outlives the server, and so do its counts. The caller holds mu.
func (f *Feed) subtractBase(metrics []stats.Metric) {
	if f.seq == 1 {
		f.base = make(map[string]float64)
	}
	for _, m := range metrics {
		if m.Kind != stats.Counter {
			continue
		}
		for i := range m.Points {
			key := fmt.Sprint(m.Name, m.Points[i].Labels)
			if f.seq == 1 {
				f.base[key] = m.Points[i].Value
			}
			m.Points[i].Value -= f.base[key]
		}
	}
}

// countSnapshots returns the results of all snapshots so far, for all exporters.
func (f *Feed) countSnapshots() Status {
	return Status{Exported: f.exported.Load(), Dropped: f.dropped.Load(), Failed: f.failed.Load()}
}

// Outlet is one exporter of a feed.
type Outlet struct {
	feed     *Feed
	exporter stats.Exporter
	log      *slog.Logger
	next     chan stats.Snapshot // the one that waits
	cancel   context.CancelFunc
	done     chan struct{}

	mu     sync.Mutex
	status Status
	warned bool // the failure is in the log
}

// Status has the results of an exporter's snapshots since it was added. Its JSON form is part
// of the output of the status command.
type Status struct {
	Exported  uint64 `json:"exported"`
	Dropped   uint64 `json:"dropped"` // replaced by a newer one before the exporter was ready
	Failed    uint64 `json:"failed"`
	LastError string `json:"last_error,omitempty"` // empty after a success
}

// Add passes the snapshots to an exporter from now on. The exporter still belongs to the
// caller. The name is for the log.
func (f *Feed) Add(name string, e stats.Exporter) *Outlet {
	ctx, cancel := context.WithCancel(context.Background())
	o := &Outlet{
		feed: f, exporter: e, log: f.log.With("plugin", name),
		next: make(chan stats.Snapshot, 1), cancel: cancel, done: make(chan struct{}),
	}
	f.mu.Lock()
	f.outlets = append(f.outlets, o)
	f.mu.Unlock()
	go o.runExports(ctx)
	return o
}

// offerSnapshot replaces the snapshot that waits. It has one caller at a time.
func (o *Outlet) offerSnapshot(s stats.Snapshot) {
	select {
	case <-o.next:
		o.mu.Lock()
		o.status.Dropped++
		o.feed.dropped.Add(1)
		o.mu.Unlock()
	default:
	}
	o.next <- s
}

func (o *Outlet) runExports(ctx context.Context) {
	defer close(o.done)
	for {
		select {
		case s := <-o.next:
			o.exportOne(ctx, s)
		case <-ctx.Done():
			return
		}
	}
}

// takeLatest takes a snapshot for this outlet alone. The snapshot that waits is returned
// only if no newer one can be taken.
func (o *Outlet) takeLatest(ctx context.Context) (stats.Snapshot, bool) {
	o.feed.snapshotMu.Lock()
	defer o.feed.snapshotMu.Unlock()
	s, ok := o.feed.takeSnapshot(ctx)
	select {
	case older := <-o.next:
		if !ok {
			return older, true
		}
	default:
	}
	return s, ok
}

func (o *Outlet) exportOne(ctx context.Context, s stats.Snapshot) {
	ctx, cancel := context.WithTimeout(ctx, host.ExportTimeout)
	defer cancel()
	err := o.exporter.Export(ctx, s)
	if err != nil && context.Cause(ctx) == context.Canceled {
		return // stopped meanwhile: not a failure of the exporter
	}
	o.noteResult(err)
}

// noteResult counts a result. It logs when an exporter begins to fail and when it works
// again, not every time in between. The supervisor logs that a plugin is unavailable.
func (o *Outlet) noteResult(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil:
		o.status.Exported++
		o.feed.exported.Add(1)
		o.status.LastError = ""
		if o.warned {
			o.log.Info("the numbers are exported again")
			o.warned = false
		}
		return
	case !o.warned && !errors.Is(err, stats.ErrUnavailable):
		o.log.Warn("the numbers could not be exported; newer ones follow", "error", err)
		o.warned = true
	}
	o.status.Failed++
	o.feed.failed.Add(1)
	o.status.LastError = err.Error()
}

// Status returns the state of the exporter.
func (o *Outlet) Status() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status
}

// Stop ends the outlet. A last snapshot is exported and flushed, as far as that is possible
// within some seconds and before ctx ends.
func (o *Outlet) Stop(ctx context.Context) {
	o.feed.removeOutlet(o)
	o.cancel()
	<-o.done
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if s, ok := o.takeLatest(ctx); ok {
		o.exportOne(ctx, s)
	}
	if err := o.exporter.ForceFlush(ctx); err != nil {
		o.log.Warn("the last numbers may not have been written", "error", err)
	}
}

func (f *Feed) removeOutlet(o *Outlet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outlets = slices.DeleteFunc(f.outlets, func(other *Outlet) bool { return other == o })
}
