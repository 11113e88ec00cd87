package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// loop is the goroutine that runs a plugin, one incarnation after the other, and what
// the incarnations have in common.
type loop struct {
	*Plugin
	config     *Config                        // in use
	proven     bool                           // the plugin was ready with config, so a fault of it may pass
	lastNumber int                            // of the latest incarnation
	listeners  map[string]pluginproc.Listener // by address; they stay open over restarts

	failures     []time.Time // ends that nobody asked for, within timing.window
	backoff      backoff.Backoff
	listenFailed bool // the latest start failed because it could not have an address to listen at

	log        *slog.Logger // drops all while muted is set
	pluginLog  *slog.Logger // log, for the lines of the plugin itself
	unmutedLog *slog.Logger // is never muted
	muted      atomic.Bool
	unlogged   int       // failures that the log leaves out
	remindedAt time.Time // when the log told of those last
}

func newLoop(p *Plugin, cfg Config) *loop {
	l := &loop{
		Plugin:     p,
		config:     &cfg,
		listeners:  make(map[string]pluginproc.Listener),
		backoff:    backoff.Backoff{Min: p.timing.backoffMin, Max: p.timing.backoffMax},
		unmutedLog: cfg.Logger.With("plugin", string(cfg.Kind)+"/"+cfg.Name),
	}
	l.log = slog.New(muteHandler{l.unmutedLog.Handler(), &l.muted})
	l.pluginLog = slog.New(loglimit.NewForeign(l.log.Handler()))
	return l
}

// run is the life of a plugin, until ctx ends:
//
//	start    → serve when the incarnation is ready, backOff when it could not start
//	serve    → start with a change, backOff after a fault
//	backOff  → start after a delay or with a change; a failed plugin waits for a change
//
// A change that needs another process is tried once. If it fails, the plugin is started
// again at once with the configuration that it had.
func (l *loop) run(ctx context.Context) {
	defer close(l.done)
	defer l.stop()
	defer l.closeListenersExcept(nil)
	l.warnUnconfined()
	var asked *change // nil: start with the configuration in use
	for ctx.Err() == nil {
		inc, err := l.start(ctx, asked) // Starting, Configuring
		if asked != nil && err != nil {
			asked = nil // go back, at once
			continue
		}
		asked = nil
		if err == nil {
			asked, err = l.serve(ctx, inc) // Ready ⇄ Degraded, then Draining
		}
		if err != nil && ctx.Err() == nil {
			asked = l.backOff(ctx, err) // Backoff or Failed
		}
	}
	if asked != nil {
		asked.answer <- errStopped
	}
	l.updateStatus(func(s *Status) { s.State, s.Reason = Stopped, "" })
	l.log.Info("plugin stopped")
}

// start starts an incarnation that can be called. If a change is asked for, it is
// started with that, and the change is answered.
func (l *loop) start(ctx context.Context, asked *change) (*incarnation, error) {
	if asked == nil {
		return l.launchIncarnation(ctx, l.config)
	}
	l.forgetFailures()
	ctx, cancel := eitherDone(ctx, asked.ctx)
	defer cancel()
	inc, err := l.launchIncarnation(ctx, asked.applyTo(l.config))
	if err != nil {
		l.logRevert(err)
	} else {
		l.warnUnconfined()
	}
	asked.answer <- err
	return inc, err
}

// launchIncarnation starts a process for cfg and brings it to where it can be called. If that
// fails, nothing is left of the process.
func (l *loop) launchIncarnation(ctx context.Context, cfg *Config) (*incarnation, error) {
	begin := time.Now()
	inc := l.beginIncarnation(cfg)
	var err error
	if inc.process, err = l.startProcess(ctx, cfg); err != nil {
		return nil, err
	}
	l.updateStatus(func(s *Status) { s.PID, s.Protocol = inc.process.PID(), inc.process.Protocol() })
	if err = l.describePlugin(ctx, inc); err == nil {
		err = l.configureAndAdmit(ctx, inc)
	}
	if err != nil {
		l.killProcess(inc.process)
		return nil, err
	}
	l.closeListenersExcept(cfg.Listen)
	l.publishIncarnation(inc)
	l.log.InfoContext(loglimit.Always(ctx), "plugin ready", "incarnation", inc.number, "pid", inc.process.PID(), "version", l.Status().Version, "took", time.Since(begin).Round(time.Millisecond))
	return inc, nil
}

