package supervise

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
)

// remindEvery is how often the log tells of a plugin that ends again and again.
const remindEvery = time.Hour

// quiet counts the ends that the log leaves out.
type quiet struct {
	ends int
	told time.Time // when the log told of them last
}

// logEnd tells of an end, of which there were n within the window. A plugin that is
// started forever would fill the log with its starts and with its own last words,
// so beyond the limit there is one line an hour until it has been ready for a while.
func (c *loop) logEnd(n int, err error, delay time.Duration) {
	if n <= c.timing.Limit && !c.muted.Load() {
		what := "plugin ended; it is started again"
		if c.waiting {
			what = "plugin cannot be started; it is tried again"
		}
		c.log.WarnContext(loglimit.Always(context.Background()), what, "error", err, "after", delay)
		return
	}
	c.quiet.ends++
	if c.muted.Swap(true) && time.Since(c.quiet.told) < remindEvery {
		return
	}
	c.loud.Error("plugin ends again and again; it is started again, and the log says no more of it until it stays ready; \"cwtch-relay status\" shows the last error",
		"error", err, "after", delay, "ends", c.number, "not logged", c.quiet.ends-1)
	c.quiet = quiet{told: time.Now()}
}

// unmuteLog lets the log tell everything again.
func (c *loop) unmuteLog() {
	if c.muted.Swap(false) {
		c.log.Info("plugin is logged in full again", "not logged", c.quiet.ends)
	}
	c.quiet = quiet{}
}

// mutable is a handler that drops all while muted is set.
type mutable struct {
	slog.Handler
	muted *atomic.Bool
}

// Handle drops the record, and Enabled does not: plugins are told at their start
// what is enabled.
func (m mutable) Handle(ctx context.Context, r slog.Record) error {
	if m.muted.Load() {
		return nil
	}
	return m.Handler.Handle(ctx, r)
}

func (m mutable) WithAttrs(attrs []slog.Attr) slog.Handler {
	return mutable{m.Handler.WithAttrs(attrs), m.muted}
}

func (m mutable) WithGroup(name string) slog.Handler {
	return mutable{m.Handler.WithGroup(name), m.muted}
}
