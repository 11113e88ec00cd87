package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// compactAfter is how long removed envelopes may stay in the files of the store before
	// a compaction begins.
	compactAfter = 24 * time.Hour
	// minFree is how much of a store has to be free for a compaction before that, beside an
	// eighth of the store.
	minFree = 16 << 20
	// compactRetry is the time to the next attempt after one that failed.
	compactRetry = time.Hour
	// maxIdleSteps is how many steps in a row may move nothing.
	maxIdleSteps = 16

	// compactTime is how long a step should take, and compactRest how many times as long
	// there is none after it. Posts wait for the least part of a step.
	compactTime = 50 * time.Millisecond
	compactRest = 3
	minCompact  = 256 << 10 // bytes that a step moves
)

// errStopped: the keeper ends.
var errStopped = errors.New("the server is being stopped; the compaction goes on when it runs again")

// errNoCompactor: the store is no [storage.Compactor].
var errNoCompactor = errors.New("its store cannot be compacted: the storage plugin does not have the capability for that")

// Compaction is the result of a compaction.
type Compaction struct {
	Before uint64 `json:"before"` // bytes of the store
	After  uint64 `json:"after"`
	Moved  uint64 `json:"moved"` // bytes that were written for it
}

// CompactionStatus is the compaction of a store as its operator sees it.
type CompactionStatus struct {
	// Due is when the next one begins at the latest; absent if nothing was removed since
	// the last one.
	Due     *time.Time `json:"due,omitempty"`
	Running bool       `json:"running,omitempty"`
	Moved   uint64     `json:"moved,omitempty"` // bytes, by the one that is running
	// Last is the last one since the start, and Ended when it did.
	Last  *Compaction `json:"last,omitempty"`
	Ended *time.Time  `json:"ended,omitempty"`
	// Problem says why none is possible now.
	Problem string `json:"problem,omitempty"`
}

// compaction is a compaction that has begun.
type compaction struct {
	Compaction
	room uint64 // as it was at the beginning
	most uint64 // bytes that it may move
	idle int    // steps in a row that have moved nothing
}

func newCompaction(info storage.Info, room uint64) *compaction {
	return &compaction{Compaction: Compaction{Before: info.Bytes}, room: room, most: 4*info.Bytes + 2*storage.MaxCompact}
}

// compactAnswer is what somebody waits for who has asked for a compaction.
type compactAnswer struct {
	result Compaction
	err    error
}

// Compact compacts the store now and returns when that is done. It joins a compaction that
// is under way. When ctx ends, the compaction goes on.
func (k *Keeper) Compact(ctx context.Context) (Compaction, error) {
	if k.compactor == nil {
		return Compaction{}, errNoCompactor
	}
	answer := make(chan compactAnswer, 1)
	select {
	case k.asked <- answer:
	case <-k.ended:
		return Compaction{}, errStopped
	case <-ctx.Done():
		return Compaction{}, context.Cause(ctx)
	}
	select {
	case a := <-answer:
		return a.result, a.err
	case <-ctx.Done():
		return Compaction{}, fmt.Errorf("the compaction is not finished, and goes on: %w", context.Cause(ctx))
	}
}

// compact begins a compaction if one is due, or takes its next step. It returns how long
// to rest.
func (k *Keeper) compact(ctx context.Context, r limits.Retention) time.Duration {
	if k.compaction == nil && !k.beginCompaction(ctx, r) {
		return every
	}
	return k.compactStep(ctx, r)
}

// beginCompaction begins a compaction if one is due or somebody asks for it, and if no
// other server of this relay is at one.
func (k *Keeper) beginCompaction(ctx context.Context, r limits.Retention) bool {
	asked := len(k.waiting) > 0
	if !asked && time.Now().Before(k.compactAt) {
		return false
	}
	info, err := k.readInfo(ctx)
	if err != nil {
		k.endCompaction(ctx, err, wholeEvery)
		return false
	}
	if !asked && !k.isCompactionDue(info) {
		k.compactAt = time.Now().Add(wholeEvery)
		return false
	}
	d, err := k.cfg.Disk()
	if err != nil {
		k.endCompaction(ctx, err, compactRetry)
		return false
	}
	if !k.cfg.Compacting.TryLock() {
		return false
	}
	k.compaction = newCompaction(info, compactionRoom(r, d))
	k.state.beginCompaction()
	if err := k.saveState(); err != nil {
		k.endCompaction(ctx, err, compactRetry)
		return false
	}
	k.noteCompaction(func(st *CompactionStatus) { st.Due, st.Running = nil, true })
	return true
}

// isCompactionDue reports whether much of a store is free, more than the last compaction
// has left, or removed envelopes have been in it for long enough.
func (k *Keeper) isCompactionDue(info storage.Info) bool {
	free := freeBytes(info)
	if k.state.Compacting || free-min(free, k.freeLeft) >= max(info.Bytes/8, minFree) {
		return true
	}
	now, removed := storage.HourOf(k.cfg.Now()), k.state.oldestRemoval()
	return removed > 0 && (now < removed || now-removed >= hoursOf(compactAfter))
}

