package replica

import (
	"context"
	"crypto/rand"
	"errors"
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
	// firstWait and lastWait bound the time before a replicator that failed is given
	// Start again.
	firstWait = time.Second
	lastWait  = time.Minute
)

// Run tells a replicator what happens, until ctx ends. It begins with Start. Then it sends
// the state of the log within a second of a change, and the time with it, or every ten
// seconds if nothing changes. If the replicator fails, or was restarted, it is given Start
// again after a while. Run does not close the replicator. Only one Run may be under way.
// As long as it is, the keys of the board are held in memory.
func (r *Replica) Run(ctx context.Context, replicator peersync.Replicator) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.followBoards(ctx) })
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
	told, err := r.readState(ctx)
	if err != nil {
		return err
	}
	r.takeWake(time.Now().Add(peersync.MaxWake)) // of the replicator before
	begin := time.Now()
	start := peersync.Start{State: told, Hour: storage.HourOf(begin)}
	rand.Read(start.Seed[:])
	events := []peersync.Event{start}
	for {
		if err := handleEvents(ctx, replicator, events); err != nil {
			return err
		}
		r.noteTrouble(nil)
		moved, err := r.awaitNews(ctx, &told)
		if err != nil {
			return err
		}
		events = nil // the last ones are the replicator's
		if moved {
			events = append(events, peersync.LogAdvanced{State: told})
		}
		events = append(events, peersync.Tick{Now: time.Since(begin), Hour: storage.HourOf(time.Now())})
	}
}

// awaitNews returns when there is something to tell: that the log is no longer as told,
// which it then updates, or only the time.
func (r *Replica) awaitNews(ctx context.Context, told *peersync.State) (moved bool, err error) {
	due := time.Now().Add(tickEvery)
	for {
		woken, err := r.waitForLook(ctx)
		if err != nil {
			return false, err
		}
		// Without the store a replicator still gets the time.
		if now, err := r.readState(ctx); err == nil && now != *told {
			*told = now
			return true, nil
		}
		if woken || !time.Now().Before(due) {
			return false, nil
		}
	}
}

// waitForLook waits for at most lookEvery, and reports whether the replicator waits for a
// tick: it has asked for one that is due, or was restarted.
func (r *Replica) waitForLook(ctx context.Context) (woken bool, err error) {
	end := time.Now().Add(untilLook())
	at, woken := r.takeWake(end)
	if woken {
		end = at
	}
	if !sleepContext(ctx, time.Until(end)) {
		return false, ctx.Err()
	}
	select {
	case <-r.restarted:
		return true, nil
	default:
		return woken, nil
	}
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
