package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// publishIncarnation lets calls through to inc.
func (c *loop) publishIncarnation(inc *incarnation) {
	c.mu.Lock()
	c.current, c.last, c.failure = inc, inc, nil
	c.updateLocked(func(s *Status) { s.State, s.Reason = Ready, "" })
	c.mu.Unlock()
	if c.onReady != nil {
		c.onReady(inc.number)
	}
}

// withdrawIncarnation lets no more calls through.
func (c *loop) withdrawIncarnation() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = nil
	c.updateLocked(func(s *Status) { s.Reason = "" })
}

// attendIncarnation looks after inc until it has to end, and ends it. It returns the
// change for which it had to, or an error when nobody asked for it; with
// neither, the plugin is to be stopped, or started again at once.
func (c *loop) attendIncarnation(ctx context.Context, inc *incarnation) (*change, error) {
	defer c.endIncarnation(inc)
	due := time.NewTimer(untilNext(c.timing.HealthEvery))
	defer due.Stop()
	if inc.attached { // and may stand at a breakpoint
		due.Stop()
	}
	ready := time.Now()
	for {
		select {
		case <-ctx.Done():
			c.retireForGood(inc)
			return nil, nil
		case wish := <-c.changes:
			next := wish.applyTo(c.setting)
			switch same, err := inc.isRunning(next); {
			case err != nil:
				wish.answer <- err
			case !same:
				c.retireFor(ctx, wish, inc)
				return wish, nil
			default:
				inc, err = c.reopenIncarnation(ctx, wish, inc, next)
				wish.answer <- err
				if err != nil {
					return nil, nil
				}
			}
		case <-inc.process.Exited():
			c.withdrawIncarnation()
			return nil, inc.killedError()
		case <-inc.condemned:
			c.withdrawIncarnation()
			return nil, inc.killedError()
		case <-due.C:
			if err := c.checkHealth(ctx, inc); err != nil && ctx.Err() == nil {
				c.withdrawIncarnation()
				return nil, inc.explainFault(err)
			}
			if time.Since(ready) >= c.timing.Stable {
				c.unmuteLog()
			}
			due.Reset(untilNext(c.timing.HealthEvery))
		}
	}
}

// endIncarnation leaves nothing of inc.
func (c *loop) endIncarnation(inc *incarnation) {
	inc.run.endProcess()
	c.updateStatus(func(s *Status) { s.PID = 0 })
}

// checkHealth asks inc how it is. An error means that it has to end.
func (c *loop) checkHealth(ctx context.Context, inc *incarnation) error {
	if method := inc.overdue.hangingMethod(c.timing.Hang); method != "" {
		return fmt.Errorf("%s was not answered for %v", method, c.timing.Hang)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timing.Health, fmt.Errorf("no answer within %v", c.timing.Health))
	defer cancel()
	health, err := inc.process.Client().Health(ctx)
	if errors.Is(err, storage.ErrUnavailable) && ctx.Err() == nil {
		// The connection may have broken under the question alone; the second
		// one is asked over a new one.
		health, err = inc.process.Client().Health(ctx)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("health: %w", cause)
	}
	if err != nil {
		return err
	}
	if health.State == host.Failed {
		return fmt.Errorf("the plugin cannot go on: %s", health.Reason)
	}
	c.showHealth(health)
	return nil
}

// showHealth puts the health of a plugin that serves into the status.
func (c *loop) showHealth(health host.Health) {
	state := Ready
	if health.State == host.Degraded {
		state = Degraded
	}
	if now := c.Status(); now.State == state && now.Reason == health.Reason {
		return
	}
	if state == Degraded {
		c.log.Warn("plugin is degraded", "reason", health.Reason)
	} else {
		c.log.Info("plugin is well", "reason", health.Reason)
	}
	c.updateStatus(func(s *Status) { s.State, s.Reason = state, health.Reason })
}

// retireForGood ends inc in good order because of Stop.
func (c *loop) retireForGood(inc *incarnation) {
	c.mu.Lock()
	ctx := c.drain
	c.mu.Unlock()
	c.retireIncarnation(ctx, inc)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forced = ctx.Err() != nil
}

// retireFor ends inc in good order because of a change. A Stop meanwhile ends it
// at once.
func (c *loop) retireFor(ctx context.Context, wish *change, inc *incarnation) {
	ctx, cancel := eitherDone(ctx, wish.ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, c.timing.Drain)
	defer cancel()
	c.retireIncarnation(ctx, inc)
}

// retireIncarnation takes inc away from the callers and gives it time to end.
func (c *loop) retireIncarnation(ctx context.Context, inc *incarnation) {
	c.mu.Lock()
	c.current = nil
	c.updateLocked(func(s *Status) { s.State, s.Reason = Draining, "" })
	c.mu.Unlock()
	if err := inc.process.Client().Close(ctx); err != nil {
		c.log.Error("plugin was not closed in good order", "error", strings.TrimSpace(err.Error()))
	}
	inc.process.Stop(ctx)
}
