package pluginproc

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDroppedLinesAreReportedOnceAMinute: reports about a flood are rare, and together count
// every dropped line.
func TestDroppedLinesAreReportedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newLogWriter(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
		const each = 600 // lines in a second, more than are shown
		for begin := time.Now(); time.Since(begin) < 10*time.Minute; {
			for range each {
				w.Write([]byte("line"))
				w.Write([]byte{'\n'})
			}
			time.Sleep(time.Second)
		}
		w.reportOmitted()
		notices, dropped := 0, 0
		for line := range strings.Lines(log.String()) {
			if _, after, ok := strings.Cut(line, "dropped="); ok {
				n := 0
				fmt.Sscan(after, &n)
				notices, dropped = notices+1, dropped+n
			}
		}
		shown := strings.Count(log.String(), "msg=line")
		if sent := 600 * each; shown+dropped != sent {
			t.Errorf("%d lines are shown and %d told of, of %d", shown, dropped, sent)
		}
		if notices > 11 {
			t.Errorf("there are %d notices in ten minutes", notices)
		}
	})
}
