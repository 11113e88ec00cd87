package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/retention"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// statusView selects what of a status is shown.
type statusView struct {
	server  string // the only one; empty: all
	details bool   // of every server
	next    commandLine
}

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Category: categoryRunning, Usage: "ask the running relay how it is",
		Description: "The exit status is 1 if something is wrong that people notice.",
		Flags: withConfig(
			serverFlag("Show the server `NAME` only.", "all"),
			&cli.BoolFlag{Name: "v", Usage: "Show everything about every server."},
			&cli.BoolFlag{Name: "check", Usage: "Print one line, and exit as a monitor expects: 0 well, 1 warning, 2 critical, 3 unknown."},
		),
		Action: command.Action(printStatus),
		OnUsageError: func(ctx context.Context, c *cli.Command, err error, isSub bool) error {
			if wantsCheck(c.Root().Args().Slice()) && !c.Bool("help") {
				return printCheck(ctx, &flags{}, statusView{}, err, c.Root().Writer)
			}
			return command.ConvertUsageError(ctx, c, err, isSub)
		},
	}
}

func printStatus(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	check := c.Bool("check")
	if check {
		stderr = io.Discard // some monitors show it
	}
	f, err := readFlags(c, stderr)
	view := statusView{server: f.String("server"), details: f.Bool("v"), next: f.nextCommand}
	if check {
		return printCheck(ctx, f, view, err, stdout)
	}
	if err != nil {
		return err
	}
	st, err := askStatus(ctx, f.config, view.server)
	if errors.Is(err, manager.ErrNotRunning) {
		return command.WithHint(err, "start it with: "+f.nextCommand())
	}
	if err != nil {
		return err
	}
	if f.JSON {
		for i := range st.Servers { // as everywhere else
			st.Servers[i].Address = identity.Onion(onionAddress(st.Servers[i].Address))
		}
		err = command.PrintJSON(stdout, st)
	} else {
		err = writeStatus(stdout, st, view, time.Now())
	}
	if err == nil && worstLevel(collectFindings(st, time.Now(), f.nextCommand)) == critical {
		err = command.ExitStatus(command.ExitError) // the reasons are among the facts
	}
	return err
}

// askStatus asks the relay of a configuration for its status, and keeps only the named
// server if one is named.
func askStatus(ctx context.Context, path, server string) (manager.Status, error) {
	dataDir, err := config.DataDir(path)
	if err != nil {
		return manager.Status{}, err
	}
	st, err := manager.AskStatus(ctx, dataDir)
	if err != nil || server == "" {
		return st, err
	}
	var names []string
	for _, s := range st.Servers {
		if s.Name == server {
			st.Servers = []manager.ServerStatus{s}
			return st, nil
		}
		names = append(names, s.Name)
	}
	return st, command.WithHint(fmt.Errorf("the relay has no server %q", server), "it has: "+strings.Join(names, ", "))
}

// writeStatus writes a status for people: a line for each server, and all of a server
// with findings. A single server is always shown in full.
func writeStatus(out io.Writer, st manager.Status, view statusView, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "relay\tversion %s, process %d, up %s\n", st.Version, st.PID, formatAge(now, st.Since))
	writeNetwork(w, st.Network, now)
	if c := st.Console; c != nil && c.Published {
		fmt.Fprintf(w, "console\tpublished for its clients, %s.onion\n", c.Onion)
	}
	writeFindings(w, "", relayFindings(st, now))
	full := view.details || len(st.Servers) == 1
	if !full && len(st.Servers) > 0 {
		fmt.Fprintln(w)
		for _, s := range st.Servers {
			writeServerLine(w, s, now, view.next)
		}
	}
	for _, s := range st.Servers {
		if full || len(serverFindings(s, now, view.next)) > 0 {
			writeServer(w, s, now, view.next)
		}
	}
	return w.Flush()
}

func writeNetwork(w io.Writer, n *onion.Status, now time.Time) {
	if n == nil {
		fmt.Fprintln(w, "network\tnot open yet")
		return
	}
	fmt.Fprintf(w, "%s\t%s since %s", n.Network, n.State, formatAge(now, n.Since))
	if n.State == onion.Bootstrapping {
		fmt.Fprintf(w, ", %d %%", n.Progress)
	}
	if n.Version != "" {
		fmt.Fprintf(w, ", version %s", n.Version)
	}
	fmt.Fprintf(w, ", %d of %s published", countPublished(*n), command.CountOf(len(n.Services), "service"))
	if n.Restarts > 0 {
		fmt.Fprintf(w, ", restarted %s", formatTimes(n.Restarts))
	}
	if n.Summary != "" && n.State != onion.Ready {
		fmt.Fprintf(w, " (%s)", n.Summary)
	}
	fmt.Fprintln(w)
}

