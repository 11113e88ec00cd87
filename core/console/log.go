package console

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/logring"
)

// maxLogLines bounds the lines on the page. The file has all.
const maxLogLines = 150

// logView is the log of the last hour, the newest line first.
type logView struct {
	Lines []logLine
	More  int // lines that are only in the file
}

type logLine struct {
	Time, Date, Kind, Message, Attrs string
}

func (c *Console) viewLog(*visit) (any, bool) {
	lines := c.cfg.Log.Lines()
	view := logView{More: max(0, len(lines)-maxLogLines)}
	for _, l := range slices.Backward(lines[view.More:]) {
		view.Lines = append(view.Lines, logLine{l.Time.Format("15:04:05"), l.Time.Format(time.RFC3339), describeLevel(l.Level), l.Message, l.Attrs})
	}
	return view, true
}

func describeLevel(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warning"
	case level >= slog.LevelInfo:
		return "info"
	}
	return "detail"
}

// saveLog answers with the log of the last hour as a file.
func (v *visit) saveLog() {
	var b strings.Builder
	for _, l := range v.c.cfg.Log.Lines() {
		writeLine(&b, l)
	}
	v.sendFile("cwtch-relay-log.txt", b.String())
}

func writeLine(b *strings.Builder, l logring.Line) {
	fmt.Fprintf(b, "%s %s %s %s\n", l.Time.Format(time.RFC3339), l.Level, l.Message, l.Attrs)
}
