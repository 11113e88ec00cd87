// Package board is the message board of one server: posts go in through a
// commit queue, and every reader follows a cursor on one log.
//
// # The way of a post
//
// [Board.Post] puts an envelope whose token has been checked into a bounded queue
// (queue.go). One goroutine, the committer, takes whatever waits there as a batch and
// hands it to the store in a single durable append (commit.go). There is no timer, so
// a lone post is committed at once, and many posts share the cost of a commit. While a
// batch is in flight the next one gathers.
//
// # Envelopes from other relays
//
// [Board.Replicate] takes envelopes that another relay has accepted. They go the way of posts,
// without a token, and reach readers as posts do. Each append has room for posts first and
// takes at most an eighth of its size from peers, so neither keeps the other out.
//
// # Clients that change replicas
//
// A client names an envelope, and a replay begins there. If clients may roam, the client may
// have that envelope from another one, which got it before others that were here already. The
// board cannot tell such a client from one of its own. So a replay begins at what was shown here
// [ReplicationHours] before the envelope was born, and clients drop what they know by its
// signature. A client that asks each replica only from what it has from there needs none of that. A
// table says which entry was the first of each hour (overlap.go). It is written before the entry is shown,
// and what it does not know makes a replay begin earlier. It believes the clock: if that
// is ahead by more than the overlap, a replay may begin too late until the clock is right.
//
// # The log
//
// The store numbers the envelopes. A [Cursor] is a position in that numbering.
// Recent envelopes are kept in memory, encoded, where all cursors at the end of
// the log find them. A cursor that is further back reads pages from the store.
// One method does both, so there is no moment between replay and live delivery
// in which an envelope could be lost or come twice. A slow reader falls back to the
// store; it never holds up a post or another reader.
//
// # Guarantees
//
//   - Success is reported only for an envelope that the store has made durable.
//   - The result of a post is delivered before a cursor can yield its envelope.
//   - An entry of the log never appears behind a cursor that has passed it.
//
// # What readers cost
//
// A reader may be a stranger, so the calls to the store that are made for readers
// wait in one line: those for pages, and those that find where a replay begins.
// Eight of them are under way at a time, and at most two of these are searches. A
// reader has one call at a time and waits at the end of the line for the next. One
// that gets no answer within [Config.ReadTimeout] gets [ErrReadTimeout]. Appends do
// not wait in that line.
//
// # When entries are pruned
//
// A store may prune any entries at any time. A cursor passes over them and skips
// nothing else; [Cursor.Count] counts what is there. [Board.FloorRose] lets go of what
// is in memory, so that what was pruned is not shown any longer.
//
// # When the store fails
//
// While the store is unavailable posts wait, at most [Config.PostTimeout] in the
// queue and as long again in the append, and are then refused. An append that was
// cut is repeated, and the store tells what the first attempt had done. A page is
// read again as well. A search is not: its cost may be what the store died of.
//
// A store that comes back with another epoch or a shorter log has lost what was
// acknowledged. It is not called (reopen.go), the board refuses posts and replays for
// good, and [Board.Err] says why.
package board

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Config describes a board. The zero value of each limit selects the default.
type Config struct {
	Store storage.Store

	QueueRecords int           // posts that may wait; 8192
	QueueBytes   int64         // bytes they may hold, encoded and decoded; 64 MiB
	PostTimeout  time.Duration // wait for the queue, and again for the store; 10 s
	ReadTimeout  time.Duration // wait of a reader for its turn, and again for the store; 15 s
	RecentBytes  int           // envelopes kept in memory for cursors; 8 MiB
	MaxJSON      int           // longest encoding of an envelope that clients can receive; no limit

	// Check, where set, returns an error when what is stored may not be found again,
	// for instance because somebody has moved the files of the server. It is called
	// before and after every append and must be quick.
	Check func() error

	// HoursFile is where the board keeps its table of hours while clients may roam; see
	// [Board.SetRoaming].
	HoursFile string
	Now       func() time.Time // the clock of that table; time.Now

	Logger *slog.Logger // nil discards
}

