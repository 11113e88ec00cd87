package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// hostsTest is a loopback network with hosts, and profiles of members of the group
// "club", which is on all of them.
type hostsTest struct {
	*testing.T
	dir      string
	registry string
	network  onion.Network
	hosts    []*testHost
	waits    waits
}

// testHost is a host of the group, as a real relay or a hostile board.
type testHost struct {
	keys   *identity.Server
	bundle bundle.Bundle
	stop   func() // nil while it is down
}

// newHostsTest starts n relays and makes the profile alice with the group on them.
func newHostsTest(t *testing.T, n int) *hostsTest {
	t.Helper()
	x := &hostsTest{T: t, dir: t.TempDir(), waits: waits{
		patience: time.Minute, second: time.Minute, others: time.Minute, whole: time.Minute, attempt: time.Minute, // for hosts that answer
	}}
	x.registry = filepath.Join(x.dir, "net")
	var err error
	if x.network, err = onion.Loopback(x.registry); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.network.Close() })
	create := []string{"create", "-serverless", "club"}
	for range n {
		create = append(create, "-core-peer", x.addHost().bundle.String())
	}
	x.run("alice", "init")
	x.run("alice", create...)
	return x
}

// addHost makes a host, which is not in the group yet, and starts a relay for it.
func (x *hostsTest) addHost() *testHost {
	x.Helper()
	i, h := len(x.hosts), &testHost{}
	var err error
	if h.keys, err = identity.LoadOrCreate(filepath.Join(x.dir, fmt.Sprintf("keys%d", i))); err != nil {
		x.Fatal(err)
	}
	key, err := token.NewKey(h.keys.Scalar)
	if err != nil {
		x.Fatal(err)
	}
	h.bundle = bundle.New(h.keys, key.Public())
	x.hosts = append(x.hosts, h)
	x.startHost(i)
	x.Cleanup(func() { x.stopHost(i) })
	return h
}

// startHost starts a real relay, with an empty store.
func (x *hostsTest) startHost(i int) {
	x.Helper()
	server, err := startRelay(x.network, x.hosts[i].keys)
	if err != nil {
		x.Fatal(err)
	}
	x.hosts[i].stop = func() { server.Close(context.Background()) }
}

func (x *hostsTest) stopHost(i int) {
	if stop := x.hosts[i].stop; stop != nil {
		x.hosts[i].stop = nil
		stop()
	}
}

// onlyHost has one host run: no other one can take what is posted meanwhile.
func (x *hostsTest) onlyHost(i int, do func()) {
	x.Helper()
	var stopped []int
	for j, h := range x.hosts {
		if j != i && h.stop != nil {
			x.withdraw(j)
			stopped = append(stopped, j)
		}
	}
	do()
	for _, j := range stopped {
		x.publish(j)
	}
}

// withdraw makes a host unreachable, and publish reachable again. It keeps its store.
func (x *hostsTest) withdraw(i int) { x.rename(i, "", ".away") }
func (x *hostsTest) publish(i int)  { x.rename(i, ".away", "") }

func (x *hostsTest) rename(i int, from, to string) {
	x.Helper()
	for _, o := range []identity.Onion{x.hosts[i].bundle.Board, x.hosts[i].bundle.TokenService} {
		path := filepath.Join(x.registry, string(o))
		if err := os.Rename(path+from, path+to); err != nil {
			x.Fatal(err)
		}
	}
}

// start runs a command of a member and returns its status.
func (x *hostsTest) start(ctx context.Context, who string, stdin io.Reader, stdout, stderr io.Writer, args ...string) int {
	return runCommand(ctx, append([]string{"-network", "loopback:" + x.registry, "-profile", filepath.Join(x.dir, who)}, args...),
		environment{stdin: stdin, stdout: stdout, stderr: stderr, getenv: func(string) string { return "" }, waits: x.waits})
}

// run runs a command that must succeed and returns what it prints.
func (x *hostsTest) run(who string, args ...string) string {
	x.Helper()
	out, _ := x.runBoth(who, args...)
	return out
}

