// Package replica is the relay's side of peer sync: what a plugin that keeps the
// boards of several relays equal is told, and what it may ask for. One [Replica]
// belongs to one such plugin of a server.
//
//	r, err := replica.New(replica.Config{Store: store, Published: end, Cursors: file, Logger: log})
//	plugin := supervise.Start(…, supervise.Config{Host: r})
//	r.Run(ctx, plugin.PeerSync())
//
// # What there is
//
// The plugin can read the log, and the keys in their order with sums over them; it
// keeps cursors, and reports to the operator. It is told of the log at most a second
// late, and of time every ten seconds.
//
// There are no links between relays yet. No peer is ever up, and whoever sends to
// one all the same is told [peersync.ErrPeerUnknown].
//
// # What it costs
//
// The store gives entries with their bodies and in the order of the log only.
// So Keys, RangeSum and Split look through the whole log, some of them several
// times: right at any length, and slow beyond some ten thousand envelopes. What
// they hold is bounded, at half a million keys and one page.
//
// Posters come first. A plugin has one call under way at a time, a call has one
// page under way, and after each page it rests for as long as that took, so that
// at most half of the store's time is spent on it.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Config says what a plugin sees.
type Config struct {
	// Store holds the board. It stays the caller's, is only read, and outlives
	// Run.
	Store storage.Store
	// Published returns the end of the log as the board shows it to readers, or an
	// error while it shows nothing. The plugin is told of nothing beyond: what the
	// store has there may not be durable, and its posters have no results.
	Published func() (storage.Seq, error)
	// Cursors is the file that the plugin's cursors are kept in. It belongs
	// outside of what the plugin can write. Its directory exists.
	Cursors string
	Logger  *slog.Logger
}

// maxKept is how many keys Split holds at a time: 9 MiB of them, and twice that
// while it looks for them.
const maxKept = 1 << 18

// Replica is the [peersync.HostServices] of one plugin. What it does for the plugin is
// done from one goroutine at a time; Status may be called from any.
type Replica struct {
	store   storage.Store
	end     func() (storage.Seq, error)
	cursors *cursors
	log     *slog.Logger
	kept    int // keys that Split holds at a time
	wake    chan struct{}

	mu     sync.Mutex
	status Status
}

var _ peersync.HostServices = (*Replica)(nil)

// Status is a replication as the operator sees it. Its JSON form is part of the
// output of the status command.
type Status struct {
	peersync.Report        // the plugin's last one
	Trouble         string `json:"trouble,omitempty"` // why the plugin is told nothing now
}

// New reads the cursors. It fails when their file is there and cannot be used.
func New(cfg Config) (*Replica, error) {
	c, err := loadCursors(cfg.Cursors)
	if err != nil {
		return nil, err
	}
	return &Replica{store: cfg.Store, end: cfg.Published, cursors: c, log: cfg.Logger, kept: maxKept, wake: make(chan struct{}, 1)}, nil
}

// Wake sends a Tick within a second. A plugin that was restarted reveals itself by
// ErrNotStarted.
// It does not wait, and may be called from any goroutine.
func (r *Replica) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Status says how the replication goes.
func (r *Replica) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Report implements [peersync.HostServices].
func (r *Replica) Report(_ context.Context, report peersync.Report) error {
	if err := report.Check(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Report = report
	return nil
}

func (r *Replica) noteTrouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Trouble = ""
	if err != nil {
		r.status.Trouble = err.Error()
	}
}

// Save implements [peersync.Cursors].
func (r *Replica) Save(_ context.Context, name string, value []byte) error {
	if err := peersync.CheckCursor(name, value); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return r.cursors.saveCursor(name, value)
}

// Load implements [peersync.Cursors].
func (r *Replica) Load(_ context.Context, name string) ([]byte, error) {
	if err := peersync.CheckCursor(name, nil); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return r.cursors.loadCursor(name), nil
}

// Send implements [peersync.Links]: there are none.
func (r *Replica) Send(context.Context, peersync.Peer, []byte) error { return errNoLinks }

// Transfer implements [peersync.Links]: there are none.
func (r *Replica) Transfer(context.Context, peersync.Peer, []storage.ID) error { return errNoLinks }

// Request implements [peersync.Links]: there are none.
func (r *Replica) Request(context.Context, peersync.Peer, []storage.ID) error { return errNoLinks }

// Drop implements [peersync.Links]: there are none.
func (r *Replica) Drop(context.Context, peersync.Peer, string) error { return errNoLinks }

var errNoLinks = fmt.Errorf("%w: this relay has no links to others", peersync.ErrPeerUnknown)

// translateError puts an error of the store in the words of peer sync.
func translateError(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, peersync.ErrUnavailable, err)
}

// Bounds of one question to the store. A poster has no part in them, and readers
// do not wait for them: they have a line of their own (core/board).
const (
	infoTimeout = host.InfoTimeout
	pageTimeout = host.CallTimeout
)

// readState is the state of the log as far as it was published.
func (r *Replica) readState(ctx context.Context) (peersync.State, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	end, err := r.end() // before what the store says, which is further
	if err != nil {
		return peersync.State{}, translateError("look at the board", err)
	}
	info, err := r.store.Info(ctx)
	if err != nil {
		return peersync.State{}, translateError("look at the store", err)
	}
	if info.Last > end { // the rest was appended just now
		info.Count -= min(info.Count, uint64(info.Last-end))
		info.Last = end
	}
	if info.First > end || info.Count == 0 {
		info.First, info.Count = 0, 0
	}
	return peersync.State{Epoch: info.Epoch, First: info.First, Last: info.Last, Count: info.Count}, nil
}
