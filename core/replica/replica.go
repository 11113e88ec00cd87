// Package replica is the relay's side of peer sync. It serves a plugin that keeps the
// boards of several relays equal: it tells the plugin what happens, and answers what the
// plugin asks. One [Replica] belongs to one such plugin of a server.
//
//	r, err := replica.New(replica.Config{Store: store, Board: published, Cursors: file, Logger: log})
//	plugin := supervise.Start(…, supervise.Config{Host: r})
//	r.Run(ctx, plugin.PeerSync())
//
// # What a plugin can do
//
// The plugin can read the log, and the keys in their order with sums over them. It keeps
// cursors, and reports to the operator. It exchanges messages and envelopes with peers. It
// learns of a commit at once, of those that follow within 50 ms together, and of the time every
// second while there is a link, otherwise every ten seconds.
//
// What the board has just committed goes to the plugin and to the peers from memory: the keys of
// the latest 8192 envelopes, and 2 MiB of the latest bodies. The store is asked for what is older,
// for what may have another Born by now, and where the floor lies between.
//
// # Links
//
// The peers are in the configuration ([Replica.SetPeers]). This relay dials them, and they
// dial it: core/relay passes a connection on whose authenticated name is that of a peer
// ([Replica.HasPeer], [Replica.Accept]). Of two connections one stays. Links stand while the
// plugin runs, and are closed when it fails.
//
// [exchange.Engine] decides what passes over them. One goroutine at a time has it, see
// connections. A link has a goroutine that reads and one that writes. At most four calls of the
// store and of the board are under way for peers, and at most four peers are dialled at
// a time. A peer costs at most [exchange.MaxMemory], and about 150 KiB for its link.
//
// Numbers of peers, and what they have used up of their quotas, are in a file. Which peer an
// envelope came from is remembered of the latest thirty thousand, and not beyond a restart.
//
// A store that is no [storage.Index] exchanges nothing: the relay cannot find what peers ask for.
//
// # What it costs
//
// The keys of the board are in memory ([keyindex.Index]), so that a plugin can compare a
// million of them in a second. They are read from the store when Run begins, and again
// when another board is published; until then Keys, RangeSum and Split return
// [peersync.ErrUnavailable]. The board tells of every key that comes later. A store that is
// no [storage.Index] is read by its log, bodies included, once at each start.
//
// Where a Born may have been lowered, the store is asked: for the ids that were appended
// again, and from time to time for all keys if other relays append to the store too, or
// after an append that failed. That takes at most a hundredth of the time.
//
// At most four million keys are held. Beyond that there are none: Keys, RangeSum and Split
// say so, and so does the status. The log can be followed all the same.
//
// Posters come first. A plugin has one call under way at a time, and a call reads one page.
// After each page, and after sums that took long, the call rests for as long as they took.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Config says what a plugin sees.
type Config struct {
	// Store holds the board. It is only read, stays the caller's, and has to outlive
	// Run.
	Store storage.Store
	// Board returns the board while it is published, and otherwise an error. The plugin
	// learns of nothing beyond its end: entries there may not be durable, and their
	// posters have no results yet.
	Board func() (Board, error)
	// Cursors is the file for the plugin's cursors, in an existing directory in which
	// the plugin cannot write.
	Cursors string
	Logger  *slog.Logger

	// Plugin is the name of the plugin, which peers have to run too, and Version returns its
	// version once it runs; nil: not told.
	Plugin  string
	Version func() string
	// Onion is the name of the board, PeersFile the file for the numbers of peers, beside
	// Cursors. Dial connects to a board as this one; without it nobody is dialled.
	Onion     identity.Onion
	PeersFile string
	Dial      func(context.Context, identity.Onion) (*tapir.Conn, error)
}

// Replica is the [peersync.HostServices] of one plugin. The plugin's calls come from one
// goroutine at a time; the other methods are safe for concurrent use.
type Replica struct {
	store     storage.Store
	board     func() (Board, error)
	cursors   *cursors
	log       *slog.Logger
	maxKeys   int                      // that are held
	followed  atomic.Pointer[follower] // of the board whose keys have been read; nil before
	restarted chan struct{}
	wakeSet   chan struct{} // holds a signal when wakeAt was set
	recent    recent
	bodies    bodyCache
	newest    newestEntries
	floor     atomic.Uint32 // of the store, when it was asked last
	quietTime time.Duration // see quietTime

	plugin  string
	version func() string
	onion   identity.Onion
	dial    func(context.Context, identity.Onion) (*tapir.Conn, error)
	connections

	mu     sync.Mutex
	status Status
	wakeAt time.Time // when the plugin asked for a tick; zero: it did not
}

var _ peersync.HostServices = (*Replica)(nil)

// Status is a replication as the operator sees it. Its JSON form is part of the
// output of the status command.
type Status struct {
	peersync.Report        // the plugin's last one
	Trouble         string `json:"trouble,omitempty"` // why the plugin gets no events now
	NoKeys          string `json:"no_keys,omitempty"` // why it cannot compare boards now
	Crowded         string `json:"crowded,omitempty"` // why nothing is taken from peers now, while posts are
	// Links are the links to the peers that are configured, in the order of the file.
	Links []LinkStatus `json:"links,omitempty"`
}

