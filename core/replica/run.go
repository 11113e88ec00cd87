package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// interval is between two looks at the log.
	interval = time.Second
	// quiet is between two ticks when there is nothing else to tell. With no peer
	// up nothing waits for a replicator, and each tick wakes up two processes.
	quiet = 10 * time.Second
	// firstWait is before a replicator that failed is given Start again. It
	// doubles up to lastWait while it goes on failing.
	firstWait = time.Second
	lastWait  = time.Minute
)

// Run tells a replicator what happens, until ctx ends: Start, then the state of
// the log within a second of a change, and the time with it, or ten seconds after
// it was told last. When the replicator fails, or is another one than it was, it is
// given Start again after a while. Run does not close it, and runs once at a time.
func (r *Replica) Run(ctx context.Context, replicator peersync.Replicator) {
	retry := backoff.Backoff{Min: firstWait, Max: lastWait}
	for {
		begin := time.Now()
		err := r.runLife(ctx, replicator)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > lastWait {
			retry.Reset()
		}
		r.noteTrouble(err)
		wait := retry.Next()
		if !errors.Is(err, peersync.ErrNotStarted) {
			r.log.Warn("peer sync begins anew", "reason", err, "after", wait)
		}
		if !sleepContext(ctx, wait) {
			return
		}
	}
}

// runLife tells one life of a replicator, and returns how it ended.
func (r *Replica) runLife(ctx context.Context, replicator peersync.Replicator) error {
	told, err := r.readState(ctx)
	if err != nil {
		return err
	}
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

// awaitNews returns when there is something to tell: that the log is no longer as
// told, which it then updates, or only the time.
func (r *Replica) awaitNews(ctx context.Context, told *peersync.State) (moved bool, err error) {
	due := time.Now().Add(quiet)
	for {
		woken, err := r.waitInterval(ctx)
		if err != nil {
			return false, err
		}
		// Without its store a replicator still has the time.
		if now, err := r.readState(ctx); err == nil && now != *told {
			*told = now
			return true, nil
		}
		if woken || !time.Now().Before(due) {
			return false, nil
		}
	}
}

// waitInterval lasts for at most interval, and tells whether Wake was called.
func (r *Replica) waitInterval(ctx context.Context) (woken bool, err error) {
	// On the second, when the supervisor looks at the plugins as well: what an idle
	// relay costs is for the most part to wake up.
	if !sleepContext(ctx, time.Until(time.Now().Truncate(interval).Add(interval))) {
		return false, ctx.Err()
	}
	select {
	case <-r.wake:
		return true, nil
	default:
		return false, nil
	}
}

func handleEvents(ctx context.Context, replicator peersync.Replicator, events []peersync.Event) error {
	ctx, cancel := context.WithTimeout(ctx, host.HandleTimeout)
	defer cancel()
	return replicator.Handle(ctx, events)
}

// sleepContext returns whether ctx let it last d.
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
