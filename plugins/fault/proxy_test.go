package fault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwtch-relay/cwtch-relay/plugins/fault"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

var discard = slog.New(slog.DiscardHandler)

// startProxy puts a plugin with a store in memory behind a proxy. It returns a client of the
// proxy and the number of appends to the store.
func startProxy(tb testing.TB, store *storagetest.Memory, mix fault.Mix, exit func()) (*host.Client, *atomic.Int64) {
	tb.Helper()
	client, calls := dialProxy(tb, store, mix, exit)
	if err := client.Configure(tb.Context(), nil, "/"); err != nil {
		tb.Fatal(err)
	}
	return client, calls
}

// dialProxy does the same and leaves it to the caller to configure the plugin.
func dialProxy(tb testing.TB, store *storagetest.Memory, mix fault.Mix, exit func()) (*host.Client, *atomic.Int64) {
	tb.Helper()
	calls := new(atomic.Int64)
	p := plugin.Plugin{Name: "memory", Version: "1", Capabilities: plugin.Capabilities(), Storage: func(_ context.Context, cfg plugin.Config) (storage.Store, error) {
		if cfg.Inspect {
			return store.Inspect(), nil
		}
		return countingStore{store, calls}, nil
	}}
	proxy := &fault.Proxy{Plugin: dial(tb, plugin.NewServer(p, discard)), Mix: mix, Seed: 1, Logger: discard, Exit: exit}
	front := grpc.NewServer(grpc.ForceServerCodecV2(fault.Codec), grpc.UnknownServiceHandler(proxy.Service()))
	return host.NewClient(dial(tb, front)), calls
}

func dial(tb testing.TB, server *grpc.Server) *grpc.ClientConn {
	tb.Helper()
	listener := bufconn.Listen(1 << 20)
	go server.Serve(listener)
	conn, err := grpc.NewClient("passthrough:///x", append(host.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		conn.Close()
		server.Stop()
	})
	return conn
}

// countingStore is a store that counts the appends it has done.
type countingStore struct {
	*storagetest.Memory
	calls *atomic.Int64
}

func (c countingStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	outcomes, err := c.Memory.Append(ctx, records)
	c.calls.Add(1)
	return outcomes, err
}

// TestProxyWithoutFaultsIsTransparent runs the whole suite through a proxy without faults.
func TestProxyWithoutFaultsIsTransparent(t *testing.T) {
	stores := make(map[string]*storagetest.Memory)
	open := func(tb testing.TB, dir string, configure func(*host.Client) error) (*plugintest.Opened, error) {
		if stores[dir] == nil {
			stores[dir] = storagetest.NewMemory()
		}
		client, _ := dialProxy(tb, stores[dir], nil, nil)
		store := client.Storage()
		return &plugintest.Opened{Store: store, Close: store.Close}, configure(client)
	}
	storagetest.Run(t, storagetest.Opener{
		Crowd: 10_000, // the proxy passes on one call as it does another
		Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
			return open(tb, dir, func(c *host.Client) error { return c.Configure(tb.Context(), nil, "/") })
		},
		Inspect: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
			return open(tb, dir, func(c *host.Client) error { return c.Inspect(tb.Context(), nil, "/") })
		},
	})
}

func TestNameHasPrefix(t *testing.T) {
	client, _ := startProxy(t, storagetest.NewMemory(), nil, nil)
	d, err := client.Describe(t.Context())
	if err != nil || d.Name != fault.Prefix+"memory" || d.Version != "1" || d.Kind != plugin.KindStorage {
		t.Errorf("described as %+v, %v", d, err)
	}
}

// TestFaults checks for each fault what the caller gets, and how often the plugin was called.
func TestFaults(t *testing.T) {
	record := []storage.Record{{ID: storage.NewID(nil, []byte("x")), Ciphertext: []byte("x")}}
	for f, want := range map[fault.Fault]struct {
		calls []int64 // any of these
		err   error   // nil: no error is allowed, unless may is set
		may   bool    // any error is allowed, and none
	}{
		fault.Fail:      {calls: []int64{0}, err: errAny},
		fault.Cut:       {calls: []int64{1}, err: storage.ErrUnavailable},
		fault.Duplicate: {calls: []int64{2}},
		fault.Corrupt:   {calls: []int64{1}, may: true},
		fault.Truncate:  {calls: []int64{1}, err: storage.ErrCorrupt, may: true},
		fault.Huge:      {calls: []int64{1}, err: storage.ErrCorrupt},
		fault.Hang:      {calls: []int64{0, 1}, err: context.DeadlineExceeded},
	} {
		t.Run(string(f), func(t *testing.T) {
			client, calls := startProxy(t, storagetest.NewMemory(), fault.Mix{f: 1}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if f == fault.Hang {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
			}
			_, err := client.Storage().Append(ctx, record)
			switch {
			case want.err == nil && !want.may && err != nil,
				want.err == errAny && err == nil,
				want.err != nil && want.err != errAny && !want.may && !errors.Is(err, want.err):
				t.Errorf("error %v, want %v", err, want.err)
			}
			if !slices.Contains(want.calls, calls.Load()) {
				t.Errorf("the plugin was called %d times, want %d", calls.Load(), want.calls)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestCrashEndsTheProcess(t *testing.T) {
	ended := make(chan struct{})
	client, _ := startProxy(t, storagetest.NewMemory(), fault.Mix{fault.Crash: 1}, func() { close(ended) })
	client.Storage().Info(t.Context())
	<-ended
}

func TestParseMix(t *testing.T) {
	m, err := fault.ParseMix("all=0.09, crash=0,hang=0.5")
	if err != nil {
		t.Fatal(err)
	}
	if m[fault.Crash] != 0 || m[fault.Hang] != 0.5 || fmt.Sprintf("%.3f", m[fault.Delay]) != "0.010" {
		t.Errorf("mix %v", m)
	}
	for _, text := range []string{"", "delay", "delay=x", "delay=-1", "delay=NaN", "delay=2", "sleep=0.1", "delay=0.6,cut=0.6"} {
		if m, err := fault.ParseMix(text); err == nil {
			t.Errorf("%q was parsed as %v", text, m)
		}
	}
}

// TestSeedRepeatsTheFaults shows that the same seed gives the same sequence of faults.
func TestSeedRepeatsTheFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // delays take no time
		sequence := func() string {
			var log strings.Builder
			p := &fault.Proxy{Plugin: silentPlugin{}, Mix: fault.Mix{fault.Delay: 0.2, fault.Fail: 0.2, fault.Cut: 0.2}, Seed: 7, Exit: func() {}}
			p.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
			serve := p.Service()
			for range 50 {
				serve(nil, &callStream{ctx: t.Context()})
			}
			return log.String()
		}
		first := sequence()
		if first != sequence() || strings.Count(first, "\n") < 15 {
			t.Errorf("the same seed gives:\n%s\nand then:\n%s", first, sequence())
		}
	})
}
