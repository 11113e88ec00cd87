package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// interval is between two ticks, and between two looks at the log.
	interval = time.Second
	// handleTimeout is how long a Handle may take. It may have to look through
	// the whole log.
	handleTimeout = 5 * time.Minute
	// firstWait is before a replicator that failed is given Start again. It
	// doubles up to lastWait while it goes on failing.
	firstWait = time.Second
	lastWait  = time.Minute
)

// Run tells a replicator what happens, until ctx ends: Start, then every second
// the time, with the state of the log whenever that has changed. When the
// replicator fails, or is another one than it was, it is given Start again after
// a while. Run does not close it, and runs once at a time.
func (r *Replica) Run(ctx context.Context, replicator peersync.Replicator) {
	wait := firstWait
	for {
		begin := time.Now()
		err := r.live(ctx, replicator)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > lastWait {
			wait = firstWait
		}
		r.trouble(err)
		if !errors.Is(err, peersync.ErrNotStarted) {
			r.log.Warn("peer sync begins anew", "reason", err, "after", wait)
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, lastWait)
	}
}

// live tells one life of a replicator, and returns how it ended.
func (r *Replica) live(ctx context.Context, replicator peersync.Replicator) error {
	told, err := r.state(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	start := peersync.Start{State: told, Hour: storage.HourOf(begin)}
	rand.Read(start.Seed[:])
	events := []peersync.Event{start}
	for {
		if err := handle(ctx, replicator, events); err != nil {
			return err
		}
		r.trouble(nil)
		if !pause(ctx, interval) {
			return ctx.Err()
		}
		events = []peersync.Event{peersync.Tick{Now: time.Since(begin), Hour: storage.HourOf(time.Now())}}
		// Without its store a replicator still has the time.
		if now, err := r.state(ctx); err == nil && now != told {
			told = now
			events = append([]peersync.Event{peersync.LogAdvanced{State: now}}, events...)
		}
	}
}

func handle(ctx context.Context, replicator peersync.Replicator, events []peersync.Event) error {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	return replicator.Handle(ctx, events)
}

// pause returns whether ctx let it last d.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
