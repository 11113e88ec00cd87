package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// TestWritePeers shows a link in each state, with what does not fit into a column below.
func TestWritePeers(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	soon, hourAgo := now.Add(5*time.Second), now.Add(-time.Hour)
	link := func(name, state, reason string) replica.LinkStatus {
		return replica.LinkStatus{Name: name, Number: peersync.Peer(len(name)), Role: "replica", State: state, Reason: reason, NextDial: &soon, EnvelopesPerHour: 100, BytesPerDay: 1000}
	}
	up := link("alice", "up", "the connection broke")
	up.Since, up.NextDial = &hourAgo, nil
	up.BytesIn, up.EnvelopesIn, up.BytesOut, up.EnvelopesOut, up.Stored, up.QuotaEnvelopes, up.QuotaBytes = 2048, 3, 10, 1, 2, 30, 400
	up.ClockAhead = 3600
	mallory := link("mallory", "refused", "it lies")
	mallory.ClockAhead = 2 * 86400
	s := manager.ServerStatus{Name: "main", Others: []manager.PluginStatus{{Status: supervise.Status{Kind: plugin.KindPeerSync, State: supervise.Ready}, Replication: &replica.Status{
		Report: peersync.Report{Summary: "5 peers", Peers: []peersync.PeerReport{{Peer: 5, Summary: "in step", Lacks: 4, Missing: 7}}},
		NoKeys: "the keys are being read", Crowded: "the rest is for posts",
		Links: []replica.LinkStatus{
			up, link("bo", "down", "it was not reached"), mallory, link("eve", "paused", ""), link("frankk", "connecting", ""),
		},
	}}}}
	failed := manager.ServerStatus{Name: "cellar", Others: []manager.PluginStatus{{Status: supervise.Status{
		Kind: plugin.KindPeerSync, Name: "mesh", State: supervise.Failed, LastError: "no cursors",
	}}}}
	var out bytes.Buffer
	if err := writePeers(&out, &flags{config: "server.hcl", given: true}, peerList{true, []serverPeers{runningPeers(s), {Server: "attic"}, runningPeers(failed)}}, now); err != nil {
		t.Fatal(err)
	}
	want := `server main: 5 peers
  it does not compare boards now: the keys are being read
  it takes nothing from peers now: the rest is for posts
  PEER     ROLE     STATE                       IT LACKS  WE LACK  RECEIVED    SENT     QUOTA USED       ONLY IT HAD
  alice    replica  up for 1h00m                4         7        2.0 KiB, 3  10 B, 1  40 % of the day  2
  bo       replica  waiting until 12:00:05 UTC  ?         ?        0 B, 0      0 B, 0   0 % of the hour  0
  mallory  replica  refused until 12:00:05 UTC  ?         ?        0 B, 0      0 B, 0   0 % of the hour  0
  eve      replica  paused                      ?         ?        0 B, 0      0 B, 0   0 % of the hour  0
  frankk   replica  connecting                  ?         ?        0 B, 0      0 B, 0   0 % of the hour  0
  alice: in step; its clock is 60 minutes ahead of ours: compare both with another one
  bo: it was not reached
  mallory: it lies; WARNING: its clock is 2880 minutes ahead of ours: compare both with another one, and have the wrong one set; "peer sync mallory" then measures anew. Until then both relays go by the earlier time of a message, so messages go sooner, and beyond a day each comparison finds differences that are none

server attic has no peers; add one with: cwtch-relay peer add NAME ONION -server attic -config server.hcl

server cellar
  it does not compare boards now: peersync "mesh" is in state failed: no cursors
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

// TestPeerEditsAreRefused shows what is wrong with a change, and that the file stays as it was.
func TestPeerEditsAreRefused(t *testing.T) {
	onion := string(identity.NewKey().Onion())
	const broken = network + "server \"main\" {\n  peersink \"mesh\" {}\n}\n"
	const two = network + "server \"attic\" {}\nserver \"main\" {}\n"
	for args, c := range map[string]struct{ text, want string }{
		"add bob " + onion:                                     {two, "error: the configuration has several servers\nhint: say which one: -server attic\n"},
		"add bob " + onion + " -server kitchen":                {two, "error: the configuration has no server \"kitchen\"\n"},
		"add bob " + onion + " -server attic":                  {two, "error: server attic has no peersync plugin, which keeps it in step with peers\nhint: say -yes to add peersync \"mesh\" {} too"},
		"add bob " + onion[1:] + " -server attic":              {two, "error: the address of peer bob is not usable: it has 55 characters before .onion instead of 56\n"},
		"add bob " + onion + ".onion:9878 -server attic":       {two, "error: the address of peer bob is not usable: it has a port: leave it out, "},
		"add bob http://" + onion + ".onion -server attic":     {two, "error: the address of peer bob is not usable: it is written as a link: leave out "},
		"add bob " + strings.ToUpper(onion) + " -server attic": {two, "error: server attic has no peersync plugin"},
		"add Bob " + onion + " -server attic -yes":             {two, "error: server.hcl was left as it is: the file would not be valid: error: "},
		"remove bob -server attic":                             {two, "error: server attic has no peer \"bob\"\nhint: it has no peers\n"},
		"pause bob":                                            {broken, "error: unknown block \"peersink\"\n  on server.hcl line 3, column 3"},
		"pause":                                                {two, "error: missing: NAME\n"},
		"add bob":                                              {two, "error: missing: ONION\n"},
		"sync bob":                                             {two, "error: no relay is running on "},
		"scrub bob":                                            {two, "error: no relay is running on "},
		"add bob " + onion + " -envelopes-per-hour some":       {two, "error: invalid value \"some\""},
	} {
		path := writeConfig(t, c.text)
		var stdout, stderr bytes.Buffer
		status := runCommand(t.Context(), append([]string{"peer"}, append(strings.Fields(args), "-config", path)...), &stdout, &stderr)
		if status == 0 || !strings.HasPrefix(stderr.String(), c.want) {
			t.Errorf("peer %s: status %d\n%s%s", args, status, &stdout, &stderr)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != c.text {
			t.Errorf("peer %s has changed the file: %v\n%s", args, err, after)
		}
	}
}

// TestUnwritableFileSaysWhatToWrite: in a service, the configuration belongs to root.
func TestUnwritableFileSaysWhatToWrite(t *testing.T) {
	f := &flags{config: "server.hcl", given: true}
	e := &peerEdit{flags: f, byHand: `remove peer "bob" of server "main" from server.hcl`}
	var hint interface{ Hint() string }
	err := e.explainUnwritten(&os.PathError{Op: "open", Path: "server.hcl", Err: os.ErrPermission})
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "As root, "+e.byHand+". Then, as the user of the relay: cwtch-relay reload -config server.hcl") {
		t.Errorf("%v: %v", err, hint)
	}
	if err := e.explainUnwritten(io.ErrShortWrite); err != io.ErrShortWrite {
		t.Errorf("another error: %v", err)
	}
}

// TestAddWithTheDefaultPlugin: with -yes, a server without a peersync plugin gets the default
// one.
func TestAddWithTheDefaultPlugin(t *testing.T) {
	const text = network + "server \"main\" {} # ours\n"
	path := writeConfig(t, text)
	onion := string(identity.NewKey().Onion())
	var stdout, stderr bytes.Buffer
	status := runCommand(t.Context(), []string{"peer", "add", "bob", onion, "-yes", "-config", path}, &stdout, &stderr)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := network + "server \"main\" {\n  peersync \"mesh\" {}\n  peer \"bob\" {\n    onion = \"" + onion + ".onion\"\n  }\n} # ours\n"
	if string(got) != want || status != 0 {
		t.Errorf("status %d\n%s%s\nthe file is\n%s", status, &stdout, &stderr, got)
	}
}

// TestRefusedChangeIsPutBack: the running relay may refuse the changed file, which is then as it
// was. If it does not answer, it may have reloaded it, and the file stays changed.
func TestRefusedChangeIsPutBack(t *testing.T) {
	const text = network + "server \"main\" {}\n"
	for answer, c := range map[string]struct {
		putBack bool
		want    string
	}{
		`{"error":"not today"}`: {true, "not today"},
		`{"config":"/server.hcl","refused":[{"what":"too many","hint":"fewer"}],"steps":[]}`: {true, "nothing was changed"},
		``: {false, "server.hcl was changed, but the relay has not said that it reloaded it"},
		`{"config":"/server.hcl","applied":true,"refused":[],"steps":[]}`: {false, ""},
	} {
		path := writeConfig(t, text)
		if err := os.Mkdir("data", 0o700); err != nil {
			t.Fatal(err)
		}
		answerControl(t, answer)
		draft, cfg, err := openDraft(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		f := &flags{config: path, given: true, stderr: io.Discard}
		e := &peerEdit{flags: f, cfg: cfg, draft: draft, server: cfg.Servers[0], running: true}
		if err := draft.SetAttribute("description", cty.StringVal("x"), "server", "main"); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		_, err = e.saveAndReload(t.Context(), &stderr)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", answer, err, c.want)
		}
		now, err := os.ReadFile(path)
		if err != nil || (string(now) == text) != c.putBack || strings.Contains(stderr.String(), "is as it was") != c.putBack {
			t.Errorf("%s: the file is %q, %v\n%s", answer, now, err, &stderr)
		}
	}
}

// answerControl gives one answer at the control socket of the data directory.
func answerControl(t *testing.T, answer string) {
	ln, err := net.Listen("unix", filepath.Join("data", "status.sock"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		bufio.NewReader(nc).ReadString('\n')
		if answer != "" {
			io.WriteString(nc, answer+"\n")
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
}
