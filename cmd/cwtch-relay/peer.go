package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// peerList is what peer list prints as JSON.
type peerList struct {
	Running bool          `json:"running"` // otherwise it has what is configured
	Servers []serverPeers `json:"servers"`
}

// serverPeers are the peers of one server.
type serverPeers struct {
	Server  string       `json:"server"`
	Summary string       `json:"summary,omitempty"` // of the plugin
	Problem string       `json:"problem,omitempty"` // why boards are not compared now
	Crowded string       `json:"crowded,omitempty"` // why nothing is taken from peers now
	Peers   []listedPeer `json:"peers"`
}

// listedPeer is a peer, with what the plugin has reported of it last.
type listedPeer struct {
	replica.LinkStatus
	Report *peersync.PeerReport `json:"report,omitempty"`
}

// stateUnknown is the state of a link while no relay runs.
const stateUnknown = "not running"

func peerCommands() *cli.Command {
	all := func() cli.Flag { return serverFlag("Take the peers of the server `NAME`.", "all") }
	one := func() cli.Flag { return serverFlag("Take the peers of the server `NAME`.", "the only one") }
	named := func(name, usage string, run command.Func) *cli.Command {
		return &cli.Command{Name: name, ArgsUsage: "NAME", Usage: usage, Flags: withConfig(one()), Action: command.Action(run)}
	}
	remove := named("remove", "remove a peer from the configuration, and reload it", removePeer)
	remove.Description = "What came from the peer stays."
	return &cli.Command{
		Name: "peer", Category: categoryPeers, Usage: "list and change the relays with a replica of a server",
		Commands: []*cli.Command{
			{Name: "list", Usage: "list the peers, and how the links to them are", Flags: withConfig(all()), Action: command.Action(listPeers)},
			{
				Name: "add", ArgsUsage: "NAME ONION", Usage: "add a peer to the configuration, and reload it",
				Description: "It prints what the other side needs.",
				Flags: withConfig(one(),
					&cli.StringFlag{Name: "role", DefaultText: "replica", Usage: "Make the peer a `replica|mirror`; nothing is taken from a mirror."},
					&cli.Int64Flag{Name: "envelopes-per-hour", DefaultText: "10000", Usage: "Take at most `N` new messages an hour from the peer."},
					&cli.StringFlag{Name: "bytes-per-day", DefaultText: "256MiB", Usage: "Take at most `SIZE` a day from the peer."},
					&cli.BoolFlag{Name: "yes", Usage: "Add a peersync plugin too if the server has none."}),
				Action: command.Action(addPeer),
			},
			remove,
			named("pause", "keep a peer, and have no link to it", pausePeer),
			named("resume", "end a pause", resumePeer),
			named("sync", "compare with a peer now, and say what came of it", syncPeer),
			named("scrub", "compare with a peer after reading the keys of the store anew", scrubPeer),
		},
	}
}

// listPeers prints the peers of the servers: of the running relay, or those that are configured.
func listPeers(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	server := f.String("server")
	list := peerList{Running: true}
	st, err := askStatus(ctx, f.config, server)
	switch {
	case errors.Is(err, manager.ErrNotRunning):
		list, err = configuredPeers(ctx, f, server)
	case err == nil:
		for _, s := range st.Servers {
			list.Servers = append(list.Servers, runningPeers(s))
		}
	}
	if err != nil {
		return err
	}
	if f.JSON {
		return command.PrintJSON(stdout, list)
	}
	return writePeers(stdout, f, list, time.Now())
}

// runningPeers returns the peers of a server of the running relay.
func runningPeers(s manager.ServerStatus) serverPeers {
	p := serverPeers{Server: s.Name, Problem: s.Problem, Peers: []listedPeer{}}
	for _, o := range s.Others {
		r := o.Replication
		switch {
		case o.Kind != plugin.KindPeerSync:
			continue
		case o.State != supervise.Ready && o.State != supervise.Degraded:
			p.Problem = fmt.Sprintf("peersync %q is in state %s: %s", o.Name, o.State, o.LastError)
		case r != nil:
			p.Problem = cmp.Or(r.Trouble, r.NoKeys)
		}
		if r == nil {
			continue
		}
		p.Summary, p.Crowded = r.Summary, r.Crowded
		for _, l := range r.Links {
			row := listedPeer{LinkStatus: l}
			if i := slices.IndexFunc(r.Peers, func(x peersync.PeerReport) bool { return x.Peer == l.Number }); i >= 0 {
				row.Report = &r.Peers[i]
			}
			p.Peers = append(p.Peers, row)
		}
	}
	return p
}

