package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/retention"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// level is how serious a finding is. The numbers are the exit statuses of Nagios plugins,
// which other monitors know as well.
type level int

const (
	ok       level = iota
	warning        // everybody is served, but something is wrong
	critical       // some people or all are not served
	unknown        // nobody can tell
)

// label is the word of a status for the level.
func (l level) label() string { return [...]string{"OK", "WARNING", "PROBLEM", "UNKNOWN"}[l] }

// finding is something that an operator has to know.
type finding struct {
	level level
	what  string
	why   string // empty if the status shows it elsewhere
}

func (f finding) String() string {
	if f.why == "" {
		return f.what
	}
	return f.what + ": " + f.why
}

func worstLevel(all []finding) (l level) {
	for _, f := range all {
		l = max(l, f.level)
	}
	return l
}

// collectFindings returns what is wrong with a relay.
func collectFindings(st manager.Status, now time.Time, next commandLine) []finding {
	all := relayFindings(st, now)
	for _, s := range st.Servers {
		for _, f := range serverFindings(s, now, next) {
			f.what = "server " + s.Name + ": " + f.what
			all = append(all, f)
		}
	}
	return all
}

// publishGrace is how long Tor may take to publish the servers before that is critical.
const publishGrace = 10 * time.Minute

// relayFindings returns what is wrong beside the servers.
func relayFindings(st manager.Status, now time.Time) (all []finding) {
	away := critical
	if now.Sub(st.Since) < publishGrace {
		away = warning
	}
	switch n := st.Network; {
	case n == nil && st.NetworkProblem != "":
		all = append(all, finding{critical, "the network cannot be opened, so nobody can reach the servers; it is tried again", st.NetworkProblem})
	case n == nil:
		all = append(all, finding{away, "the network is not open yet", ""})
	case n.State == onion.Backoff, n.State == onion.Offline:
		all = append(all, finding{critical, fmt.Sprintf("%s is %s, so nobody can reach the servers", n.Network, n.State), n.Summary})
	case n.State != onion.Ready:
		all = append(all, finding{away, fmt.Sprintf("%s is %s", n.Network, n.State), n.Summary})
	case missesServer(st):
		all = append(all, finding{away, fmt.Sprintf("%d of %s are published", countPublished(*n), command.CountOf(len(n.Services), "service")), ""})
	}
	if c := st.Console; c != nil && !c.Published {
		all = append(all, finding{warning, "the onion service of the console" + describeOnion(c) + " is not published", c.Problem})
	}
	for _, d := range st.Disks {
		all = append(all, finding{warning, d.String(), ""})
	}
	if t := st.Log; t != nil {
		all = append(all, finding{warning, "the log " + t.Describe(now), ""})
	}
	if t := st.Stdout; t != nil {
		all = append(all, finding{warning, "standard output " + t.Describe(now), ""})
	}
	return all
}

// missesServer reports whether a service is not published that is not the console's.
func missesServer(st manager.Status) bool {
	return slices.ContainsFunc(st.Network.Services, func(s onion.Service) bool {
		return !s.Published && (st.Console == nil || s.Onion != st.Console.Onion)
	})
}

// describeOnion names the service in brackets, if it has a name.
func describeOnion(c *manager.ConsoleOnion) string {
	if c.Onion == "" {
		return ""
	}
	return " (" + string(c.Onion) + ".onion)"
}

// slowOpening is how long a store may take to open before that needs an explanation.
const slowOpening = 10 * time.Second

