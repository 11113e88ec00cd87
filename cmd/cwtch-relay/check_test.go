package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/logwriter"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/retention"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// healthyStatus is the status of a relay with n servers, without findings.
func healthyStatus(n int) manager.Status {
	since := now.Add(-24 * time.Hour)
	st := manager.Status{Version: "1", PID: 1, Since: since, Network: &onion.Status{Network: "tor", State: onion.Ready, Since: since, Progress: 100}}
	for i := range n {
		st.Network.Services = append(st.Network.Services, onion.Service{Published: true}, onion.Service{Published: true})
		st.Servers = append(st.Servers, manager.ServerStatus{
			Name:    fmt.Sprintf("server%02d", i),
			Storage: supervise.Status{Kind: "storage", Name: "bolt", State: supervise.Ready, Since: since, Sandbox: supervise.Sandbox{On: true}},
			Relay:   &relay.Status{Board: "board", Store: &relay.StoreStatus{Envelopes: 3}},
		})
	}
	return st
}

// TestFindings shows what an operator has to know, and how serious it is.
func TestFindings(t *testing.T) {
	young := func(st *manager.Status) { st.Since = now.Add(-time.Minute) }
	for _, c := range []struct {
		name   string
		change func(*manager.Status)
		want   level
		text   string
	}{
		{"all is well", func(*manager.Status) {}, ok, ""},
		{"a server does not run", func(st *manager.Status) {
			st.Servers[1] = manager.ServerStatus{Name: "server01", Problem: "its key file is damaged"}
		}, critical, "server server01: its key file is damaged; a reload tries it again"},
		{"a store takes long to open", func(st *manager.Status) {
			st.Servers[1] = manager.ServerStatus{Name: "server01", Problem: "it is not ready", Storage: supervise.Status{State: supervise.Configuring, Since: now.Add(-time.Minute)}}
		}, critical, "server server01: its store has been opening for 1m0s; it may take minutes to take over a file of an earlier release"},
		{"a store has been opening for a moment", func(st *manager.Status) {
			st.Servers[1] = manager.ServerStatus{Name: "server01", Storage: supervise.Status{Kind: "storage", Name: "bolt", State: supervise.Configuring, Since: now}}
		}, critical, "server server01: storage bolt is configuring, so posts are refused"},
		{"the board has a problem", func(st *manager.Status) { st.Servers[1].Relay.Problem = "the store lost its log" }, critical, "server server01: the store lost its log"},
		{"the disk is full", func(st *manager.Status) { st.Servers[0].Relay.Refusing = "no space left for the store" }, critical, "server server00: posts are refused, because of the store: no space left for the store"},
		{"the server is full", func(st *manager.Status) { st.Servers[0].Relay.NoRoom = "the disk has less room than keep_free" }, critical, "server server00: posts are refused: the disk has less room than keep_free"},
		{"the clock leaps", func(st *manager.Status) {
			st.Servers[0].Retention = &retention.Status{Waits: "the clock is far ahead"}
		}, warning, "server server00: the clock is far ahead"},
		{"an attempt from outside failed", func(st *manager.Status) {
			st.Servers[0].Reachability = &doctor.Reachability{At: now.Add(-time.Minute), Board: true, TokenFailures: 1, Problem: "the token onion cannot be reached: timeout"}
		}, warning, "server server00: it cannot be reached from outside, as of 1m0s ago (cwtch-relay doctor tries again): the token onion cannot be reached: timeout"},
		{"nobody reaches it", func(st *manager.Status) {
			st.Servers[0].Reachability = &doctor.Reachability{At: now, BoardFailures: 2, TokenFailures: 1}
		}, critical, "cannot be reached from outside"},
		{"it was reached", func(st *manager.Status) {
			st.Servers[0].Reachability = &doctor.Reachability{At: now, OK: true, Board: true, Token: true}
		}, ok, ""},
		{"the committer is stuck", func(st *manager.Status) { st.Servers[0].Relay.Stalled = true }, critical, "defect of the relay"},
		{"the store is away", func(st *manager.Status) {
			st.Servers[0].Storage.State, st.Servers[0].Storage.LastError = supervise.Backoff, "signal: killed"
			st.Servers[0].Relay.Store = nil
		}, critical, "server server00: storage bolt is backoff, so posts are refused: signal: killed"},
		{"the store is degraded", func(st *manager.Status) {
			st.Servers[0].Storage.State, st.Servers[0].Storage.Reason = supervise.Degraded, "slow"
		}, warning, "storage bolt is degraded: slow"},
		{"the store hangs", func(st *manager.Status) { st.Servers[0].Relay.Store = nil }, critical, "the store does not answer"},
		{"an exporter has failed", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{{Instance: "prometheus", Status: supervise.Status{Kind: "stats", State: supervise.Failed, Reason: "no such file"}}}
		}, warning, "stats prometheus is failed: no such file"},
		{"an exporter does not export", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{{Instance: "prometheus", Status: supervise.Status{Kind: "stats", State: supervise.Ready}, Snapshots: &metrics.Status{LastError: "refused"}}}
		}, warning, "stats prometheus does not export the numbers: refused"},
		{"an exporter is being started", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{{Instance: "prometheus", Status: supervise.Status{Kind: "stats", State: supervise.Starting}}}
		}, ok, ""},
		{"peer sync is in trouble", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{{Instance: "x", Status: supervise.Status{Kind: "peersync", State: supervise.Ready}, Replication: &replica.Status{Trouble: "the store is away"}}}
		}, warning, "peersync x gets no events now: the store is away"},
		{"peer sync has no keys", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{{Instance: "x", Status: supervise.Status{Kind: "peersync", State: supervise.Ready}, Replication: &replica.Status{NoKeys: "too many"}}}
		}, warning, "peersync x cannot compare boards now: too many"},
		{"peers wait for room", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{{Instance: "x", Status: supervise.Status{Kind: "peersync", State: supervise.Ready}, Replication: &replica.Status{Crowded: "the rest is for posts"}}}
		}, warning, "peersync x takes nothing from peers now: the rest is for posts"},
		{"a peer is away for two days", func(st *manager.Status) {
			since := now.Add(-48 * time.Hour)
			st.Servers[0].Others = []manager.PluginStatus{linked(replica.LinkStatus{Name: "alice", State: "down", Since: &since, Reason: "it does not answer"})}
		}, warning, "no link to peer alice since " + now.Add(-48*time.Hour).Format(dateLayout) + ": it does not answer"},
		{"peers are away at night, or paused", func(st *manager.Status) {
			night, month := now.Add(-8*time.Hour), now.Add(-720*time.Hour)
			st.Servers[0].Others = []manager.PluginStatus{linked(replica.LinkStatus{State: "down", Since: &night}, replica.LinkStatus{State: "paused", Since: &month}, replica.LinkStatus{State: "up", Since: &month})}
		}, ok, ""},
		{"a peer breaks the protocol", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{linked(replica.LinkStatus{Name: "eve", State: "refused", Reason: "it breaks the protocol"})}
		}, warning, "peer eve is refused: it breaks the protocol"},
		{"the clock of a peer is three hours behind", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{linked(replica.LinkStatus{Name: "alice", State: "up", ClockAhead: -3 * 3600})}
		}, warning, "server server00: peer alice: its clock is 180 minutes behind ours: compare both with another one, and have the wrong one set; \"peer sync alice\" then measures anew"},
		{"clocks of peers are an hour ahead, or of no account", func(st *manager.Status) {
			st.Servers[0].Others = []manager.PluginStatus{linked(replica.LinkStatus{State: "up", ClockAhead: 3600}, replica.LinkStatus{State: "paused", ClockAhead: 86400})}
		}, ok, ""},
		{"tor is away", func(st *manager.Status) { st.Network.State, st.Network.Summary = onion.Backoff, "tor has ended" }, critical, "tor is backoff, so nobody can reach the servers: tor has ended"},
		{"tor is on its way for a day", func(st *manager.Status) { st.Network.State = onion.Bootstrapping }, critical, "tor is bootstrapping"},
		{"tor is on its way at first", func(st *manager.Status) { young(st); st.Network.State = onion.Bootstrapping }, warning, "tor is bootstrapping"},
		{"a service is not published for a day", func(st *manager.Status) { st.Network.Services[0].Published = false }, critical, "3 of 4 services are published"},
		{"a service is not published at first", func(st *manager.Status) { young(st); st.Network.Services[0].Published = false }, warning, "3 of 4 services are published"},
		{"stores are opening", func(st *manager.Status) { young(st); st.Network = nil }, warning, "the network is not open yet"},
		{"the log is lost", func(st *manager.Status) {
			st.Log = &logwriter.Trouble{Lost: 7, Since: now.Add(-time.Minute), Reason: "broken pipe"}
		}, warning, "the log is not written since 1m0s (broken pipe), and has lost 7 lines"},
		{"the bundles are lost", func(st *manager.Status) { st.Stdout = &logwriter.Trouble{Lost: 1} }, warning, "standard output has lost 1 line"},
	} {
		st := healthyStatus(2)
		c.change(&st)
		all := collectFindings(st, now, relayCommand)
		if got := worstLevel(all); got != c.want {
			t.Errorf("%s: %s, want %s: %v", c.name, got.label(), c.want.label(), all)
		}
		if c.text == "" && len(all) > 0 || c.text != "" && (len(all) != 1 || !strings.Contains(all[0].String(), c.text)) {
			t.Errorf("%s: %q", c.name, all)
		}
		// What a check finds is in the status, in front of what is well.
		var out bytes.Buffer
		if err := writeStatus(&out, st, statusView{next: relayCommand}, now); err != nil {
			t.Fatal(err)
		}
		for _, label := range []level{warning, critical} {
			if got := strings.Contains(out.String(), label.label()); got != (label == c.want) {
				t.Errorf("%s: the status is\n%s", c.name, out.String())
			}
		}
	}
}