func (x *hostsTest) runBoth(who string, args ...string) (stdout, stderr string) {
	x.Helper()
	var out, errs bytes.Buffer
	if status := x.start(x.Context(), who, strings.NewReader(""), &out, &errs, args...); status != 0 {
		x.Fatalf("%s: %s: status %d: %s", who, args, status, &errs)
	}
	return out.String(), errs.String()
}

// join makes a profile of another member.
func (x *hostsTest) join(who string) {
	x.Helper()
	x.run(who, "init")
	x.run(who, "join", strings.TrimSpace(x.run("alice", "invite", "club")))
}

// textsOf returns the texts of messages that were printed as JSON. Those that are not
// verified end with "!".
func textsOf(t *testing.T, printed string) []string {
	t.Helper()
	var texts []string
	for line := range strings.Lines(printed) {
		var m messageFact
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !m.Verified {
			m.Text += "!"
		}
		texts = append(texts, m.Text)
	}
	return texts
}

func (x *hostsTest) read(who string, args ...string) []string {
	x.Helper()
	return textsOf(x.T, x.run(who, append([]string{"-json", "read", "club"}, args...)...))
}

func expectTexts(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %.300q, want %.300q", got, want)
	}
}

// envelopes returns what is on the board of a host.
func (x *hostsTest) envelopes(i int) []wire.Envelope {
	x.Helper()
	board, err := client.Open(x.Context(), x.network, x.hosts[i].bundle.Board)
	if err != nil {
		x.Fatal(err)
	}
	defer board.Close()
	var all []wire.Envelope
	err = board.Sync(x.Context(), nil, func(e client.Event) error {
		if e.Kind == client.Replayed {
			all = append(all, e.Envelope)
		}
		return nil
	})
	if err != nil {
		x.Fatal(err)
	}
	return all
}

// put posts an envelope to the board of a host.
func (x *hostsTest) put(i int, e wire.Envelope) {
	x.Helper()
	h := x.hosts[i]
	tokens, err := client.Buy(x.Context(), x.network, h.bundle, 1, nil)
	if err != nil {
		x.Fatal(err)
	}
	board, err := client.Open(x.Context(), x.network, h.bundle.Board)
	if err != nil {
		x.Fatal(err)
	}
	defer board.Close()
	if err := board.Deliver(x.Context(), e, tokens[0]); err != nil {
		x.Fatal(err)
	}
}

// group returns the group as a member's profile has it.
func (x *hostsTest) group(who string) *profile.Group {
	x.Helper()
	p, err := profile.Open(filepath.Join(x.dir, who))
	if err != nil {
		x.Fatal(err)
	}
	s, err := p.View()
	if err != nil {
		x.Fatal(err)
	}
	g, err := s.FindGroup("club")
	if err != nil {
		x.Fatal(err)
	}
	return g
}

// replaceHost puts a hostile board in the place of a host.
func (x *hostsTest) replaceHost(i int, serve func(*tapir.Conn) error) {
	x.Helper()
	x.stopHost(i)
	ln, err := x.network.Listen(x.Context(), x.hosts[i].keys.Board, client.Port)
	if err != nil {
		x.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer nc.Close()
				defer context.AfterFunc(ctx, func() { nc.Close() })()
				if c, err := tapir.Server(ctx, nc, x.hosts[i].keys.Board); err == nil {
					serve(c)
				}
			})
		}
	})
	x.hosts[i].stop = func() { cancel(); ln.Close(); serving.Wait() }
}

// serveLog answers replays with a log, whatever they ask from, and nothing else.
func serveLog(log []wire.Envelope) func(*tapir.Conn) error {
	return func(c *tapir.Conn) error {
		for {
			err := c.Receive(func(payload []byte) error {
				if r, err := wire.DecodeRequest(payload); err != nil || r.Replay == nil {
					return err
				}
				payloads := [][]byte{wire.AppendCount(nil, uint64(len(log)))}
				for _, e := range log {
					payloads = append(payloads, e.AppendJSON(nil))
				}
				return c.Send(payloads...)
			})
			if err != nil {
				return err
			}
		}
	}
}

