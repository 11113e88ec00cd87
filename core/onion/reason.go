package onion

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
)

// reason collects from what tor logs why it ends. Most warnings are not a reason to
// end: one counts only if tor then says that it gives up.
type reason struct {
	text     string   // the reason; empty as long as tor has not given up
	warnings []string // the last two that may be a reason
}

// rejectedPrefix begins the line with which tor rejects a configuration.
const rejectedPrefix = "Failed to parse/validate config: "

// vagueReason matches lines with which tor gives up without saying why; the warnings
// before say that.
var vagueReason = regexp.MustCompile(`see warnings above|[Ss]ee logs for details|broken state|No, it's still there` +
	`|^Invalid \S+ configuration|^Error in \S+ entry|^Failed to bind one of the listener ports|^Unable to |^Invalid router list`)

// harmlessWarning matches warnings that are not a reason to end.
var harmlessWarning = regexp.MustCompile(`^You have used DirAuthority|^TestingTorNetwork is set|^You are running Tor as root` +
	`|^SocksPort, TransPort, NATDPort|^Option '.*' used more than once|^Your ContactInfo|^MaxMemInQueues is set` +
	`|^CircuitBuildTimeout|^Tor is running as an exit|^Path for .* is relative`)

func (r *reason) addLine(level slog.Level, text string) {
	what, isRejected := strings.CutPrefix(text, rejectedPrefix)
	switch {
	case level < slog.LevelWarn || harmlessWarning.MatchString(text):
		return
	case level == slog.LevelWarn && !isRejected:
		r.warnings = append(r.warnings, text)
		r.warnings = r.warnings[max(0, len(r.warnings)-2):]
	case !vagueReason.MatchString(what):
		r.text = what
	case len(r.warnings) > 0:
		r.giveUp()
	case r.text == "":
		r.text = what
	}
}

// addPlainLine adds a line without a level: of the launcher or the loader, when tor
// cannot be executed, or of a tor that crashes. The first one counts; the rest is a
// stack trace.
func (r *reason) addPlainLine(text string) {
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

// giveUp makes the last warnings the reason, unless there is one.
func (r *reason) giveUp() {
	if r.text == "" {
		r.text = strings.Join(r.warnings, "; ")
	}
}
