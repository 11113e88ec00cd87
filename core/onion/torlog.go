package onion

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

// torLog logs what tor prints, line by line. It has no addresses and onion names,
// because SafeLogging is 1.
type torLog struct {
	log  *slog.Logger
	rest []byte // of a line that is not complete

	mu  sync.Mutex
	end reason
}

// maxLogLine is how many bytes of a line are kept.
const maxLogLine = 4 << 10

// Write is called by one goroutine.
func (l *torLog) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, complete := bytes.Cut(p, []byte("\n"))
		l.rest = append(l.rest, line[:min(len(line), maxLogLine-len(l.rest))]...)
		if !complete {
			return n, nil
		}
		l.readLine(string(l.rest))
		l.rest, p = l.rest[:0], rest
	}
}

func (l *torLog) readLine(whole string) {
	level, text := parseLogLine(whole)
	if text == "" {
		return
	}
	l.mu.Lock()
	if text == strings.TrimSpace(whole) {
		l.end.addPlainLine(text)
	} else {
		l.end.addLine(level, text)
	}
	l.mu.Unlock()
	l.log.Log(context.Background(), level, text)
}

// lastWarning returns why tor has ended, if tor said it, for the end of an error.
func (l *torLog) lastWarning() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end.text == "" {
		return ""
	}
	return "; it said: " + l.end.text
}

// parseLogLine splits a line of tor's log, such as
// "Nov 22 15:54:01.000 [notice] Bootstrapped 0% (starting): Starting", into level and
// text. A line of another form is a warning as a whole: tor prints such lines before
// its log is set up, or when it dies.
func parseLogLine(line string) (slog.Level, string) {
	_, after, ok := strings.Cut(line, " [")
	level, text, ok2 := strings.Cut(after, "] ")
	if ok && ok2 {
		switch level {
		case "debug", "info":
			return slog.LevelDebug, text
		case "notice":
			return slog.LevelInfo, text
		case "warn":
			return slog.LevelWarn, text
		case "err":
			return slog.LevelError, text
		}
	}
	return slog.LevelWarn, strings.TrimSpace(line)
}
