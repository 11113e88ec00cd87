// Package logring keeps the last lines of a log in memory, for a person who looks at
// them in the console. It is for the relay, which writes its log elsewhere as well.
//
// A [Ring] holds the lines of the last hour, and of these at most a number of bytes: the
// oldest go first. Nothing of it is written to a disk.
//
// The handler belongs behind one that bounds what strangers can repeat, such as that of
// package loglimit. Otherwise a single message fills the ring.
package logring

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// maxAge is how long a line is kept.
	maxAge = time.Hour
	// maxBytes bounds the texts of all lines, and lineOverhead is what is counted besides
	// for each of them.
	maxBytes     = 1 << 20
	lineOverhead = 128
	// maxText bounds the message and the attributes of one line.
	maxText = 4 << 10
)

// Line is one line of a log.
type Line struct {
	Time    time.Time
	Level   slog.Level
	Message string
	Attrs   string // in the form of slog.TextHandler
}

func (l Line) size() int { return len(l.Message) + len(l.Attrs) + lineOverhead }

// Ring has the last lines of a log. Its methods may be called at the same time from
// several goroutines.
type Ring struct {
	level slog.Leveler
	now   func() time.Time

	mu    sync.Mutex
	lines []Line // the oldest first
	bytes int
	count uint64       // of lines so far
	buf   bytes.Buffer // what the text handler writes; empty between lines
}

// New returns an empty ring, which takes lines of a level and above.
func New(level slog.Leveler) *Ring { return &Ring{level: level, now: time.Now} }

// Lines returns the lines of the last hour, the oldest first.
func (r *Ring) Lines() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeOld()
	return append([]Line(nil), r.lines...)
}

// Count returns how many lines were ever added.
func (r *Ring) Count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// removeOld removes lines that are too old or too many; mu is held.
func (r *Ring) removeOld() {
	oldest, n := r.now().Add(-maxAge), 0
	for n < len(r.lines) && (r.bytes > maxBytes || r.lines[n].Time.Before(oldest)) {
		r.bytes -= r.lines[n].size()
		n++
	}
	if n == 0 {
		return
	}
	clear(r.lines[:n]) // their texts can go before the array does
	r.lines = r.lines[n:]
}

// Handler returns a handler that adds each line to the ring.
func (r *Ring) Handler() slog.Handler {
	return &handler{ring: r, text: slog.NewTextHandler(&r.buf, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: dropColumns})}
}

// dropColumns removes what a [Line] has in fields of its own.
func dropColumns(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

type handler struct {
	ring *Ring
	text slog.Handler // writes to ring.buf; called with ring.mu held
}

// Enabled implements [slog.Handler].
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.ring.level.Level()
}

// WithAttrs implements [slog.Handler].
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.ring, h.text.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.ring, h.text.WithGroup(name)}
}

// Handle implements [slog.Handler].
func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	r := h.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.buf.Reset()
	if err := h.text.Handle(ctx, record); err != nil {
		return err
	}
	attrs := strings.TrimSpace(r.buf.String())
	line := Line{Time: record.Time, Level: record.Level, Message: shorten(record.Message), Attrs: shorten(attrs)}
	r.lines = append(r.lines, line)
	r.bytes += line.size()
	r.count++
	r.removeOld()
	return nil
}

// shorten returns a copy of a text with at most maxText bytes.
func shorten(text string) string {
	if len(text) <= maxText {
		return strings.Clone(text)
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
