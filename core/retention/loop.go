package retention

import (
	"cmp"
	"context"
	"errors"
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
	// maxHours is how many hours a store may have, more than a century.
	maxHours = 1 << 20

	// removeTime is how long a step of the removal should take, and removeRest how many
	// times as long there is none after it: every post that comes meanwhile waits for it.
	removeTime = 10 * time.Millisecond
	removeRest = 9
	minStep    = 16 // envelopes
)

// Config says what a [Keeper] keeps.
type Config struct {
	Store  storage.Store
	Limits limits.Retention
	Dir    string // of the server, for what is remembered
	Old    bool   // whether the store had messages before the server was published

	// Grown returns what the board has stored since it was opened.
	Grown func() (envelopes, bytes uint64)
	// FloorRose is called when the floor of the store has risen, whoever raised it.
	FloorRose func()
	// Refuse makes the board refuse posts for a reason, or take them again if it is nil.
	Refuse func(reason error)
	// RefusePeers makes the board take nothing from peers for a reason, or again if it is nil;
	// posts go on.
	RefusePeers func(reason error)
	// Open reports whether the network is open, which it is not for long if the clock is
	// wrong.
	Open func() bool
	// Disk returns the state of the file system of the store.
	Disk func() (Disk, error)
	// Compacting lets one compaction run at a time; it is shared by the servers of a relay.
	Compacting *sync.Mutex
	// Now is the clock of the machine; nil means time.Now.
	Now func() time.Time

	Logger *slog.Logger
}

// Keeper keeps one store within a retention. Its methods may be called from any goroutine.
type Keeper struct {
	cfg       Config
	pruner    storage.Pruner    // nil if the store cannot prune
	compactor storage.Compactor // nil if the store cannot be compacted
	shared    bool              // other relays may raise the floor

	changed chan struct{}             // holds a signal when the limits have changed
	asked   chan (chan compactAnswer) // by Compact
	ended   chan struct{}             // closed when the loop has ended
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu        sync.Mutex
	limits    limits.Retention
	status    Status
	clock     Clock // as in state
	undecided bool  // as in state

	// Of the loop alone.
	loaded    bool  // whether state was loaded
	state     state // its changes are saved before anything is done that depends on them
	saved     state
	clockAt   time.Time        // of the last advance
	wholeAt   time.Time        // of the last look at all hours
	grown     storage.HourSize // as Grown was at that look
	left      storage.HourSize // as it was left
	young     storage.HourSize // of that, what is younger than MinAge
	step      int              // envelopes that the next step removes at the most
	removing  bool
	samples   []Disk // of the last day, one an hour, while there was room
	full      error  // why the size refuses posts
	crowded   Limit  // for which it takes nothing from peers
	short     error  // why the disk does
	refused   string // the reason that the board has
	loggedErr time.Time
	trouble   error        // of the last look or step
	triedAt   time.Time    // of the last look, whether it failed or not
	last      storage.Seq  // of the store, as it was last
	removed   uint64       // envelopes, by this keeper
	floor     storage.Hour // of the store, as it was last
	ahead     bool         // whether that is in the future

	compaction   *compaction          // nil if none is under way
	compactAt    time.Time            // when to look whether one is due
	compactBytes int                  // that the next step moves at the most
	freeLeft     uint64               // by the last compaction
	waiting      []chan compactAnswer // for the end of one
}

// Start keeps a store within a retention until Stop is called.
func Start(cfg Config) *Keeper {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{
		cfg: cfg, limits: cfg.Limits, step: minStep, compactBytes: minCompact,
		changed: make(chan struct{}, 1), asked: make(chan (chan compactAnswer)), ended: make(chan struct{}),
	}
	k.pruner, _ = storage.As[storage.Pruner](cfg.Store)
	k.compactor, _ = storage.As[storage.Compactor](cfg.Store)
	_, k.shared = storage.As[storage.Watcher](cfg.Store)
	k.status.Unable = k.pruner == nil
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.wg.Go(func() { k.run(ctx) })
	return k
}

// Stop ends the work. What it cuts off goes on with the next keeper.
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

// Preview is what a retention would remove.
type Preview struct {
	Now Decision
	// Later is what would go besides once the clock of the machine is believed, and Waits
	// how long the relay has to run until then; both are zero if it is believed.
	Later Decision
	Waits time.Duration
}