func countPublished(n onion.Status) (published int) {
	for _, s := range n.Services {
		if s.Published {
			published++
		}
	}
	return published
}

// writeServerLine writes a server on one line.
func writeServerLine(w io.Writer, s manager.ServerStatus, now time.Time, next commandLine) {
	state := "ok"
	if s.State == manager.StateStopped || s.State == manager.StateLocked {
		state = string(s.State)
	}
	if level := worstLevel(serverFindings(s, now, next)); level > ok {
		state = level.label()
	}
	fmt.Fprintf(w, "%s\t%s", s.Name, state)
	if r := s.Relay; r != nil {
		stored := "the store does not answer"
		if r.Store != nil {
			stored = fmt.Sprintf("%s in %s", command.CountOf(int(r.Store.Envelopes), "envelope"), formatSize(r.Store.Bytes))
		}
		fmt.Fprintf(w, "\t%s\t%s\t%s.onion", stored, command.CountOf(int(r.BoardConnections.Open), "connection"), r.Board)
	} else {
		fmt.Fprint(w, "\tnot published")
	}
	fmt.Fprintln(w)
}

func writeFindings(w io.Writer, indent string, all []finding) {
	for _, f := range all {
		fmt.Fprintf(w, "%s%s\t%s\n", indent, f.level.label(), f.what)
	}
}

// writeServer writes all that is known of a server, its findings first.
func writeServer(w io.Writer, s manager.ServerStatus, now time.Time, next commandLine) {
	fmt.Fprintf(w, "\nserver %s\n", s.Name)
	writeFindings(w, "  ", serverFindings(s, now, next))
	if s.State == manager.StateStopped && !s.Deleting {
		fmt.Fprintf(w, "  stopped\tstart it with: %s\n", next("server", "start", s.Name))
	}
	if !s.Unreadable {
		writePlugin(w, s.Storage, s.Storage.Name, now)
	}
	for _, p := range s.Others {
		writePlugin(w, p.Status, p.Instance, now)
		if p.Snapshots != nil {
			writeSnapshots(w, *p.Snapshots)
		}
		if p.Replication != nil {
			writeReplication(w, *p.Replication)
		}
	}
	r := s.Relay
	if r == nil && s.Unreadable {
		return
	}
	if r == nil {
		fmt.Fprintln(w, "  board\tnot published yet")
		return
	}
	fmt.Fprintf(w, "  board\t%s.onion\n", r.Board)
	fmt.Fprintf(w, "  token service\t%s.onion\n", r.TokenService)
	writeReachability(w, s.Reachability, now)
	if r.Store != nil {
		fmt.Fprintf(w, "  stored\t%s in %s", command.CountOf(int(r.Store.Envelopes), "envelope"), formatSize(r.Store.Bytes))
		if r.Store.InUse > 0 {
			fmt.Fprintf(w, " (%s in use)", formatSize(r.Store.InUse))
		}
		fmt.Fprintf(w, ", %s\n", command.CountOf(int(r.Store.Tokens), "spent token"))
	} else {
		fmt.Fprintln(w, "  stored\tunknown, the store does not answer")
	}
	if s.Retention != nil {
		writeRetention(w, *s.Retention)
	}
	writeBudget(w, r.Budget)
	p := r.Posts
	fmt.Fprintf(w, "  posts\t%d stored, %d duplicate; refused: %d spent token, %d conflict, %d expired, %d no room, %d over budget, %d invalid token, %d invalid envelope, %d timeout, %d store failed\n",
		p.Stored, p.Duplicate, p.SpentToken, p.Conflict, p.Expired, p.NoRoom, p.OverBudget, p.InvalidToken, p.InvalidEnvelope, p.Timeout, p.StoreFailed)
	fmt.Fprintf(w, "  reads\t%s of %s\n", command.CountOf(int(r.Reads.Replays), "replay"), command.CountOf(int(r.Reads.Replayed), "envelope"))
	fmt.Fprintf(w, "  tokens\t%d sold in %s; refused: %d broken off, %d not served\n",
		r.Tokens.Sold, command.CountOf(int(r.Tokens.Purchases), "purchase"), r.Tokens.Failed-r.Tokens.Refused, r.Tokens.Refused)
	writeConnections(w, "board", r.BoardConnections)
	writeConnections(w, "token", r.TokenConnections)
}