// serve watches inc until it has to end, and leaves nothing of its process. It returns
// the change that needs another process, or why inc ended unasked. With neither, Stop
// was called, or a change failed in the process.
func (l *loop) serve(ctx context.Context, inc *incarnation) (*change, error) {
	defer l.killProcess(inc.process)
	stable := time.NewTimer(l.timing.stable)
	defer stable.Stop()
	health := time.NewTimer(untilNext(l.timing.healthEvery))
	defer health.Stop()
	if inc.attached { // and may stand at a breakpoint
		health.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			l.drainForStop(inc)
			return nil, nil
		case asked := <-l.changes:
			cfg := asked.applyTo(l.config)
			can, err := inc.canReconfigure(cfg)
			if err == nil && !can {
				l.drainForChange(ctx, asked, inc)
				return asked, nil
			}
			if err == nil {
				inc, err = l.reconfigureProcess(ctx, asked, inc, cfg)
			}
			asked.answer <- err
			if inc == nil {
				return nil, nil
			}
		case <-inc.process.Exited():
			l.withdrawIncarnation()
			return nil, inc.endReason(nil)
		case <-health.C:
			if fault := l.checkHealth(ctx, inc); fault != nil && ctx.Err() == nil {
				l.withdrawIncarnation()
				return nil, inc.endReason(fault)
			}
			health.Reset(untilNext(l.timing.healthEvery))
		case <-stable.C:
			l.backoff.Reset()
			l.unmuteLog()
		}
	}
}

// backOff decides what follows from a fault. It waits until it is time to start the plugin
// again; a failed plugin it never starts by itself. It returns the change that ends the
// wait, if one does.
func (l *loop) backOff(ctx context.Context, fault error) *change {
	n, delay := l.countFailure(time.Now()), l.backoff.Next()
	l.listenFailed = isListenError(fault)
	state, fatal := Backoff, fatalError{}
	switch {
	case l.listenFailed: // no process has failed
	case errors.As(fault, &fatal) && (fatal.always || !l.proven):
		state = Failed
	case n > l.timing.maxFailures && !l.config.RetryForever:
		state, fault = Failed, fmt.Errorf("ended %d times within %v, the last time because of: %w", n, l.timing.failureWindow, fault)
	}
	var due <-chan time.Time // never, when it has failed
	if state == Failed {
		l.unmuteLog()
		l.closeListenersExcept(nil) // nobody would answer
		l.log.Error("plugin has failed and is not started again; a reload tries again", "error", fault)
	} else {
		l.logFailure(n, fault, delay)
		due = time.After(delay)
	}
	l.showFailure(state, fault)
	select {
	case <-due:
	case <-ctx.Done():
	case asked := <-l.changes:
		return asked
	}
	return nil
}

// publishIncarnation lets callers reach inc. The configuration of inc is the one in use then.
func (l *loop) publishIncarnation(inc *incarnation) {
	l.config, l.proven = inc.config, true
	l.updateStatus(func(s *Status) {
		l.current, l.lastReady, l.fault = inc, inc, nil
		s.State, s.Reason = Ready, ""
	})
	if l.config.OnReady != nil {
		l.config.OnReady(inc.number)
	}
}

// drainForStop drains inc because of Stop.
func (l *loop) drainForStop(inc *incarnation) {
	l.mu.Lock()
	ctx := l.drainCtx
	l.mu.Unlock()
	l.drainAndStop(ctx, inc)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forced = ctx.Err() != nil
}

// drainForChange drains inc because of a change. A Stop meanwhile ends it at once.
func (l *loop) drainForChange(ctx context.Context, asked *change, inc *incarnation) {
	ctx, cancel := eitherDone(ctx, asked.ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, l.timing.drain)
	defer cancel()
	l.drainAndStop(ctx, inc)
}

// drainAndStop takes inc away from its callers, gives it until the end of ctx to close, and
// ends its process.
func (l *loop) drainAndStop(ctx context.Context, inc *incarnation) {
	l.updateStatus(func(s *Status) {
		l.current = nil
		s.State, s.Reason = Draining, ""
	})
	if err := inc.process.Client().Close(ctx); err != nil {
		l.log.Error("plugin was not closed in good order", "error", strings.TrimSpace(err.Error()))
	}
	inc.process.Stop(ctx)
}

// withdrawIncarnation takes the current incarnation away from its callers.
func (l *loop) withdrawIncarnation() {
	l.updateStatus(func(s *Status) { l.current, s.Reason = nil, "" })
}

// killProcess kills a process and removes its number from the status.
func (l *loop) killProcess(p *process) {
	p.killAndCleanUp()
	l.updateStatus(func(s *Status) { s.PID = 0 })
}

// countFailure adds a failure, and returns how many there were within the window.
func (l *loop) countFailure(now time.Time) int {
	l.failures = append(slices.DeleteFunc(l.failures, func(t time.Time) bool { return now.Sub(t) >= l.timing.failureWindow }), now)
	return len(l.failures)
}

// showFailure puts into the status that nothing runs, and why.
func (l *loop) showFailure(state State, fault error) {
	l.updateStatus(func(s *Status) {
		l.fault = fault
		s.State = state
		s.setError(fault)
		if state == Failed {
			s.Reason = fault.Error() + "; a reload tries again"
		} else if !l.listenFailed {
			s.Restarts++
		}
	})
}

// forgetFailures makes the next failure a first one.
func (l *loop) forgetFailures() {
	l.failures = nil
	l.backoff.Reset()
	l.unmuteLog()
}
