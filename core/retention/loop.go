package retention

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// every is the time between two looks at the disk, and at the store while it grows.
	every = 5 * time.Second
	// wholeEvery is the time between two looks at all hours of the store, which other
	// relays may have changed.
	wholeEvery = 10 * time.Minute
	// clockEvery is the time between two advances of the clock.
	clockEvery = time.Hour
	// callTimeout bounds one call of the store.
	callTimeout = time.Minute

	stepTime = 50 * time.Millisecond // that a step of the removal should take
	minStep  = 64                    // envelopes
	rest     = 3                     // times the duration of a step
)

// Config says what a [Keeper] keeps.
type Config struct {
	Store  storage.Store
	Limits limits.Retention
	Dir    string // of the server, for the clock

	// Grown returns what the board has stored since it was opened.
	Grown func() (envelopes, bytes uint64)
	// FloorRose is called when the floor of the store has risen, whoever raised it.
	FloorRose func()
	// Refuse makes the board refuse posts for a reason, or take them again if it is nil.
	Refuse func(reason error)
	// Open reports whether the network is open, which it is not for long if the clock is
	// wrong.
	Open func() bool
	// Disk returns the state of the file system of the store.
	Disk func() (Disk, error)

	Logger *slog.Logger
}

// Keeper keeps one store within a retention. Its methods may be called from any goroutine.
type Keeper struct {
	cfg    Config
	pruner storage.Pruner // nil if the store cannot prune

	changed chan struct{} // holds a signal when the limits have changed
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	limits limits.Retention
	status Status
	hour   storage.Hour // of clock

	// Of the loop alone.
	clock      Clock
	clockAt    time.Time        // of the last advance
	wholeAt    time.Time        // of the last look at all hours
	grown      storage.HourSize // as Grown was at that look
	left       storage.HourSize // as it was left
	step       int              // envelopes that the next step removes at the most
	removing   bool
	samples    []Disk // of the last day, one an hour, while there was room
	full       error  // why the size refuses posts
	short      error  // why the disk does
	refused    string // the reason that the board has
	loggedErr  time.Time
	clockSaved Clock
	floor      storage.Hour // of the store, as it was last
}

// Start keeps a store within a retention until Stop is called.
func Start(cfg Config) *Keeper {
	k := &Keeper{cfg: cfg, limits: cfg.Limits, changed: make(chan struct{}, 1), step: minStep}
	k.pruner, _ = storage.As[storage.Pruner](cfg.Store)
	k.status.Unable = k.pruner == nil
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.wg.Go(func() { k.run(ctx) })
	return k
}

// Stop ends the work. A step that it cuts off goes on with the next keeper.
func (k *Keeper) Stop() {
	k.stop()
	k.wg.Wait()
}

// SetRetention changes the limits.
func (k *Keeper) SetRetention(r limits.Retention) {
	k.mu.Lock()
	k.limits = r
	k.mu.Unlock()
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Preview returns what another retention would remove now.
func (k *Keeper) Preview(ctx context.Context, r limits.Retention) (Decision, error) {
	if k.pruner == nil {
		return Decision{}, nil
	}
	floor, hours, err := ReadHours(ctx, k.cfg.Store, k.pruner)
	if err != nil {
		return Decision{}, err
	}
	k.mu.Lock()
	now := k.hour
	k.mu.Unlock()
	if now == 0 { // the clock is not set yet
		now = NewClock(newestHour(hours), storage.HourOf(time.Now())).Hour
	}
	return Decide(r, hours, floor, now), nil
}

// run is the loop of a keeper.
func (k *Keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		k.mu.Lock()
		r := k.limits
		k.mu.Unlock()
		k.checkDisk(ctx, r)
		wait := every
		if k.pruner != nil {
			if err := k.keep(ctx, r); err != nil && ctx.Err() == nil {
				k.logError(err)
			}
			if k.removing {
				wait = k.removeStep(ctx)
			}
		}
		k.tellBoard()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-k.changed:
			k.wholeAt, k.samples = time.Time{}, nil
		case <-timer.C:
		}
		timer.Stop()
	}
}

// logError logs that the store could not be looked at or pruned, at most once an hour.
func (k *Keeper) logError(err error) {
	if time.Since(k.loggedErr) >= time.Hour {
		k.cfg.Logger.Warn("old envelopes cannot be removed now, will keep trying", "error", err)
		k.loggedErr = time.Now()
	}
}

// keep looks at the store if there may be something to do, and raises its floor.
func (k *Keeper) keep(ctx context.Context, r limits.Retention) error {
	var grown storage.HourSize
	grown.Count, grown.Bytes = k.cfg.Grown()
	size := storage.HourSize{Count: k.left.Count + grown.Count - k.grown.Count, Bytes: k.left.Bytes + grown.Bytes - k.grown.Bytes}
	if time.Since(k.wholeAt) < wholeEvery && (k.full != nil || exceeded(r, size) == NoLimit) {
		return nil
	}
	floor, hours, err := k.readHours(ctx)
	if err != nil {
		return err
	}
	k.noteFloor(floor)
	if err := k.advanceClock(hours); err != nil {
		return err
	}
	d := Decide(r, hours, floor, k.clock.Hour)
	if d.Floor > floor {
		if err := k.raiseFloor(ctx, d); err != nil {
			return err
		}
	} else if k.wholeAt.IsZero() {
		k.removing = true // what an earlier run may have left
	}
	k.wholeAt, k.grown, k.left = time.Now(), grown, d.Left
	k.noteFull(r, d)
	k.noteStatus(r, d, hours)
	return nil
}

// readHours reads the floor and all hours of the store.
func (k *Keeper) readHours(ctx context.Context) (storage.Hour, []storage.HourSize, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return ReadHours(ctx, k.cfg.Store, k.pruner)
}