// A post is at one host, and a reader sees what is at any of them, in the order of the
// chain, and each message once.
func TestReadersMergeHosts(t *testing.T) {
	x := newHostsTest(t, 3)
	x.join("bob")
	var want []string
	for n := range 6 {
		who := []string{"alice", "bob"}[n%2]
		text := fmt.Sprintf("message %d", n)
		x.read(who, "-new")
		x.onlyHost(n%3, func() { x.run(who, "post", "club", text) })
		want = append(want, text)
	}
	for _, i := range []int{1, 2} { // as replication brings them, in another order
		for _, e := range slices.Backward(x.envelopes(0)) {
			x.put(i, e)
		}
	}
	expectTexts(t, x.read("alice"), want...)
	expectTexts(t, x.read("bob", "-new"), want[5])
	expectTexts(t, x.read("bob", "-new"))
	for n, h := range x.group("alice").Serverless.Hosts {
		if wantAlone := []int{0, 2, 2}[n]; h.Alone != wantAlone || h.Down || h.Seen.IsZero() {
			t.Errorf("host %d: %+v, want %d alone", n, h, wantAlone)
		}
	}
}

// A message that reaches a host long after it was printed from another one is not printed
// again.
func TestLateReplicationPrintsNothingTwice(t *testing.T) {
	x := newHostsTest(t, 2)
	x.withdraw(1)
	for n := range 3 {
		x.run("alice", "post", "club", fmt.Sprint(n))
	}
	expectTexts(t, x.read("alice", "-new"), "0", "1", "2")
	x.publish(1)
	x.read("alice", "-new")
	for _, e := range x.envelopes(0) {
		x.put(1, e)
	}
	x.onlyHost(1, func() { expectTexts(t, x.read("alice", "-new")) })
	expectTexts(t, x.read("alice"), "0", "1", "2")
}

// Whatever one host does, the messages of the other one are shown, once, in their order,
// and as verified.
func TestHostileHost(t *testing.T) {
	x := newHostsTest(t, 2)
	var want []string
	x.onlyHost(0, func() {
		for n := range 5 {
			want = append(want, fmt.Sprint(n))
			x.run("alice", "post", "club", want[n])
		}
	})
	log := x.envelopes(0)
	g := x.group("alice").Group
	garbage, resealed, forged := slices.Clone(log), slices.Clone(log), slices.Clone(log)
	for i, e := range log {
		garbage[i].Ciphertext = bytes.Repeat([]byte{byte(i)}, len(e.Ciphertext))
		resealed[i] = sealAgain(t, g, e)
		forged[i] = sealMessage(t, g, member(7), "forged "+want[i]) // with the help of a member
		forged[i].Signature = e.Signature
	}
	backwards := slices.Clone(log)
	slices.Reverse(backwards)
	for name, c := range map[string]struct {
		log   []wire.Envelope
		extra []string
	}{
		"withholds everything":                         {nil, nil},
		"withholds the middle":                         {slices.Delete(slices.Clone(log), 1, 4), nil},
		"replays":                                      {slices.Concat(log, log, backwards), nil},
		"lies about the order":                         {backwards, nil},
		"other envelopes under known signatures":       {slices.Concat(garbage, log), nil},
		"the same messages sealed again":               {slices.Concat(resealed, log), nil},
		"forgeries of a member under known signatures": {slices.Concat(forged, log), []string{"forged 0!", "forged 1!", "forged 2!", "forged 3!", "forged 4!"}},
	} {
		t.Run(name, func(t *testing.T) {
			x.replaceHost(1, serveLog(c.log))
			who := strings.ReplaceAll(name, " ", "-")
			x.join(who)
			for _, args := range [][]string{nil, {"-new"}} {
				var verified, others []string
				for _, text := range x.read(who, args...) {
					if strings.HasSuffix(text, "!") {
						others = append(others, text)
					} else {
						verified = append(verified, text)
					}
				}
				slices.Sort(others)
				if args == nil {
					expectTexts(t, verified, want...)
					expectTexts(t, others, c.extra...)
				} else { // all was printed
					expectTexts(t, slices.Concat(verified, others))
				}
			}
			if h := x.group(who).Serverless.Host(x.hosts[0].bundle.Board); (h.Alone > 0) != strings.HasPrefix(name, "withholds") {
				t.Errorf("%d messages are said to be at the good host only", h.Alone)
			}
		})
	}
}