// New returns a Replica with the cursors of its file. It fails if the file exists and
// cannot be used.
func New(cfg Config) (*Replica, error) {
	c, err := loadCursors(cfg.Cursors)
	if err != nil {
		return nil, err
	}
	n, err := loadPeerNumbers(cfg.PeersFile)
	if err != nil {
		return nil, err
	}
	if cfg.Version == nil {
		cfg.Version = func() string { return "" }
	}
	return &Replica{
		store: cfg.Store, board: cfg.Board, cursors: c, log: cfg.Logger, maxKeys: maxKeys, quietTime: quietTime,
		restarted: make(chan struct{}, 1), wakeSet: make(chan struct{}, 1),
		plugin: cfg.Plugin, version: cfg.Version, onion: cfg.Onion, dial: cfg.Dial,
		connections: connections{
			numbers: n, links: make(map[peersync.Peer]*link), dialing: make(map[peersync.Peer]bool), dialErrors: make(map[peersync.Peer]string),
			traffic: make(map[peersync.Peer]traffic), news: make(chan struct{}, 1), poke: make(chan struct{}, 1),
		},
	}, nil
}

// NoteRestart makes Run send a Tick, and does not wait for it. A plugin
// that was restarted reveals itself by ErrNotStarted.
func (r *Replica) NoteRestart() { signal(r.restarted) }

// Wake implements [peersync.HostServices].
func (r *Replica) Wake(_ context.Context, after time.Duration) error {
	if err := peersync.CheckWake(after); err != nil {
		return fmt.Errorf("wake: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeAt = time.Now().Add(after)
	signal(r.wakeSet)
	return nil
}

// nextWake returns the time for which the plugin has asked for a tick; zero: it has not.
func (r *Replica) nextWake() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wakeAt
}

// takeWake returns and forgets the time for which the plugin has asked for a tick, if it is
// not after end.
func (r *Replica) takeWake(end time.Time) (at time.Time, asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wakeAt.IsZero() || r.wakeAt.After(end) {
		return time.Time{}, false
	}
	at, r.wakeAt = r.wakeAt, time.Time{}
	return at, true
}

// Status returns how the replication goes.
func (r *Replica) Status() Status {
	links := r.linkStatuses()
	crowded := ""
	if b, err := r.board(); err == nil && len(links) > 0 {
		if reason := b.Crowded(); reason != nil {
			crowded = reason.Error()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Links, s.Crowded = links, crowded
	return s
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
func (r *Replica) Save(_ context.Context, cursors ...peersync.Cursor) error {
	if err := peersync.CheckCursors(cursors); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return r.cursors.saveCursors(cursors)
}

// Load implements [peersync.Cursors].
func (r *Replica) Load(_ context.Context, name string) ([]byte, error) {
	if err := peersync.CheckCursorName(name); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return r.cursors.loadCursor(name), nil
}

// List implements [peersync.Cursors].
func (r *Replica) List(context.Context) ([]string, error) { return r.cursors.listCursors(), nil }

// Send implements [peersync.Links].
func (r *Replica) Send(_ context.Context, to peersync.Peer, message []byte) error {
	if err := peersync.CheckMessage(message); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return r.callEngine("send", func(e *exchange.Engine) error { return e.Send(to, message) })
}

// Push implements [peersync.Links].
func (r *Replica) Push(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	if err := peersync.CheckIDs(len(ids)); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	return r.callEngine("push", func(e *exchange.Engine) error { return e.Push(to, ids) })
}

// Offer implements [peersync.Links].
func (r *Replica) Offer(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	if err := peersync.CheckIDs(len(ids)); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	return r.callEngine("offer", func(e *exchange.Engine) error { return e.Offer(to, ids) })
}

// Request implements [peersync.Links].
func (r *Replica) Request(_ context.Context, from peersync.Peer, keys []peersync.Key) error {
	if err := peersync.CheckIDs(len(keys)); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	return r.callEngine("request", func(e *exchange.Engine) error { return e.Request(from, keys) })
}

// Drop implements [peersync.Links].
func (r *Replica) Drop(_ context.Context, peer peersync.Peer, reason string) error {
	if err := peersync.CheckText(reason); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	return r.callEngine("drop", func(e *exchange.Engine) error { return e.Drop(peer, reason) })
}

// Rest implements [peersync.Links].
func (r *Replica) Rest(_ context.Context, peer peersync.Peer, pause time.Duration) error {
	if err := peersync.CheckRest(pause); err != nil {
		return fmt.Errorf("rest: %w", err)
	}
	return r.callEngine("rest", func(e *exchange.Engine) error { return e.Rest(peer, pause) })
}

// callEngine passes a call of the replicator to the engine. Before the first replicator has
// handled Start there is none, and no peer is up.
func (r *Replica) callEngine(what string, call func(*exchange.Engine) error) error {
	r.lockEngine()
	defer r.unlockEngine()
	if !r.open {
		return fmt.Errorf("%s: %w", what, peersync.ErrPeerUnknown)
	}
	if err := call(r.engine); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

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
	b, err := r.board()
	if err == nil {
		err = b.Err()
	}
	if err != nil {
		return peersync.State{}, translateError("look at the board", err)
	}
	end := b.End().Seq // before Info, which is ahead of it
	info, err := r.store.Info(ctx)
	if err != nil {
		return peersync.State{}, translateError("look at the store", err)
	}
	r.floor.Store(uint32(info.Floor))
	if info.Last > end { // the rest has just been appended
		info.Count -= min(info.Count, uint64(info.Last-end))
		info.Last = end
	}
	if info.First > end || info.Count == 0 {
		info.First, info.Count = 0, 0
	}
	return peersync.State{Epoch: info.Epoch, First: info.First, Last: info.Last, Count: info.Count, Floor: info.Floor}, nil
}