// ReadHours reads the floor of a store and the sizes of all its hours.
func ReadHours(ctx context.Context, store storage.Store, pruner storage.Pruner) (floor storage.Hour, hours []storage.HourSize, err error) {
	info, err := store.Info(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("look at the store: %w", err)
	}
	for from := info.Floor; ; {
		page, err := pruner.Hours(ctx, storage.HoursRequest{From: from})
		if err != nil {
			return 0, nil, fmt.Errorf("read the hours of the store: %w", err)
		}
		hours = append(hours, page...)
		if len(page) < storage.MaxHours {
			return info.Floor, hours, nil
		}
		if from = page[len(page)-1].Hour + 1; from == 0 {
			return info.Floor, hours, nil
		}
	}
}

// advanceClock advances the clock and saves it before anything is deleted by it.
func (k *Keeper) advanceClock(hours []storage.HourSize) error {
	machine, ran := storage.HourOf(time.Now()), time.Duration(0)
	if k.clockAt.IsZero() {
		known, err := loadClock(k.cfg.Dir)
		if err != nil { // nothing is known, as if there were none
			k.cfg.Logger.Warn("the clock for deletions is set again", "error", err)
		}
		if k.clock = known; known.Hour == 0 {
			k.clock = NewClock(newestHour(hours), machine)
		}
	} else if ran = time.Since(k.clockAt); ran < clockEvery && k.clockSaved == k.clock {
		return nil
	}
	if !k.cfg.Open() {
		ran = 0
	}
	waited := k.clock.Waits() > 0
	k.clock, k.clockAt = k.clock.Advance(machine, ran), time.Now()
	switch waits := k.clock.Waits() > 0; {
	case waits && !waited:
		k.cfg.Logger.Warn("the clock of this machine is far ahead of the time up to which this server has run: nothing is deleted by it before the relay has run for a day; if the clock is wrong, set it",
			"hours", machine-k.clock.Hour)
	case waited && !waits:
		k.cfg.Logger.Info("the clock of this machine is believed again")
	}
	k.mu.Lock()
	k.hour = k.clock.Hour
	k.mu.Unlock()
	if k.clock == k.clockSaved {
		return nil
	}
	if err := k.clock.save(k.cfg.Dir); err != nil {
		return fmt.Errorf("save the clock for deletions: %w", err)
	}
	k.clockSaved = k.clock
	return nil
}

func newestHour(hours []storage.HourSize) storage.Hour {
	if len(hours) == 0 {
		return 0
	}
	return hours[len(hours)-1].Hour
}

// raiseFloor raises the floor of the store, with the first step of the removal.
func (k *Keeper) raiseFloor(ctx context.Context, d Decision) error {
	if err := k.prune(ctx, d.Floor); err != nil {
		return err
	}
	k.noteFloor(d.Floor)
	if d.Hours > 0 {
		k.cfg.Logger.Info("old envelopes are removed", "hours", d.Hours, "envelopes", d.Gone.Count, "bytes", d.Gone.Bytes)
	}
	return nil
}

// noteFloor notes the floor of the store.
func (k *Keeper) noteFloor(floor storage.Hour) {
	if floor > k.floor {
		k.floor = floor
		k.cfg.FloorRose()
	}
}

// removeStep removes some of what was pruned and returns how long to rest.
func (k *Keeper) removeStep(ctx context.Context) time.Duration {
	begin := time.Now()
	if err := k.prune(ctx, 0); err != nil {
		if ctx.Err() == nil {
			k.logError(err)
		}
		return every
	}
	if !k.removing {
		return every
	}
	return max(rest*time.Since(begin), 10*time.Millisecond)
}

// prune is one Prune of the store.
func (k *Keeper) prune(ctx context.Context, floor storage.Hour) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pruned, err := k.pruner.Prune(ctx, storage.PruneRequest{Floor: floor, Max: k.step})
	if err != nil {
		return fmt.Errorf("prune the store: %w", err)
	}
	switch {
	case pruned.Floor < floor:
		return fmt.Errorf("prune the store: %w: its floor did not rise", storage.ErrCorrupt)
	case pruned.More && pruned.Envelopes == 0:
		return fmt.Errorf("prune the store: %w: it says that there is more to remove, and removes nothing", storage.ErrCorrupt)
	}
	switch took := time.Since(begin); {
	case took > 2*stepTime:
		k.step = max(k.step/2, minStep)
	case took < stepTime/2:
		k.step = min(k.step*2, storage.MaxPrune)
	}
	k.removing = pruned.More
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.Removed += pruned.Envelopes
	k.status.Removing = pruned.More
	return nil
}

// noteFull notes whether posts are refused because of the size of the store.
func (k *Keeper) noteFull(r limits.Retention, d Decision) {
	k.full = nil
	if d.Over != NoLimit {
		k.full = fmt.Errorf("the server is full: it has %d envelopes with %d bytes, more than %s, and all of them are younger than min_age, %d days",
			d.Left.Count, d.Left.Bytes, d.Over, int(r.MinAge.Hours()/24))
	}
}

// tellBoard tells the board whether to refuse posts, and the log when that changes.
func (k *Keeper) tellBoard() {
	reason := k.short
	if reason == nil {
		reason = k.full
	}
	text := ""
	if reason != nil {
		text = reason.Error()
	}
	switch {
	case text == "" && k.refused != "":
		k.cfg.Logger.Info("posts are taken again")
	case text != "" && k.refused == "":
		k.cfg.Logger.Error("posts are refused", "reason", reason)
	}
	if text != k.refused {
		k.cfg.Refuse(reason)
		k.refused = text
		k.mu.Lock()
		defer k.mu.Unlock()
		k.status.Refuses = text
	}
}
