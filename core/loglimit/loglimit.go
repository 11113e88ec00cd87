// Package loglimit keeps a log short whoever chooses how often a line is written:
// a stranger, a plugin, tor or a broken disk.
//
// The first lines of a message are written. Of those that follow, the last one is
// written at the end of each window, with the number of the others. A window is a
// minute long at first, and twice as long each time, up to ten minutes, for as long
// as the message goes on. After a window without it, the message is new again.
//
// A message is its text, its level and whom it is about; what else a line says may
// differ. Lines below the level of info are for who looks for a fault, and are all
// written.
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
	burst       = 10 // lines of a message in its first window
	firstWindow = time.Minute
	lastWindow  = 10 * time.Minute
	maxMessages = 4096 // that are known at a time; lines of more are all written

	// What a log takes of somebody who also chooses the texts.
	foreignBurst    = 300 // lines
	foreignEvery    = 6 * time.Second
	foreignMessages = 64 // that are known at a time; lines of more are left out
)

// subjects are the attributes that tell whom a line is about. There are as many of
// their values as the operator has written into the configuration.
var subjects = map[string]bool{"server": true, "plugin": true, "instance": true, "onion": true, "at": true}

// Handler is a [slog.Handler] that passes on what is to be written.
type Handler struct {
	next   slog.Handler
	table  *table
	prefix string // of the key of a message: attributes and groups of the logger
}

// New returns a handler for lines whose messages are those of this program.
func New(next slog.Handler) *Handler {
	return &Handler{next: next, table: &table{messages: make(map[string]*message), max: maxMessages}}
}

// NewForeign returns a handler for lines that another program writes, which chooses
// the messages as well. It takes a limited number of lines whatever they say. They
// have no part in the limits of next, if that is or leads to a [Handler], so that
// nobody can keep a line of this program out of the log by writing the same.
func NewForeign(next slog.Handler) *Handler {
	return &Handler{next: next, table: &table{
		messages: make(map[string]*message), max: foreignMessages,
		foreign: rate.NewLimiter(rate.Every(foreignEvery), foreignBurst),
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

// limitedKey marks the context of a line that is to be written.
type limitedKey struct{}

// Always returns a context for lines that are all written, since something else
// bounds their number.
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
	return h.pass(ctx, r)
}

func (h *Handler) pass(ctx context.Context, r slog.Record) error {
	if h.table.foreign != nil {
		ctx = Always(ctx)
	}
	return h.next.Handle(ctx, r)
}

// key is the same for lines of one message.
func (h *Handler) key(r slog.Record) string {
	var b strings.Builder
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		if subjects[a.Key] && h.table.foreign == nil {
			writeAttr(&b, a)
		}
		return true
	})
	b.WriteString(r.Level.String())
	b.WriteByte(0)
	b.WriteString(r.Message)
	return b.String()
}

// table has the messages of a log, or of one foreign program.
type table struct {
	max     int
	foreign *rate.Limiter // nil: the messages are those of this program

	mu       sync.Mutex
	messages map[string]*message // written within their window
}

// message is a message within its window.
type message struct {
	free    int // lines that it may still write
	window  time.Duration
	left    int         // lines that were left out
	last    slog.Record // of them
	handler *Handler    // of that one
}

// tooMuch is the message about the lines of a foreign program that are beyond its
// limit, or would be one message too many.
const tooMuch = "more is logged than is written; lines were left out"

// admit reports whether a line is to be written now.
func (t *table) admit(h *Handler, r slog.Record) bool {
	key := h.key(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.messages[key]
	switch {
	case m == nil && len(t.messages) >= t.max && t.foreign == nil:
		return true
	case m == nil && len(t.messages) >= t.max,
		t.foreign != nil && (m == nil || m.free > 0) && !t.foreign.Allow():
		r = slog.NewRecord(r.Time, slog.LevelWarn, tooMuch, 0)
		if key, m = tooMuch, t.messages[tooMuch]; m == nil {
			m = t.begin(key, 0)
		}
	case m == nil:
		m = t.begin(key, burst)
	}
	if m.free > 0 {
		m.free--
		return true
	}
	m.left++
	m.last, m.handler = r.Clone(), h
	return false
}

// begin begins the first window of a message; mu is held.
func (t *table) begin(key string, free int) *message {
	m := &message{free: free, window: firstWindow}
	t.messages[key] = m
	time.AfterFunc(m.window, func() { t.end(key, m) })
	return m
}

// end ends a window: the last line that was left out is written, and tells how many
// others were.
func (t *table) end(key string, m *message) {
	t.mu.Lock()
	if m.left == 0 {
		delete(t.messages, key)
		t.mu.Unlock()
		return
	}
	write := m.sum(key)
	m.window = min(2*m.window, lastWindow)
	time.AfterFunc(m.window, func() { t.end(key, m) })
	t.mu.Unlock()
	write()
}

// sum returns what writes the last line that was left out, and how many others
// were. Nothing is left out afterwards.
func (m *message) sum(key string) (write func()) {
	r, h := m.last, m.handler
	switch {
	case key == tooMuch:
		r.AddAttrs(slog.Int("lines", m.left))
	case m.left > 1:
		r.AddAttrs(slog.Int("suppressed", m.left-1))
	}
	m.left, m.free, m.last, m.handler = 0, 0, slog.Record{}, nil
	return func() { h.pass(context.Background(), r) } //nolint:errcheck // nobody is told of errors of a log
}

// Flush writes at once what else comes at the end of a window.
func (h *Handler) Flush() {
	h.table.mu.Lock()
	var writes []func()
	for key, m := range h.table.messages {
		if m.left > 0 {
			writes = append(writes, m.sum(key))
		}
	}
	h.table.mu.Unlock()
	for _, write := range writes {
		write()
	}
}