// A host that never answers, or never comes to an end, does not hold up what another one
// has sent, neither in read nor in follow.
func TestSlowHostHoldsUpNobody(t *testing.T) {
	endless := func(c *tapir.Conn) error {
		return c.Receive(func([]byte) error {
			err := c.Send(wire.AppendCount(nil, 1<<40))
			for n := 0; err == nil; n++ {
				err = c.Send(wire.Envelope{Ciphertext: []byte("x"), Signature: fmt.Append(nil, n)}.AppendJSON(nil))
			}
			return err
		})
	}
	silent := func(c *tapir.Conn) error {
		for {
			if err := c.Receive(func([]byte) error { return nil }); err != nil {
				return err
			}
		}
	}
	for name, serve := range map[string]func(*tapir.Conn) error{"endless": endless, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			x := newHostsTest(t, 3)
			x.waits.patience, x.waits.others = 50*time.Millisecond, 50*time.Millisecond
			x.withdraw(1)
			x.withdraw(2)
			x.run("alice", "post", "club", "one")
			x.publish(1)
			x.publish(2)
			x.replaceHost(2, serve)
			out, errs := x.runBoth("alice", "-json=false", "read", "club")
			if !strings.HasSuffix(out, "  one\n") || !strings.Contains(errs, "not read: ") {
				t.Errorf("read printed %q, %q", out, errs)
			}
			out, _ = x.runBoth("alice", "follow", "-all", "-n", "1", "club")
			if !strings.HasSuffix(out, "  one\n") {
				t.Errorf("follow printed %q", out)
			}
			h := x.group("alice").Serverless.Host(x.hosts[2].bundle.Board)
			if !h.Down || h.Error == "" {
				t.Errorf("the host is %+v", h)
			}
		})
	}
}

// follow says when fewer than two hosts answer, prints what either of them has, and goes
// on with a host that comes back.
func TestFollowOnHosts(t *testing.T) {
	x := newHostsTest(t, 2)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	read, write := io.Pipe()
	says := newLineWatcher()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if status := x.start(ctx, "alice", nil, write, says, "-json", "-q=false", "follow", "club"); status != 0 {
			t.Errorf("follow: status %d: %s", status, says.text())
		}
		write.Close()
	}()
	lines := json.NewDecoder(read)
	expect := func(text string) {
		t.Helper()
		var m messageFact
		if err := lines.Decode(&m); err != nil || m.Text != text {
			t.Fatalf("follow printed %q, %v; want %q", m.Text, err, text)
		}
	}
	x.join("bob")
	x.run("bob", "post", "club", "both")
	expect("both")
	x.stopHost(0)
	says.await(t, "only 1 of 2 core peers answers")
	x.run("bob", "post", "club", "at the second")
	expect("at the second")
	x.stopHost(1)
	says.await(t, "none of 2 core peers answers")
	x.startHost(0)
	x.run("bob", "post", "club", "at the first")
	expect("at the first")
	interrupt()
	<-ended
	x.startHost(1)
	expectTexts(t, x.read("alice", "-new"))
}

// lineWatcher collects a command's standard error and tells when a text was written.
type lineWatcher struct {
	mu      sync.Mutex
	b       bytes.Buffer
	written chan struct{}
}

func newLineWatcher() *lineWatcher { return &lineWatcher{written: make(chan struct{})} }