// serverFindings returns what is wrong with a server.
func serverFindings(s manager.ServerStatus, now time.Time, next commandLine) (all []finding) {
	switch {
	case s.Deleting:
		return []finding{{critical, s.Problem, ""}}
	case s.State == manager.StateStopped:
		return nil // as its operator wants it
	case s.State == manager.StateLocked:
		return []finding{{warning, "it is locked, so nobody can reach it: " + next("server", "unlock", s.Name), s.Problem}}
	}
	if s.Relay == nil && s.Storage.State == supervise.Configuring && now.Sub(s.Storage.Since) >= slowOpening {
		return []finding{{critical, fmt.Sprintf("its store has been opening for %s; it may take minutes to take over a file of an earlier release, once: wait, and do not reload", formatAge(now, s.Storage.Since)), ""}}
	}
	if s.Problem != "" {
		return []finding{{critical, s.Problem + "; a reload tries it again", ""}}
	}
	switch state := s.Storage.State; {
	case state == supervise.Degraded:
		all = append(all, finding{warning, describeState(s.Storage, s.Storage.Name), s.Storage.Reason})
	case state != supervise.Ready:
		all = append(all, finding{critical, describeState(s.Storage, s.Storage.Name) + ", so posts are refused", cmp.Or(s.Storage.Reason, s.Storage.LastError)})
	}
	if r := s.Relay; r != nil {
		switch {
		case r.Problem != "":
			all = append(all, finding{critical, r.Problem, ""})
		case r.Refusing != "":
			all = append(all, finding{critical, "posts are refused, because of the store: " + r.Refusing, ""})
		case r.NoRoom != "":
			all = append(all, finding{critical, "posts are refused: " + r.NoRoom, ""})
		case r.Store == nil && len(all) == 0:
			all = append(all, finding{critical, "the store does not answer", ""})
		}
		if b := r.Budget; b.UsedUp != "" {
			all = append(all, finding{warning, fmt.Sprintf("%s is used up: connections that post much are refused, and the others share the last eighth; there is more from %s if nobody posts until then", b.UsedUp, b.Opens.Format("15:04 MST")), ""})
		}
		if r.Stalled {
			all = append(all, finding{critical, "posts are not taken from their queue, which is a defect of the relay, please report it", ""})
		}
	}
	if r := s.Reachability; r != nil && !r.OK {
		all = append(all, reachFinding(*r, now, next))
	}
	if r := s.Retention; r != nil {
		all = append(all, retentionFindings(*r, now, next)...)
	}
	for _, p := range s.Others {
		all = append(all, otherFindings(p)...)
		if p.Replication != nil {
			all = append(all, linkFindings(p.Replication.Links, now)...)
		}
	}
	return all
}

// reachFinding says that others cannot reach a server. A single attempt may fail by chance.
func reachFinding(r doctor.Reachability, now time.Time, next commandLine) finding {
	l := critical
	if max(r.BoardFailures, r.TokenFailures) < 2 {
		l = warning
	}
	return finding{l, fmt.Sprintf("it cannot be reached from outside, as of %s ago (%s tries again)", formatAge(now, r.At), next("doctor")), r.Problem}
}

// maxUnlinked is how long a peer may be away: many are off at night.
const maxUnlinked = 24 * time.Hour

// linkFindings returns which peers an operator should ask about.
func linkFindings(links []replica.LinkStatus, now time.Time) (all []finding) {
	for _, l := range links {
		switch {
		case l.State == "refused":
			all = append(all, finding{warning, "peer " + l.Name + " is refused", l.Reason})
		case l.State != "up" && l.State != "paused" && l.Since != nil && now.Sub(*l.Since) > maxUnlinked:
			all = append(all, finding{warning, "no link to peer " + l.Name + " since " + l.Since.Format(dateLayout), l.Reason})
		}
		if isWrongClock(l) {
			all = append(all, finding{warning, "peer " + l.Name + ": " + describeWrongClock(l.Name, l.ClockAhead), ""})
		}
	}
	return all
}

// isWrongClock reports whether the clock of a peer is too far from ours, as far as it is known.
func isWrongClock(l replica.LinkStatus) bool {
	return l.State != "paused" && max(l.ClockAhead, -l.ClockAhead) > wrongClock
}

// retentionFindings returns what keeps a server from removing old envelopes.
func retentionFindings(r retention.Status, now time.Time, next commandLine) (all []finding) {
	if r.Floor != nil && r.Floor.After(now) {
		all = append(all, finding{critical, "posts are refused, because the store keeps nothing from before " + r.Floor.Format(dateLayout) + ": if the clock of this machine is behind, set it; otherwise wait, or copy the store, since a copy takes posts at once (cwtch-relay storage copy)", ""})
	}
	if r.Undecided {
		all = append(all, finding{warning, "nothing is removed: the server has messages from before it had a retention, and the configuration does not say how much it keeps. Write a retention block for it, \"retention {}\" for the defaults; \"" + next("reload", "-dry-run") + "\" says what that deletes", ""})
	}
	for _, what := range []string{r.Waits, r.Tight} {
		if what != "" {
			all = append(all, finding{warning, what, ""})
		}
	}
	if r.Trouble != "" {
		all = append(all, finding{warning, "old envelopes cannot be removed now: " + r.Trouble, ""})
	}
	if r.Compaction.Problem != "" {
		all = append(all, finding{warning, "what was removed stays in the files of the store, because it cannot be compacted now: " + r.Compaction.Problem, ""})
	}
	return all
}

