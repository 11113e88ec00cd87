package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/keyindex"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Board is the board of a server while it is published, a [*board.Board].
type Board interface {
	Err() error
	NoRoom() error
	Crowded() error
	End() board.Position
	Epoch() storage.Epoch
	Follow(func(board.Change)) (stop func())
	// Replicate is [board.Board.Replicate].
	Replicate(ctx context.Context, records []storage.Record) []peersync.OutcomeStatus
}

const (
	// maxKeys is how many keys are held in memory: 150 to 200 MiB, and about twice that
	// until the collector has run.
	maxKeys = 1 << 22
	// maxFound is how many keys may wait until the store is asked for their Born.
	maxFound = 1 << 12
	// rereadEvery is the least time between two readings of all keys, and rereadRest how
	// many times the duration of the last one there is at least.
	rereadEvery = time.Minute
	rereadRest  = 100
)

// follower keeps the keys of one board in memory.
type follower struct {
	board Board
	store storage.Store
	index keyindex.Index
	max   int // keys

	recent *recent
	bodies *bodyCache
	newest *newestEntries

	reading sync.Mutex // is held while all keys are read: pages of two readings would mix

	mu     sync.Mutex
	paging bool          // a page of keys is being read
	added  []storage.Key // by the board since then
	found  []storage.Key // of ids whose Born may have been lowered to that
	unsure bool          // every Born may have been lowered
}

// noteChange is called by the board.
func (f *follower) noteChange(c board.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := make([]storage.Key, len(c.Added))
	for i, e := range c.Added {
		keys[i] = keyOf(e)
		f.recent.noteEntry(e)
		f.bodies.keep(recordOf(e))
	}
	f.newest.addEntries(f.board, c.Added)
	for _, k := range c.Found {
		f.recent.doubtBorn(k)
	}
	f.unsure = f.unsure || c.Unsure
	if f.found = append(f.found, c.Found...); len(f.found) > maxFound {
		f.found, f.unsure = nil, true
	}
	if f.index.Len() > f.max {
		return // the next look gives the board up
	}
	if f.paging {
		f.added = append(f.added, keys...)
	}
	f.index.Insert(keys...)
}

// takeDoubts returns the ids whose Born may have been lowered, and whether all may, and
// forgets them. What a client posts again has the present hour, which lowers nothing.
func (f *follower) takeDoubts() (ids []storage.ID, unsure bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := f.index.Newest()
	for _, k := range f.found {
		if k.Born < newest {
			ids = append(ids, k.ID)
		}
	}
	unsure = f.unsure
	f.found, f.unsure = nil, false
	return ids, unsure
}

// checkCount returns an error if there are more keys than are held.
func (f *follower) checkCount(n uint64) error {
	if n > uint64(f.max) {
		return fmt.Errorf("the store has %d envelopes and the relay keeps the keys of at most %d for peer sync: lower max_count in the retention of the server", n, f.max)
	}
	return nil
}

// readKeys makes the index equal to the keys that the store has, page by page.
func (f *follower) readKeys(ctx context.Context, index storage.Index) error {
	f.reading.Lock()
	defer f.reading.Unlock()
	defer f.endPage()
	for in := (storage.Range{}); ; {
		begin := time.Now()
		keys, err := f.readPage(ctx, index, in)
		if err != nil {
			return fmt.Errorf("read keys: %w", err)
		}
		page := in
		if len(keys) == storage.MaxKeys {
			page.Hi = keys[len(keys)-1].Next()
		}
		f.replacePage(page, keys)
		if err := f.checkCount(uint64(f.index.Len())); err != nil {
			return err
		}
		if page.Hi == (storage.Key{}) {
			return nil
		}
		in.Lo = page.Hi
		if !sleepContext(ctx, time.Since(begin)) {
			return ctx.Err()
		}
	}
}

// readPage reads a page of keys from the store, and waits until the board has published
// all of their entries.
func (f *follower) readPage(ctx context.Context, index storage.Index, in storage.Range) ([]storage.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	f.mu.Lock()
	f.paging = true
	f.mu.Unlock()
	keys, err := index.Keys(ctx, storage.KeysRequest{Range: in})
	if err != nil {
		return nil, err
	}
	info, err := f.store.Info(ctx)
	if err != nil {
		return nil, err
	}
	f.index.DropBelow(info.Floor)
	return keys, f.awaitPublished(ctx, info.Last)
}

// endPage forgets what the board has added since a page of keys was asked for.
func (f *follower) endPage() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paging, f.added = false, nil
}

// replacePage puts a page of keys into the index, and what the board has added meanwhile.
func (f *follower) replacePage(in storage.Range, keys []storage.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index.Replace(in, keys)
	f.index.Insert(f.added...)
	f.paging, f.added = false, nil
}

// awaitPublished waits until the board has published the log up to seq.
func (f *follower) awaitPublished(ctx context.Context, seq storage.Seq) error {
	for {
		if err := f.board.Err(); err != nil {
			return err
		}
		end := f.board.End()
		if end.Seq >= seq {
			return nil
		}
		select {
		case <-end.Changed:
		case <-ctx.Done():
			return fmt.Errorf("the store has entries that the board does not show yet: %w", ctx.Err())
		}
	}
}