func (w *lineWatcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.written)
	w.written = make(chan struct{})
	return w.b.Write(p)
}

func (w *lineWatcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *lineWatcher) await(t *testing.T, text string) {
	t.Helper()
	for {
		w.mu.Lock()
		found, more := strings.Contains(w.b.String(), text), w.written
		w.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-t.Context().Done():
			t.Fatalf("it never says %q: %s", text, w.text())
		}
	}
}

// If the connection to a host breaks in the middle of a text, whether the host has stored
// the last message or not, the rest goes to another one. Readers see each message once.
func TestPostGoesToTheNextHost(t *testing.T) {
	for _, answered := range []bool{false, true} {
		for _, at := range []int{1, 3} {
			t.Run(fmt.Sprintf("answered=%t/post=%d", answered, at), func(t *testing.T) {
				x := newHostsTest(t, 2)
				text, want := numberedMessages(4)
				cut := x.cutHost(0, at, answered)
				var errs bytes.Buffer
				order := hostOrder(x.group("alice"), func(o identity.Onion) bool { return o == x.hosts[0].bundle.Board })
				if order[0] != x.hosts[0].bundle.Board {
					t.Error("a host on this machine is not the first")
				}
				// Chance decides which host is the first one; the cut is at either.
				registry := x.registry
				x.registry = cut
				status := x.start(t.Context(), "alice", strings.NewReader(text), io.Discard, &errs, "post", "club", "-")
				x.registry = registry
				if status != 0 {
					t.Fatalf("status %d: %s", status, &errs)
				}
				expectTexts(t, x.read("alice"), want...)
				if x.group("alice").Unfinished != nil {
					t.Error("the post counts as unfinished")
				}
			})
		}
	}
}

// If no host takes a post, the same command posts the rest later, to any host, and
// nothing twice.
func TestPostIsResumedAtAnotherHost(t *testing.T) {
	x := newHostsTest(t, 2)
	text, want := numberedMessages(4)
	x.withdraw(1)
	cut := x.cutHost(0, 2, true)
	registry := x.registry
	x.registry = cut
	var errs bytes.Buffer
	status := x.start(t.Context(), "alice", strings.NewReader(text), io.Discard, &errs, "post", "club", "-")
	x.registry = registry
	if status != 1 || !strings.Contains(errs.String(), "nothing is posted twice") {
		t.Fatalf("status %d: %s", status, &errs)
	}
	x.publish(1)
	x.onlyHost(1, func() {
		if status := x.start(t.Context(), "alice", strings.NewReader(text), io.Discard, &errs, "post", "club", "-"); status != 0 {
			t.Fatalf("status %d: %s", status, &errs)
		}
	})
	expectTexts(t, x.read("alice"), want...)
	if a, b := len(x.envelopes(0)), len(x.envelopes(1)); a != 2 || b != 3 { // the second is at both
		t.Errorf("the hosts have %d and %d", a, b)
	}
}