// writeReachability writes whether the last attempt from outside reached a server.
func writeReachability(w io.Writer, r *doctor.Reachability, now time.Time) {
	switch {
	case r == nil:
		fmt.Fprintln(w, "  reachable\tnot tried yet")
		return
	case r.OK:
		fmt.Fprintf(w, "  reachable\tfrom outside, %s ago", formatAge(now, r.At))
	default:
		fmt.Fprintf(w, "  reachable\tNO, %s ago", formatAge(now, r.At))
	}
	if r.Republished != nil {
		fmt.Fprintf(w, "; published anew %s, %s ago", formatTimes(r.BoardRepublished+r.TokenRepublished), formatAge(now, *r.Republished))
	}
	fmt.Fprintln(w)
}

// writePlugin writes the state of a plugin, and below it what is wrong with it.
func writePlugin(w io.Writer, p supervise.Status, instance string, now time.Time) {
	fmt.Fprintf(w, "  %s\t%s", p.Kind, instance)
	if p.Version != "" {
		fmt.Fprintf(w, " %s", p.Version)
	}
	fmt.Fprintf(w, ", %s since %s", p.State, formatAge(now, p.Since))
	if p.PID != 0 {
		fmt.Fprintf(w, ", process %d", p.PID)
	}
	if p.Memory > 0 {
		fmt.Fprintf(w, ", %s", formatSize(uint64(p.Memory)))
	}
	if p.Attached {
		fmt.Fprint(w, ", attached")
	}
	if !p.Sandbox.On && p.Incarnation > 0 {
		fmt.Fprint(w, ", NOT CONFINED")
	}
	fmt.Fprintln(w)
	if p.Reason != "" {
		fmt.Fprintf(w, "  \t%s\n", p.Reason)
	}
	if p.Restarts > 0 {
		fmt.Fprintf(w, "  \trestarted %s\n", formatTimes(p.Restarts))
	}
	if p.LastError != "" && p.LastError != p.Reason {
		fmt.Fprintf(w, "  \tlast error: %s\n", p.LastError)
	}
	for _, what := range p.Sandbox.Missing {
		fmt.Fprintf(w, "  \tsandbox: %s\n", what)
	}
}

const dateLayout = "2006-01-02 15:04 MST"

// writeBudget writes how much may still be posted.
func writeBudget(w io.Writer, b relay.BudgetStatus) {
	var parts []string
	if b.PostsPerHour > 0 {
		parts = append(parts, fmt.Sprintf("%d of the %d posts", b.PostsLeft, 24*b.PostsPerHour))
	}
	if b.BytesPerDay > 0 {
		parts = append(parts, fmt.Sprintf("%s of the %s", formatSize(b.BytesLeft), formatSize(uint64(b.BytesPerDay))))
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "  budget\t%s of a day are left\n", strings.Join(parts, " and "))
	}
}

// writeRetention writes what a server keeps, and for how long that goes on.
func writeRetention(w io.Writer, r retention.Status) {
	var parts []string
	switch {
	case r.Unable:
		parts = append(parts, "the store keeps everything, it cannot remove envelopes")
	case r.Looked == nil:
		parts = append(parts, "the store was not looked at yet")
	default:
		parts = append(parts, fmt.Sprintf("%s of %s", command.CountOf(int(r.Envelopes), "envelope"), formatSize(r.Bytes)))
		if r.Oldest != nil {
			parts = append(parts, "the oldest from "+r.Oldest.Format(dateLayout))
		}
		if r.Floor != nil {
			parts = append(parts, "nothing kept from before "+r.Floor.Format(dateLayout))
		}
		if r.Reached != nil {
			parts = append(parts, fmt.Sprintf("%s reached on %s at the rate of the last day", r.ReachedLimit, r.Reached.Format("2006-01-02")))
		}
		if r.Removed > 0 {
			parts = append(parts, fmt.Sprintf("%d removed since the start", r.Removed))
		}
		if r.Removing {
			parts = append(parts, "removing")
		}
		if r.Future > 0 {
			parts = append(parts, fmt.Sprintf("%d from hours to come", r.Future))
		}
	}
	fmt.Fprintf(w, "  retention\t%s; %s free on the disk\n", strings.Join(parts, ", "), formatSize(r.Free))
	writeCompaction(w, r.Compaction)
}

// writeCompaction writes when removed envelopes leave the files of the store.
func writeCompaction(w io.Writer, c retention.CompactionStatus) {
	var parts []string
	switch {
	case c.Running:
		parts = append(parts, fmt.Sprintf("under way, %s written", formatSize(c.Moved)))
	case c.Due != nil:
		parts = append(parts, "next by "+c.Due.Format(dateLayout))
	}
	if c.Last != nil && c.Ended != nil {
		parts = append(parts, fmt.Sprintf("last on %s, from %s to %s", c.Ended.UTC().Format(dateLayout), formatSize(c.Last.Before), formatSize(c.Last.After)))
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "  compaction\t%s\n", strings.Join(parts, "; "))
	}
}

