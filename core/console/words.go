package console

import (
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// stateWords are the states of a server in the words of the pages.
var stateWords = map[manager.State]string{
	manager.StateStopped:    "Off",
	manager.StateLocked:     "Locked",
	manager.StateStarting:   "Starting…",
	manager.StatePublishing: "Publishing…",
	manager.StateRunning:    "Running",
	manager.StateFailed:     "Not working",
}

// formatSize returns a number of bytes for people.
func formatSize(bytes uint64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	size, units := float64(bytes), []string{"kB", "MB", "GB", "TB"}
	for i, unit := range units {
		size /= 1000
		if size < 999.5 || i == len(units)-1 {
			if size < 9.95 {
				return fmt.Sprintf("%.1f %s", size, unit)
			}
			return fmt.Sprintf("%.0f %s", size, unit)
		}
	}
	panic("unreachable")
}

// formatCount returns a number with a thin space between thousands.
func formatCount(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	out := ""
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out += "\u202f"
		}
		out += string(d)
	}
	return out
}

// formatAge returns how long something lasts, in its two largest units at most.
func formatAge(d time.Duration) string {
	switch minutes := int(d.Minutes()); {
	case minutes < 1:
		return "less than a minute"
	case minutes < 60:
		return plural(minutes, "minute")
	case minutes < 48*60:
		return plural(minutes/60, "hour")
	default:
		return plural(minutes/60/24, "day")
	}
}

func plural(n int, unit string) string { return countOf(uint64(n), unit) }

// countOf returns a number of things.
func countOf(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return formatCount(n) + " " + thing + "s"
}

// capitalize makes a sentence of an error.
func capitalize(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	if n == 0 {
		return ""
	}
	text = string(unicode.ToUpper(r)) + text[n:]
	if last, _ := utf8.DecodeLastRuneInString(text); unicode.IsLetter(last) || unicode.IsDigit(last) {
		text += "."
	}
	return text
}
