// Package plugintest runs one implementation of a plugin in the three ways in
// which it can be called: directly, over gRPC within the process, and as the
// process that a relay starts. It is what the conformance suites, such as
// storagetest, stand on.
//
// The process is the test binary itself, so the package under test needs
//
//	func TestMain(m *testing.M) { plugintest.Main(m, thePlugin) }
//
// and then
//
//	for _, transport := range plugintest.Transports(t, thePlugin) {
//		t.Run(transport.Name, func(t *testing.T) {
//			opened, err := transport.Open(t, t.TempDir(), map[string]any{"path": "x.db"})
//			…
//		})
//	}
package plugintest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Bounds on the start of a process and on its end in good order, with patience
// for a machine that is busy with other tests.
const (
	startTimeout = time.Minute
	closeTimeout = time.Minute
)

// Transport is one way to call an implementation.
type Transport struct {
	Name string // "direct", "grpc" or "process"
	// Open opens the store of a storage plugin in dir, with a configuration as
	// [plugin.Schema.Value] takes it. It may be called again for the same
	// directory once the earlier one is closed or killed. What is open at the end of
	// the test is closed then.
	Open func(tb testing.TB, dir string, config map[string]any) (*Opened, error)
}

// Opened is an open store.
type Opened struct {
	Store storage.Store
	// Kill ends the process as kill -9 does, and returns when it is gone. It is
	// nil where there is no process.
	Kill func()
	// Close closes the store in good order, and the process with it. After Kill
	// or another Close it does nothing.
	Close func() error
}

// Main is to be called from TestMain: it runs the tests, or in a process that
// a test has started the plugin.
func Main(m *testing.M, p plugin.Plugin) {
	if os.Getenv(rpc.Handshake.MagicCookieKey) != "" {
		plugin.Serve(p)
		return
	}
	os.Exit(m.Run())
}

// Transports gives the three ways to call p.
func Transports(tb testing.TB, p plugin.Plugin) []Transport {
	tb.Helper()
	if err := p.Describe().Validate(); err != nil {
		tb.Fatal(err)
	}
	return []Transport{
		{Name: "direct", Open: opener(p, openDirect)},
		{Name: "grpc", Open: opener(p, openGRPC)},
		{Name: "process", Open: opener(p, openProcess)},
	}
}

// target is what an opener is asked for.
type target struct {
	plugin plugin.Plugin
	dir    string
	config []byte
	log    *slog.Logger
}

func opener(p plugin.Plugin, open func(context.Context, target) (*Opened, error)) func(testing.TB, string, map[string]any) (*Opened, error) {
	return func(tb testing.TB, dir string, config map[string]any) (*Opened, error) {
		v, err := p.Schema.Value(config)
		if err != nil {
			return nil, err
		}
		data, err := p.Schema.Encode(v)
		if err != nil {
			return nil, err
		}
		log := slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
		o, err := open(tb.Context(), target{plugin: p, dir: dir, config: data, log: log})
		if err != nil {
			return nil, err
		}
		o.closeOnce()
		tb.Cleanup(func() {
			if err := o.Close(); err != nil {
				tb.Errorf("close: %v", err)
			}
		})
		return o, nil
	}
}

// closeOnce makes Close do nothing after itself or Kill.
func (o *Opened) closeOnce() {
	closed, closing, killing := false, o.Close, o.Kill
	o.Close = func() error {
		if closed {
			return nil
		}
		closed = true
		return closing()
	}
	if killing != nil {
		o.Kill = func() {
			closed = true
			killing()
		}
	}
}

func openDirect(ctx context.Context, t target) (*Opened, error) {
	v, err := t.plugin.Schema.Decode(t.config)
	if err != nil {
		return nil, err
	}
	cfg, err := plugin.NewConfig(t.plugin.Schema, v, t.dir, t.log)
	if err != nil {
		return nil, err
	}
	if t.plugin.Validate != nil {
		if err := t.plugin.Validate(cfg); err != nil {
			return nil, err
		}
	}
	store, err := t.plugin.Storage(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Opened{Store: store, Close: store.Close}, nil
}

func openGRPC(ctx context.Context, t target) (*Opened, error) {
	listener := bufconn.Listen(1 << 20)
	server := plugin.NewServer(t.plugin, t.log)
	go server.Serve(listener) //nolint:errcheck // ends with Stop
	conn, err := grpc.NewClient("passthrough:///plugin", append(host.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)...)
	if err != nil {
		server.Stop()
		return nil, err
	}
	stop := func() {
		conn.Close() //nolint:errcheck // only says that it is closed already
		server.Stop()
	}
	client := host.NewClient(conn)
	if err := client.Configure(ctx, t.config, t.dir); err != nil {
		stop()
		return nil, err
	}
	store := client.Storage()
	return &Opened{Store: store, Close: func() error {
		defer stop()
		return store.Close()
	}}, nil
}

func openProcess(ctx context.Context, t target) (*Opened, error) {
	process, err := host.Start(ctx, host.StartConfig{
		Command: host.Command{Path: "/proc/self/exe"},
		Logger:  t.log,
		Timeout: startTimeout,
	})
	if err != nil {
		return nil, err
	}
	client := process.Client()
	if d, err := client.Describe(ctx); err != nil || d.Name != t.plugin.Name {
		process.Kill()
		return nil, fmt.Errorf("the test binary is the plugin %q (%v), not %q: TestMain must call plugintest.Main", d.Name, err, t.plugin.Name)
	}
	if err := client.Configure(ctx, t.config, t.dir); err != nil {
		process.Kill()
		return nil, err
	}
	store := client.Storage()
	return &Opened{Store: store, Kill: process.Kill, Close: func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		defer process.Stop(ctx)
		return store.Close()
	}}, nil
}