// TestManyServers shows that fifty servers have a line each, and one with findings is shown
// in full.
func TestManyServers(t *testing.T) {
	st := healthyStatus(50)
	var out bytes.Buffer
	if err := writeStatus(&out, st, statusView{next: relayCommand}, now); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 53 {
		t.Errorf("%d lines", n)
	}
	st.Servers[7].Storage.State, st.Servers[7].Storage.LastError = supervise.Backoff, "signal: killed"
	out.Reset()
	if err := writeStatus(&out, st, statusView{next: relayCommand}, now); err != nil {
		t.Fatal(err)
	}
	_, details, found := strings.Cut(out.String(), "\nserver server07\n  PROBLEM ")
	if !found || strings.Contains(details, "\nserver ") || !strings.Contains(details, "signal: killed") {
		t.Errorf("the status is\n%s", out.String())
	}
	out.Reset()
	if err := writeStatus(&out, st, statusView{details: true, next: relayCommand}, now); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\nserver server"); n != 50 {
		t.Errorf("%d servers are shown in full", n)
	}
}

// TestOneLine shows that nothing in a text breaks the line of a check.
func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb\r\n  c":             "a b c",
		"50 | 7":                  "50 / 7",
		"\x1b[31mred":             "[31mred",
		"ü":                       "ü",
		strings.Repeat("x", 3000): strings.Repeat("x", maxCheck) + "…",
	} {
		if got := toOneLine(text); got != want {
			t.Errorf("%.40q becomes %.40q", text, got)
		}
	}
}