// otherFindings returns what is wrong with a plugin that a server can do without.
func otherFindings(p manager.PluginStatus) (all []finding) {
	switch p.State {
	case supervise.Backoff, supervise.Failed, supervise.Degraded:
		all = append(all, finding{warning, describeState(p.Status, p.Instance), cmp.Or(p.Reason, p.LastError)})
	case supervise.Ready:
		if p.Snapshots != nil && p.Snapshots.LastError != "" {
			all = append(all, finding{warning, fmt.Sprintf("%s %s does not export the numbers", p.Kind, p.Instance), p.Snapshots.LastError})
		}
		if p.Replication != nil && p.Replication.Trouble != "" {
			all = append(all, finding{warning, fmt.Sprintf("%s %s gets no events now", p.Kind, p.Instance), p.Replication.Trouble})
		}
		if p.Replication != nil && p.Replication.Crowded != "" {
			all = append(all, finding{warning, fmt.Sprintf("%s %s takes nothing from peers now", p.Kind, p.Instance), p.Replication.Crowded})
		}
		if p.Replication != nil && p.Replication.NoKeys != "" {
			all = append(all, finding{warning, fmt.Sprintf("%s %s cannot compare boards now", p.Kind, p.Instance), p.Replication.NoKeys})
		}
	}
	return all
}

func describeState(p supervise.Status, instance string) string {
	return fmt.Sprintf("%s %s is %s", p.Kind, instance, p.State)
}

// maxCheck bounds the line of a check, in characters.
const maxCheck = 1000

// wantsCheck reports whether a monitor gave a command line that cannot be parsed. Monitors
// know no other exit statuses than those of level.
func wantsCheck(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool { return arg == "-check" || arg == "--check" })
}

// printCheck prints one line for a monitor and returns the exit status. wrong is the error
// of the command line, if it has one.
func printCheck(ctx context.Context, f *flags, view statusView, wrong error, stdout io.Writer) error {
	l, text := unknown, ""
	if wrong == nil && (f.JSON || view.details) {
		wrong = command.UsageError{Text: "-check goes with -config and -server only"}
	}
	if wrong == nil {
		l, text = checkRelay(ctx, f, view.server)
	} else {
		text = wrong.Error()
	}
	name := [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[l]
	if _, err := fmt.Fprintf(stdout, "cwtch-relay %s: %s\n", name, toOneLine(text)); err != nil {
		l = unknown
	}
	return command.ExitStatus(l)
}

// checkRelay asks a relay for its status. A relay that does not run or answer is critical;
// unknown means that the question could not be asked.
func checkRelay(ctx context.Context, f *flags, server string) (level, string) {
	st, err := askStatus(ctx, f.config, server)
	var refused *manager.RefusedError
	switch {
	case errors.Is(err, manager.ErrNotRunning), errors.Is(err, manager.ErrNoAnswer), errors.As(err, &refused):
		return critical, err.Error()
	case err != nil:
		return unknown, err.Error()
	}
	now := time.Now()
	all := collectFindings(st, now, f.nextCommand)
	if len(all) == 0 {
		return ok, fmt.Sprintf("%s, up %s", command.CountOf(len(st.Servers), "server"), formatAge(now, st.Since))
	}
	slices.SortStableFunc(all, func(a, b finding) int { return cmp.Compare(b.level, a.level) })
	texts := make([]string, len(all))
	for i, f := range all {
		texts[i] = f.String()
	}
	return worstLevel(all), strings.Join(texts, "; ")
}

// toOneLine removes line breaks and the sign behind which monitors expect numbers.
func toOneLine(text string) string {
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
