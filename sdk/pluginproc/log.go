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

// Bounds on what a plugin writes into the log of the relay.
const (
	logRate  = 200 // lines a second
	logBurst = 500 // lines at once

	maxErrorText = 1 << 10 // bytes of the reason of an end, or of a start that failed

	maxLine     = 64 << 10 // bytes of a line that are read
	maxText     = 4 << 10  // bytes of a message that are shown
	maxAttrs    = 32
	maxAttrText = 1 << 10

	// The log is read no faster than this, in bytes a second; each line costs lineCost
	// more. A plugin that floods waits at its end of the pipe instead of using up a core
	// of the relay.
	readRate  = 2 << 20
	readBurst = 4 << 20
	lineCost  = 64
)

// logWriter logs the lines that a plugin writes on standard error. go-plugin calls Write
// from one goroutine: once or more for a line, and then with a line feed.
type logWriter struct {
	logger *slog.Logger
	ctx    context.Context // done when the process has ended
	lines  *rate.Limiter
	bytes  *rate.Limiter
	line   []byte
	cut    bool // line is only the beginning
	trace  stackTrace

	dropped      atomic.Int64 // lines above logRate
	dropWarnings rate.Sometimes
	omitted      atomic.Int64 // lines of stack traces

	mu       sync.Mutex
	fault    string // the last line that tells of a fault, or the first of a panic
	lastText string // the last line that is not JSON
}

func newLogWriter(ctx context.Context, logger *slog.Logger) *logWriter {
	return &logWriter{
		logger:       logger,
		ctx:          ctx,
		lines:        rate.NewLimiter(logRate, logBurst),
		bytes:        rate.NewLimiter(readRate, readBurst),
		dropWarnings: rate.Sometimes{Interval: time.Minute},
	}
}

func (w *logWriter) Write(part []byte) (int, error) {
	if !bytes.Equal(part, []byte{'\n'}) {
		room := max(maxLine-len(w.line), 0)
		w.cut = w.cut || len(part) > room
		w.line = append(w.line, part[:min(len(part), room)]...)
		w.slowDown(len(part))
		return len(part), nil
	}
	w.slowDown(lineCost)
	w.emitLine()
	w.line, w.cut = w.line[:0], false
	return len(part), nil
}

func (w *logWriter) slowDown(n int) {
	w.bytes.WaitN(w.ctx, min(n, readBurst)) //nolint:errcheck // fails when the process has ended; the rest is read at once
}

func (w *logWriter) emitLine() {
	if !w.lines.Allow() {
		w.dropped.Add(1)
		return
	}
	if w.dropped.Load() > 0 {
		w.dropWarnings.Do(w.warnDropped)
	}
	panicked := w.trace.format == goTrace // in an earlier line
	r, ok := w.parseLine()
	if !ok {
		w.omitted.Add(1)
		return
	}
	w.mu.Lock()
	if !panicked && (r.level >= slog.LevelError || r.plain && fatalLine.MatchString(r.message)) {
		w.fault = rpc.Clean(r.message, maxErrorText)
	}
	if r.plain && r.message != "" {
		w.lastText = r.message
	}
	w.mu.Unlock()
	w.logger.LogAttrs(context.Background(), r.level, r.message, r.attrs...)
}

// reportOmitted logs how many lines were left out. It is called when the plugin has ended.
func (w *logWriter) reportOmitted() {
	w.warnDropped()
	if n := w.omitted.Swap(0); n > 0 {
		w.logger.Info("lines of the plugin's stack trace were left out, which may show what was in its memory", "lines", n)
	}
}

func (w *logWriter) warnDropped() {
	if n := w.dropped.Swap(0); n > 0 {
		w.logger.Warn("plugin logs too much; lines were left out", "dropped", n)
	}
}

// printWriter logs what a plugin prints after its handshake, a mistake that its author
// wants to see. It comes through go-plugin's stdio service, not in lines.
type printWriter struct{ *logWriter }

func (w printWriter) Write(text []byte) (int, error) {
	w.slowDown(len(text) + lineCost)
	if w.lines.Allow() {
		w.logger.Debug("plugin printed", "text", redactMemory(cleanLines(string(text), maxAttrText)))
	} else {
		w.dropped.Add(1)
	}
	return len(text), nil
}

// fatalLine matches what runtimes and libraries write in plain text when they end a process.
// Stack traces after it are indented.
var fatalLine = regexp.MustCompile(`^(?:\S.*)?\b(?i:fatal|out of memory|outofmemory\w*|cannot allocate memory|failed to allocate|memory allocation of|insufficient memory|unhandled|uncaught|panicked at|terminate called|stack overflow|abort\(\)|assertion\b.* failed)\b` +
	`|^\s*what\(\): |^Exception in thread |^[\w.]*(?:Error|Exception)(?::|$)`)

// lastError returns the last error that the plugin logged or its runtime wrote, or "". Of a
// panic it returns the message, not the trace.
func (w *logWriter) lastError() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// faultOrLastLine returns the last error, or else the last line of plain text. Interpreters
// and shells write there why they end before the handshake.
func (w *logWriter) faultOrLastLine() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return cmp.Or(w.fault, w.lastText)
}

type logRecord struct {
	plain   bool // not JSON
	level   slog.Level
	message string
	attrs   []slog.Attr
}

// parseLine parses the line: JSON as hclog writes it, or any text. The first line of a
// panic in Go and all text after it have the level error. ok is false if the line must not be
// shown.
func (w *logWriter) parseLine() (r logRecord, ok bool) {
	if r, ok := parseHCLog(w.line); ok && !w.cut {
		return r, true
	}
	text, ok := w.trace.filterLine(rpc.Clean(string(w.line[:min(len(w.line), maxText)]), maxText))
	if !ok {
		return logRecord{}, false
	}
	r = logRecord{plain: true, level: slog.LevelInfo, message: text}
	if w.trace.format == goTrace {
		r.level = slog.LevelError
	}
	if w.cut || len(w.line) > maxText {
		r.attrs = []slog.Attr{slog.Bool("cut", true)}
	}
	return r, true
}

// reservedKeys are attributes of the relay itself, which say whose line it is. A plugin cannot
// set them: if a key comes twice, most readers of JSON take the later value.
var reservedKeys = []string{"time", "level", "msg", "plugin", "server", "instance"}

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
		if strings.HasPrefix(key, "@") || slices.Contains(reservedKeys, key) {
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

// levelName returns the lowest level that logger keeps.
func levelName(logger *slog.Logger) string {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if logger.Enabled(context.Background(), l) {
			return l.String()
		}
	}
	return slog.LevelError.String()
}