// Preview returns what another retention would remove.
func (k *Keeper) Preview(ctx context.Context, r limits.Retention) (p Preview, err error) {
	if k.pruner == nil {
		return p, nil
	}
	info, hours, err := ReadHours(ctx, k.cfg.Store, k.pruner)
	if err != nil {
		return p, err
	}
	k.mu.Lock()
	clock, undecided := k.clock, k.undecided
	k.mu.Unlock()
	machine := storage.HourOf(k.cfg.Now())
	if clock.Hour == 0 { // it is not set yet
		clock = NewClock(newestHour(hours), machine)
	}
	clock, r = clock.Advance(machine, 0), inForce(r, undecided)
	p.Now, p.Waits = Decide(r, hours, info.Floor, clock.Hour), clock.Waits()
	if p.Waits > 0 {
		p.Later = Decide(r, hours[p.Now.Hours:], p.Now.Floor, machine)
	}
	return p, nil
}

// Undecided reports whether everything is kept because nobody has said yet how long the
// server keeps messages.
func (k *Keeper) Undecided() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.undecided
}

// inForce returns the limits that are kept. Without a decision, defaults remove nothing.
func inForce(r limits.Retention, undecided bool) limits.Retention {
	if undecided && !r.Written {
		return limits.Retention{KeepFree: r.KeepFree}
	}
	return r
}

