package plugintest_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

var grpcServer = plugin.Plugin{
	Name:         "memory",
	Version:      "1.0.0",
	Capabilities: plugin.Capabilities(),
	Schema: plugin.Schema{Attributes: []plugin.Attribute{
		{Name: "refuse", Type: plugin.Bool, Default: "false"},
		{Name: "void", Type: plugin.Bool, Default: "false"},
		{Name: "label", Type: plugin.String},
		{Name: "die", Type: plugin.String, Doc: "When the process kills itself."},
	}},
	Storage: func(_ context.Context, cfg plugin.Config) (storage.Store, error) {
		var c struct {
			Refuse bool   `cty:"refuse"`
			Void   bool   `cty:"void"`
			Label  string `cty:"label"`
			Die    string `cty:"die"`
		}
		if err := cfg.Decode(&c); err != nil {
			return nil, err
		}
		if c.Refuse {
			return nil, plugin.Invalid("Told to refuse", "", "refuse")
		}
		if c.Void {
			return emptyStore{storagetest.NewMemory()}, nil
		}
		cfg.Logger.Info("store opened", "dir", cfg.Dir)
		m := mortal{storagetest.NewMemory(), c.Die, cfg.Logger}
		return m, m.die("configure")
	},
}

// mortal is a store that kills its process.
type mortal struct {
	*storagetest.Memory
	when string
	log  *slog.Logger
}

func (m mortal) die(when string) error {
	if m.when != when {
		return nil
	}
	m.log.Error("the heap is full")
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func (m mortal) Info(ctx context.Context) (storage.Info, error) {
	if err := m.die("call"); err != nil {
		return storage.Info{}, err
	}
	return m.Memory.Info(ctx)
}

func (m mortal) Close() error { return errors.Join(m.die("close"), m.Memory.Close()) }

func TestMain(m *testing.M) { plugintest.Main(m, grpcServer) }

func eachTransport(t *testing.T, test func(*testing.T, plugintest.Transport)) {
	for _, transport := range plugintest.Transports(t, grpcServer) {
		t.Run(transport.Name, func(t *testing.T) {
			t.Cleanup(func() {
				goleak.VerifyNone(t, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
			})
			test(t, transport)
		})
	}
}

func TestStoreOverEveryTransport(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport plugintest.Transport) {
		opened, err := transport.Open(t, t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		store, ctx := opened.Store, t.Context()
		sig, body := []byte("signature"), []byte("ciphertext")
		records := []storage.Record{
			{ID: storage.NewID(sig, body), Born: 7, Signature: sig, Ciphertext: body, Nullifier: &storage.Nullifier{1}},
			{ID: storage.NewID(body, sig), Signature: body, Ciphertext: sig},
		}
		watcher, ok := storage.As[storage.Watcher](store)
		if !ok {
			t.Fatal("the store cannot watch")
		}
		watched := make(chan storage.Seq, 1)
		go func() {
			seq, _ := watcher.Watch(ctx, 0)
			watched <- seq
		}()
		outcomes, err := store.Append(ctx, records)
		if err != nil || len(outcomes) != 2 || outcomes[0] != (storage.Outcome{Status: storage.Stored, Seq: 1}) {
			t.Fatalf("append: %v, %v", outcomes, err)
		}
		if seq := <-watched; seq < 1 || seq > 2 {
			t.Errorf("watched %d", seq)
		}
		page, err := store.Log(ctx, storage.LogRequest{From: 1})
		if err != nil || len(page.Entries) != 2 || page.Last != 2 {
			t.Fatalf("log: %v, %v", page, err)
		}
		if e := page.Entries[0]; e.Seq != 1 || e.ID != records[0].ID || e.Born != 7 || string(e.Signature) != "signature" || string(e.Ciphertext) != "ciphertext" {
			t.Errorf("entry %v", e)
		}
		if seq, err := store.Find(ctx, sig); seq != 1 || err != nil {
			t.Errorf("find: %d, %v", seq, err)
		}
		if _, err := store.Find(ctx, []byte("other")); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("find of what is not there: %v", err)
		}
		for _, n := range []int{-1, storage.MaxPage + 1} {
			if _, err := store.Log(ctx, storage.LogRequest{Max: n}); !errors.Is(err, storage.ErrTooLarge) {
				t.Errorf("page of %d: %v", n, err)
			}
		}
		if _, err := store.Append(ctx, make([]storage.Record, storage.MaxBatch+1)); !errors.Is(err, storage.ErrTooLarge) {
			t.Errorf("large batch: %v", err)
		}
		info, err := store.Info(ctx)
		if err != nil || info.Last != 2 || info.Epoch == (storage.Epoch{}) {
			t.Errorf("info: %v, %v", info, err)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
		if err := opened.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
	})
}

func TestRefusedConfiguration(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport plugintest.Transport) {
		_, err := transport.Open(t, t.TempDir(), map[string]any{"refuse": true})
		var diags plugin.Diagnostics
		if !errors.As(err, &diags) || len(diags) != 1 || diags[0].String() != "refuse: Told to refuse" {
			t.Errorf("got %v", err)
		}
	})
}

