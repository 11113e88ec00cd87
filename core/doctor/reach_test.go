package doctor

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// startServer starts a server on a network.
func startServer(t *testing.T, network onion.Network) *relay.Server {
	t.Helper()
	keys, err := identity.LoadOrCreate(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := relay.Start(t.Context(), relay.Config{
		Network: network, Keys: keys, Store: storagetest.NewMemory(),
		Limits: limits.Limits{
			Connections: 100, ConnectionsPerSecond: 1000, HandshakeTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			OutstandingPosts: 8, QueueRecords: 1000, QueueBytes: 1 << 20, PostTimeout: 5 * time.Second,
			TokenBatchesPerSecond: 100, TokenBatch: 150, ReaderBuffer: 64 << 10, StuckReader: 10 * time.Second,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.WithoutCancel(t.Context())) })
	return s
}

func openLoopback(t *testing.T) (n onion.Network, registry string) {
	t.Helper()
	registry = filepath.Join(t.TempDir(), "net")
	n, err := onion.Loopback(registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n, registry
}

// checkReach checks a server, and returns what is wrong.
func checkReach(t *testing.T, n onion.Network, b bundle.Bundle) []Check {
	t.Helper()
	return wrongOnes(Reach(t.Context(), n, b).Checks("main", n.Status()))
}

// A check connects once to each onion and buys one token. It posts nothing, reads nothing
// and spends nothing.
func TestReachLeavesNothing(t *testing.T) {
	n, _ := openLoopback(t)
	s := startServer(t, n)
	r := Reach(t.Context(), n, s.Bundle())
	if wrong := wrongOnes(r.Checks("main", n.Status())); len(wrong) > 0 || r.Problem() != "" {
		t.Fatalf("%+v %s", wrong, r.Problem())
	}
	if c := r.Checks("main", n.Status())[0]; !strings.Contains(c.Text, "over the loopback network") {
		t.Errorf("it does not say that it is the loopback network: %+v", c)
	}
	if c := CheckPublished("main", s.Bundle(), n.Status()); !c.OK {
		t.Errorf("%+v", c)
	}
	st := s.Status(t.Context())
	for deadline := time.Now().Add(20 * time.Second); st.Tokens.Purchases == 0 && time.Now().Before(deadline); <-time.After(time.Millisecond) {
		st = s.Status(t.Context()) // the server counts after the client has its token
	}
	if st.BoardConnections.Accepted != 1 || st.TokenConnections.Accepted != 1 || st.Tokens.Purchases != 1 || st.Tokens.Sold != 1 {
		t.Errorf("counts: %+v %+v %+v", st.BoardConnections, st.TokenConnections, st.Tokens)
	}
	if st.Posts.Batches != 0 || st.Reads.Replays != 0 || st.Store.Envelopes != 0 || st.Store.Tokens != 0 {
		t.Errorf("it left something: %+v %+v %+v", st.Posts, st.Reads, st.Store)
	}
}

// One onion that cannot be reached is one line, and the other one is well.
func TestReachOneOnion(t *testing.T) {
	n, registry := openLoopback(t)
	s := startServer(t, n)
	b := s.Bundle()
	for _, c := range []struct {
		lost identity.Onion
		name string
		text string
	}{
		{b.TokenService, "server main: tokens", "the token onion cannot be reached: no directory has its descriptor"},
		{b.Board, "server main: board", "the board cannot be reached: no directory has its descriptor"},
	} {
		if err := os.Remove(filepath.Join(registry, string(c.lost))); err != nil {
			t.Fatal(err)
		}
		wrong := checkReach(t, n, b)
		if len(wrong) != 1 || wrong[0].Name != c.name || wrong[0].Text != c.text || wrong[0].Do == "" {
			t.Errorf("%+v, want %q", wrong, c.text)
		}
		if err := n.Republish(t.Context(), c.lost); err != nil {
			t.Fatal(err)
		}
		if wrong := checkReach(t, n, b); len(wrong) > 0 {
			t.Errorf("after it was published anew: %+v", wrong)
		}
	}
}

// An onion that is reached and is not what it should be is told from one that is lost:
// publishing it anew would not help.
func TestReachWrongServer(t *testing.T) {
	n, _ := openLoopback(t)
	board, tokens := identity.NewKey(), identity.NewKey()
	for _, key := range []identity.Key{board, tokens} {
		ln, err := n.Listen(t.Context(), key, relay.Port)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
		t.Cleanup(func() { ln.Close(); <-ended })
	}
	b := startServer(t, n).Bundle()
	b.Board, b.TokenService = board.Onion(), tokens.Onion()
	r := Reach(t.Context(), n, b)
	wrong := wrongOnes(r.Checks("main", n.Status()))
	if len(wrong) != 2 || !r.Board.Connected || !r.Token.Connected || !strings.Contains(wrong[0].Text, "is reached and does not work") {
		t.Errorf("%+v", wrong)
	}
}

// stuckNetwork connects to nobody, and waits as Tor may.
type stuckNetwork struct{ onion.Network }

func (stuckNetwork) DialFresh(ctx context.Context, _ identity.Onion, _ int) (net.Conn, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// silentNetwork connects to somebody who never says anything.
type silentNetwork struct {
	onion.Network
	t *testing.T
}

func (n silentNetwork) DialFresh(context.Context, identity.Onion, int) (net.Conn, error) {
	here, there := net.Pipe()
	go io.Copy(io.Discard, there)
	n.t.Cleanup(func() { there.Close() })
	return here, nil
}

// A check ends with its context, whatever the network and the server do.
func TestReachIsBounded(t *testing.T) {
	n, _ := openLoopback(t)
	b := startServer(t, n).Bundle()
	for _, network := range []onion.Network{stuckNetwork{n}, silentNetwork{n, t}} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		r := Reach(ctx, network, b)
		cancel()
		if r.Board.Err == nil || r.Token.Err == nil {
			t.Errorf("%T was reached: %+v", network, r)
		}
	}
}

// Nothing is dialled before it is published.
func TestPublished(t *testing.T) {
	b := bundle.Bundle{Board: "a", TokenService: "b"}
	for name, c := range map[string]struct {
		services []onion.Service
		want     string
	}{
		"both":   {[]onion.Service{{Onion: "a", Published: true, Directories: 6}, {Onion: "b", Published: true, Directories: 4}}, ""},
		"one":    {[]onion.Service{{Onion: "a", Published: true, Directories: 6}, {Onion: "b"}}, "descriptor of the token onion yet"},
		"none":   {nil, "descriptor of the board yet"},
		"lapsed": {[]onion.Service{{Onion: "a", Published: true}, {Onion: "b", Published: true, Directories: 4}}, "descriptor of the board for 3 hours"},
	} {
		got := CheckPublished("main", b, onion.Status{Network: "tor", Services: c.services})
		if got.OK != (c.want == "") || !strings.Contains(got.Text, c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Over a private Tor network a server is reached, a token onion that is not published is
// found although the board is well, and a tor that is killed is not up.
func TestReachOverTor(t *testing.T) {
	private := tornet.ForTest(t)
	config := onion.TorConfig{DataDir: filepath.Join(t.TempDir(), "tor"), Torrc: private.ClientTorrc()}
	if err := private.Seed(config.DataDir); err != nil {
		t.Fatal(err)
	}
	n, err := onion.StartTor(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	s := startServer(t, n)
	if c := CheckPublished("main", s.Bundle(), n.Status()); !c.OK {
		t.Errorf("%+v", c)
	}
	deadline := time.Now().Add(2 * time.Minute) // not all directories have it at once
	wrong := checkReach(t, n, s.Bundle())
	for len(wrong) > 0 && time.Now().Before(deadline) {
		t.Logf("not reached yet: %+v", wrong)
		wrong = checkReach(t, n, s.Bundle())
	}
	if len(wrong) > 0 {
		t.Fatalf("not reached: %+v", wrong)
	}
	begun := time.Now()
	for _, c := range Reach(t.Context(), n, s.Bundle()).Checks("main", n.Status()) {
		t.Logf("%+v", c)
	}
	t.Logf("a check takes %v", time.Since(begun))

	b := s.Bundle()
	b.TokenService = identity.NewKey().Onion()
	if wrong := checkReach(t, n, b); len(wrong) != 1 || wrong[0].Text != "the token onion cannot be reached: no directory has its descriptor" {
		t.Errorf("without its token onion: %+v", wrong)
	}
	if checks, consensus, ready := CheckNetwork(t.Context(), n); !ready || !AllOK(checks) || consensus.ValidAfter.IsZero() {
		t.Errorf("%+v %+v", checks, consensus)
	}

	if err := syscall.Kill(n.Status().Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for ready := true; ready; { // until the network has noticed
		if time.Now().After(deadline) {
			t.Fatal("nobody notices that tor is gone")
		}
		var checks []Check
		if checks, _, ready = CheckNetwork(t.Context(), n); !ready && (len(checks) != 1 || checks[0].OK) {
			t.Errorf("without tor: %+v", checks)
		}
	}
}

// The onion service of the console is named when it is not published.
func TestCheckConsole(t *testing.T) {
	for name, c := range map[string]struct {
		services []onion.Service
		problem  string
		want     string
	}{
		"published":   {[]onion.Service{{Onion: "a"}, {Onion: "c", Published: true, Directories: 6}}, "", ""},
		"not yet":     {[]onion.Service{{Onion: "c"}}, "", "descriptor of c.onion yet"},
		"not at all":  {[]onion.Service{{Onion: "a", Published: true, Directories: 6}}, "", "descriptor of c.onion yet"},
		"lapsed":      {[]onion.Service{{Onion: "c", Published: true}}, "", "descriptor of c.onion for 3 hours"},
		"unusable":    {nil, "the key is damaged", "not published: the key is damaged"},
		"old problem": {[]onion.Service{{Onion: "c", Published: true, Directories: 1}}, "tor says no", "tor says no"},
	} {
		got := CheckConsole("c", c.problem, onion.Status{Network: "tor", Services: c.services})
		if got.OK != (c.want == "") || !strings.Contains(got.Text, c.want) || got.OK == (got.Do != "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