// A host that does not answer in time is left for the next one.
func TestPostLeavesASilentHost(t *testing.T) {
	x := newHostsTest(t, 2)
	x.replaceHost(0, func(c *tapir.Conn) error {
		for {
			if err := c.Receive(func([]byte) error { return nil }); err != nil {
				return err
			}
		}
	})
	tokens := make([]token.Token, 10)
	p, err := profile.Open(filepath.Join(x.dir, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AddTokens(t.Context(), x.hosts[0].bundle.Board, tokens); err != nil {
		t.Fatal(err)
	}
	x.waits.attempt = time.Second
	for n := range 4 { // whichever is the first
		x.run("alice", "post", "club", fmt.Sprint(n))
	}
	if got := len(x.envelopes(1)); got != 4 {
		t.Errorf("the good host has %d", got)
	}
	h := x.group("alice").Serverless.Host(x.hosts[0].bundle.Board)
	if !h.Failed.IsZero() && h.Error != errSlow.Error() {
		t.Errorf("the silent host: %s", h.Error)
	}
}

func TestHostOrder(t *testing.T) {
	g := &profile.Group{Serverless: &profile.Serverless{}}
	now := time.Now()
	for _, name := range []string{"down", "up 1", "local", "up 2"} {
		h := &profile.Host{Board: identity.Onion(name)}
		h.NoteSeen(now)
		if name == "down" {
			h.NoteFailed(now, io.EOF)
		}
		g.Serverless.Hosts = append(g.Serverless.Hosts, h)
	}
	first := make(map[identity.Onion]int)
	for range 200 {
		order := hostOrder(g, func(o identity.Onion) bool { return o == "local" })
		if order[0] != "local" || order[3] != "down" {
			t.Fatalf("order %v", order)
		}
		first[order[1]]++
	}
	if min(first["up 1"], first["up 2"]) < 50 {
		t.Errorf("the load is not spread: %v", first)
	}
}

// cutHost returns a registry through which the connection to the board of a host ends at
// the n-th post, before the board gets it or after it has answered.
func (x *hostsTest) cutHost(i, n int, answered bool) (registry string) {
	x.Helper()
	h := &testServer{T: x.T, registry: x.registry}
	registry = x.TempDir()
	for j, host := range x.hosts {
		for _, name := range []identity.Onion{host.bundle.Board, host.bundle.TokenService} {
			entry, err := os.ReadFile(filepath.Join(x.registry, string(name)))
			if err != nil {
				continue // withdrawn
			}
			if j == i && name == host.bundle.Board {
				// A post to one of several hosts asks for no replay before.
				entry = []byte(h.listenAndCut(strings.TrimSpace(string(entry)), n-1, answered))
			}
			if err := os.WriteFile(filepath.Join(registry, string(name)), entry, 0o600); err != nil {
				x.Fatal(err)
			}
		}
	}
	return registry
}

// A list that two members get differs only if the manager has signed both, and then
// nobody takes it over unnoticed.
func TestSplitByTheManager(t *testing.T) {
	x := newHostsTest(t, 3)
	x.join("bob")
	g := x.group("alice")
	other, err := bundle.SignHosts(*g.Serverless.Manager, g.Group.ID, g.Serverless.List.Serial, g.Serverless.List.Hosts[1:])
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := bundle.SignHosts(identity.NewKey(), g.Group.ID, 99, g.Serverless.List.Hosts[:1])
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []bundle.HostList{other, foreign} {
		x.put(0, sealMessage(t, g.Group, member(3), group.WrapHosts(l.Encode())))
	}
	x.put(0, sealMessage(t, g.Group, member(3), `{"o":9878,"d":"AAAA"}`))
	out, errs := x.runBoth("bob", "read", "club")
	if out != "" || strings.Count(errs, "two different lists of core peers") != 1 {
		t.Errorf("read printed %q, %q", out, errs)
	}
	if got := len(x.group("bob").Boards()); got != 3 {
		t.Errorf("bob has %d core peers", got)
	}
}

// A server on this machine is reached through its socket, for tokens as well, and no
// network is started for that.
func TestLocalServer(t *testing.T) {
	x := newHostsTest(t, 1)
	x.stopHost(0)
	dir := t.TempDir()
	plain := x.network
	x.network = onion.WithSockets(plain, dir)
	x.startHost(0)
	defer x.stopHost(0)
	x.run("alice", "local", string(x.hosts[0].bundle.Board[:6]), dir)
	var errs bytes.Buffer
	nowhere := filepath.Join(dir, "nowhere")
	if status := x.start(t.Context(), "alice", nil, io.Discard, &errs, "local", string(x.hosts[0].bundle.Board[:6]), nowhere); status != 1 || !strings.Contains(errs.String(), nowhere) {
		t.Errorf("a directory that is not there: status %d, %s", status, &errs)
	}
	registry := x.registry
	x.registry = filepath.Join(x.dir, "no", "\x00such") // a network that cannot start
	x.run("alice", "post", "club", "hello")
	expectTexts(t, x.read("alice"), "hello")
	if out := x.run("alice", "peer", "list", "club"); !strings.Contains(out, "on this machine") {
		t.Errorf("peer list printed %s", out)
	}
	x.run("alice", "local", string(x.hosts[0].bundle.Board[:6]), "tor")
	if status := x.start(t.Context(), "alice", nil, io.Discard, io.Discard, "read", "club"); status != 1 {
		t.Errorf("without the network: status %d", status)
	}
	x.registry = registry
	expectTexts(t, x.read("alice"), "hello")
}

// What hosts send is printed after a while although none of them comes to an end, and follow
// says that none answers.
func TestNoHostComesToAnEnd(t *testing.T) {
	x := newHostsTest(t, 2)
	x.onlyHost(0, func() { x.run("alice", "post", "club", "one") })
	log := x.envelopes(0)
	serve := func(c *tapir.Conn) error {
		for {
			err := c.Receive(func([]byte) error { return c.Send(wire.AppendCount(nil, 2), log[0].AppendJSON(nil)) })
			if err != nil {
				return err
			}
		}
	}
	x.replaceHost(0, serve)
	x.replaceHost(1, serve)
	x.waits.second = 50 * time.Millisecond
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	read, write := io.Pipe()
	says := newLineWatcher()
	ended := make(chan int, 1)
	go func() {
		ended <- x.start(ctx, "alice", nil, write, says, "-json", "follow", "-all", "club")
		write.Close()
	}()
	var m messageFact
	if err := json.NewDecoder(read).Decode(&m); err != nil || m.Text != "one" {
		t.Errorf("it prints %q, %v", m.Text, err)
	}
	says.await(t, "none of 2 core peers answers")
	interrupt()
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, says.text())
	}
}

