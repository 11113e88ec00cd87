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

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// envStore makes of this binary the plugin "memory". It names a file: while that is
// there, the plugin ends when it is configured. A named pipe with gateSuffix behind that name
// keeps the store from opening until somebody opens it to write.
const (
	envStore   = "CWTCH_RELAY_TEST_STORE"
	gateSuffix = ".gate"
)

func serveTestStore(state string) {
	plugin.Serve(plugin.Plugin{
		Name: "memory", Version: "1", Doc: "Keeps messages for a test.",
		Capabilities: []plugin.Capability{plugin.Prune, plugin.Compact},
		Storage: func(context.Context, plugin.Config) (storage.Store, error) {
			if _, err := os.Stat(state); err == nil {
				os.Exit(3)
			}
			if gate, err := os.Open(state + gateSuffix); err == nil { // waits for the test
				gate.Close()
			}
			return storagetest.NewMemory(), nil
		},
	})
}

// refusingNetwork is a network that refuses to publish some keys.
type refusingNetwork struct {
	onion.Network
	refuses atomic.Pointer[func(identity.Key) bool]
	delays  atomic.Pointer[func(context.Context, identity.Key)]
}

func (u *refusingNetwork) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	if refuses := u.refuses.Load(); refuses != nil && (*refuses)(key) {
		return nil, errors.New("the network does not want it")
	}
	if delay := u.delays.Load(); delay != nil {
		(*delay)(ctx, key)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return u.Network.Listen(ctx, key, port)
}

// testRelay is a relay of some servers, before and after it is started.
type testRelay struct {
	*testing.T
	cfg     Config
	network *refusingNetwork

	passphrases map[string][]byte // of the configuration, by server
}

func newTestRelay(t *testing.T, servers ...string) *testRelay {
	h := &testRelay{T: t, network: &refusingNetwork{}}
	registry, dataDir := t.TempDir(), filepath.Join(t.TempDir(), "data")
	h.cfg = Config{
		DataDir: dataDir, Level: &slog.LevelVar{}, Logger: slog.New(slog.DiscardHandler),
		Limits:        limits.Limits{Connections: 10, ConnectionsPerSecond: 10, TokenBatchesPerSecond: 10, TokenBatch: 10, QueueRecords: 10, QueueBytes: 1 << 20, PostTimeout: time.Minute, HandshakeTimeout: time.Minute, IdleTimeout: time.Minute, StuckReader: time.Minute, ReaderBuffer: 1 << 20, OutstandingPosts: 4},
		storesTimeout: 6 * time.Second, retryEvery: 10 * time.Millisecond,
	}
	h.cfg.Network.Open = func(context.Context) (onion.Network, error) {
		loopback, err := onion.Loopback(registry)
		h.network.Network = loopback
		return h.network, err
	}
	for _, name := range servers {
		h.cfg.Servers = append(h.cfg.Servers, h.serverConfig(name))
	}
	return h
}

// serverConfig is a server whose store is in the memory of its process.
func (h *testRelay) serverConfig(name string) ServerConfig {
	program, err := os.Executable()
	if err != nil {
		h.Fatal(err)
	}
	return ServerConfig{Name: name, Dir: filepath.Join(h.cfg.DataDir, "servers", name), Storage: PluginConfig{
		Config: supervise.Config{
			Kind: plugin.KindStorage, Name: "memory", RetryForever: true,
			Command: func() (pluginproc.Command, error) {
				return pluginproc.Command{Path: program, Env: []string{envStore + "=" + h.awayFile(name)}}, nil
			},
		},
		Instance: "memory",
	}}
}

// awayFile is the file that keeps the store of a server from opening while it exists.
func (h *testRelay) awayFile(name string) string {
	return filepath.Join(filepath.Dir(h.cfg.DataDir), "away-"+name)
}

// start starts the relay, and closes it when the test ends.
func (h *testRelay) start() *Manager {
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

// serverStatus is the status of one server.
func (h *testRelay) serverStatus(m *Manager, name string) ServerStatus {
	h.Helper()
	for _, s := range m.Status(h.Context()).Servers {
		if s.Name == name {
			return s
		}
	}
	h.Fatalf("the status lacks the server %s", name)
	return ServerStatus{}
}

// waitUntilRunning waits until a server is published and has no problem.
func (h *testRelay) waitUntilRunning(m *Manager, name string) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		st := h.serverStatus(m, name)
		if st.Relay != nil && st.Problem == "" {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("server %s does not run: %+v", name, st)
		}
	}
}

// expectBroken checks that a server does not run and says why, and that the server "good"
// runs.
func (h *testRelay) expectBroken(m *Manager, name, why string) {
	h.Helper()
	if st := h.serverStatus(m, name); st.Relay != nil || !strings.Contains(st.Problem, why) {
		h.Errorf("server %s: %+v, want a problem with %q", name, st, why)
	}
	if st := h.serverStatus(m, "good"); st.Relay == nil || st.Problem != "" {
		h.Errorf("the good server: %+v", st)
	}
}

func (h *testRelay) writeFile(path, content string) {
	h.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		h.Fatal(err)
	}
}

// A server whose store comes late runs without a reload.
func TestLateStoreRunsItsServer(t *testing.T) {
	h := newTestRelay(t, "late", "good")
	h.writeFile(h.awayFile("late"), "")
	m := h.start()
	h.expectBroken(m, "late", "exit status 3")
	if err := os.Remove(h.awayFile("late")); err != nil {
		t.Fatal(err)
	}
	h.waitUntilRunning(m, "late")
}