func writeReplication(w io.Writer, r replica.Status) {
	if r.Summary != "" {
		fmt.Fprintf(w, "  \t%s\n", r.Summary)
	}
	reports := make(map[peersync.Peer]peersync.PeerReport)
	for _, p := range r.Peers {
		reports[p.Peer] = p
	}
	for _, l := range r.Links {
		writeLink(w, l)
		if p, ok := reports[l.Number]; ok {
			fmt.Fprintf(w, "  \t  it lacks %d, and has %d that are missing here", p.Lacks, p.Missing)
			if p.Summary != "" {
				fmt.Fprintf(w, "; %s", p.Summary)
			}
			fmt.Fprintln(w)
		}
	}
	if r.Trouble != "" {
		fmt.Fprintf(w, "  \tit gets no events now: %s\n", r.Trouble)
	}
	if r.NoKeys != "" {
		fmt.Fprintf(w, "  \tit cannot compare boards now: %s\n", r.NoKeys)
	}
}

// writeLink writes the link to a peer.
func writeLink(w io.Writer, l replica.LinkStatus) {
	fmt.Fprintf(w, "  \tpeer %s is %s", l.Name, l.State)
	if l.Since != nil {
		fmt.Fprintf(w, " since %s", l.Since.Format(dateLayout))
	}
	if l.Reason != "" {
		fmt.Fprintf(w, ": %s", l.Reason)
	}
	if l.NextDial != nil {
		fmt.Fprintf(w, "; next attempt %s", l.NextDial.Format("15:04:05 MST"))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "  \t  %s in, %s out; of its envelopes %d were new here, %d known, %d refused; %d of its hour and %s of its day are used up\n",
		formatSize(l.BytesIn), formatSize(l.BytesOut), l.Stored, l.Known, l.Refused, l.QuotaEnvelopes, formatSize(l.QuotaBytes))
	if l.ClockAhead > maxClockAhead || l.ClockAhead < -maxClockAhead {
		fmt.Fprintf(w, "  \t  %s\n", describeClock(l.ClockAhead))
	}
}

// maxClockAhead is by how many seconds the clocks of two relays may differ before somebody should
// look at them.
const maxClockAhead = 15 * 60

// wrongClock is by how many seconds they differ when that is worth a warning: a relay takes over
// hours that are less ahead of its own clock.
const wrongClock = int64(exchange.MaxAhead / time.Second)

func writeSnapshots(w io.Writer, s metrics.Status) {
	if s.Dropped == 0 && s.LastError == "" {
		return
	}
	fmt.Fprintf(w, "  \t%s, %d dropped, %d failed", command.CountOf(int(s.Exported), "snapshot"), s.Dropped, s.Failed)
	if s.LastError != "" {
		fmt.Fprintf(w, ", last because of: %s", s.LastError)
	}
	fmt.Fprintln(w)
}

func writeConnections(w io.Writer, what string, c relay.ConnectionCounts) {
	fmt.Fprintf(w, "  %s connections\t%d open, %d accepted, %d refused, %d delayed", what, c.Open, c.Accepted, c.Refused, c.Delayed)
	for _, odd := range []struct {
		n    uint64
		what string
	}{{c.Evicted, "evicted"}, {c.Abandoned, "abandoned"}, {c.AcceptErrors, "errors of accepting"}, {c.Unauthenticated, "not authenticated"}, {c.Malformed, "malformed"}, {c.Idle, "idle"}, {c.Stuck, "stuck"}, {c.Unserved, "unserved"}, {c.Panics, "ended by a defect"}} {
		if odd.n > 0 {
			fmt.Fprintf(w, ", %d %s", odd.n, odd.what)
		}
	}
	fmt.Fprintln(w)
}

// formatAge is how long ago something began, in one or two units.
func formatAge(now, then time.Time) string {
	d := max(0, now.Sub(then)).Round(time.Second)
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return d.String()
}

func formatTimes(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func formatSize(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 3 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[prefix])
}

// describeClock says how far the clock of a peer is ahead of ours, in seconds.
func describeClock(ahead int64) string {
	side := "ahead of"
	if ahead < 0 {
		ahead, side = -ahead, "behind"
	}
	return fmt.Sprintf("its clock is %d minutes %s ours: compare both with another one", ahead/60, side)
}

// describeWrongClock says what to do about the clock of a peer that is further from ours than
// relays put up with.
func describeWrongClock(name string, ahead int64) string {
	return fmt.Sprintf("%s, and have the wrong one set; \"peer sync %s\" then measures anew. Until then both relays go by the earlier time of a message, so messages go sooner, and beyond a day each comparison finds differences that are none",
		describeClock(ahead), name)
}