// A read ends although no host comes to an end: with an error, after all that came was printed.
func TestReadEndsThoughNoHostDoes(t *testing.T) {
	x := newHostsTest(t, 2)
	x.onlyHost(0, func() { x.run("alice", "post", "club", "one") })
	log := x.envelopes(0)
	for i := range x.hosts {
		x.replaceHost(i, func(c *tapir.Conn) error {
			return c.Receive(func([]byte) error {
				err := c.Send(wire.AppendCount(nil, 1<<40), log[0].AppendJSON(nil))
				for n := 0; err == nil; n++ {
					err = c.Send(wire.Envelope{Ciphertext: []byte("x"), Signature: fmt.Append(nil, n)}.AppendJSON(nil))
				}
				return err
			})
		})
	}
	x.waits.whole = time.Second
	var out, errs bytes.Buffer
	status := x.start(t.Context(), "alice", nil, &out, &errs, "-json", "read", "club")
	if status != 1 || strings.Count(errs.String(), "it did not come to an end within 1s") != 2 || !strings.Contains(errs.String(), "goes on from there") {
		t.Errorf("status %d, %s", status, &errs)
	}
	expectTexts(t, textsOf(t, out.String()), "one")
}

// The messages that wait to be printed are bounded, and so is what is remembered of those
// that came.
func TestWaitingMessagesAreBounded(t *testing.T) {
	r := &hostReader{
		app: &app{}, messages: newHostMessages(&profile.Group{}), hosts: []*hostSource{{connecting: true}},
		waits: waits{patience: time.Hour, second: time.Hour},
	}
	for n := 1; n <= maxPending; n++ {
		r.pending = append(r.pending, openedMessage{err: io.EOF})
		if n < maxPending-1 {
			continue
		}
		if err := r.printInTime(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := n % maxPending; len(r.pending) != want {
			t.Errorf("%d wait, want %d", len(r.pending), want)
		}
	}
	r.timer.Stop()
	for n := range maxSeen + 10 {
		r.messages.noteSeen(profile.MessageID{byte(n), byte(n >> 8), byte(n >> 16)})
	}
	if len(r.messages.seen) != maxSeen || len(r.messages.seenOrder) != maxSeen {
		t.Errorf("%d are remembered", len(r.messages.seen))
	}
}
