package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// lookEvery is the time between two looks at the log.
	lookEvery = time.Second
	// tickEvery is the time between two ticks when there is nothing else to tell. While
	// no peer is up, nobody waits for a replicator, and each tick wakes up two processes.
	tickEvery = 10 * time.Second
	// linkedTickEvery is the same while there is a link.
	linkedTickEvery = time.Second
	// firstWait and lastWait bound the time before a replicator that failed is given
	// Start again.
	firstWait = time.Second
	lastWait  = time.Minute
	// handlePause is the time between the end of a Handle with events and the next one, so that a call
	// carries what has happened meanwhile: many posts, and what peers have answered. Each call wakes
	// up two processes, and leads to more calls. After a quiet moment there is no delay.
	handlePause = 50 * time.Millisecond
)

// Run tells a replicator what happens, until ctx ends. It begins with Start. Then it passes on
// what the peers send, and that the log has grown, a moment after the replicator has returned from
// the events before; and the time every second while a peer is up, otherwise every ten seconds
// or with a change of the log. If the replicator fails, or was restarted, all links are closed
// and it is given Start again after a while. Run does not close the replicator. Only one Run
// may be under way. As long as it is, the keys of the board are held in memory.
func (r *Replica) Run(ctx context.Context, replicator peersync.Replicator) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.followBoards(ctx) })
	wg.Go(func() { r.runClock(ctx) })
	defer wg.Wait()
	defer cancel()
	retry := backoff.Backoff{Min: firstWait, Max: lastWait}
	for {
		begin := time.Now()
		err := r.runOnce(ctx, replicator)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > lastWait {
			retry.Reset()
		}
		r.noteTrouble(err)
		wait := retry.Next()
		if !errors.Is(err, peersync.ErrNotStarted) {
			r.log.Warn("peer sync starts again", "reason", err, "after", wait)
		}
		if !sleepContext(ctx, wait) {
			return
		}
	}
}

// runOnce gives a replicator Start and tells it what happens until it fails. It returns
// why.
func (r *Replica) runOnce(ctx context.Context, replicator peersync.Replicator) error {
	state, err := r.readState(ctx)
	if err != nil {
		return err
	}
	r.takeWake(time.Now().Add(peersync.MaxWake)) // of the replicator before
	begin := time.Now()
	start := peersync.Start{State: state, Hour: storage.HourOf(begin), Peers: r.listPeers()}
	rand.Read(start.Seed[:])
	if err := handleEvents(ctx, replicator, []peersync.Event{start}); err != nil {
		return err
	}
	r.noteTrouble(nil)
	r.openLinks(ctx, start)
	defer r.closeLinks()
	ctx, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { r.watchLog(ctx, state) })
	defer watcher.Wait()
	defer cancel()
	for ticked := begin; ; {
		events, tick, err := r.awaitEvents(ctx, ticked)
		if err != nil {
			return err
		}
		busy := len(events) > 0
		if tick {
			ticked = time.Now()
			events = append(events, peersync.Tick{Now: ticked.Sub(begin), Hour: storage.HourOf(ticked)})
		}
		if err := handleEvents(ctx, replicator, events); err != nil {
			return err
		}
		if busy && !sleepContext(ctx, handlePause) {
			return ctx.Err()
		}
	}
}

// watchLog tells the engine how the log grows, the floor rises and whether there is room, until ctx
// ends. It learns of a commit at once, of those that follow within handlePause together, and asks the
// store every second.
func (r *Replica) watchLog(ctx context.Context, state peersync.State) {
	look := time.NewTimer(untilLook())
	defer look.Stop()
	for {
		b, err := r.board()
		r.setTaking(err == nil && b.Err() == nil && b.NoRoom() == nil && b.Crowded() == nil)
		var changed <-chan struct{}
		if err == nil {
			end := b.End()
			if end.Seq > state.Last {
				state = grownState(state, end.Seq)
				r.setState(state)
				if !sleepContext(ctx, handlePause) {
					return
				}
			}
			changed = end.Changed
		}
		select {
		case <-changed:
		case <-look.C:
			// Without the store, a replicator is still told what is committed.
			if now, err := r.readState(ctx); err == nil && now != state {
				state = now
				r.setState(state)
			}
			look.Reset(untilLook())
		case <-ctx.Done():
			return
		}
	}
}

// grownState is the state of a log that has grown up to a position.
func grownState(s peersync.State, last storage.Seq) peersync.State {
	if s.First == 0 {
		s.First = s.Last + 1
	}
	s.Count += uint64(last - s.Last)
	s.Last = last
	return s
}

func (r *Replica) setState(state peersync.State) {
	r.lockEngine()
	defer r.unlockEngine()
	r.engine.SetState(state)
}

// setTaking tells the engine whether the board takes envelopes.
func (r *Replica) setTaking(taking bool) {
	r.lockEngine()
	defer r.unlockQuietly()
	r.engine.SetTaking(taking)
}

// awaitEvents waits until there is something to tell, and returns it. tick says that the time
// has to be told with it. The last tick was at ticked.
func (r *Replica) awaitEvents(ctx context.Context, ticked time.Time) (events []peersync.Event, tick bool, err error) {
	for {
		events, linked := r.takeEvents()
		hasMoved := slices.ContainsFunc(events, func(e peersync.Event) bool { _, ok := e.(peersync.LogAdvanced); return ok })
		due := nextSecond(ticked.Add(tickEvery))
		if linked {
			due = nextSecond(ticked.Add(linkedTickEvery))
		}
		_, woken := r.takeWake(time.Now())
		if tick = hasMoved || woken || !time.Now().Before(due); tick || len(events) > 0 {
			return events, tick, nil
		}
		if at := r.nextWake(); !at.IsZero() && at.Before(due) {
			due = at
		}
		timer := time.NewTimer(time.Until(due))
		select {
		case <-timer.C:
		case <-r.news:
		case <-r.wakeSet:
		case <-r.restarted:
			timer.Stop()
			return nil, true, nil
		case <-ctx.Done():
			timer.Stop()
			return nil, false, ctx.Err()
		}
		timer.Stop()
	}
}

// nextSecond returns the first full second that is not before t; see untilLook.
func nextSecond(t time.Time) time.Time {
	return t.Add((time.Second - time.Duration(t.Nanosecond())) % time.Second)
}

// takeEvents takes what the engine has for the replicator, and reports whether there is a link.
func (r *Replica) takeEvents() (events []peersync.Event, linked bool) {
	r.lockEngine()
	defer r.unlockQuietly()
	events = r.engine.Events()
	return events, len(r.links) > 0
}

// untilLook returns how long it is until the next look. The supervisor looks at the plugins
// on the second too. Wake-ups are most of what an idle relay costs.
func untilLook() time.Duration { return time.Until(time.Now().Truncate(lookEvery).Add(lookEvery)) }

func handleEvents(ctx context.Context, replicator peersync.Replicator, events []peersync.Event) error {
	ctx, cancel := context.WithTimeout(ctx, host.HandleTimeout)
	defer cancel()
	return replicator.Handle(ctx, events)
}

// sleepContext waits for d, and reports whether ctx lasted so long.
func sleepContext(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
