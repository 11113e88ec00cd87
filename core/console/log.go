package console

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
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
	Time, Date  string
	Class, Kind string // the level, for the style and for people
	Message     string
	Attrs       string // what the line has beside that
}

func (c *Console) viewLog(*visit) (any, bool) {
	lines := c.cfg.Log.Lines()
	view := logView{More: max(0, len(lines)-maxLogLines)}
	for _, l := range slices.Backward(lines[view.More:]) {
		message, attrs := describeLine(l)
		class := describeLevel(l.Level)
		view.Lines = append(view.Lines, logLine{l.Time.Format("15:04:05"), l.Time.Format(time.RFC3339), class, levelWords[class], message, attrs})
	}
	return view, true
}

// levelWords are the levels in the words of the pages.
var levelWords = map[string]string{"error": "Error", "warning": "Warning", "info": "Note", "detail": "Detail"}

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

// changeWords say what the lines of the log mean that are written for each change, by the change.
var changeWords = map[string]string{
	"add": "was added", "edit": "was edited", "start": "was turned on", "stop": "was turned off", "unlock": "was unlocked",
	"delete": "was deleted", "change the passphrase of": "has another passphrase",
}

// originWords are the ways in which somebody asks for a change.
var originWords = map[string]string{"console": "in the console", "command": "by a command"}

// describeLine returns a line in words, and the values that are not in them. The file has every
// line as it is.
func describeLine(l logring.Line) (text, attrs string) {
	values := splitAttrs(l.Attrs)
	server := ""
	if name := values["server"]; name != "" {
		server = "Server " + name + ": "
	}
	from := originWords[values["from"]]
	what, isChange := changeWords[values["change"]]
	switch {
	case l.Message == "change" && isChange && values["server"] != "":
		return "Server " + values["server"] + " " + what + ", " + cmp.Or(from, values["from"]) + ".", ""
	case l.Message == "change" && values["change"] == "start at log-in":
		return "Start at log-in was turned " + map[string]string{"true": "on", "false": "off"}[values["on"]] + ", " + cmp.Or(from, values["from"]) + ".", ""
	case l.Message == "change refused":
		text := "change was refused (" + values["change"] + "), asked for " + cmp.Or(from, values["from"])
		return server + capitalizeUnless(server != "", "a "+text+": "+firstLine(values["error"])), ""
	}
	delete(values, "server")
	for _, key := range []string{"error", "reason"} {
		if why := values[key]; why != "" {
			delete(values, key)
			l.Message += ": " + firstLine(why)
		}
	}
	var others []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		others = append(others, key+": "+values[key])
	}
	return server + capitalizeUnless(server != "", l.Message), strings.Join(others, " · ")
}

// capitalizeUnless begins a text with a capital letter unless it goes on a sentence.
func capitalizeUnless(goesOn bool, text string) string {
	if goesOn {
		return text
	}
	return capitalize(text)
}

// splitAttrs returns the values of attributes that [slog.TextHandler] has written.
func splitAttrs(attrs string) map[string]string {
	values := make(map[string]string)
	for attrs != "" {
		key, after, found := strings.Cut(attrs, "=")
		if !found {
			break
		}
		var value string
		if quoted, err := strconv.QuotedPrefix(after); err == nil {
			value, _ = strconv.Unquote(quoted)
			after = after[len(quoted):]
		} else {
			value, after, _ = strings.Cut(after, " ")
		}
		values[key] = value
		attrs = strings.TrimLeft(after, " ")
	}
	return values
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