func (c Config) withDefaults() Config {
	if c.Check == nil {
		c.Check = func() error { return nil }
	}
	if c.QueueRecords == 0 {
		c.QueueRecords = 8192
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 64 << 20
	}
	if c.PostTimeout == 0 {
		c.PostTimeout = 10 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 15 * time.Second
	}
	if c.RecentBytes == 0 {
		c.RecentBytes = 8 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// errClosed is returned once the board has been closed.
var errClosed = errors.New("board is closed")

// Board is safe for use by any number of goroutines.
type Board struct {
	cfg   Config
	store storage.Store
	log   *slog.Logger
	queue *queue
	tail  tail

	// appendMu is held while the log grows: by the committer from before an append
	// until its results are delivered and its entries are published, and by the
	// watcher while it reads what others have appended.
	appendMu sync.Mutex
	epoch    storage.Epoch // never changes

	// Of the committer alone: posts refused since that was last logged.
	refusedCount  int
	refusedLogged time.Time

	readSlots *semaphore.Weighted // bounds the calls that are made for readers
	findSlots *semaphore.Weighted // bounds those of them that look for a signature

	hours atomic.Pointer[hourTable] // nil while the board has no replicas

	failure     atomic.Pointer[error] // why the board refuses to serve; set once
	lastRefusal atomic.Pointer[error] // why the last batch was refused; nil if it was not
	noRoom      atomic.Pointer[error] // why no post is taken now; nil if posts are
	crowded     atomic.Pointer[error] // why nothing is taken from peers now; nil, or nil in it, if it is

	followMu  sync.Mutex // held while followers are exchanged
	followers atomic.Pointer[[]*func(Change)]

	stop   context.CancelFunc // ends the goroutines
	closed chan struct{}      // closed when the committer has ended
	wg     sync.WaitGroup

	Counts Counts
}

// Counts are what a board has done since it was opened. They tell nothing about
// who did it.
type Counts struct {
	Stored     atomic.Uint64 // envelopes made durable
	FromPeers  atomic.Uint64 // those of Stored that came from other relays
	Duplicate  atomic.Uint64 // posts of an envelope that was there before
	Spent      atomic.Uint64 // posts refused because of a spent token
	Conflict   atomic.Uint64 // posts refused because another envelope has their signature
	Expired    atomic.Uint64 // posts refused because the clock is behind the floor of the store
	NoRoom     atomic.Uint64 // posts refused because of SetNoRoom
	Timeout    atomic.Uint64 // posts refused because queue or store took too long
	Failed     atomic.Uint64 // posts refused because the store reported an error
	Batches    atomic.Uint64 // appends to the store
	Bytes      atomic.Uint64 // signatures and ciphertexts of Stored
	StorePages atomic.Uint64 // pages that cursors read from the store
}

// Open opens the board on cfg.Store, waiting for the store until ctx ends. The
// store remains the caller's and must outlive the board.
func Open(ctx context.Context, cfg Config) (*Board, error) {
	cfg = cfg.withDefaults()
	info, err := cfg.Store.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("open board: %w", err)
	}
	warnOfClock(ctx, cfg, info.Last)
	run, stop := context.WithCancel(context.Background())
	b := &Board{
		cfg:       cfg,
		store:     cfg.Store,
		log:       cfg.Logger,
		queue:     newQueue(cfg.QueueRecords, cfg.QueueBytes),
		epoch:     info.Epoch,
		stop:      stop,
		closed:    make(chan struct{}),
		readSlots: semaphore.NewWeighted(maxReads),
		findSlots: semaphore.NewWeighted(maxFinds),
	}
	b.tail.initAt(info.Last, cfg.RecentBytes)
	b.wg.Go(func() {
		defer close(b.closed)
		b.commitPosts(run)
	})
	if w, ok := storage.As[storage.Watcher](cfg.Store); ok {
		b.wg.Go(func() { b.watchStore(run, w) })
	}
	return b, nil
}

// warnOfClock tells the operator about a clock that is, or was, wrong. Only the hour
// that is stored with new envelopes depends on it.
func warnOfClock(ctx context.Context, cfg Config, last storage.Seq) {
	if last == 0 {
		return
	}
	page, err := cfg.Store.Log(ctx, storage.LogRequest{From: last, Max: 1})
	if err != nil || len(page.Entries) == 0 {
		return
	}
	if ahead := int64(page.Entries[0].Born) - int64(storage.HourOf(time.Now())); ahead > 1 {
		cfg.Logger.Warn("the newest envelope in the store is from the future: the clock of this machine is behind, or was ahead when it came; compare it with another clock", "hours", ahead)
	}
}

// Close stops accepting posts, commits those that wait, and returns when all
// their results are delivered. When ctx ends before that, it refuses the rest.
func (b *Board) Close(ctx context.Context) error {
	b.queue.closeQueue()
	select {
	case <-b.closed:
	case <-ctx.Done():
	}
	b.stop()
	b.wg.Wait()
	return context.Cause(ctx)
}

// Epoch returns the epoch of the store that the board was opened on.
func (b *Board) Epoch() storage.Epoch { return b.epoch }

// Err returns why the board refuses to serve, or nil while it serves.
func (b *Board) Err() error {
	if p := b.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Problem returns why posts are refused now, or nil. It is Err or the error of
// [Config.Check].
func (b *Board) Problem() error {
	if err := b.Err(); err != nil {
		return err
	}
	return b.cfg.Check()
}

// failIfCorrupt gives the board up when err says that the store contradicts itself, and
// returns err. ErrUnavailable takes precedence: then the plugin broke, not its data.
func (b *Board) failIfCorrupt(err error) error {
	if errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrUnavailable) {
		b.giveUp(err)
	}
	return err
}

func (b *Board) giveUp(err error) {
	if b.failure.CompareAndSwap(nil, &err) {
		b.log.Error("board stops serving: what the store holds cannot be trusted", "reason", err)
	}
}

// StoreInfo asks the store to describe itself, for a status report.
func (b *Board) StoreInfo(ctx context.Context) (storage.Info, error) {
	info, err := b.store.Info(ctx)
	return info, b.failIfCorrupt(err)
}

// resyncTail publishes what the store holds beyond the tail. It tries again until ctx
// ends. b.appendMu is held.
func (b *Board) resyncTail(ctx context.Context) error {
	return b.retryUntil(ctx, func() error {
		last, err := b.checkStore(ctx)
		if err != nil {
			return err
		}
		return b.catchUp(ctx, last)
	})
}

// retryPause is the time between two tries of a call that fails at once.
const retryPause = 100 * time.Millisecond

// retryUntil calls try until it succeeds, ctx ends or the board is given up, and
// returns the last error.
func (b *Board) retryUntil(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || b.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryPause):
		}
	}
}

