package onion

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
)

// reason finds, in the lines of a tor, those that say why it ends. Most warnings are no
// reason to end, so one counts only if tor says at last that it gives up.
type reason struct {
	text     string   // the reason; empty as long as tor has not given up
	warnings []string // the last that may be one
}

// rejected is how tor begins the line by which it gives up a configuration.
const rejected = "Failed to parse/validate config: "

// vague matches words by which tor gives up without saying why: that is in the warnings
// before.
var vague = regexp.MustCompile(`see warnings above|[Ss]ee logs for details|broken state|No, it's still there` +
	`|^Invalid \S+ configuration|^Error in \S+ entry|^Failed to bind one of the listener ports|^Unable to |^Invalid router list`)

// advice matches warnings that tor gives in passing.
var advice = regexp.MustCompile(`^You have used DirAuthority|^TestingTorNetwork is set|^You are running Tor as root` +
	`|^SocksPort, TransPort, NATDPort|^Option '.*' used more than once|^Your ContactInfo|^MaxMemInQueues is set` +
	`|^CircuitBuildTimeout|^Tor is running as an exit|^Path for .* is relative`)

func (r *reason) add(level slog.Level, text string) {
	what, isRejected := strings.CutPrefix(text, rejected)
	switch {
	case level < slog.LevelWarn || advice.MatchString(text):
		return
	case level == slog.LevelWarn && !isRejected:
		r.warnings = append(r.warnings, text)
		r.warnings = r.warnings[max(0, len(r.warnings)-2):]
	case !vague.MatchString(what):
		r.text = what
	case len(r.warnings) > 0:
		r.giveUp()
	case r.text == "":
		r.text = what
	}
}

// addPlain takes a line without a level: of the launcher or the loader, when tor cannot be
// executed, or of a tor that crashes. The first counts, as the rest is a trace.
func (r *reason) addPlain(text string) {
	var launcher struct {
		Message string `json:"@message"`
	}
	if json.Unmarshal([]byte(text), &launcher) == nil && launcher.Message != "" {
		text = launcher.Message
	}
	if r.text == "" && !strings.HasPrefix(text, "====") {
		r.text = text
	}
}

// giveUp takes the last warnings for the reason, unless one is known.
func (r *reason) giveUp() {
	if r.text == "" {
		r.text = strings.Join(r.warnings, "; ")
	}
}
