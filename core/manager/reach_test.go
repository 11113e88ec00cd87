package manager

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
)

// countingNetwork records what is published anew.
type countingNetwork struct {
	onion.Network
	mu   sync.Mutex
	anew []identity.Onion
}

func (n *countingNetwork) Republish(ctx context.Context, service identity.Onion) error {
	n.mu.Lock()
	n.anew = append(n.anew, service)
	n.mu.Unlock()
	return n.Network.Republish(ctx, service)
}

func (n *countingNetwork) republished() []identity.Onion {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]identity.Onion{}, n.anew...)
}

// startReachable starts a relay that tries its servers every so often, with a log and a
// registry that the test can spoil.
func startReachable(t *testing.T, every time.Duration, servers ...string) (h *testRelay, m *Manager, n *countingNetwork, registry string, log *lockedLog) {
	h = newTestRelay(t, servers...)
	h.cfg.reachEvery = every
	h.cfg.Limits.HandshakeTimeout = 10 * time.Second
	log = &lockedLog{}
	h.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	registry, n = filepath.Join(t.TempDir(), "net"), &countingNetwork{}
	h.cfg.Network.Open = func(context.Context) (onion.Network, error) {
		loopback, err := onion.Loopback(registry)
		n.Network = loopback
		return n, err
	}
	return h, h.start(), n, registry, log
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// awaitReach waits until the reachability of a server is as wanted.
func (h *testRelay) awaitReach(m *Manager, name, what string, wanted func(doctor.Reachability) bool) doctor.Reachability {
	h.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(10 * time.Millisecond) {
		r := h.serverStatus(m, name).Reachability
		if r != nil && wanted(*r) {
			return *r
		}
		if time.Now().After(deadline) {
			h.Fatalf("server %s: never %s: %+v", name, what, r)
		}
	}
}

// The relay tries each server by itself. An onion that the network has lost is noticed, is
// published anew after two failures, and is then reached again. The other onion and the
// connections that are open are left alone.
func TestLostOnionIsPublishedAnew(t *testing.T) {
	h, m, n, registry, log := startReachable(t, 3*time.Second, "main")
	h.awaitReach(m, "main", "reached", func(r doctor.Reachability) bool { return r.OK && r.Board && r.Token && r.Problem == "" })
	b := m.Servers()[0].Bundle
	reader, err := client.Open(t.Context(), n, b.Board)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()

	if err := os.Remove(filepath.Join(registry, string(b.Board))); err != nil {
		t.Fatal(err)
	}
	h.awaitReach(m, "main", "noticed", func(r doctor.Reachability) bool {
		return !r.OK && !r.Board && r.Token && r.BoardFailures > 0 && strings.Contains(r.Problem, "the board cannot be reached: no directory has its descriptor")
	})
	r := h.awaitReach(m, "main", "mended", func(r doctor.Reachability) bool { return r.OK })
	if r.BoardRepublished != 1 || r.TokenRepublished != 0 || r.Republished == nil || r.BoardFailures != 0 {
		t.Errorf("%+v", r)
	}
	if anew := n.republished(); len(anew) != 1 || anew[0] != b.Board {
		t.Errorf("published anew: %v", anew)
	}
	if err := reader.Sync(t.Context(), nil, nil); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	for text, want := range map[string]int{"cannot be reached from outside": 1, "is published anew; posts under way go on": 1, "can be reached again": 1} {
		if got := strings.Count(log.String(), text); got != want {
			t.Errorf("the log has %q %d times:\n%s", text, got, log.String())
		}
	}
}

// An onion that stays lost is published anew once in two intervals, however often it is
// tried.
func TestOnionIsNotPublishedAnewAllTheTime(t *testing.T) {
	h, m, n, registry, _ := startReachable(t, time.Hour, "main")
	b := m.Servers()[0].Bundle
	for range 6 {
		os.Remove(filepath.Join(registry, string(b.TokenService))) // is there at first, and after it was published anew
		if _, err := m.CheckServer(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
	}
	if anew := n.republished(); len(anew) != 1 || anew[0] != b.TokenService {
		t.Errorf("published anew: %v", anew)
	}
	if r := h.serverStatus(m, "main").Reachability; r.TokenFailures != 6 {
		t.Errorf("%+v", r)
	}
}

// offlineNetwork is a network whose state the test sets.
type offlineNetwork struct {
	onion.Network
	mu    sync.Mutex
	state onion.State
}

func (n *offlineNetwork) setState(s onion.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = s
}

func (n *offlineNetwork) Status() onion.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := n.Network.Status()
	st.Network, st.State, st.Version = "tor", n.state, "0.4.9.11"
	return st
}

// While Tor is not ready nothing is tried and nothing is blamed on a server: one line says
// what is wrong.
func TestNothingIsTriedWithoutTor(t *testing.T) {
	h := newTestRelay(t, "main")
	n := &offlineNetwork{state: onion.Ready}
	registry := t.TempDir()
	h.cfg.Network.Open = func(context.Context) (onion.Network, error) {
		loopback, err := onion.Loopback(registry)
		n.Network = loopback
		return n, err
	}
	m := h.start()
	n.setState(onion.Backoff)
	m.mu.Lock()
	m.servers[0].reach.due = time.Now().Add(-time.Hour)
	m.mu.Unlock()
	if s := m.findDue(time.Now()); s != nil {
		t.Error("a server is tried while tor is away")
	}
	checks := m.Doctor(t.Context())
	var wrong []doctor.Check
	for _, c := range checks {
		if !c.OK && c.Name != "memory" && c.Name != "disk" {
			wrong = append(wrong, c)
		}
	}
	if len(wrong) != 1 || wrong[0].Name != "tor" || !strings.HasPrefix(wrong[0].Text, "Tor is not up") {
		t.Errorf("%+v", wrong)
	}
	n.setState(onion.Ready)
	if s := m.findDue(time.Now()); s == nil {
		t.Error("a server that is due is not tried")
	}
}

// The first attempts at fifty servers are spread over the interval, and the first at one
// server is soon.
func TestAttemptsAreSpread(t *testing.T) {
	for servers, latest := range map[int]time.Duration{1: 2 * time.Minute, 50: 31 * time.Minute, 500: 31 * time.Minute} {
		m := newManagerWith(t, Config{})
		loopback, err := onion.Loopback(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		m.network = loopback
		for range servers {
			m.servers = append(m.servers, &server{relay: &relay.Server{}})
		}
		now := time.Now()
		if s := m.findDue(now); s != nil {
			t.Fatal("a server is due at once")
		}
		early := 0
		for _, s := range m.servers {
			wait := s.reach.due.Sub(now)
			if wait < time.Minute || wait > latest {
				t.Errorf("%d servers: the first attempt is after %v", servers, wait)
			}
			if wait < 16*time.Minute {
				early++
			}
		}
		if servers == 500 && (early < 150 || early > 350) {
			t.Errorf("%d of %d are in the first half", early, servers)
		}
		m.servers[0].reach.due = now.Add(-time.Second)
		if s := m.findDue(now); s != m.servers[0] {
			t.Errorf("due is %p", s)
		}
	}
	for range 1000 {
		if d := vary(reachEvery); d < 24*time.Minute || d > 36*time.Minute {
			t.Fatalf("the interval is %v", d)
		}
	}
}

// The commands of the operator get the same checks, and an unknown name is refused.
func TestAskDoctor(t *testing.T) {
	h, m, _, registry, _ := startReachable(t, time.Hour, "main", "other")
	checks, servers, err := AskCheckMachine(t.Context(), h.cfg.DataDir)
	if err != nil || len(checks) < 5 || strings.Join(servers, " ") != "main other" {
		t.Errorf("%+v %v %v", checks, servers, err)
	}
	checks, err = AskCheckServer(t.Context(), h.cfg.DataDir, "main")
	if err != nil || len(checks) != 3 || !doctor.AllOK(checks) {
		t.Errorf("%+v %v", checks, err)
	}
	if r := h.serverStatus(m, "main").Reachability; r == nil || !r.OK {
		t.Errorf("the status has not what came of it: %+v", r)
	}
	if r := h.serverStatus(m, "other").Reachability; r != nil {
		t.Errorf("another server was tried: %+v", r)
	}
	if err := os.Remove(filepath.Join(registry, string(m.Servers()[0].Bundle.TokenService))); err != nil {
		t.Fatal(err)
	}
	checks, err = AskCheckServer(t.Context(), h.cfg.DataDir, "main")
	if err != nil || len(checks) != 3 || !checks[0].OK || !checks[1].OK || checks[2].OK {
		t.Errorf("without its token onion: %+v %v", checks, err)
	}
	if _, err := AskCheckServer(t.Context(), h.cfg.DataDir, "nobody"); err == nil || !strings.Contains(err.Error(), `no server "nobody"`) {
		t.Errorf("an unknown server: %v", err)
	}
}