// freeBytes returns how much of a store is free; 0 if the store does not say.
func freeBytes(info storage.Info) uint64 {
	if info.InUse == 0 {
		return 0
	}
	return info.Bytes - min(info.InUse, info.Bytes)
}

// compactionRoom returns how much a compaction may take of a disk. Posts must not be
// refused because of it, so it leaves the room above which they are taken again.
func compactionRoom(r limits.Retention, d Disk) uint64 {
	keep := reserve(r, d)
	return d.Free - min(d.Free, keep+keep/10)
}

// compactStep takes one step of a compaction and returns how long to rest.
func (k *Keeper) compactStep(ctx context.Context, r limits.Retention) time.Duration {
	c, begin := k.compaction, time.Now()
	room := c.room
	if d, err := k.cfg.Disk(); err != nil || d.Free < reserve(r, d) {
		room = 0 // something else has filled the disk meanwhile: the store gives back what it took
	}
	more, err := c.takeStep(ctx, k.compactor, room, k.compactBytes)
	switch {
	case ctx.Err() != nil:
		return every
	case errors.Is(err, storage.ErrFull):
		k.endCompaction(ctx, err, compactRetry)
		return every
	case errors.Is(err, storage.ErrCorrupt):
		k.endCompaction(ctx, err, compactAfter)
		return every
	case err != nil, !more:
		k.endCompaction(ctx, err, wholeEvery)
		return every
	}
	took := time.Since(begin)
	k.compactBytes = adaptStep(k.compactBytes, took, compactTime, minCompact, storage.MaxCompact)
	k.noteCompaction(func(st *CompactionStatus) { st.Moved = c.Moved })
	return max(compactRest*took, 10*time.Millisecond)
}

// takeStep takes one step, and reports whether the compaction is not finished. A store that
// does not come to an end is damaged.
func (c *compaction) takeStep(ctx context.Context, compactor storage.Compactor, room uint64, most int) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	done, err := compactor.Compact(ctx, storage.CompactRequest{Room: room, Max: most})
	c.Moved += done.Moved
	if c.idle++; done.Moved > 0 {
		c.idle = 0
	}
	switch {
	case errors.Is(err, storage.ErrFull):
		return false, fmt.Errorf("there is no room for it: %w; beside keep_free the disk has %d MiB for it", err, room>>20)
	case err == nil && done.More && (c.idle >= maxIdleSteps || c.Moved > c.most):
		return false, fmt.Errorf("%w: it has written %d MiB for a compaction of %d MiB and says that it is not finished; replace the storage plugin", storage.ErrCorrupt, c.Moved>>20, c.Before>>20)
	}
	return done.More, err
}

// endCompaction ends a compaction, or the attempt to begin one, tells whoever asked for it,
// and sets when the next may begin.
func (k *Keeper) endCompaction(ctx context.Context, err error, next time.Duration) {
	result := Compaction{}
	if c := k.compaction; c != nil {
		k.compaction = nil
		k.cfg.Compacting.Unlock()
		result = c.Compaction
		if err == nil {
			result.After = c.Before
			if info, infoErr := k.readInfo(ctx); infoErr == nil {
				result.After, k.freeLeft = info.Bytes, freeBytes(info)
			}
		}
		if err == nil || errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrCorrupt) {
			k.state.endCompaction(err == nil)
		}
		if err == nil {
			err = k.saveState()
		} else {
			k.saveState() //nolint:errcheck // err is the reason to be here
		}
	}
	k.compactAt = time.Now().Add(next)
	for _, answer := range k.waiting {
		answer <- compactAnswer{result, err}
	}
	k.waiting = nil
	k.logCompaction(result, err)
}

// logCompaction notes and logs how a compaction has ended. A reason that lasts is logged
// once.
func (k *Keeper) logCompaction(result Compaction, err error) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	st := &k.status.Compaction
	st.Running, st.Moved, st.Due = false, 0, k.compactionDue()
	switch {
	case err == nil:
		st.Problem, st.Last, st.Ended = "", &result, &now
		k.cfg.Logger.Info("the store was compacted", "before", result.Before, "after", result.After, "written", result.Moved)
	case errors.Is(err, storage.ErrUnavailable): // is logged where it is noticed
	default:
		if st.Problem == "" {
			k.cfg.Logger.Warn("the store cannot be compacted now, will keep trying: what was removed stays in its files", "error", err)
		}
		st.Problem = err.Error()
	}
}

// compactionDue returns when the next compaction begins at the latest, or nil.
func (k *Keeper) compactionDue() *time.Time {
	removed := k.state.oldestRemoval()
	if removed == 0 || k.compactor == nil {
		return nil
	}
	return timeOf(removed + hoursOf(compactAfter))
}

func (k *Keeper) noteCompaction(change func(*CompactionStatus)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.status.Compaction)
}

// adaptStep makes the next step of a work larger or smaller, by how long the last one took.
func adaptStep(step int, took, wanted time.Duration, least, most int) int {
	switch {
	case took > 2*wanted:
		return max(step/2, least)
	case took < wanted/2:
		return min(step*2, most)
	}
	return step
}
