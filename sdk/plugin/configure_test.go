package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// recordingPlugin is a plugin that keeps the stores it opened, by their paths.
type recordingPlugin struct {
	stores []*fakeStore
	paths  []string
}

func (o *recordingPlugin) plugin() Plugin {
	p := fakePlugin(nil)
	fake := p.Storage
	p.Storage = func(ctx context.Context, cfg Config) (storage.Store, error) {
		if store, err := fake(ctx, cfg); err != nil {
			return store, err
		}
		for i, s := range o.stores {
			if s.closed != 1 {
				return nil, fmt.Errorf("store %d is closed %d times when the next is opened", i, s.closed)
			}
		}
		var c struct {
			Path string `cty:"path"`
		}
		if err := cfg.Decode(&c); err != nil {
			return nil, err
		}
		o.stores, o.paths = append(o.stores, newFakeStore()), append(o.paths, c.Path)
		return o.stores[len(o.stores)-1], nil
	}
	return p
}

func configurePath(t *testing.T, c pluginClients, path string) error {
	t.Helper()
	resp, err := c.Configure(t.Context(), &pb.ConfigureRequest{Config: encodeConfig(t, map[string]any{"path": path}), Dir: "/dir"})
	if d := resp.GetDiagnostics(); len(d) > 0 {
		return errors.New(d[0].GetSummary())
	}
	return err
}

func askHealth(t *testing.T, c pluginClients) (pb.HealthResponse_Status, string) {
	t.Helper()
	h, err := c.Health(t.Context(), &pb.HealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return h.GetStatus(), h.GetReason()
}

func TestConfigureReopensOnlyForChanges(t *testing.T) {
	o := &recordingPlugin{}
	c := servePlugin(t, o.plugin())
	for i, path := range []string{"a", "a", "b", "b", "a"} {
		if err := configurePath(t, c, path); err != nil {
			t.Fatalf("configuration %d: %v", i, err)
		}
	}
	if got := strings.Join(o.paths, ""); got != "aba" {
		t.Errorf("opened %q", got)
	}
	if _, err := c.Configure(t.Context(), &pb.ConfigureRequest{Config: encodeConfig(t, map[string]any{"path": "a"}), Dir: "/other"}); err != nil || len(o.paths) != 4 {
		t.Errorf("another directory: %v, opened %q", err, o.paths)
	}
	if s, reason := askHealth(t, c); s != pb.HealthResponse_STATUS_READY {
		t.Errorf("health: %v %s", s, reason)
	}
}

func TestReplacingWaitsForCallsUnderWay(t *testing.T) {
	o := &recordingPlugin{}
	c := servePlugin(t, o.plugin())
	if err := configurePath(t, c, "a"); err != nil {
		t.Fatal(err)
	}
	first := o.stores[0]
	info, watch, configured := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.store.Info(t.Context(), &pb.InfoRequest{})
		info <- err
	}()
	go func() {
		_, err := c.store.Watch(t.Context(), &pb.WatchRequest{})
		watch <- err
	}()
	<-first.begun
	<-first.begun
	go func() { configured <- configurePath(t, c, "b") }()
	if err := <-watch; status.Code(err) != codes.Canceled {
		t.Errorf("a call that only waits: %v", err)
	}
	if _, err := c.store.Find(t.Context(), &pb.FindRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a call meanwhile: %v", err)
	}
	if s, reason := askHealth(t, c); s != pb.HealthResponse_STATUS_READY {
		t.Errorf("health meanwhile: %v %s", s, reason)
	}
	if first.closed != 0 {
		t.Error("closed under a call")
	}
	close(first.held)
	if err := <-info; err != nil {
		t.Errorf("the call that was under way: %v", err)
	}
	if err := <-configured; err != nil {
		t.Fatal(err)
	}
	close(o.stores[1].held)
	if _, err := c.store.Info(t.Context(), &pb.InfoRequest{}); err != nil || first.closed != 1 {
		t.Errorf("afterwards: %v, closed %d times", err, first.closed)
	}
}