func TestRetentionInWords(t *testing.T) {
	for want, st := range map[string]retention.Status{
		"  retention\tthe store was not looked at yet; 0 B free on the disk\n":                            {},
		"  retention\tthe store keeps everything, it cannot remove envelopes; 5.0 GiB free on the disk\n": {Unable: true, Free: 5 << 30},
		"  retention\t0 envelopes of 0 B; 0 B free on the disk\n":                                         {Looked: &now},
		"  retention\t9 envelopes of 3.0 MiB, the oldest from 2026-11-28 12:00 UTC, nothing kept from before 2026-11-28 12:00 UTC, max_bytes reached on 2026-11-28 at the rate of the last day, 7 removed since the start, removing, 2 from hours to come; 0 B free on the disk\n": {
			Looked: &now, Oldest: &now, Floor: &now, Envelopes: 9, Bytes: 3 << 20, Reached: &now, ReachedLimit: retention.MaxBytes, Removed: 7, Removing: true, Future: 2},
		"  retention\tthe store was not looked at yet; 0 B free on the disk\n  compaction\tnext by 2026-11-28 12:00 UTC; last on 2026-11-28 12:00 UTC, from 9.0 MiB to 3.0 MiB\n": {
			Compaction: retention.CompactionStatus{Due: &now, Ended: &now, Last: &retention.Compaction{Before: 9 << 20, After: 3 << 20}}},
		"  retention\tthe store was not looked at yet; 0 B free on the disk\n  compaction\tunder way, 1.0 MiB written\n": {
			Compaction: retention.CompactionStatus{Running: true, Moved: 1 << 20}},
	} {
		var got strings.Builder
		if writeRetention(&got, st); got.String() != want {
			t.Errorf("got %q, want %q", got.String(), want)
		}
	}
}

// linked is the status of a peersync plugin with links.
func linked(links ...replica.LinkStatus) manager.PluginStatus {
	return manager.PluginStatus{Instance: "mesh", Status: supervise.Status{Kind: "peersync", State: supervise.Ready}, Replication: &replica.Status{Links: links}}
}
