package manager

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/limits"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// envStore makes of this binary the plugin "memory". It names a file: while that is
// there, the plugin ends when it is configured.
const envStore = "CWTCH_RELAY_TEST_STORE"

func serveTestStore(state string) {
	plugin.Serve(plugin.Plugin{
		Name: "memory", Version: "1", Doc: "Keeps messages for a test.",
		Storage: func(context.Context, plugin.Config) (storage.Store, error) {
			if _, err := os.Stat(state); err == nil {
				os.Exit(3)
			}
			return storagetest.NewMemory(), nil
		},
	})
}

// unreliable is a network on which some keys cannot be published.
type unreliable struct {
	onion.Network
	refuses atomic.Pointer[func(identity.Key) bool]
}

func (u *unreliable) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	if refuses := u.refuses.Load(); refuses != nil && (*refuses)(key) {
		return nil, errors.New("the network does not want it")
	}
	return u.Network.Listen(ctx, key, port)
}

// house is what a relay of some servers is started with.
type house struct {
	*testing.T
	cfg     Config
	network *unreliable
}

func newHouse(t *testing.T, servers ...string) *house {
	h := &house{T: t, network: &unreliable{}}
	registry, dataDir := t.TempDir(), filepath.Join(t.TempDir(), "data")
	h.cfg = Config{
		DataDir: dataDir, Level: &slog.LevelVar{}, Logger: slog.New(slog.DiscardHandler),
		Limits:        limits.Limits{Connections: 10, ConnectionsPerSecond: 10, TokenBatchesPerSecond: 10, TokenBatch: 10, QueueRecords: 10, QueueBytes: 1 << 20, PostTimeout: time.Minute, HandshakeTimeout: time.Minute, IdleTimeout: time.Minute, StuckReader: time.Minute, ReaderBuffer: 1 << 20, OutstandingPosts: 4},
		storesTimeout: 2 * time.Second, retryEvery: 10 * time.Millisecond,
	}
	h.cfg.Network.Open = func(context.Context) (onion.Network, error) {
		loopback, err := onion.Loopback(registry)
		h.network.Network = loopback
		return h.network, err
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range servers {
		dir := filepath.Join(dataDir, "servers", name)
		h.cfg.Servers = append(h.cfg.Servers, ServerConfig{Name: name, Dir: dir, Storage: PluginConfig{
			Config: supervise.Config{
				Kind: plugin.KindStorage, Name: "memory", RetryForever: true,
				Command: func() (pluginproc.Command, error) {
					return pluginproc.Command{Path: program, Env: []string{envStore + "=" + h.away(name)}}, nil
				},
			},
			Instance: "memory",
		}})
	}
	return h
}

// away is the file that keeps the store of a server from opening.
func (h *house) away(name string) string {
	return filepath.Join(filepath.Dir(h.cfg.DataDir), "away-"+name)
}

// start starts the relay and has it end with the test.
func (h *house) start() *Manager {
	h.Helper()
	m, err := Start(h.Context(), h.cfg)
	if err != nil {
		h.Fatal(err)
	}
	m.cfg.Load = func(context.Context) (Config, error) { return h.cfg, nil }
	h.Cleanup(func() {
		if err := m.Close(context.WithoutCancel(h.Context())); err != nil {
			h.Error(err)
		}
	})
	return m
}

// of is the status of a server.
func (h *house) of(m *Manager, name string) ServerStatus {
	h.Helper()
	for _, s := range m.Status(h.Context()).Servers {
		if s.Name == name {
			return s
		}
	}
	h.Fatalf("the status lacks the server %s", name)
	return ServerStatus{}
}

// runs waits until a server is published and without a problem.
func (h *house) runs(m *Manager, name string) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		st := h.of(m, name)
		if st.Relay != nil && st.Problem == "" {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("server %s does not run: %+v", name, st)
		}
	}
}

// broken checks that a server does not run, and says why, and that good runs.
func (h *house) broken(m *Manager, name, why string) {
	h.Helper()
	if st := h.of(m, name); st.Relay != nil || !strings.Contains(st.Problem, why) {
		h.Errorf("server %s: %+v, want a problem with %q", name, st, why)
	}
	if st := h.of(m, "good"); st.Relay == nil || st.Problem != "" {
		h.Errorf("the good server: %+v", st)
	}
}

func (h *house) write(path, content string) {
	h.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		h.Fatal(err)
	}
}