// watchStore follows what other relays append to a shared store.
func (b *Board) watchStore(ctx context.Context, w storage.Watcher) {
	for ctx.Err() == nil {
		last, err := w.Watch(ctx, b.tail.lastSeq())
		if err == nil {
			err = b.publishForeign(ctx, last)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("cannot follow the shared store, will try again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// publishForeign publishes what other relays have appended. Posts wait meanwhile, so
// it takes no longer than a post may wait.
func (b *Board) publishForeign(ctx context.Context, last storage.Seq) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PostTimeout)
	defer cancel()
	b.appendMu.Lock()
	defer b.appendMu.Unlock()
	return b.catchUp(ctx, last)
}

// catchUp publishes the entries of the store from the end of the tail up to last.
// b.appendMu is held.
func (b *Board) catchUp(ctx context.Context, last storage.Seq) error {
	for from := b.tail.lastSeq() + 1; from <= last; from = b.tail.lastSeq() + 1 {
		page, err := b.store.Log(ctx, storage.LogRequest{From: from, Max: pageLength(from, last)})
		if err != nil {
			return fmt.Errorf("read the log from %d: %w", from, b.failIfCorrupt(err))
		}
		b.noteHour()
		entries := entriesUpTo(last, page.Entries)
		if len(entries) == 0 {
			b.tail.skipTo(last)
			break
		}
		b.tellFollowers(Change{Added: entries})
		b.tail.appendEntries(encodeEntries(entries))
	}
	return nil
}
