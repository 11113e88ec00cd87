package main

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
	"github.com/cwtch-relay/cwtch-relay/core/logwriter"
)

// newLogger returns the logger of the relay, which libraries without one of their own use
// as well. Its lines go to the console, too, if there is one.
func (d *daemon) newLogger(cfg config.Log, level *slog.LevelVar, pages *consoleServer) *slog.Logger {
	var handler slog.Handler
	if d.journal {
		handler = newJournalHandler(cfg, level, d.log)
	} else {
		handler = newHandler(cfg, &slog.HandlerOptions{Level: level}, d.log)
	}
	if pages != nil {
		handler = slog.NewMultiHandler(handler, pages.ring.Handler())
	}
	d.limited = loglimit.New(handler)
	log := slog.New(d.limited)
	d.log.SetNotice(func(t logwriter.Trouble) {
		log.Warn("lines of the log were lost", "lines", t.Lost, "since", t.Since, "reason", t.Reason)
	})
	slog.SetDefault(log)
	return log
}

// newLogger returns the logger of a command.
func newLogger(cfg config.Log, level *slog.LevelVar, w io.Writer) *slog.Logger {
	return slog.New(newHandler(cfg, &slog.HandlerOptions{Level: level}, w))
}

func newHandler(cfg config.Log, options *slog.HandlerOptions, w io.Writer) slog.Handler {
	if cfg.JSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// errorOutput takes the error that ends the relay.
func (d *daemon) errorOutput() io.Writer {
	if d.journal {
		return prefixWriter{"<3>", d.log}
	}
	return d.log
}

// priorities of syslog(3) in the form of sd-daemon(3), from the highest level of slog to
// the lowest.
var priorities = []struct {
	level  slog.Level
	prefix string
}{{slog.LevelError, "<3>"}, {slog.LevelWarn, "<4>"}, {slog.LevelInfo, "<6>"}, {slog.LevelDebug, "<7>"}}

// journalHandler writes lines for the journal, which knows the time and reads the priority
// from the beginning of the line. It has one handler for each of priorities.
type journalHandler []slog.Handler

func newJournalHandler(cfg config.Log, level *slog.LevelVar, w io.Writer) journalHandler {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	var h journalHandler
	for _, p := range priorities {
		h = append(h, newHandler(cfg, options, prefixWriter{p.prefix, w}))
	}
	return h
}

// Enabled implements [slog.Handler].
func (h journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h[0].Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	for i, p := range priorities {
		if r.Level >= p.level {
			return h[i].Handle(ctx, r)
		}
	}
	return h[len(h)-1].Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.mapHandlers(func(one slog.Handler) slog.Handler { return one.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h journalHandler) WithGroup(name string) slog.Handler {
	return h.mapHandlers(func(one slog.Handler) slog.Handler { return one.WithGroup(name) })
}

func (h journalHandler) mapHandlers(with func(slog.Handler) slog.Handler) slog.Handler {
	out := make(journalHandler, len(h))
	for i, one := range h {
		out[i] = with(one)
	}
	return out
}

// prefixWriter puts a prefix in front of each line.
type prefixWriter struct {
	prefix string
	w      io.Writer
}

func (p prefixWriter) Write(lines []byte) (int, error) {
	var b strings.Builder
	for line := range strings.Lines(string(lines)) {
		b.WriteString(p.prefix + line)
	}
	if _, err := io.WriteString(p.w, b.String()); err != nil {
		return 0, err
	}
	return len(lines), nil
}