// configuredPeers returns the peers of a file.
func configuredPeers(ctx context.Context, f *flags, name string) (list peerList, err error) {
	cfg, err := loadTolerant(ctx, f.config)
	if err != nil {
		return list, err
	}
	servers := cfg.Servers
	if name != "" {
		server, err := pickServer(cfg.Config, name, f.nextCommand)
		if err != nil {
			return list, err
		}
		servers = []config.Server{server}
	}
	for _, s := range servers {
		p := serverPeers{Server: s.Name, Peers: []listedPeer{}}
		for _, c := range s.Peers {
			peer := peerConfig(c)
			l := replica.LinkStatus{
				Name: c.Name, Onion: peer.Onion, Role: "replica", State: stateUnknown,
				EnvelopesPerHour: c.EnvelopesPerHour, BytesPerDay: c.BytesPerDay,
			}
			if c.Mirror {
				l.Role = "mirror"
			}
			if c.Paused {
				l.State = "paused"
			}
			p.Peers = append(p.Peers, listedPeer{LinkStatus: l})
		}
		list.Servers = append(list.Servers, p)
	}
	return list, nil
}

// writePeers writes peers for people: a table for each server, and below it what does not fit
// into a column.
func writePeers(out io.Writer, f *flags, list peerList, now time.Time) error {
	if !list.Running {
		fmt.Fprintf(out, "no relay is running; %s has:\n", f.config)
	}
	for i, s := range list.Servers {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if len(s.Peers) == 0 && s.Problem == "" {
			fmt.Fprintf(out, "server %s has no peers; add one with: %s\n", s.Server, f.nextCommand("peer", "add", "NAME", "ONION", "-server", s.Server))
			continue
		}
		fmt.Fprintf(out, "server %s", s.Server)
		if s.Summary != "" {
			fmt.Fprintf(out, ": %s", s.Summary)
		}
		fmt.Fprintln(out)
		if s.Problem != "" {
			fmt.Fprintf(out, "  it does not compare boards now: %s\n", s.Problem)
		}
		if s.Crowded != "" {
			fmt.Fprintf(out, "  it takes nothing from peers now: %s\n", s.Crowded)
		}
		if len(s.Peers) == 0 {
			continue
		}
		if err := writePeerTable(out, s, list.Running, now); err != nil {
			return err
		}
	}
	return nil
}