func TestFaultyConfigurationChangesNothing(t *testing.T) {
	o := &recordingPlugin{}
	c := servePlugin(t, o.plugin())
	if err := configurePath(t, c, "a"); err != nil {
		t.Fatal(err)
	}
	if err := configurePath(t, c, "ugly"); err == nil {
		t.Error("accepted")
	}
	if s, reason := askHealth(t, c); s != pb.HealthResponse_STATUS_READY || o.stores[0].closed != 0 {
		t.Errorf("health: %v %s; closed %d times", s, reason, o.stores[0].closed)
	}
}

func TestFailedReplacementFailsThePlugin(t *testing.T) {
	o := &recordingPlugin{}
	c := servePlugin(t, o.plugin())
	if err := configurePath(t, c, "locked"); err == nil {
		t.Fatal("accepted")
	}
	if s, _ := askHealth(t, c); s != pb.HealthResponse_STATUS_DEGRADED {
		t.Errorf("health of a plugin that was never configured: %v", s)
	}
	if err := configurePath(t, c, "a"); err != nil {
		t.Fatalf("the second try: %v", err)
	}
	if err := configurePath(t, c, "bad"); err == nil {
		t.Fatal("accepted")
	}
	if s, reason := askHealth(t, c); s != pb.HealthResponse_STATUS_FAILED || !strings.Contains(reason, "Not a good path") {
		t.Errorf("health: %v %q", s, reason)
	}
	if _, err := c.store.Info(t.Context(), &pb.InfoRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a call: %v", err)
	}
	if err := configurePath(t, c, "a"); status.Code(err) != codes.Unavailable {
		t.Errorf("configured once more: %v", err)
	}
}