// TestStoreThatComesLate runs its server without a reload.
func TestStoreThatComesLate(t *testing.T) {
	h := newHouse(t, "late", "good")
	h.write(h.away("late"), "")
	m := h.start()
	h.broken(m, "late", "exit status 3")
	if err := os.Remove(h.away("late")); err != nil {
		t.Fatal(err)
	}
	h.runs(m, "late")
}

// TestPublicationThatFails is tried again without a reload, and leaves the other
// server alone.
func TestPublicationThatFails(t *testing.T) {
	h := newHouse(t, "bad", "good")
	dir := h.cfg.Servers[0].Dir
	h.network.refuses.Store(new(func(key identity.Key) bool {
		keys, err := identity.LoadOrCreate(filepath.Join(dir, "keys"))
		return err != nil || key.Onion() == keys.Board.Onion()
	}))
	m := h.start()
	h.broken(m, "bad", "the network does not want it")
	h.network.refuses.Store(nil)
	h.runs(m, "bad")
}

// TestReloadTriesABadServer, and no other.
func TestReloadTriesABadServer(t *testing.T) {
	h := newHouse(t, "bad", "good")
	keys := filepath.Join(h.cfg.Servers[0].Dir, "keys")
	h.write(keys, "these are no keys")
	m := h.start()
	h.broken(m, "bad", keys)
	for _, mended := range []bool{false, true} {
		if mended {
			if err := os.Remove(keys); err != nil {
				t.Fatal(err)
			}
		}
		plan, err := m.Reload(t.Context(), false)
		if err != nil || len(plan.Steps) != 1 || plan.Steps[0].String() != "retry server bad: it does not run" || plan.Steps[0].Done != mended {
			t.Fatalf("got %+v, %v", plan, err)
		}
	}
	h.runs(m, "bad")
	if plan, err := m.Reload(t.Context(), true); err != nil || len(plan.Steps) > 0 {
		t.Errorf("got %+v, %v", plan, err)
	}
}

// TestNewServerThatFails stays in the status, and what becomes of it later.
func TestNewServerThatFails(t *testing.T) {
	h := newHouse(t, "good", "new")
	h.write(h.away("new"), "")
	all := h.cfg.Servers
	h.cfg.Servers = all[:1]
	m := h.start()
	h.cfg.Servers = all
	plan, err := m.Reload(t.Context(), false)
	if err != nil || plan.Failed() != 1 {
		t.Fatalf("got %+v, %v", plan, err)
	}
	h.broken(m, "new", "exit status 3")
	if err := os.Remove(h.away("new")); err != nil {
		t.Fatal(err)
	}
	h.runs(m, "new")
	h.cfg.Servers = all[:1]
	if _, err := m.Reload(t.Context(), false); err != nil || len(m.Status(t.Context()).Servers) != 1 {
		t.Errorf("%v, %+v", err, m.Status(t.Context()))
	}
}

// TestWithoutAServer the relay ends, and opens no network. It tells whether another
// start could find a store that is ready.
func TestWithoutAServer(t *testing.T) {
	for name, second := range map[string]string{"lasting": "no keys", "passing": ""} {
		t.Run(name, func(t *testing.T) { testWithoutAServer(t, second) })
	}
}

func testWithoutAServer(t *testing.T, second string) {
	h := newHouse(t, "one", "two")
	h.write(filepath.Join(h.cfg.Servers[0].Dir, "keys"), "no keys")
	if second == "" {
		h.write(h.away("two"), "")
	} else {
		h.write(filepath.Join(h.cfg.Servers[1].Dir, "keys"), second)
	}
	h.cfg.Network.Open = func(context.Context) (onion.Network, error) {
		t.Error("the network was opened")
		return nil, errors.New("no network")
	}
	_, err := Start(t.Context(), h.cfg)
	if errors.Is(err, ErrNoServer) != (second != "") || !strings.Contains(err.Error(), "server one: ") || !strings.Contains(err.Error(), "server two: ") {
		t.Errorf("got %v", err)
	}
}

// TestWithoutANetwork the relay ends.
func TestWithoutANetwork(t *testing.T) {
	h := newHouse(t, "one", "two")
	no := errors.New("no network")
	h.cfg.Network.Open = func(context.Context) (onion.Network, error) { return nil, no }
	if _, err := Start(t.Context(), h.cfg); !errors.Is(err, no) || errors.Is(err, ErrNoServer) {
		t.Errorf("got %v", err)
	}
}
