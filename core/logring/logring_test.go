package logring

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesHaveTheirParts(t *testing.T) {
	r := New(slog.LevelInfo)
	log := slog.New(r.Handler()).With("server", "book-club")
	log.Debug("not asked for")
	log.Warn("the store is slow", "error", errors.New("disk full"))
	lines := r.Lines()
	if len(lines) != 1 || r.Count() != 1 {
		t.Fatalf("%d lines are kept, %d counted", len(lines), r.Count())
	}
	l := lines[0]
	if l.Level != slog.LevelWarn || l.Message != "the store is slow" || l.Attrs != `server=book-club error="disk full"` || time.Since(l.Time) > time.Minute {
		t.Errorf("the line is %+v", l)
	}
}

func TestOldLinesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(slog.LevelInfo)
		log := slog.New(r.Handler())
		log.Info("first")
		time.Sleep(40 * time.Minute)
		log.Info("second")
		time.Sleep(30 * time.Minute)
		if lines := r.Lines(); len(lines) != 1 || lines[0].Message != "second" {
			t.Errorf("after 70 minutes there are %+v", lines)
		}
	})
}

func TestLinesAreBounded(t *testing.T) {
	r := New(slog.LevelInfo)
	log := slog.New(r.Handler())
	for range 3000 {
		log.Info("a line", "value", strings.Repeat("ä", maxText))
	}
	sum := 0
	for _, l := range r.Lines() {
		sum += l.size()
		if len(l.Attrs) > maxText+len("…") {
			t.Fatalf("a line has %d bytes", len(l.Attrs))
		}
	}
	if sum > maxBytes || sum < maxBytes/2 || sum != r.bytes {
		t.Errorf("%d bytes are kept, %d counted", sum, r.bytes)
	}
	log.Info(strings.Repeat("x", 1<<20))
	lines := r.Lines()
	if last := lines[len(lines)-1].Message; len(last) > maxText+len("…") {
		t.Errorf("a message has %d bytes", len(last))
	}
}
