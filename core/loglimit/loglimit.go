// Package loglimit keeps a log short where others choose how often a line is written:
// strangers, plugins, tor or a broken disk.
//
// The first lines of a message are written. Later ones are suppressed until the end of
// a window, when the last of them is written with the number of the others. A window
// lasts a minute at first and twice as long each time, up to ten minutes, while the
// message goes on. After a window without it the message is new again.
//
// Lines are of one message if they have the same text, level and subject; their other
// attributes may differ. Lines below the level info are all written: somebody who looks
// for a fault has asked for them.
package loglimit

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	firstLines  = 10 // lines of a message in its first window
	firstWindow = time.Minute
	maxWindow   = 10 * time.Minute
	maxMessages = 4096 // with a window at a time; lines of others are all written

	// The limits of a program that also chooses the texts.
	foreignBurst    = 300 // lines
	foreignInterval = 6 * time.Second
	foreignMessages = 64 // with a window at a time; lines of others are suppressed
)

// subjectAttrs are the attributes that name the subject of a line. The configuration
// bounds how many values they have.
var subjectAttrs = map[string]bool{"server": true, "plugin": true, "instance": true, "onion": true, "peer": true, "at": true}

// Handler is a [slog.Handler] that passes on the lines to be written.
type Handler struct {
	next   slog.Handler
	table  *messageTable
	prefix string // of the key of a message: attributes and groups of the logger
}

// New returns a handler for lines whose messages are those of this program.
func New(next slog.Handler) *Handler {
	return &Handler{next: next, table: &messageTable{messages: make(map[string]*messageWindow), max: maxMessages}}
}

// NewForeign returns a handler for lines of another program, which also chooses their
// texts. It limits the number of lines whatever they say. If next is a [Handler] or
// leads to one, its limits do not count them, so that nobody can keep a line of this
// program out of the log by writing the same line.
func NewForeign(next slog.Handler) *Handler {
	return &Handler{next: next, table: &messageTable{
		messages: make(map[string]*messageWindow), max: foreignMessages,
		foreign: rate.NewLimiter(rate.Every(foreignInterval), foreignBurst),
	}}
}

// Enabled implements [slog.Handler].
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements [slog.Handler].
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.prefix)
	for _, a := range attrs {
		writeAttr(&b, a)
	}
	return &Handler{next: h.next.WithAttrs(attrs), table: h.table, prefix: b.String()}
}

// WithGroup implements [slog.Handler].
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), table: h.table, prefix: h.prefix + name + "\x00"}
}

func writeAttr(b *strings.Builder, a slog.Attr) {
	b.WriteString(a.Key)
	b.WriteByte('=')
	b.WriteString(a.Value.String())
	b.WriteByte(0)
}

// limitedKey marks the context of a line that has no limit here.
type limitedKey struct{}

// Always returns a context whose lines are all written, because something else bounds
// their number.
func Always(ctx context.Context) context.Context {
	return context.WithValue(ctx, limitedKey{}, true)
}

// Handle implements [slog.Handler].
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo || ctx.Value(limitedKey{}) != nil {
		return h.next.Handle(ctx, r)
	}
	if !h.table.admit(h, r) {
		return nil
	}
	return h.passOn(ctx, r)
}

func (h *Handler) passOn(ctx context.Context, r slog.Record) error {
	if h.table.foreign != nil {
		ctx = Always(ctx)
	}
	return h.next.Handle(ctx, r)
}

// messageKey returns the same key for all lines of one message.
func (h *Handler) messageKey(r slog.Record) string {
	var b strings.Builder
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		if subjectAttrs[a.Key] && h.table.foreign == nil {
			writeAttr(&b, a)
		}
		return true
	})
	b.WriteString(r.Level.String())
	b.WriteByte(0)
	b.WriteString(r.Message)
	return b.String()
}

// messageTable has the windows of one log or of one foreign program.
type messageTable struct {
	max     int
	foreign *rate.Limiter // nil: the messages are those of this program

	mu       sync.Mutex
	messages map[string]*messageWindow
}

// messageWindow is the current window of a message.
type messageWindow struct {
	allowed    int // lines that may still be written in it
	window     time.Duration
	suppressed int         // lines
	last       slog.Record // of them
	handler    *Handler    // of that one
}

// limitMessage reports the lines of a foreign program beyond its limit of lines or of
// messages.
const limitMessage = "more is logged than is written; lines were left out"

// admit reports whether to write a line now. If not, it counts the line.
func (t *messageTable) admit(h *Handler, r slog.Record) bool {
	key := h.messageKey(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.messages[key]
	switch {
	case m == nil && len(t.messages) >= t.max && t.foreign == nil:
		return true
	case m == nil && len(t.messages) >= t.max,
		t.foreign != nil && (m == nil || m.allowed > 0) && !t.foreign.Allow():
		r = slog.NewRecord(r.Time, slog.LevelWarn, limitMessage, 0)
		if key, m = limitMessage, t.messages[limitMessage]; m == nil {
			m = t.beginWindow(key, 0)
		}
	case m == nil:
		m = t.beginWindow(key, firstLines)
	}
	if m.allowed > 0 {
		m.allowed--
		return true
	}
	m.suppressed++
	m.last, m.handler = r.Clone(), h
	return false
}

// beginWindow begins the first window of a message; mu is held.
func (t *messageTable) beginWindow(key string, free int) *messageWindow {
	m := &messageWindow{allowed: free, window: firstWindow}
	t.messages[key] = m
	time.AfterFunc(m.window, func() { t.endWindow(key, m) })
	return m
}

// endWindow writes the last suppressed line of a window with the number of the others,
// and begins the next window; without such a line it forgets the message.
func (t *messageTable) endWindow(key string, m *messageWindow) {
	t.mu.Lock()
	if m.suppressed == 0 {
		delete(t.messages, key)
		t.mu.Unlock()
		return
	}
	write := m.takeSummary(key)
	m.window = min(2*m.window, maxWindow)
	time.AfterFunc(m.window, func() { t.endWindow(key, m) })
	t.mu.Unlock()
	write()
}

// takeSummary returns a function that writes the last suppressed line with the number of
// the others, and counts from zero again.
func (m *messageWindow) takeSummary(key string) (write func()) {
	r, h := m.last, m.handler
	switch {
	case key == limitMessage:
		r.AddAttrs(slog.Int("lines", m.suppressed))
	case m.suppressed > 1:
		r.AddAttrs(slog.Int("suppressed", m.suppressed-1))
	}
	m.suppressed, m.allowed, m.last, m.handler = 0, 0, slog.Record{}, nil
	return func() { h.passOn(context.Background(), r) } //nolint:errcheck // nobody is told of errors of a log
}

// Flush writes at once what would be written at the ends of the windows.
func (h *Handler) Flush() {
	h.table.mu.Lock()
	var writes []func()
	for key, m := range h.table.messages {
		if m.suppressed > 0 {
			writes = append(writes, m.takeSummary(key))
		}
	}
	h.table.mu.Unlock()
	for _, write := range writes {
		write()
	}
}