// run is the loop of a keeper.
func (k *Keeper) run(ctx context.Context) {
	defer k.abandonCompaction()
	for ctx.Err() == nil {
		wait := k.work(ctx)
		k.tellBoard()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-k.changed:
			k.wholeAt, k.triedAt, k.samples = time.Time{}, time.Time{}, nil
		case answer := <-k.asked:
			k.waiting = append(k.waiting, answer)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// work does what there is to do next, and returns how long to rest after it.
func (k *Keeper) work(ctx context.Context) time.Duration {
	k.mu.Lock()
	r := k.limits
	k.mu.Unlock()
	k.checkDisk(ctx, r)
	k.decide(r)
	r = inForce(r, k.state.Undecided)
	if k.pruner != nil {
		k.noteTrouble(ctx, k.keep(ctx, r))
		if k.removing {
			return k.removeStep(ctx)
		}
	}
	if k.compactor != nil {
		return k.compact(ctx, r)
	}
	return every
}

// abandonCompaction lets go of a compaction that the next keeper goes on with.
func (k *Keeper) abandonCompaction() {
	close(k.ended)
	if k.compaction != nil {
		k.cfg.Compacting.Unlock()
	}
	for _, answer := range k.waiting {
		answer <- compactAnswer{err: errStopped}
	}
}

// decide loads the state at the first call. A server that had messages and no state is older
// than the defaults, or comes from elsewhere: it is undecided until its retention is
// written.
func (k *Keeper) decide(r limits.Retention) {
	if !k.loaded {
		known, found, err := loadState(k.cfg.Dir)
		if err != nil { // nothing is known, as if there were none
			k.cfg.Logger.Warn("what the retention has to remember is lost, and is found anew", "error", err)
		}
		if k.state = known; !found {
			k.state.Undecided = k.cfg.Old && k.pruner != nil
		}
		k.saved, k.loaded = known, true
	}
	if k.state.Undecided && r.Written {
		k.state.Undecided = false
	}
	k.mu.Lock()
	was := k.undecided
	k.undecided = k.state.Undecided
	k.status.Undecided, k.status.Compaction.Due = k.undecided, k.compactionDue()
	k.mu.Unlock()
	if k.undecided && !was {
		k.cfg.Logger.Warn("nothing is removed: the server has messages from before it had a retention, and the configuration has no retention block for it; write one, \"retention {}\" for the defaults")
	}
}

// noteTrouble notes why old envelopes cannot be removed now, nil if they can, and logs it
// at most once an hour. That the store is away is shown elsewhere.
func (k *Keeper) noteTrouble(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, storage.ErrUnavailable) {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
		k.logError("old envelopes cannot be removed now, will keep trying", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.Trouble = text
}

func (k *Keeper) logError(what string, err error) {
	if time.Since(k.loggedErr) >= time.Hour {
		k.cfg.Logger.Warn(what, "error", err)
		k.loggedErr = time.Now()
	}
}

// keep looks at the store if there may be something to do, and raises its floor.
func (k *Keeper) keep(ctx context.Context, r limits.Retention) error {
	var grown storage.HourSize
	grown.Count, grown.Bytes = k.cfg.Grown()
	size := k.addGrown(k.left, grown)
	switch {
	case errors.Is(k.trouble, storage.ErrCorrupt) && time.Since(k.triedAt) < wholeEvery: // it may cost as much again
		return k.trouble
	case time.Since(k.wholeAt) < wholeEvery && (k.full != nil || exceeded(r, size) == NoLimit):
		k.noteSize(size)
		k.noteCrowded(r, k.addGrown(k.young, grown))
		return cmp.Or(k.followFloor(ctx), k.trouble)
	}
	k.triedAt, k.trouble = time.Now(), k.look(ctx, r, grown)
	return k.trouble
}

// addGrown returns a size of the last look with what the board has stored since.
func (k *Keeper) addGrown(size, grown storage.HourSize) storage.HourSize {
	return storage.HourSize{Count: size.Count + grown.Count - k.grown.Count, Bytes: size.Bytes + grown.Bytes - k.grown.Bytes}
}

// look reads all hours of the store and raises its floor if they say so.
func (k *Keeper) look(ctx context.Context, r limits.Retention, grown storage.HourSize) error {
	info, hours, err := k.readHours(ctx)
	if err != nil {
		return err
	}
	k.last = info.Last
	fell := k.noteFloor(info.Floor)
	if err := k.advanceClock(hours); err != nil {
		return err
	}
	d := Decide(r, hours, info.Floor, k.state.Clock.Hour)
	if d.Floor > info.Floor {
		if err := k.raiseFloor(ctx, d); err != nil {
			return err
		}
	} else if k.wholeAt.IsZero() {
		k.removing = true // what an earlier run may have left
	}
	k.wholeAt, k.grown, k.left, k.young = time.Now(), grown, d.Left, d.Young
	k.noteFull(r, d)
	k.noteCrowded(r, d.Young)
	k.noteStatus(r, d, hours)
	return fell
}

func (k *Keeper) readInfo(ctx context.Context) (storage.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := k.cfg.Store.Info(ctx)
	if err != nil {
		return info, fmt.Errorf("look at the store: %w", err)
	}
	return info, nil
}

// readHours describes the store and reads all its hours.
func (k *Keeper) readHours(ctx context.Context) (storage.Info, []storage.HourSize, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return ReadHours(ctx, k.cfg.Store, k.pruner)
}

// ReadHours describes a store and reads the sizes of all its hours.
func ReadHours(ctx context.Context, store storage.Store, pruner storage.Pruner) (info storage.Info, hours []storage.HourSize, err error) {
	info, err = store.Info(ctx)
	if err != nil {
		return info, nil, fmt.Errorf("look at the store: %w", err)
	}
	for from := info.Floor; len(hours) < maxHours; {
		page, err := pruner.Hours(ctx, storage.HoursRequest{From: from})
		if err != nil {
			return info, nil, fmt.Errorf("read the hours of the store: %w", err)
		}
		hours = append(hours, page...)
		if len(page) < storage.MaxHours {
			return info, hours, nil
		}
		if from = page[len(page)-1].Hour + 1; from == 0 {
			return info, hours, nil
		}
	}
	return info, nil, fmt.Errorf("read the hours of the store: %w: it has messages of more than %d hours", storage.ErrCorrupt, maxHours)
}

// advanceClock advances the clock and saves it before anything is deleted by it.
func (k *Keeper) advanceClock(hours []storage.HourSize) error {
	machine, ran := storage.HourOf(k.cfg.Now()), time.Duration(0)
	clock := k.state.Clock
	if k.clockAt.IsZero() {
		if clock.Hour == 0 {
			clock = NewClock(newestHour(hours), machine)
		}
	} else if ran = time.Since(k.clockAt); ran < clockEvery && k.saved == k.state {
		return nil
	}
	if !k.cfg.Open() {
		ran = 0
	}
	waited := clock.Waits() > 0
	clock, k.clockAt = clock.Advance(machine, ran), time.Now()
	switch waits := clock.Waits() > 0; {
	case waits && !waited:
		k.cfg.Logger.Warn("the clock of this machine is far ahead of the time up to which this server has run: nothing is deleted by it before the relay has run for a day; if the clock is wrong, set it",
			"hours", machine-clock.Hour)
	case waited && !waits:
		k.cfg.Logger.Info("the clock of this machine is believed again")
	}
	k.state.Clock = clock
	k.mu.Lock()
	k.clock = clock
	k.mu.Unlock()
	return k.saveState()
}

func newestHour(hours []storage.HourSize) storage.Hour {
	if len(hours) == 0 {
		return 0
	}
	return hours[len(hours)-1].Hour
}

// raiseFloor raises the floor of the store, with the first step of the removal.
func (k *Keeper) raiseFloor(ctx context.Context, d Decision) error {
	if d.Hours > 0 {
		if err := k.noteRemoval(); err != nil {
			return err
		}
	}
	if err := k.prune(ctx, d.Floor); err != nil {
		return err
	}
	k.noteFloor(d.Floor) //nolint:errcheck // it has risen
	info, err := k.readInfo(ctx)
	if err == nil {
		err = k.noteFloor(info.Floor) // the answer of Prune may be wrong
	}
	if err != nil {
		return err
	}
	if d.Hours > 0 {
		k.cfg.Logger.Info("old envelopes are removed", "hours", d.Hours, "envelopes", d.Gone.Count, "bytes", d.Gone.Bytes)
	}
	return nil
}

// noteRemoval notes the present hour as that of the oldest removal that no compaction has
// followed, unless there was one before.
func (k *Keeper) noteRemoval() error {
	if k.state.Removed > 0 {
		return nil
	}
	k.state.Removed = storage.HourOf(k.cfg.Now())
	k.noteCompaction(func(st *CompactionStatus) { st.Due = k.compactionDue() })
	return k.saveState()
}

// followFloor notes a floor that another relay has raised. Until then the board shows from
// memory what that relay has pruned.
func (k *Keeper) followFloor(ctx context.Context) error {
	if !k.shared {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := k.cfg.Store.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	return k.noteFloor(info.Floor)
}

// noteFloor notes the floor of the store, whoever has moved it. It returns an error if the
// floor has fallen, and the log says so if it is in the future.
func (k *Keeper) noteFloor(floor storage.Hour) error {
	was, now := k.floor, storage.HourOf(k.cfg.Now())
	if floor != was {
		k.floor = floor
		k.cfg.FloorRose()
	}
	ahead := floor > now
	if ahead && !k.ahead {
		k.cfg.Logger.Error("the store keeps nothing from before an hour that is still to come, so posts are refused until then: if the clock of this machine is behind, set it; otherwise wait, or copy the store, since a copy takes posts at once (cwtch-relay storage copy)",
			"hours", floor-now)
	}
	k.ahead = ahead
	if floor < was && was <= now {
		return fmt.Errorf("%w: its floor fell by %d hours, so what was removed may come back; replace the storage plugin", storage.ErrCorrupt, was-floor)
	}
	return nil
}

// removeStep removes some of what was pruned and returns how long to rest.
func (k *Keeper) removeStep(ctx context.Context) time.Duration {
	begin := time.Now()
	if err := k.prune(ctx, 0); err != nil {
		k.trouble = err
		k.noteTrouble(ctx, err)
		return every
	}
	if k.trouble = nil; !k.removing {
		return every
	}
	return max(removeRest*time.Since(begin), 10*time.Millisecond)
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
	k.step = adaptStep(k.step, time.Since(begin), removeTime, minStep, storage.MaxPrune)
	k.removing = pruned.More
	if k.removed += pruned.Envelopes; k.removed > uint64(k.last) {
		info, err := k.readInfo(ctx)
		if err == nil && k.removed > uint64(info.Last) {
			err = fmt.Errorf("prune the store: %w: it says that it has removed %d envelopes and has never had more than %d; replace the storage plugin", storage.ErrCorrupt, k.removed, info.Last)
			k.removing, k.removed = false, 0
		}
		if err != nil {
			return err
		}
		k.last = info.Last
	}
	k.mu.Lock()
	k.status.Removed += pruned.Envelopes
	k.status.Removing = pruned.More
	k.mu.Unlock()
	if pruned.Envelopes > 0 {
		return k.noteRemoval()
	}
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

// noteCrowded notes whether nothing is taken from peers because of the size of the store.
func (k *Keeper) noteCrowded(r limits.Retention, young storage.HourSize) {
	limit := crowdedLimit(r, young, k.crowded != NoLimit)
	if limit == k.crowded {
		return
	}
	k.crowded = limit
	if limit == NoLimit {
		k.cfg.RefusePeers(nil)
		return
	}
	k.cfg.RefusePeers(fmt.Errorf("what is younger than min_age takes more than three quarters of %s, and the rest is for posts: if a peer floods, pause it; to take more, raise %[1]s or lower min_age in the retention of the server", limit))
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
