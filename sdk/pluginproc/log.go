package pluginproc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// What a plugin may make of the log of the relay.
const (
	logRate  = 200 // lines a second
	logBurst = 500 // lines at once

	maxErrorText = 1 << 10 // bytes of the reason of an end, or of a start that failed

	maxLine     = 64 << 10 // bytes that are read as one line
	maxText     = 4 << 10  // bytes of a message that are shown
	maxAttrs    = 32
	maxAttrText = 1 << 10

	// A plugin that floods is read no faster than this, in bytes a second, with
	// lineCost for each line: it then waits at its own end of the pipe, instead
	// of taking a core of the host.
	readRate  = 2 << 20
	readBurst = 4 << 20
	lineCost  = 64
)

// logWriter puts the lines that a plugin writes on standard error into the
// log. go-plugin writes to it, from one goroutine, a line in one or more parts
// and then a line feed.
type logWriter struct {
	logger *slog.Logger
	ctx    context.Context // ends with the process
	lines  *rate.Limiter
	bytes  *rate.Limiter
	line   []byte
	cut    bool // the line was longer
	trace  trace

	dropped atomic.Int64   // lines
	told    rate.Sometimes // of dropped lines
	cleaned atomic.Int64   // lines of traces, dropped

	mu   sync.Mutex
	last string // the last line that tells of a fault; of a panic the first
	text string // the last line that is not JSON
}

func newLogWriter(ctx context.Context, logger *slog.Logger) *logWriter {
	return &logWriter{
		logger: logger,
		ctx:    ctx,
		lines:  rate.NewLimiter(logRate, logBurst),
		bytes:  rate.NewLimiter(readRate, readBurst),
		told:   rate.Sometimes{Interval: time.Minute},
	}
}

func (w *logWriter) Write(part []byte) (int, error) {
	if !bytes.Equal(part, []byte{'\n'}) {
		room := max(maxLine-len(w.line), 0)
		w.cut = w.cut || len(part) > room
		w.line = append(w.line, part[:min(len(part), room)]...)
		w.limitPace(len(part))
		return len(part), nil
	}
	w.limitPace(lineCost)
	w.emitLine()
	w.line, w.cut = w.line[:0], false
	return len(part), nil
}

func (w *logWriter) limitPace(n int) {
	w.bytes.WaitN(w.ctx, min(n, readBurst)) //nolint:errcheck // ends with the process, and then all is read
}

func (w *logWriter) emitLine() {
	if !w.lines.Allow() {
		w.dropped.Add(1)
		return
	}
	if w.dropped.Load() > 0 {
		w.told.Do(w.tellDropped)
	}
	traced := w.trace.style == goStyle // by a line before
	r, ok := w.parseLine()
	if !ok {
		w.cleaned.Add(1)
		return
	}
	w.mu.Lock()
	if !traced && (r.level >= slog.LevelError || r.plain && fatalLine.MatchString(r.message)) {
		w.last = rpc.Clean(r.message, maxErrorText)
	}
	if r.plain && r.message != "" {
		w.text = r.message
	}
	w.mu.Unlock()
	w.logger.LogAttrs(context.Background(), r.level, r.message, r.attrs...)
}

// reportOmitted tells of the lines that were left out. It is called when the plugin has
// ended.
func (w *logWriter) reportOmitted() {
	w.tellDropped()
	if n := w.cleaned.Swap(0); n > 0 {
		w.logger.Info("lines of the plugin's stack trace were left out, which may show what was in its memory", "lines", n)
	}
}

func (w *logWriter) tellDropped() {
	if n := w.dropped.Swap(0); n > 0 {
		w.logger.Warn("plugin logs too much; lines were left out", "dropped", n)
	}
}

// printed takes what a plugin prints after the handshake, by way of go-plugin's
// stdio service: a mistake that its author wants to see. It has no end of line
// of its own.
type printed struct{ *logWriter }

func (w printed) Write(text []byte) (int, error) {
	w.limitPace(len(text) + lineCost)
	if w.lines.Allow() {
		w.logger.Debug("plugin printed", "text", withoutMemory(cleanLines(string(text), maxAttrText)))
	} else {
		w.dropped.Add(1)
	}
	return len(text), nil
}

// fatalLine is what runtimes and libraries write last, as plain text, when they end a
// process. The traces that follow are indented.
var fatalLine = regexp.MustCompile(`^(?:\S.*)?\b(?i:fatal|out of memory|outofmemory\w*|cannot allocate memory|failed to allocate|memory allocation of|insufficient memory|unhandled|uncaught|panicked at|terminate called|stack overflow|abort\(\)|assertion\b.* failed)\b` +
	`|^\s*what\(\): |^Exception in thread |^[\w.]*(?:Error|Exception)(?::|$)`)

// lastError is the last thing that the plugin logged as an error, or that its runtime
// wrote as the reason of its end; or empty. Of a panic that is what it says, not the end
// of its trace.
func (w *logWriter) lastError() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// lastWords is the fault, or else the last line of plain text. Of a program that
// ends before its handshake that is the reason: interpreters and shells say it so.
func (w *logWriter) lastWords() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return cmp.Or(w.last, w.text)
}

type logRecord struct {
	plain   bool // not JSON
	level   slog.Level
	message string
	attrs   []slog.Attr
}

// parseLine reads a line: JSON as hclog writes it, or any text. The first line of
// a panic in Go and all text after it are errors. ok is false for a line that is not shown.
func (w *logWriter) parseLine() (r logRecord, ok bool) {
	if r, ok := parseHCLog(w.line); ok && !w.cut {
		return r, true
	}
	text, ok := w.trace.filterLine(rpc.Clean(string(w.line[:min(len(w.line), maxText)]), maxText))
	if !ok {
		return logRecord{}, false
	}
	r = logRecord{plain: true, level: slog.LevelInfo, message: text}
	if w.trace.style == goStyle {
		r.level = slog.LevelError
	}
	if w.cut || len(w.line) > maxText {
		r.attrs = []slog.Attr{slog.Bool("cut", true)}
	}
	return r, true
}

// reserved are the names by which the relay says whose line it is. They are not
// for a plugin to set: of two values with one name, most readers of JSON take
// the later.
var reserved = []string{"time", "level", "msg", "plugin", "server", "instance"}

func parseHCLog(line []byte) (logRecord, bool) {
	if len(line) == 0 || line[0] != '{' {
		return logRecord{}, false
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return logRecord{}, false
	}
	message, ok := fields["@message"].(string)
	if !ok {
		return logRecord{}, false
	}
	name, _ := fields["@level"].(string)
	r := logRecord{level: parseLevel(name), message: cleanLines(message, maxText)}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if strings.HasPrefix(key, "@") || slices.Contains(reserved, key) {
			continue
		}
		if len(r.attrs) == maxAttrs {
			break
		}
		r.attrs = append(r.attrs, slogAttr(rpc.Clean(key, 64), fields[key]))
	}
	return r, true
}

func slogAttr(key string, value any) slog.Attr {
	switch v := value.(type) {
	case string:
		return slog.String(key, cleanLines(v, maxAttrText))
	case float64, bool, nil:
		return slog.Any(key, v)
	default:
		return slog.String(key, cleanLines(fmt.Sprint(v), maxAttrText))
	}
}

func parseLevel(name string) slog.Level {
	switch strings.ToLower(name) {
	case "trace":
		return slog.LevelDebug - 4
	case "debug":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// levelName is the lowest level that logger keeps.
func levelName(logger *slog.Logger) string {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if logger.Enabled(context.Background(), l) {
			return l.String()
		}
	}
	return slog.LevelError.String()
}