func writePeerTable(out io.Writer, s serverPeers, running bool, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !running {
		fmt.Fprintln(w, "  PEER\tROLE\tSTATE\tENVELOPES PER HOUR\tBYTES PER DAY\tONION")
		for _, p := range s.Peers {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%d\t%s\t%s.onion\n", p.Name, p.Role, p.State, p.EnvelopesPerHour, formatSize(p.BytesPerDay), p.Onion)
		}
		return w.Flush()
	}
	fmt.Fprintln(w, "  PEER\tROLE\tSTATE\tIT LACKS\tWE LACK\tRECEIVED\tSENT\tQUOTA USED\tONLY IT HAD")
	for _, p := range s.Peers {
		lacks, missing := "?", "?"
		if p.Report != nil && p.State == "up" {
			lacks, missing = fmt.Sprint(p.Report.Lacks), fmt.Sprint(p.Report.Missing)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s, %d\t%s, %d\t%s\t%d\n", p.Name, p.Role, describeLinkState(p.LinkStatus, now), lacks, missing,
			formatSize(p.BytesIn), p.EnvelopesIn, formatSize(p.BytesOut), p.EnvelopesOut, describeQuota(p.LinkStatus), p.Stored)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range s.Peers {
		var notes []string
		if p.Report != nil && p.Report.Summary != "" {
			notes = append(notes, p.Report.Summary)
		}
		if p.Reason != "" && p.State != "up" {
			notes = append(notes, p.Reason)
		}
		switch {
		case isWrongClock(p.LinkStatus):
			notes = append(notes, "WARNING: "+describeWrongClock(p.Name, p.ClockAhead))
		case p.ClockAhead > maxClockAhead || p.ClockAhead < -maxClockAhead:
			notes = append(notes, describeClock(p.ClockAhead))
		}
		if len(notes) > 0 {
			fmt.Fprintf(out, "  %s: %s\n", p.Name, strings.Join(notes, "; "))
		}
	}
	return nil
}

// describeLinkState says in a few words how a link is.
func describeLinkState(l replica.LinkStatus, now time.Time) string {
	switch {
	case l.State == "up" && l.Since != nil:
		return "up for " + formatAge(now, *l.Since)
	case l.State == "down" && l.NextDial != nil && l.NextDial.After(now):
		return "waiting until " + l.NextDial.Format("15:04:05 MST")
	case l.State == "refused" && l.NextDial != nil:
		return "refused until " + l.NextDial.Format("15:04:05 MST")
	}
	return l.State
}

// describeQuota says how much a peer has used up of the quota that is nearer to its end.
func describeQuota(l replica.LinkStatus) string {
	percent := func(used, of uint64) float64 {
		if of == 0 {
			return 0
		}
		return 100 * float64(used) / float64(of)
	}
	hour, day := percent(l.QuotaEnvelopes, l.EnvelopesPerHour), percent(l.QuotaBytes, l.BytesPerDay)
	if hour >= day {
		return fmt.Sprintf("%.0f %% of the hour", hour)
	}
	return fmt.Sprintf("%.0f %% of the day", day)
}

// checkPeerName refuses the name of a peer that a server has not, and suggests one that it has.
func checkPeerName(server, name string, known []string) error {
	if slices.Contains(known, name) {
		return nil
	}
	hint := "it has no peers"
	if len(known) > 0 {
		hint = suggest.Name("", name, known) + "It has: " + strings.Join(known, ", ")
	}
	return command.WithHint(fmt.Errorf("server %s has no peer %q", server, name), hint)
}

func syncPeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	return comparePeer(ctx, c, stdout, stderr, false)
}

func scrubPeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	return comparePeer(ctx, c, stdout, stderr, true)
}

// comparePeer has the running relay compare a server with a peer.
func comparePeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer, scrub bool) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	st, err := askStatus(ctx, f.config, f.String("server"))
	if errors.Is(err, manager.ErrNotRunning) {
		return command.WithHint(err, "start it with: "+f.nextCommand())
	}
	if err != nil {
		return err
	}
	if len(st.Servers) > 1 {
		return command.WithHint(errors.New("the relay has several servers"), "say which one: -server "+st.Servers[0].Name)
	}
	if len(st.Servers) == 0 {
		return command.WithHint(errors.New("the relay has no server yet"), "it is starting: try again when it has")
	}
	server := runningPeers(st.Servers[0])
	var known []string
	for _, p := range server.Peers {
		known = append(known, p.Name)
	}
	if err := checkPeerName(server.Server, f.Args().First(), known); err != nil {
		return err
	}
	dataDir, err := config.DataDir(f.config)
	if err != nil {
		return err
	}
	compared, err := manager.AskCompare(ctx, dataDir, server.Server, f.Args().First(), scrub)
	if err != nil {
		return err
	}
	if f.JSON {
		return command.PrintJSON(stdout, compared)
	}
	writeComparison(stdout, server.Server, compared)
	return nil
}

// writeComparison writes what came of a comparison.
func writeComparison(w io.Writer, server string, c replica.Comparison) {
	if c.Keys > 0 {
		fmt.Fprintf(w, "the keys of the store were read anew: %d\n", c.Keys)
	}
	state := "the comparison goes on, see peer list"
	if c.Done {
		state = "nothing more is exchanged"
	}
	fmt.Fprintf(w, "server %s and peer %s, after %.0f s: %s\n", server, c.Link.Name, c.Seconds, state)
	fmt.Fprintf(w, "  %s new here, %d known here, %d refused; %d sent; %s in, %s out\n",
		command.CountOf(int(c.New), "envelope"), c.Known, c.Refused, c.Sent, formatSize(c.BytesIn), formatSize(c.BytesOut))
	if c.Report != nil {
		fmt.Fprintf(w, "  the plugin says: %s; it lacks %d, we lack %d\n", c.Report.Summary, c.Report.Lacks, c.Report.Missing)
	}
}