// lowerIDs asks the store for the Born of ids, and lowers their keys.
func (f *follower) lowerIDs(ctx context.Context, index storage.Index, ids []storage.ID) error {
	err := getEntries(ctx, index, ids, func(e storage.Entry) {
		f.index.Lower(keyOf(e))
		f.recent.note(e.ID, func(known *facts) { known.born = e.Born })
	})
	if err != nil {
		return fmt.Errorf("look up ids: %w", err)
	}
	return nil
}

// followBoards keeps the keys of the board that is published in memory, until ctx ends.
func (r *Replica) followBoards(ctx context.Context) {
	retry := backoff.Backoff{Min: firstWait, Max: lastWait}
	for ctx.Err() == nil {
		b, err := r.board()
		if err != nil {
			sleepContext(ctx, untilLook())
			continue
		}
		begin := time.Now()
		err = r.followBoard(ctx, b)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if time.Since(begin) > lastWait {
			retry.Reset()
		}
		r.noteKeyTrouble(err)
		sleepContext(ctx, retry.Next())
	}
}

// followBoard reads the keys of a board, and follows it until another one is published,
// which is no error, or something fails.
func (r *Replica) followBoard(ctx context.Context, b Board) error {
	r.recent.forgetAll() // it may be another store
	r.bodies.forgetAll()
	r.newest.beginLog(b)
	f := &follower{board: b, store: r.store, max: r.maxKeys, recent: &r.recent, bodies: &r.bodies, newest: &r.newest}
	defer b.Follow(f.noteChange)() // before anything is read: nothing falls in between
	begin := time.Now()
	index, indexed, err := r.readAll(ctx, f)
	if err != nil {
		return err
	}
	r.followed.Store(f)
	defer r.followed.Store(nil)
	r.noteKeyTrouble(nil)
	_, shared := storage.As[storage.Watcher](r.store)
	due := time.Now().Add(max(rereadEvery, rereadRest*time.Since(begin)))
	for unsure := shared; ; {
		if !sleepContext(ctx, untilLook()) {
			return ctx.Err()
		}
		if now, err := r.board(); err != nil || now != b {
			return nil
		}
		if err := f.checkCount(uint64(f.index.Len())); err != nil {
			return err
		}
		ids, doubts := f.takeDoubts()
		if !indexed {
			continue // no Born ever changes
		}
		if err := f.lowerIDs(ctx, index, ids); err != nil {
			r.log.Warn("the keys of duplicates cannot be looked up now: all keys will be read again", "error", err)
			doubts = true
		}
		if unsure = unsure || doubts; unsure && !time.Now().Before(due) {
			begin := time.Now()
			if err := f.readKeys(ctx, index); err == nil {
				unsure = shared
			} else if ctx.Err() == nil {
				r.log.Warn("the keys cannot be read again now", "error", err)
			}
			due = time.Now().Add(max(rereadEvery, rereadRest*time.Since(begin)))
		}
	}
}

// readAll reads all keys of the store for the first time. It returns the store as an
// Index if it is one. If not, the keys are in the log only.
func (r *Replica) readAll(ctx context.Context, f *follower) (index storage.Index, indexed bool, err error) {
	state, err := r.readState(ctx) // the store is there then, and what it can do is known
	if err == nil {
		err = f.checkCount(state.Count)
	}
	if err != nil {
		return nil, false, err
	}
	if index, indexed = storage.As[storage.Index](r.store); indexed {
		return index, true, f.readKeys(ctx, index)
	}
	r.log.Info("the store does not find envelopes by their keys: the whole log is read for peer sync, which takes a while at each start")
	f.index.DropBelow(state.Floor)
	_, err = r.scanLog(ctx, 1, storage.MaxPage, func(e storage.Entry) bool {
		f.index.Insert(keyOf(e))
		return f.index.Len() <= f.max
	})
	if err == nil {
		err = f.checkCount(uint64(f.index.Len()))
	}
	return nil, false, err
}

// errReading is why there are no keys at first.
var errReading = errors.New("the keys of the board are still being read")

// noteKeyTrouble notes why there are no keys now, or that there are.
func (r *Replica) noteKeyTrouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.status.NoKeys
	if r.status.NoKeys = ""; err != nil {
		r.status.NoKeys = err.Error()
	}
	if r.status.NoKeys != "" && r.status.NoKeys != before {
		r.log.Warn("boards cannot be compared now", "reason", err)
	}
}

// findIndex returns the keys of the board that is published.
func (r *Replica) findIndex(ctx context.Context) (*keyindex.Index, error) {
	state, err := r.readState(ctx)
	if err != nil {
		return nil, err
	}
	b, err := r.board()
	if err != nil {
		return nil, err
	}
	f := r.followed.Load()
	if f == nil || f.board != b {
		reason := errReading
		if text := r.Status().NoKeys; text != "" {
			reason = errors.New(text)
		}
		return nil, reason
	}
	f.index.DropBelow(state.Floor)
	return &f.index, nil
}
