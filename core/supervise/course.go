package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// loop is the goroutine of a supervisor: one incarnation after the other, and
// what they have in common.
type loop struct {
	*Plugin
	setting *setting // in use
	number  int      // of the incarnation begun last
	// listeners are open, by address.
	listeners map[string]pluginproc.Listener
	waiting   bool // for an address to listen at
	ends      failures
	quiet     quiet
}

// setting is a configuration with what is known of it.
type setting struct {
	Config
	proven bool // the plugin was ready with it: what is wrong now may pass
	tasks  int  // that the process started last may have
}

// fatalError is a fault that a new start would meet again, unless the plugin has
// been ready with the same configuration before.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// inadmissibleError is why nobody may call a plugin that is ready.
type inadmissibleError struct{ error }

func (e inadmissibleError) Unwrap() error { return e.error }

func newCourse(p *Plugin, cfg Config) *loop {
	return &loop{Plugin: p, setting: &setting{Config: cfg}, ends: failures{timing: p.timing}, listeners: make(map[string]pluginproc.Listener)}
}

// runLoop starts one incarnation after the other until ctx ends.
func (c *loop) runLoop(ctx context.Context) {
	defer close(c.done)
	defer c.stop()
	defer c.closeListeners(nil)
	c.warnUnconfined(c.setting)
	var inc *incarnation // nil: to be launched
	for inc != nil || ctx.Err() == nil {
		var next *change
		var err error
		if inc == nil {
			inc, err = c.launchIncarnation(ctx, c.setting)
		}
		ready := time.Now()
		if err == nil {
			next, err = c.attendIncarnation(ctx, inc)
		}
		if err != nil && ctx.Err() == nil {
			next = c.waitBackoff(ctx, err, time.Since(ready))
		}
		inc = nil
		if next != nil {
			inc = c.adoptChange(ctx, next)
		}
	}
	c.updateStatus(func(s *Status) { s.State, s.Reason = Stopped, "" })
	c.log.Info("plugin stopped")
}

// waitBackoff waits until the next incarnation is due, after one that ended unasked
// because of err. It returns what is asked for meanwhile, if anything.
func (c *loop) waitBackoff(ctx context.Context, err error, lived time.Duration) *change {
	if lived >= c.timing.Stable {
		c.unmuteLog()
	}
	n, delay := c.ends.noteFailure(time.Now(), lived)
	state, fatal, inadmissible := Backoff, fatalError{}, inadmissibleError{}
	c.waiting = isTaken(err)
	switch {
	case c.waiting:
	case errors.As(err, &inadmissible):
		state = Failed
	case errors.As(err, &fatal) && !c.setting.proven:
		state, err = Failed, fatal.error
	case n > c.timing.Limit && !c.setting.RetryForever:
		state, err = Failed, fmt.Errorf("ended %d times within %v, the last time because of: %w", n, c.timing.Window, err)
	}
	var due <-chan time.Time // never, when it has failed
	if state == Failed {
		c.unmuteLog()
		c.closeListeners(nil) // nobody would answer
		c.log.Error("plugin has failed and is not started again; a reload tries again", "error", err)
	} else {
		c.logEnd(n, err, delay)
		timer := time.NewTimer(delay)
		defer timer.Stop()
		due = timer.C
	}
	wake := c.showStopped(state, err)
	select {
	case <-due:
	case <-ctx.Done():
	case <-wake:
		c.ends.resetFailures()
		c.unmuteLog()
	case next := <-c.changes:
		return next
	}
	return nil
}

// showStopped shows that nothing runs, and returns what Retry closes.
func (c *loop) showStopped(state State, err error) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := make(chan struct{})
	c.failure, c.wake = err, wake
	c.updateLocked(func(s *Status) {
		s.State = state
		s.setError(err)
		if state == Failed {
			s.Reason = err.Error() + "; a reload tries again"
		} else if !c.waiting {
			s.Restarts++
		}
	})
	return wake
}

// failures are the ends of incarnations that nobody asked for.
type failures struct {
	timing Timing
	recent []time.Time // within the window
	delay  time.Duration
}

// noteFailure adds an end, of an incarnation that was there for a time. It returns how
// many ends there were within the window, and after which delay to start again.
func (e *failures) noteFailure(now time.Time, lived time.Duration) (n int, delay time.Duration) {
	for len(e.recent) > 0 && now.Sub(e.recent[0]) >= e.timing.Window {
		e.recent = e.recent[1:]
	}
	e.recent = append(e.recent, now)
	if lived >= e.timing.Stable {
		e.delay = 0
	}
	e.delay = min(max(2*e.delay, e.timing.BackoffMin), e.timing.BackoffMax)
	return len(e.recent), withJitter(e.delay)
}

func (e *failures) resetFailures() { e.recent, e.delay = nil, 0 }

// withJitter keeps plugins that failed together from starting together: 75 to 125
// percent of d.
func withJitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}