// closeGate keeps the store of a server in its Configure until openGate is called.
func (h *testRelay) closeGate(name string) (openGate func()) {
	h.Helper()
	h.cfg.storesTimeout = 2 * time.Second // which passes while it is closed
	path := h.awayFile(name) + gateSuffix
	if err := unix.Mkfifo(path, 0o600); err != nil {
		h.Fatal(err)
	}
	return func() {
		h.Helper()
		gate, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			err = errors.Join(gate.Close(), os.Remove(path))
		}
		if err != nil {
			h.Fatal(err)
		}
	}
}

// TestStartWaitsForTheOnlyStore shows that a start waits for a store that takes longer to open
// than a store may, since no other server runs, and that the status tells what it does.
func TestStartWaitsForTheOnlyStore(t *testing.T) {
	h := newTestRelay(t, "main")
	openGate := h.closeGate("main")
	started, returned := make(chan *Manager, 1), make(chan struct{})
	h.cfg.OnStart = func(m *Manager) { started <- m }
	go func() {
		defer close(returned)
		m, err := Start(t.Context(), h.cfg)
		if err != nil {
			t.Errorf("the start fails: %v", err)
			return
		}
		if len(m.Servers()) != 1 {
			t.Errorf("after the start: %+v", m.Status(t.Context()))
		}
		if err := m.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-returned })
	m := <-started
	h.waitUntil("the store has been opened for long", func() bool {
		select {
		case <-returned:
			t.Fatal("the start has not waited")
		default:
		}
		st := m.Status(t.Context())
		return len(st.Servers) == 1 && st.Servers[0].Storage.State == supervise.Configuring && time.Since(st.Servers[0].Storage.Since) > h.cfg.storesTimeout
	})
	openGate()
	<-returned
}

// TestStoreThatOpensForLongHoldsUpNoOther shows that the other server runs, that a reload can
// begin, and that the server of that store runs once it is open.
func TestStoreThatOpensForLongHoldsUpNoOther(t *testing.T) {
	h := newTestRelay(t, "slow", "good")
	openGate := h.closeGate("slow")
	m := h.start()
	h.expectBroken(m, "slow", "it is still being opened, and is used as soon as that is done")
	if plan, err := m.Reload(t.Context(), true); err != nil || len(plan.Refused) > 0 {
		t.Errorf("%+v, %v", plan, err)
	}
	openGate()
	h.waitUntilRunning(m, "slow")
}

// The server is retried without a reload, and the other server is left alone.
func TestFailedPublicationIsRetried(t *testing.T) {
	h := newTestRelay(t, "bad", "good")
	dir := h.cfg.Servers[0].Dir
	h.network.refuses.Store(new(func(key identity.Key) bool {
		keys, err := identity.LoadOrCreate(filepath.Join(dir, "keys"))
		return err != nil || key.Onion() == keys.Board.Onion()
	}))
	m := h.start()
	h.expectBroken(m, "bad", "the network does not want it")
	h.network.refuses.Store(nil)
	h.waitUntilRunning(m, "bad")
}

func TestReloadRetriesOnlyTheBadServer(t *testing.T) {
	h := newTestRelay(t, "bad", "good")
	keys := filepath.Join(h.cfg.Servers[0].Dir, "keys")
	h.writeFile(keys, "these are no keys")
	m := h.start()
	h.expectBroken(m, "bad", keys)
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
	h.waitUntilRunning(m, "bad")
	if plan, err := m.Reload(t.Context(), true); err != nil || len(plan.Steps) > 0 {
		t.Errorf("got %+v, %v", plan, err)
	}
}

// It is retried like any other, and goes when the configuration no longer has it.
func TestNewServerThatFailsStaysInStatus(t *testing.T) {
	h := newTestRelay(t, "good", "new")
	h.writeFile(h.awayFile("new"), "")
	all := h.cfg.Servers
	h.cfg.Servers = all[:1]
	m := h.start()
	h.cfg.Servers = all
	plan, err := m.Reload(t.Context(), false)
	if err != nil || plan.Failed() != 1 {
		t.Fatalf("got %+v, %v", plan, err)
	}
	h.expectBroken(m, "new", "exit status 3")
	if err := os.Remove(h.awayFile("new")); err != nil {
		t.Fatal(err)
	}
	h.waitUntilRunning(m, "new")
	h.cfg.Servers = all[:1]
	if _, err := m.Reload(t.Context(), false); err != nil || len(m.Status(t.Context()).Servers) != 1 {
		t.Errorf("%v, %+v", err, m.Status(t.Context()))
	}
}

// The network is not opened. The error says whether another start could find a store that
// is ready.
func TestStartFailsWithoutAServer(t *testing.T) {
	for name, second := range map[string]string{"lasting": "no keys", "passing": ""} {
		t.Run(name, func(t *testing.T) { testStartFailsWithoutAServer(t, second) })
	}
}

func testStartFailsWithoutAServer(t *testing.T, second string) {
	h := newTestRelay(t, "one", "two")
	h.writeFile(filepath.Join(h.cfg.Servers[0].Dir, "keys"), "no keys")
	if second == "" {
		h.writeFile(h.awayFile("two"), "")
	} else {
		h.writeFile(filepath.Join(h.cfg.Servers[1].Dir, "keys"), second)
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

func TestStartFailsWithoutANetwork(t *testing.T) {
	h := newTestRelay(t, "one", "two")
	no := errors.New("no network")
	h.cfg.Network.Open = func(context.Context) (onion.Network, error) { return nil, no }
	if _, err := Start(t.Context(), h.cfg); !errors.Is(err, no) || errors.Is(err, ErrNoServer) {
		t.Errorf("got %v", err)
	}
}

func TestCheckClock(t *testing.T) {
	if err := checkClock(time.Unix(0, 0)); err == nil {
		t.Error("1970 was accepted")
	}
	if err := checkClock(time.Now()); err != nil {
		t.Error(err)
	}
}
