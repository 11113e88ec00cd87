package supervise

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

// remindEvery is how often a muted log reports a plugin that ends again and again.
const remindEvery = time.Hour

// logFailure logs a failure, the n-th within the window. A plugin that is started for
// ever would fill the log with its starts and its own last words. So beyond the limit
// there is one line an hour until it has been ready for a while.
func (l *loop) logFailure(n int, fault error, delay time.Duration) {
	if n <= l.timing.maxFailures && !l.muted.Load() {
		what := "plugin ended; it is started again"
		if l.listenFailed {
			what = "plugin cannot be started; it is tried again"
		}
		l.log.WarnContext(loglimit.Always(context.Background()), what, "error", fault, "after", delay)
		return
	}
	l.unlogged++
	if l.muted.Swap(true) && time.Since(l.remindedAt) < remindEvery {
		return
	}
	l.unmutedLog.Error("plugin ends again and again; it is started again, and the log says no more of it until it stays ready; \"cwtch-relay status\" shows the last error",
		"error", fault, "after", delay, "ends", l.lastNumber, "not logged", l.unlogged-1)
	l.unlogged, l.remindedAt = 0, time.Now()
}

// unmuteLog makes the log complete again.
func (l *loop) unmuteLog() {
	if l.muted.Swap(false) {
		l.log.Info("plugin is logged in full again", "not logged", l.unlogged)
	}
	l.unlogged, l.remindedAt = 0, time.Time{}
}

// logRevert logs why a change was not made.
func (l *loop) logRevert(err error) {
	l.log.Error("plugin could not be reconfigured, and goes back to what it was", "error", err)
}

// warnUnconfined logs which protection the configuration in use lacks.
func (l *loop) warnUnconfined() {
	if to := l.config.Attach; to != nil {
		l.log.Warn("plugin is a process that was started by hand: it is neither checked nor confined nor encrypted, which is for development only", "pid", to.PID, "socket", to.Socket)
		return
	}
	policy := l.config.sandboxPolicy()
	if policy == nil {
		l.log.Warn("plugin is not confined: it can do all that the user of the relay can, such as read the keys of the servers")
		return
	}
	for _, what := range sandbox.Missing(*policy) {
		l.log.Warn("the sandbox of the plugin is incomplete", "missing", what)
	}
}

// muteHandler drops all records while muted is set.
type muteHandler struct {
	slog.Handler
	muted *atomic.Bool
}

// Handle drops the record. Enabled does not change, because plugins are told at their
// start what is enabled.
func (m muteHandler) Handle(ctx context.Context, r slog.Record) error {
	if m.muted.Load() {
		return nil
	}
	return m.Handler.Handle(ctx, r)
}

func (m muteHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return muteHandler{m.Handler.WithAttrs(attrs), m.muted}
}

func (m muteHandler) WithGroup(name string) slog.Handler {
	return muteHandler{m.Handler.WithGroup(name), m.muted}
}
