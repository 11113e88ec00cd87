// Package replica is the relay's side of peer sync. It serves a plugin that keeps the
// boards of several relays equal: it tells the plugin what happens, and answers what the
// plugin asks. One [Replica] belongs to one such plugin of a server.
//
//	r, err := replica.New(replica.Config{Store: store, Published: end, Cursors: file, Logger: log})
//	plugin := supervise.Start(…, supervise.Config{Host: r})
//	r.Run(ctx, plugin.PeerSync())
//
// # What a plugin can do
//
// The plugin can read the log, and the keys in their order with sums over them. It keeps
// cursors, and reports to the operator. It learns of a change of the log within a second,
// and of the time every ten seconds.
//
// There are no links between relays yet. No peer is ever up, and a plugin that sends to
// one gets [peersync.ErrPeerUnknown].
//
// # What it costs
//
// The store returns entries only with their bodies and in the order of the log. So Keys,
// RangeSum and Split read the whole log, some of them several times. They are right at
// any length, and slow beyond some ten thousand envelopes. They hold at most half a
// million keys and one page.
//
// Posters come first. A plugin has one call under way at a time, and a call one page.
// After each page the call rests for as long as the page took, so that it uses at most
// half of the store's time.
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
	// Store holds the board. It is only read, stays the caller's, and has to outlive
	// Run.
	Store storage.Store
	// Published returns the end of the log as the board shows it to readers, or an error
	// while it shows nothing. The plugin learns of nothing beyond: entries there may not
	// be durable, and their posters have no results yet.
	Published func() (storage.Seq, error)
	// Cursors is the file for the plugin's cursors, in an existing directory in which
	// the plugin cannot write.
	Cursors string
	Logger  *slog.Logger
}

// maxHeldKeys is how many keys Split holds at a time: 9 MiB, and twice that while it looks
// for them.
const maxHeldKeys = 1 << 18

// Replica is the [peersync.HostServices] of one plugin. The plugin's calls come from one
// goroutine at a time; Status and Wake are safe for concurrent use.
type Replica struct {
	store     storage.Store
	published func() (storage.Seq, error)
	cursors   *cursors
	log       *slog.Logger
	maxHeld   int // keys that Split holds at a time
	wake      chan struct{}

	mu     sync.Mutex
	status Status
}

var _ peersync.HostServices = (*Replica)(nil)

// Status is a replication as the operator sees it. Its JSON form is part of the
// output of the status command.
type Status struct {
	peersync.Report        // the plugin's last one
	Trouble         string `json:"trouble,omitempty"` // why the plugin gets no events now
}

// New returns a Replica with the cursors of its file. It fails if the file exists and
// cannot be used.
func New(cfg Config) (*Replica, error) {
	c, err := loadCursors(cfg.Cursors)
	if err != nil {
		return nil, err
	}
	return &Replica{store: cfg.Store, published: cfg.Published, cursors: c, log: cfg.Logger, maxHeld: maxHeldKeys, wake: make(chan struct{}, 1)}, nil
}

// Wake makes Run send a Tick within a second, and does not wait for it. A plugin that was
// restarted reveals itself by ErrNotStarted.
func (r *Replica) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Status returns how the replication goes.
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

// translateError turns an error of the store into one of peer sync.
func translateError(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, peersync.ErrUnavailable, err)
}

// Bounds on one call of the store. Neither posters nor readers wait for these calls: they
// have queues of their own (core/board).
const (
	infoTimeout = host.InfoTimeout
	pageTimeout = host.CallTimeout
)

// readState returns the state of the log as far as it was published.
func (r *Replica) readState(ctx context.Context) (peersync.State, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	end, err := r.published() // before Info, which is ahead of it
	if err != nil {
		return peersync.State{}, translateError("look at the board", err)
	}
	info, err := r.store.Info(ctx)
	if err != nil {
		return peersync.State{}, translateError("look at the store", err)
	}
	if info.Last > end { // the rest has just been appended
		info.Count -= min(info.Count, uint64(info.Last-end))
		info.Last = end
	}
	if info.First > end || info.Count == 0 {
		info.First, info.Count = 0, 0
	}
	return peersync.State{Epoch: info.Epoch, First: info.First, Last: info.Last, Count: info.Count}, nil
}
