package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// level is how much somebody is needed. Its numbers are the exit statuses of a
// plugin of Nagios, which other monitors know as well.
type level int

const (
	ok       level = iota
	warning        // people are served, and something is not as it should be
	critical       // people are not served, or not all of them
	unknown        // nobody can tell
)

// label is what a finding of the level is called in a status.
func (l level) label() string { return [...]string{"OK", "WARNING", "PROBLEM", "UNKNOWN"}[l] }

// finding is something that an operator has to know.
type finding struct {
	level level
	what  string
	why   string // where a status shows it elsewhere
}

func (f finding) String() string {
	if f.why == "" {
		return f.what
	}
	return f.what + ": " + f.why
}

func worst(all []finding) (l level) {
	for _, f := range all {
		l = max(l, f.level)
	}
	return l
}

// findings has all that is not well with a relay.
func findings(st manager.Status, now time.Time) []finding {
	all := relayFindings(st, now)
	for _, s := range st.Servers {
		for _, f := range serverFindings(s, now) {
			f.what = "server " + s.Name + ": " + f.what
			all = append(all, f)
		}
	}
	return all
}

// settling is how long Tor may take before it is a problem that clients cannot reach
// the servers.
const settling = 10 * time.Minute

// relayFindings has what is not of one server.
func relayFindings(st manager.Status, now time.Time) (all []finding) {
	away := critical
	if now.Sub(st.Since) < settling {
		away = warning
	}
	switch n := st.Network; {
	case n == nil:
		all = append(all, finding{away, "the network is not open yet", ""})
	case n.State == onion.Backoff, n.State == onion.Offline:
		all = append(all, finding{critical, fmt.Sprintf("%s is %s, so nobody can reach the servers", n.Network, n.State), n.Summary})
	case n.State != onion.Ready:
		all = append(all, finding{away, fmt.Sprintf("%s is %s", n.Network, n.State), n.Summary})
	case countPublished(*n) < len(n.Services):
		all = append(all, finding{away, fmt.Sprintf("%d of %s are published", countPublished(*n), command.CountOf(len(n.Services), "service")), ""})
	}
	if t := st.Log; t != nil {
		all = append(all, finding{warning, "the log " + t.Describe(now), ""})
	}
	if t := st.Stdout; t != nil {
		all = append(all, finding{warning, "standard output " + t.Describe(now), ""})
	}
	return all
}

// serverFindings has what is not well with a server.
func serverFindings(s manager.ServerStatus, now time.Time) (all []finding) {
	if s.Problem != "" {
		return []finding{{critical, s.Problem + "; a reload tries it again", ""}}
	}
	switch state := s.Storage.State; {
	case state == supervise.Degraded:
		all = append(all, finding{warning, pluginIs(s.Storage, s.Storage.Name), s.Storage.Reason})
	case state != supervise.Ready:
		all = append(all, finding{critical, pluginIs(s.Storage, s.Storage.Name) + ", so posts are refused", cmp.Or(s.Storage.Reason, s.Storage.LastError)})
	}
	if r := s.Relay; r != nil {
		switch {
		case r.Problem != "":
			all = append(all, finding{critical, r.Problem, ""})
		case r.Refusing != "":
			all = append(all, finding{critical, "posts are refused, because of the store: " + r.Refusing, ""})
		case r.Store == nil && len(all) == 0:
			all = append(all, finding{critical, "the store does not answer", ""})
		}
		if r.Stalled {
			all = append(all, finding{critical, "posts are not taken from their queue, which is a defect of the relay, please report it", ""})
		}
	}
	for _, p := range s.Others {
		all = append(all, otherFindings(p)...)
	}
	return all
}

// otherFindings has what is not well with a plugin that a server can do without.
func otherFindings(p manager.PluginStatus) (all []finding) {
	switch p.State {
	case supervise.Backoff, supervise.Failed, supervise.Degraded:
		all = append(all, finding{warning, pluginIs(p.Status, p.Instance), cmp.Or(p.Reason, p.LastError)})
	case supervise.Ready:
		if p.Snapshots != nil && p.Snapshots.LastError != "" {
			all = append(all, finding{warning, fmt.Sprintf("%s %s does not export the numbers", p.Kind, p.Instance), p.Snapshots.LastError})
		}
		if p.Replication != nil && p.Replication.Trouble != "" {
			all = append(all, finding{warning, fmt.Sprintf("%s %s is told nothing now", p.Kind, p.Instance), p.Replication.Trouble})
		}
	}
	return all
}

func pluginIs(p supervise.Status, instance string) string {
	return fmt.Sprintf("%s %s is %s", p.Kind, instance, p.State)
}

// maxCheck bounds the line of a check, in characters.
const maxCheck = 1000

// asksForCheck reports whether a command line that cannot be read is one of a
// monitor, which knows no other exit statuses than its own.
func asksForCheck(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool { return arg == "-check" || arg == "--check" })
}

// printCheck prints one line for a monitor, and returns its exit status. wrong is
// what is wrong with the command line.
func printCheck(ctx context.Context, f *flags, view statusView, wrong error, stdout io.Writer) error {
	if errors.Is(wrong, flag.ErrHelp) {
		return wrong
	}
	l, text := unknown, ""
	if wrong == nil && (f.JSON || view.details) {
		wrong = command.UsageError{Text: "-check goes with -config and -server only"}
	}
	if wrong == nil {
		l, text = check(ctx, f.config, view.server)
	} else {
		text = wrong.Error()
	}
	name := [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[l]
	if _, err := fmt.Fprintf(stdout, "cwtch-relay %s: %s\n", name, oneLine(text)); err != nil {
		l = unknown
	}
	return command.ExitStatus(l)
}

// check asks a relay how it is. One that does not run or does not answer is critical,
// as monitors have it; what is unknown is whether there is one.
func check(ctx context.Context, path, server string) (level, string) {
	st, err := askStatus(ctx, path, server)
	var refused *manager.RefusedError
	switch {
	case errors.Is(err, manager.ErrNotRunning), errors.Is(err, manager.ErrNoAnswer), errors.As(err, &refused):
		return critical, err.Error()
	case err != nil:
		return unknown, err.Error()
	}
	now := time.Now()
	all := findings(st, now)
	if len(all) == 0 {
		return ok, fmt.Sprintf("%s, up %s", command.CountOf(len(st.Servers), "server"), formatAge(now, st.Since))
	}
	slices.SortStableFunc(all, func(a, b finding) int { return cmp.Compare(b.level, a.level) })
	texts := make([]string, len(all))
	for i, f := range all {
		texts[i] = f.String()
	}
	return worst(all), strings.Join(texts, "; ")
}

// oneLine makes text a single line, without the sign behind which monitors expect
// numbers.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '|':
			return '/'
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxCheck {
		return string(runes[:maxCheck]) + "…"
	}
	return text
}
