package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// describeTimeout bounds the answer to Describe, which a plugin knows by heart.
const describeTimeout = 5 * time.Second

// incarnation is one run of the plugin, from when it is ready.
type incarnation struct {
	number  int
	process *host.Process
	store   storage.Store
	overdue overdue
}

// fatalError is a fault that a new start would meet again.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// run starts one incarnation after the other until ctx ends.
func (p *Plugin) run(ctx context.Context) {
	defer close(p.done)
	defer p.stop()
	if err := p.prepare(); err != nil {
		p.fail(err)
		return
	}
	delay, everReady := p.cfg.Timing.BackoffMin, false
	for n := 1; ctx.Err() == nil; n++ {
		lived, err := p.incarnate(ctx, n)
		if ctx.Err() != nil {
			break
		}
		everReady = everReady || lived > 0
		if fatal := (fatalError{}); errors.As(err, &fatal) && !everReady {
			p.fail(fatal.error)
			return
		}
		if lived >= p.cfg.Timing.Stable {
			delay = p.cfg.Timing.BackoffMin
		}
		p.backOff(ctx, err, jitter(delay))
		delay = min(2*delay, p.cfg.Timing.BackoffMax)
	}
	p.setState(Stopped)
	p.log.Info("plugin stopped")
}

// prepare makes the directories, and removes sockets of an earlier relay.
func (p *Plugin) prepare() error {
	dir, err := filepath.Abs(p.cfg.Dir)
	if err == nil {
		p.cfg.Dir = dir
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the plugin's directory: %w", err)
	}
	if p.cfg.SocketDir == "" {
		return nil
	}
	if err := os.MkdirAll(p.cfg.SocketDir, 0o700); err != nil {
		return fmt.Errorf("make directory for the plugin's sockets: %w", err)
	}
	if err := os.Chmod(p.cfg.SocketDir, 0o700); err != nil {
		return fmt.Errorf("protect directory for the plugin's sockets: %w", err)
	}
	stale, err := filepath.Glob(filepath.Join(p.cfg.SocketDir, "plugin-dir*")) // go-plugin's name
	for _, dir := range stale {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("remove stale sockets: %w", err)
	}
	return nil
}

// fail gives the plugin up.
func (p *Plugin) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = err
	p.updateLocked(func(s *Status) {
		s.State = Failed
		s.setError(err)
	})
}

func (s *Status) setError(err error) {
	now := time.Now()
	s.LastError, s.LastErrorAt = err.Error(), &now
}

// backOff waits before the next incarnation.
func (p *Plugin) backOff(ctx context.Context, err error, delay time.Duration) {
	p.log.Warn("plugin ended; it is started again", "error", err, "after", delay)
	p.mu.Lock()
	p.failure = err
	p.updateLocked(func(s *Status) {
		s.State = Backoff
		s.Restarts++
		s.setError(err)
	})
	p.mu.Unlock()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// jitter keeps plugins that failed together from starting together: 75 to 125
// percent of d.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

// incarnate runs the plugin once, from its start to its end. It returns how
// long it was ready, and why it ended.
func (p *Plugin) incarnate(ctx context.Context, n int) (lived time.Duration, err error) {
	p.update(func(s *Status) { s.State, s.Incarnation = Starting, n })
	begin := time.Now()
	command, err := p.cfg.Command()
	if err != nil {
		return 0, fatalError{err}
	}
	process, err := host.Start(ctx, host.StartConfig{
		Command: command, SocketDir: p.cfg.SocketDir, Logger: p.log, Timeout: p.cfg.Timing.Start,
	})
	if err != nil {
		return 0, err
	}
	defer p.update(func(s *Status) { s.PID = 0 })
	defer process.Kill()
	p.update(func(s *Status) { s.PID = process.PID() })
	if err := p.configure(ctx, process); err != nil {
		return 0, err
	}
	inc := &incarnation{number: n, process: process, store: process.Client().Storage()}
	ready := time.Now()
	p.publish(inc)
	p.log.Info("plugin ready", "incarnation", n, "pid", process.PID(), "version", p.Status().Version, "took", ready.Sub(begin).Round(time.Millisecond))
	err = p.attend(ctx, inc)
	p.retire(inc, ctx.Err() != nil)
	return time.Since(ready), err
}

// configure brings a process to where it can be called.
func (p *Plugin) configure(ctx context.Context, process *host.Process) error {
	describeCtx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	d, err := process.Client().Describe(describeCtx)
	if err != nil {
		return p.ended(process, err)
	}
	if d.Kind != p.cfg.Kind || d.Name != p.cfg.Name {
		return fatalError{fmt.Errorf("the binary is the %s plugin %q", d.Kind, d.Name)}
	}
	p.update(func(s *Status) { s.State, s.Version = Configuring, d.Version })
	configureCtx, cancel := context.WithTimeout(ctx, p.cfg.Timing.Configure)
	defer cancel()
	err = process.Client().Configure(configureCtx, p.cfg.Value, p.cfg.Dir)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrUnavailable), configureCtx.Err() != nil:
		return p.ended(process, err)
	}
	return fatalError{err}
}