func TestNothingIsConfiguredAfterDrain(t *testing.T) {
	o := &recordingPlugin{}
	c := servePlugin(t, o.plugin())
	if _, err := c.Drain(t.Context(), &pb.DrainRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := configurePath(t, c, "a"); status.Code(err) != codes.Unavailable || len(o.stores) != 0 {
		t.Errorf("got %v, opened %d", err, len(o.stores))
	}
}

// storeWithoutWatch is a store that cannot watch.
type storeWithoutWatch struct{ storage.Store }

func TestDeclaredCapabilityMustBeImplemented(t *testing.T) {
	p, closed := fakePlugin(nil), newFakeStore()
	p.Storage = func(context.Context, Config) (storage.Store, error) { return storeWithoutWatch{closed}, nil }
	c := servePlugin(t, p)
	if err := configurePath(t, c, "a"); err == nil || !strings.Contains(err.Error(), "storage.watch") || closed.closed != 1 {
		t.Errorf("got %v, closed %d times", err, closed.closed)
	}
	p.Capabilities = nil
	p.Storage = func(context.Context, Config) (storage.Store, error) { return newFakeStore(), nil }
	c = servePlugin(t, p)
	resp, err := c.Configure(t.Context(), &pb.ConfigureRequest{Dir: "/dir"})
	if err != nil || len(resp.GetCapabilities()) > 0 {
		t.Errorf("what is not declared: %v, %v", resp.GetCapabilities(), err)
	}
}

// checkingStore is a store that is open for inspection.
type checkingStore struct{ *fakeStore }

func (checkingStore) Check(context.Context, storage.CheckRequest) (storage.Checked, error) {
	return storage.Checked{}, nil
}

// TestInspection shows which capabilities a plugin offers when its store is opened for
// inspection and when it is not, and that a change from one to the other opens another store.
func TestInspection(t *testing.T) {
	p := fakePlugin(nil)
	p.Capabilities = []Capability{Watch, Check}
	var opened []bool
	watching, checking := newFakeStore(), checkingStore{newFakeStore()}
	p.Storage = func(_ context.Context, cfg Config) (storage.Store, error) {
		opened = append(opened, cfg.Inspect)
		if cfg.Inspect {
			return checking, nil
		}
		return watching, nil
	}
	c := servePlugin(t, p)
	for _, want := range []struct {
		inspect bool
		offered []pb.Capability
		opened  int
	}{
		{false, []pb.Capability{pb.Capability_CAPABILITY_STORAGE_WATCH}, 1},
		{true, []pb.Capability{pb.Capability_CAPABILITY_STORAGE_WATCH, pb.Capability_CAPABILITY_STORAGE_CHECK}, 2},
		{true, []pb.Capability{pb.Capability_CAPABILITY_STORAGE_WATCH, pb.Capability_CAPABILITY_STORAGE_CHECK}, 2},
		{false, []pb.Capability{pb.Capability_CAPABILITY_STORAGE_WATCH}, 3},
	} {
		resp, err := c.Configure(t.Context(), &pb.ConfigureRequest{Dir: "/dir", Inspect: want.inspect})
		if err != nil || !slices.Equal(resp.GetCapabilities(), want.offered) || len(opened) != want.opened || opened[len(opened)-1] != want.inspect {
			t.Errorf("inspect %v: capabilities %v, opened %v, %v", want.inspect, resp.GetCapabilities(), opened, err)
		}
	}
}

func TestInspectionNeedsTheCapability(t *testing.T) {
	opened := 0
	p := fakePlugin(nil)
	p.Storage = func(context.Context, Config) (storage.Store, error) {
		opened++
		return storeWithoutWatch{newFakeStore()}, nil
	}
	inspect := func() error {
		_, err := servePlugin(t, p).Configure(t.Context(), &pb.ConfigureRequest{Dir: "/dir", Inspect: true})
		return err
	}
	p.Capabilities = nil
	if err := inspect(); err == nil || !strings.Contains(err.Error(), "cannot open its store for inspection") || opened != 0 {
		t.Errorf("without the capability: %v, opened %d times", err, opened)
	}
	p.Capabilities = []Capability{Watch, Check}
	if err := inspect(); err == nil || !strings.Contains(err.Error(), "declares the capability storage.check") || opened != 1 {
		t.Errorf("with a store that does not heed it: %v, opened %d times", err, opened)
	}
}

// healthReportingStore is a store that says how it is.
type healthReportingStore struct {
	*fakeStore
	reason string
}

func (a *healthReportingStore) Health(context.Context) string {
	if a.reason == "panic" {
		panic("unwell")
	}
	return a.reason
}

func TestHealthOfTheImplementationIsPassedOn(t *testing.T) {
	store := &healthReportingStore{fakeStore: newFakeStore()}
	c := serveFake(t, store)
	if err := configurePath(t, c, "a"); err != nil {
		t.Fatal(err)
	}
	if s, reason := askHealth(t, c); s != pb.HealthResponse_STATUS_READY || reason != "" {
		t.Errorf("%v %q", s, reason)
	}
	store.reason = "the disk is nearly full"
	if s, reason := askHealth(t, c); s != pb.HealthResponse_STATUS_DEGRADED || reason != store.reason {
		t.Errorf("%v %q", s, reason)
	}
	store.reason = "panic"
	if _, err := c.Health(t.Context(), &pb.HealthRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("health that panics: %v", err)
	}
	if s, _ := askHealth(t, c); s != pb.HealthResponse_STATUS_FAILED {
		t.Errorf("after the panic: %v", s)
	}
}

func TestInvalidDescriptionsAreRefused(t *testing.T) {
	valid := fakePlugin(nil)
	for name, change := range map[string]func(*Plugin){
		"no kind":       func(p *Plugin) { p.Storage = nil },
		"text":          func(p *Plugin) { p.Network = "\x1b[2J" },
		"long text":     func(p *Plugin) { p.Network = strings.Repeat("x", MaxSchemaText+1) },
		"unknown":       func(p *Plugin) { p.Capabilities = []Capability{"storage.teleport"} },
		"twice":         func(p *Plugin) { p.Capabilities = []Capability{Watch, Watch} },
		"of other kind": func(p *Plugin) { p.Capabilities = []Capability{"stats.watch"} },
	} {
		p := valid
		change(&p)
		if p.Describe().Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := valid.Describe().Validate(); err != nil {
		t.Error(err)
	}
	for _, protocols := range [][]int{{0}, {1, 1}, {2, 1}, {maxProtocol + 1}, make([]int, maxProtocols+1)} {
		d := valid.Describe()
		if d.Protocols = protocols; d.Validate() == nil {
			t.Errorf("protocols %v: no error", protocols)
		}
	}
}
