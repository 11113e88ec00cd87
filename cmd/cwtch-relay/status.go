package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func printStatus(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags(true)
	if err := f.parse(args); err != nil {
		return err
	}
	dataDir, err := config.DataDir(f.config)
	if err != nil {
		return err
	}
	st, err := manager.Ask(ctx, dataDir)
	if errors.Is(err, manager.ErrNotRunning) {
		return hinted{err, "start it with: " + pathname.Command("cwtch-relay", "-config", f.config)}
	}
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(stdout, st)
	}
	return writeStatus(stdout, st, time.Now())
}

// writeStatus writes a status for people.
func writeStatus(out io.Writer, st manager.Status, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "relay\tversion %s, process %d, up %s\n", st.Version, st.PID, age(now, st.Since))
	if n := st.Network; n != nil {
		published := 0
		for _, s := range n.Services {
			if s.Published {
				published++
			}
		}
		fmt.Fprintf(w, "%s\t%s since %s", n.Network, n.State, age(now, n.Since))
		if n.State == onion.Bootstrapping {
			fmt.Fprintf(w, ", %d %%", n.Progress)
		}
		if n.Version != "" {
			fmt.Fprintf(w, ", version %s", n.Version)
		}
		fmt.Fprintf(w, ", %d of %s published", published, counted(len(n.Services), "service"))
		if n.Restarts > 0 {
			fmt.Fprintf(w, ", restarted %s", times(n.Restarts))
		}
		if n.Summary != "" && n.State != onion.Ready {
			fmt.Fprintf(w, " (%s)", n.Summary)
		}
		fmt.Fprintln(w)
	} else {
		fmt.Fprintln(w, "network\tnot open yet")
	}
	for _, s := range st.Servers {
		writeServer(w, s, now)
	}
	return w.Flush()
}

func writeServer(w io.Writer, s manager.ServerStatus, now time.Time) {
	fmt.Fprintf(w, "\nserver %s\n", s.Name)
	writePlugin(w, s.Storage, s.Storage.Name, now)
	for _, p := range s.Others {
		writePlugin(w, p.Status, p.Instance, now)
		if p.Snapshots != nil {
			writeSnapshots(w, *p.Snapshots)
		}
		if p.Replication != nil {
			writeReplication(w, *p.Replication)
		}
	}
	if s.Problem != "" {
		fmt.Fprintf(w, "  PROBLEM\t%s; a reload tries it again\n", s.Problem)
	}
	r := s.Relay
	if r == nil {
		fmt.Fprintln(w, "  board\tnot published yet")
		return
	}
	if r.Problem != "" {
		fmt.Fprintf(w, "  PROBLEM\t%s\n", r.Problem)
	}
	fmt.Fprintf(w, "  board\t%s.onion\n", r.Board)
	fmt.Fprintf(w, "  token service\t%s.onion\n", r.TokenService)
	if r.Store != nil {
		fmt.Fprintf(w, "  stored\t%s in %s, %s\n", counted(int(r.Store.Envelopes), "envelope"), size(r.Store.Bytes), counted(int(r.Store.Tokens), "spent token"))
	} else {
		fmt.Fprintln(w, "  stored\tunknown, the store does not answer")
	}
	p := r.Posts
	fmt.Fprintf(w, "  posts\t%d stored, %d duplicate; refused: %d spent token, %d conflict, %d invalid token, %d invalid envelope, %d timeout, %d store failed\n",
		p.Stored, p.Duplicate, p.SpentToken, p.Conflict, p.InvalidToken, p.InvalidEnvelope, p.Timeout, p.StoreFailed)
	fmt.Fprintf(w, "  reads\t%s of %s\n", counted(int(r.Reads.Replays), "replay"), counted(int(r.Reads.Replayed), "envelope"))
	fmt.Fprintf(w, "  tokens\t%d sold in %s; refused: %d broken off, %d not served\n",
		r.Tokens.Sold, counted(int(r.Tokens.Purchases), "purchase"), r.Tokens.Failed-r.Tokens.Refused, r.Tokens.Refused)
	writeConnections(w, "board", r.BoardConnections)
	writeConnections(w, "token", r.TokenConnections)
}

// writePlugin writes what a plugin is doing, and below it what is not well with
// it.
func writePlugin(w io.Writer, p supervise.Status, instance string, now time.Time) {
	fmt.Fprintf(w, "  %s\t%s", p.Kind, instance)
	if p.Version != "" {
		fmt.Fprintf(w, " %s", p.Version)
	}
	fmt.Fprintf(w, ", %s since %s", p.State, age(now, p.Since))
	if p.PID != 0 {
		fmt.Fprintf(w, ", process %d", p.PID)
	}
	if p.Memory > 0 {
		fmt.Fprintf(w, ", %s", size(uint64(p.Memory)))
	}
	if p.Attached {
		fmt.Fprint(w, ", attached")
	}
	if !p.Sandbox.On {
		fmt.Fprint(w, ", NOT CONFINED")
	}
	fmt.Fprintln(w)
	if p.Reason != "" {
		fmt.Fprintf(w, "  \t%s\n", p.Reason)
	}
	if p.Restarts > 0 {
		fmt.Fprintf(w, "  \trestarted %s\n", times(p.Restarts))
	}
	if p.LastError != "" && p.LastError != p.Reason {
		fmt.Fprintf(w, "  \tlast error: %s\n", p.LastError)
	}
	for _, what := range p.Sandbox.Missing {
		fmt.Fprintf(w, "  \tsandbox: %s\n", what)
	}
}

func writeReplication(w io.Writer, r manager.Replication) {
	if r.Summary != "" {
		fmt.Fprintf(w, "  \t%s\n", r.Summary)
	}
	for _, p := range r.Peers {
		fmt.Fprintf(w, "  \tpeer %d: %s; it lacks %d, and has %d that are missing here\n", p.Peer, p.Summary, p.Lacks, p.Missing)
	}
	if r.Trouble != "" {
		fmt.Fprintf(w, "  \tit is told nothing now: %s\n", r.Trouble)
	}
}

func writeSnapshots(w io.Writer, s metrics.Status) {
	if s.Dropped == 0 && s.LastError == "" {
		return
	}
	fmt.Fprintf(w, "  \t%s, %d dropped, %d failed", counted(int(s.Exported), "snapshot"), s.Dropped, s.Failed)
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

// age is how long ago something began, in one or two units.
func age(now, then time.Time) string {
	d := max(0, now.Sub(then)).Round(time.Second)
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return d.String()
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func size(n uint64) string {
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