// ended adds to the error of a call what the process says by its end.
func (p *Plugin) ended(process *host.Process, err error) error {
	select {
	case <-process.Exited():
		process.Kill() // reads the rest of its log
		return fmt.Errorf("%w (%s)", err, process.ExitReason())
	default:
		return err
	}
}

// publish lets calls through to inc.
func (p *Plugin) publish(inc *incarnation) {
	p.mu.Lock()
	p.current = inc
	p.updateLocked(func(s *Status) { s.State, s.Reason = Ready, "" })
	p.mu.Unlock()
	if p.cfg.OnReady != nil {
		p.cfg.OnReady(inc.number)
	}
}

// attend looks after inc until it has to end, and says why.
func (p *Plugin) attend(ctx context.Context, inc *incarnation) error {
	tick := time.NewTicker(p.cfg.Timing.HealthEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-inc.process.Exited():
			p.withdraw()
			inc.process.Kill()
			return errors.New(inc.process.ExitReason())
		case <-tick.C:
			if err := p.examine(ctx, inc); err != nil {
				return p.ended(inc.process, err)
			}
		}
	}
}

// withdraw lets no more calls go to an incarnation that has ended.
func (p *Plugin) withdraw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = nil
	p.updateLocked(func(*Status) {})
}

// examine asks inc how it is. An error means that it has to end.
func (p *Plugin) examine(ctx context.Context, inc *incarnation) error {
	if method := inc.overdue.since(p.cfg.Timing.Hang); method != "" {
		return fmt.Errorf("%s was not answered for %v", method, p.cfg.Timing.Hang)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.Timing.Health, fmt.Errorf("no answer within %v", p.cfg.Timing.Health))
	defer cancel()
	health, err := inc.process.Client().Health(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("health: %w", cause)
	}
	if err != nil {
		return err
	}
	if health.State == host.Failed {
		return fmt.Errorf("the plugin can not go on: %s", health.Reason)
	}
	if health.Reason != p.Status().Reason {
		p.log.Info("plugin reports on itself", "degraded", health.State == host.Degraded, "reason", health.Reason)
		p.update(func(s *Status) { s.Reason = health.Reason })
	}
	return nil
}

// retire takes inc away from the callers. When it was told to end it is given
// time to do so; otherwise it is dead or beyond hope.
func (p *Plugin) retire(inc *incarnation, asked bool) {
	p.mu.Lock()
	p.current = nil
	ctx := p.drain
	p.updateLocked(func(s *Status) {
		s.Reason = ""
		if asked {
			s.State = Draining
		}
	})
	p.mu.Unlock()
	if !asked {
		return
	}
	client := inc.process.Client()
	err := client.Drain(ctx)
	if err == nil {
		err = client.Shutdown(ctx)
	}
	if err != nil {
		p.log.Error("plugin was not closed in good order", "error", strings.TrimSpace(err.Error()))
	}
	inc.process.Stop(ctx)
	p.mu.Lock()
	p.forced = ctx.Err() != nil
	p.mu.Unlock()
}