func TestKilledProcess(t *testing.T) {
	for _, transport := range plugintest.Transports(t, grpcServer) {
		if transport.Name != "process" {
			continue
		}
		opened, err := transport.Open(t, t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		opened.Kill()
		if _, err := opened.Store.Info(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if err := opened.Close(); err != nil {
			t.Errorf("close after kill: %v", err)
		}
	}
}

func TestExternal(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	external := plugintest.External("this", func(string) (pluginproc.Command, error) {
		file, err := os.Open(binary)
		return pluginproc.Command{Path: binary, File: file}, err
	})
	dir := t.TempDir()
	for range 2 { // the file is opened for each
		opened, err := external.Open(t, dir, map[string]any{"refuse": false})
		if err != nil {
			t.Fatal(err)
		}
		if opened.Store == nil || opened.Exporter != nil || opened.Replicator != nil {
			t.Errorf("opened %+v", opened)
		}
		if _, err := opened.Store.Info(t.Context()); err != nil {
			t.Error(err)
		}
		opened.Kill()
	}
	if _, err := external.Open(t, dir, map[string]any{"colour": "red"}); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("what is not in its schema: %v", err)
	}
	failing := plugintest.External("failing", func(string) (pluginproc.Command, error) { return pluginproc.Command{}, errors.New("no such binary") })
	if _, err := failing.Open(t, dir, nil); err == nil {
		t.Error("started without a command")
	}
	none := plugintest.External("none", func(string) (pluginproc.Command, error) { return pluginproc.Command{Path: "/bin/false"}, nil })
	if _, err := none.Open(t, dir, nil); err == nil {
		t.Error("started something that is no plugin")
	}
}

func TestConfiguredAgain(t *testing.T) {
	process, err := pluginproc.Start(t.Context(), pluginproc.StartConfig{Command: pluginproc.Command{Path: "/proc/self/exe"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer process.Kill()
	if process.Protocol() != 1 {
		t.Errorf("protocol %d", process.Protocol())
	}
	client, dir := process.Client(), t.TempDir()
	configure := func(config map[string]any) error {
		t.Helper()
		v, err := grpcServer.Schema.Value(config)
		if err != nil {
			t.Fatal(err)
		}
		data, err := grpcServer.Schema.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		return client.Configure(t.Context(), data, dir)
	}
	if err := configure(nil); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(plugin.Capabilities(), func(c plugin.Capability) bool { return c == plugin.Check }) // offered in an inspection
	if got := client.Capabilities(); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("capabilities %v", got)
	}
	store := client.Storage()
	epoch := func() storage.Epoch {
		t.Helper()
		info, err := store.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.Epoch
	}
	first := epoch()
	if err := configure(nil); err != nil || epoch() != first {
		t.Errorf("the same configuration made another store: %v", err)
	}
	if err := configure(map[string]any{"label": "other"}); err != nil || epoch() == first {
		t.Errorf("another configuration left the store: %v", err)
	}
	if err := configure(map[string]any{"refuse": true}); err == nil {
		t.Error("refused and accepted")
	}
	if h, err := client.Health(t.Context()); err != nil || h.State != host.Failed {
		t.Errorf("health %+v, %v", h, err)
	}
	if _, err := store.Info(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the store that is gone: %v", err)
	}
}
