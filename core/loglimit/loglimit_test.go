package loglimit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// written is what a log holds.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Split(strings.TrimSuffix(w.text.String(), "\n"), "\n")
}

func (w *written) handler() slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

func (h *Handler) known() int {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	return len(h.table.messages)
}

// TestRepeatedMessage shows that a message that somebody repeats for an hour takes a
// few lines, and that every one of them is accounted for.
func TestRepeatedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		log := slog.New(New(out.handler()))
		const lines = 36_000
		for i := range lines {
			log.Warn("cannot follow", "error", i)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * maxWindow)
		got := out.lines()
		if len(got) > 20 {
			t.Errorf("%d lines are in the log after an hour", len(got))
		}
		total := 0
		for _, line := range got {
			suppressed := 0
			if _, after, ok := strings.Cut(line, "suppressed="); ok {
				fmt.Sscan(after, &suppressed)
			}
			total += 1 + suppressed
		}
		if total != lines {
			t.Errorf("the log accounts for %d of %d lines", total, lines)
		}
		if want := fmt.Sprintf("error=%d suppressed=", lines-1); !strings.Contains(got[len(got)-1], want) {
			t.Errorf("the last line is not the latest: %s", got[len(got)-1])
		}
	})
}

// TestNewAgain shows that a message that has stopped is written at once when it
// comes again.
func TestNewAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		h := New(out.handler())
		log := slog.New(h)
		for range 1000 {
			log.Error("posts are refused")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		before := len(out.lines())
		log.Error("posts are refused")
		if after := len(out.lines()); after != before+1 {
			t.Errorf("it is not written: %d lines before, %d after", before, after)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := h.known(); n != 0 {
			t.Errorf("%d messages are kept", n)
		}
	})
}

// TestSubjects shows that the lines of one server, plugin, onion service or peer do not
// keep those of others out of the log.
func TestSubjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		log := slog.New(New(out.handler()))
		for i := range 100 {
			log.Info("onion service is published", "onion", fmt.Sprint("o", i))
			log.With("server", fmt.Sprint("s", i)).Error("board stops serving", "reason", "the same")
			log.With("server", "one").Info("the link to a peer is closed", "peer", fmt.Sprint("p", i), "reason", "the same")
		}
		if n := len(out.lines()); n != 300 {
			t.Errorf("%d of 300 lines were written", n)
		}
		time.Sleep(time.Hour)
	})
}

// TestFlush shows that the end of a log tells what was left out.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		h := New(out.handler())
		for range firstLines + 5 {
			slog.New(h).Info("again")
		}
		h.Flush()
		lines := out.lines()
		if len(lines) != firstLines+1 || lines[firstLines] != "level=INFO msg=again suppressed=4" {
			t.Errorf("the log is %q", lines)
		}
		h.Flush()
		if n := len(out.lines()); n != firstLines+1 {
			t.Errorf("the second flush wrote %d lines", n-firstLines-1)
		}
		time.Sleep(time.Hour)
	})
}

// TestForeignTexts shows that a program that makes every line another one gets a
// limited number of them into the log, and that the rest is counted.
func TestForeignTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		h := NewForeign(New(out.handler()))
		log := slog.New(h)
		const lines = 360_000
		for i := range lines {
			log.Info(fmt.Sprint("line ", i))
			time.Sleep(10 * time.Millisecond)
			if n := h.known(); n > foreignMessages+1 {
				t.Fatalf("%d messages are kept", n)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		total, notices := 0, 0
		for _, line := range out.lines() {
			if _, after, ok := strings.Cut(line, "lines="); ok && strings.Contains(line, limitMessage) {
				n := 0
				fmt.Sscan(after, &n)
				total, notices = total+n, notices+1
			} else {
				total++
			}
		}
		if total != lines {
			t.Errorf("the log accounts for %d of %d lines", total, lines)
		}
		if n := len(out.lines()); n > foreignBurst+int(time.Hour/foreignInterval)+20 {
			t.Errorf("%d lines are in the log after an hour", n)
		}
		if notices == 0 || notices > 15 {
			t.Errorf("the log says %d times that lines were left out", notices)
		}
	})
}

// TestForeignNeverHides shows that a program that writes the relay's own lines does
// not keep the relay's out of the log.
func TestForeignNeverHides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		own := slog.New(New(out.handler())).With("plugin", "stats/evil")
		foreign := slog.New(NewForeign(own.Handler()))
		for range 1000 {
			foreign.Error("plugin has failed")
		}
		before := len(out.lines())
		own.Error("plugin has failed")
		if after := len(out.lines()); after != before+1 {
			t.Error("the line of the relay is not written")
		}
		time.Sleep(time.Hour)
	})
}

// TestDebug shows that lines for who looks for a fault are all written.
func TestDebug(t *testing.T) {
	var out written
	log := slog.New(NewForeign(New(out.handler())))
	for range 1000 {
		log.Debug("connection ended")
	}
	if n := len(out.lines()); n != 1000 {
		t.Errorf("%d of 1000 lines were written", n)
	}
}

// TestAlways shows that lines whose number is bounded elsewhere are all written.
func TestAlways(t *testing.T) {
	var out written
	log := slog.New(New(out.handler()))
	for range 1000 {
		log.WarnContext(Always(t.Context()), "plugin ended")
	}
	if n := len(out.lines()); n != 1000 {
		t.Errorf("%d of 1000 lines were written", n)
	}
}

// TestManyMessages shows that what is remembered is bounded, and that what goes
// beyond is written.
func TestManyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		h := New(out.handler())
		for i := range 2 * maxMessages {
			slog.New(h).Info(fmt.Sprint("message ", i))
		}
		if n := h.known(); n != maxMessages {
			t.Errorf("%d messages are kept", n)
		}
		if n := len(out.lines()); n != 2*maxMessages {
			t.Errorf("%d lines were written", n)
		}
		time.Sleep(time.Hour)
	})
}

// TestEnabled shows that the handler behind decides the level.
func TestEnabled(t *testing.T) {
	h := New(slog.NewTextHandler(&written{}, &slog.HandlerOptions{Level: slog.LevelWarn})).WithGroup("g").WithAttrs([]slog.Attr{slog.Int("a", 1)})
	if h.Enabled(context.Background(), slog.LevelInfo) || !h.Enabled(context.Background(), slog.LevelWarn) {
		t.Error("it is not")
	}
}
