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

// publish lets calls through to inc.
func (c *course) publish(inc *incarnation) {
	c.mu.Lock()
	c.current, c.last, c.failure = inc, inc, nil
	c.updateLocked(func(s *Status) { s.State, s.Reason = Ready, "" })
	c.mu.Unlock()
	if c.onReady != nil {
		c.onReady(inc.number)
	}
}

// withdraw lets no more calls through.
func (c *course) withdraw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = nil
	c.updateLocked(func(s *Status) { s.Reason = "" })
}

// attend looks after inc until it has to end, and ends it. It returns the
// change for which it had to, or an error when nobody asked for it; with
// neither, the plugin is to be stopped, or started again at once.
func (c *course) attend(ctx context.Context, inc *incarnation) (*change, error) {
	defer c.end(inc)
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
			next := wish.after(c.setting)
			switch same, err := inc.runs(next); {
			case err != nil:
				wish.answer <- err
			case !same:
				c.retireFor(ctx, wish, inc)
				return wish, nil
			default:
				inc, err = c.reopen(ctx, wish, inc, next)
				wish.answer <- err
				if err != nil {
					return nil, nil
				}
			}
		case <-inc.process.Exited():
			c.withdraw()
			return nil, inc.ended()
		case <-inc.condemned:
			c.withdraw()
			return nil, inc.ended()
		case <-due.C:
			if err := c.examine(ctx, inc); err != nil && ctx.Err() == nil {
				c.withdraw()
				return nil, inc.fault(err)
			}
			if time.Since(ready) >= c.timing.Stable {
				c.unmute()
			}
			due.Reset(untilNext(c.timing.HealthEvery))
		}
	}
}

// end leaves nothing of inc.
func (c *course) end(inc *incarnation) {
	inc.run.end()
	c.update(func(s *Status) { s.PID = 0 })
}

// examine asks inc how it is. An error means that it has to end.
func (c *course) examine(ctx context.Context, inc *incarnation) error {
	if method := inc.overdue.since(c.timing.Hang); method != "" {
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
	c.show(health)
	return nil
}

// show puts the health of a plugin that serves into the status.
func (c *course) show(health host.Health) {
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
	c.update(func(s *Status) { s.State, s.Reason = state, health.Reason })
}

// retireForGood ends inc in good order because of Stop.
func (c *course) retireForGood(inc *incarnation) {
	c.mu.Lock()
	ctx := c.drain
	c.mu.Unlock()
	c.retire(ctx, inc)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forced = ctx.Err() != nil
}

// retireFor ends inc in good order because of a change. A Stop meanwhile ends it
// at once.
func (c *course) retireFor(ctx context.Context, wish *change, inc *incarnation) {
	ctx, cancel := either(ctx, wish.ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, c.timing.Drain)
	defer cancel()
	c.retire(ctx, inc)
}

// retire takes inc away from the callers and gives it time to end.
func (c *course) retire(ctx context.Context, inc *incarnation) {
	c.mu.Lock()
	c.current = nil
	c.updateLocked(func(s *Status) { s.State, s.Reason = Draining, "" })
	c.mu.Unlock()
	client := inc.process.Client()
	err := client.Drain(ctx)
	if err == nil {
		err = client.Shutdown(ctx)
	}
	if err != nil {
		c.log.Error("plugin was not closed in good order", "error", strings.TrimSpace(err.Error()))
	}
	inc.process.Stop(ctx)
}
