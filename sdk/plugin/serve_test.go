package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// fakeStore is a store whose calls a test can hold and end.
type fakeStore struct {
	storage.Store
	begun  chan struct{}
	held   chan struct{}
	closed int
}

func newFakeStore() *fakeStore {
	return &fakeStore{begun: make(chan struct{}, 8), held: make(chan struct{})}
}

func (s *fakeStore) Info(context.Context) (storage.Info, error) {
	s.begun <- struct{}{}
	<-s.held
	return storage.Info{}, nil
}

func (s *fakeStore) Find(context.Context, []byte) (storage.Seq, error) { panic("told to panic") }

func (s *fakeStore) Watch(ctx context.Context, _ storage.Seq) (storage.Seq, error) {
	s.begun <- struct{}{}
	<-ctx.Done()
	return 0, ctx.Err()
}

func (s *fakeStore) Close() error { s.closed++; return nil }

func fakePlugin(store storage.Store) Plugin {
	return Plugin{
		Name: "fake", Version: "1", Capabilities: []Capability{Watch},
		Schema: Schema{Attributes: []Attribute{{Name: "path", Type: String, Default: "x.db"}}},
		Storage: func(_ context.Context, cfg Config) (storage.Store, error) {
			var c struct {
				Path string `cty:"path"`
			}
			if err := cfg.Decode(&c); err != nil {
				return nil, err
			}
			switch c.Path {
			case "bad":
				return nil, fmt.Errorf("open: %w", Invalid("Not a good path", "another", "path"))
			case "locked":
				return nil, errors.New("x.db is locked")
			case "damaged":
				return nil, fmt.Errorf("x.db: %w", storage.ErrCorrupt)
			}
			return store, nil
		},
		Validate: func(cfg Config) error {
			var c struct {
				Path string `cty:"path"`
			}
			if err := cfg.Decode(&c); err != nil {
				return err
			}
			if c.Path == "ugly" {
				return Invalid("Ugly", "", "path")
			}
			return nil
		},
	}
}

type pluginClients struct {
	pb.PluginClient
	store pb.StorageClient
	log   *bytes.Buffer
}

func serveFake(t *testing.T, store storage.Store) pluginClients {
	t.Helper()
	return servePlugin(t, fakePlugin(store))
}

func servePlugin(t *testing.T, p Plugin) pluginClients {
	t.Helper()
	var log bytes.Buffer
	listener := bufconn.Listen(1 << 20)
	server := NewServer(p, newLogger(&log, slog.LevelDebug))
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pluginClients{pb.NewPluginClient(conn), pb.NewStorageClient(conn), &log}
}

func encodeConfig(t *testing.T, config map[string]any) []byte {
	t.Helper()
	s := fakePlugin(nil).Schema
	v, err := s.Value(config)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestConfigureReturnsFaultsAndErrors(t *testing.T) {
	for path, want := range map[string]string{
		"ok": "", "ugly": "diag path: Ugly", "bad": "diag path: Not a good path (another)",
		"locked": "Unknown x.db is locked", "damaged": "DataLoss x.db: store is damaged",
	} {
		t.Run(path, func(t *testing.T) {
			c := serveFake(t, newFakeStore())
			resp, err := c.Configure(t.Context(), &pb.ConfigureRequest{Config: encodeConfig(t, map[string]any{"path": path}), Dir: "/dir"})
			got := ""
			for _, d := range resp.GetDiagnostics() {
				got = "diag " + Diagnostic{Summary: d.GetSummary(), Detail: d.GetDetail(), Path: d.GetPath()}.String()
			}
			if err != nil {
				got = status.Code(err).String() + " " + status.Convert(err).Message()
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if watch := reflect.DeepEqual(resp.GetCapabilities(), []pb.Capability{pb.Capability_CAPABILITY_STORAGE_WATCH}); watch != (want == "") {
				t.Errorf("capabilities %v", resp.GetCapabilities())
			}
		})
	}
}

func TestNothingWorksBeforeConfigure(t *testing.T) {
	c := serveFake(t, newFakeStore())
	if _, err := c.store.Info(t.Context(), &pb.InfoRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("info before configure: %v", err)
	}
	if _, err := c.Configure(t.Context(), &pb.ConfigureRequest{Dir: "relative"}); err == nil {
		t.Error("a relative directory was accepted")
	}
	if _, err := serveFake(t, nil).Configure(t.Context(), &pb.ConfigureRequest{Dir: "/dir"}); err == nil {
		t.Error("no store was accepted")
	}
}

func TestValidateTouchesNothing(t *testing.T) {
	c := serveFake(t, nil)
	resp, err := c.PluginClient.Validate(t.Context(), &pb.ValidateRequest{Config: encodeConfig(t, map[string]any{"path": "ugly"})})
	if err != nil || len(resp.GetDiagnostics()) != 1 {
		t.Errorf("%v, %v", resp, err)
	}
	resp, err = c.PluginClient.Validate(t.Context(), &pb.ValidateRequest{})
	if err != nil || len(resp.GetDiagnostics()) != 0 {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := c.PluginClient.Validate(t.Context(), &pb.ValidateRequest{Config: []byte{1}}); err == nil {
		t.Error("rubbish was accepted")
	}
}

func TestPanicIsLoggedAndReported(t *testing.T) {
	c := serveFake(t, newFakeStore())
	if _, err := c.Configure(t.Context(), &pb.ConfigureRequest{Dir: "/dir"}); err != nil {
		t.Fatal(err)
	}
	if h, err := c.Health(t.Context(), &pb.HealthRequest{}); err != nil || h.GetStatus() != pb.HealthResponse_STATUS_READY {
		t.Errorf("health: %v, %v", h, err)
	}
	if _, err := c.store.Find(t.Context(), &pb.FindRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("find: %v", err)
	}
	if !strings.Contains(c.log.String(), "told to panic") || !strings.Contains(c.log.String(), "serve_test.go") {
		t.Errorf("log: %s", c.log)
	}
	if h, err := c.Health(t.Context(), &pb.HealthRequest{}); err != nil || h.GetStatus() != pb.HealthResponse_STATUS_FAILED {
		t.Errorf("health: %v, %v", h, err)
	}
}

func TestDrainWaitsForCalls(t *testing.T) {
	store := newFakeStore()
	c := serveFake(t, store)
	if _, err := c.Configure(t.Context(), &pb.ConfigureRequest{Dir: "/dir"}); err != nil {
		t.Fatal(err)
	}
	info, watch := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.store.Info(t.Context(), &pb.InfoRequest{})
		info <- err
	}()
	go func() {
		_, err := c.store.Watch(t.Context(), &pb.WatchRequest{})
		watch <- err
	}()
	<-store.begun
	<-store.begun

	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() {
		_, err := c.Drain(ctx, &pb.DrainRequest{})
		drained <- err
	}()
	if err := <-watch; status.Code(err) != codes.Canceled {
		t.Errorf("watch: %v", err) // Drain must end it: it would wait forever
	}
	if _, err := c.store.Info(t.Context(), &pb.InfoRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("new call: %v", err)
	}
	cancel()
	if err := <-drained; status.Code(err) != codes.Canceled {
		t.Errorf("drain with a call under way: %v", err)
	}
	close(store.held)
	if err := <-info; err != nil {
		t.Errorf("the call that was under way: %v", err)
	}
	for range 2 {
		if _, err := c.Shutdown(t.Context(), &pb.ShutdownRequest{}); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	}
	if store.closed != 1 {
		t.Errorf("closed %d times", store.closed)
	}
}

func TestLogLinesHaveTheFormOfHCLog(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, slog.LevelInfo)
	log.Debug("not seen")
	log.With("a", 1).WithGroup("g").Warn("seen", "msg", "m")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["@level"] != "warn" || line["@message"] != "seen" || line["a"] != 1.0 || line["@timestamp"] == nil || line["g"].(map[string]any)["msg"] != "m" {
		t.Errorf("got %v", line)
	}
}

// The rest is seen from outside: this binary as a plugin.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_PLUGIN") != "" {
		p := fakePlugin(newFakeStore())
		p.Name = os.Getenv("TEST_PLUGIN")
		Serve(p)
		return
	}
	os.Exit(m.Run())
}

func runPlugin(t *testing.T, name string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append([]string{"TEST_PLUGIN=" + name}, env...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Run() // what it returns is in the status
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func TestDescribePrintsTheDescription(t *testing.T) {
	out, errOut, code := runPlugin(t, "fake", nil, "describe")
	var d Description
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 {
		t.Fatalf("%v, status %d, %s", err, code, errOut)
	}
	if want := fakePlugin(newFakeStore()).Describe(); !reflect.DeepEqual(d, want) {
		t.Errorf("got %+v, want %+v", d, want)
	}
}

func TestStartByHandExplains(t *testing.T) {
	for _, args := range [][]string{nil, {"serve"}, {"describe", "more"}} {
		out, errOut, code := runPlugin(t, "fake", nil, args...)
		if code != 1 || out != "" || !strings.HasPrefix(errOut, `error: this is the storage plugin "fake"`) || !strings.Contains(errOut, "\nhint: ") {
			t.Errorf("%q: status %d, %q, %q", args, code, out, errOut)
		}
	}
}

func TestInvalidPluginTellsItsAuthor(t *testing.T) {
	if _, errOut, code := runPlugin(t, "Fake!", nil, "describe"); code != 2 || !strings.Contains(errOut, "is not a name") {
		t.Errorf("status %d, %q", code, errOut)
	}
}

func TestLifelineMustBeAPipe(t *testing.T) {
	cookie := rpc.Handshake.MagicCookieKey + "=" + rpc.Handshake.MagicCookieValue
	for _, fd := range []string{"x", "0", "-1", "99"} {
		if _, errOut, code := runPlugin(t, "fake", []string{cookie, rpc.EnvLifeline + "=" + fd}); code != 1 || !strings.Contains(errOut, "no lifeline") {
			t.Errorf("%s: status %d, %q", fd, code, errOut)
		}
	}
}

func TestProcessEndsWithItsLifelineAndNotBefore(t *testing.T) {
	line, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{
		"TEST_PLUGIN=fake", rpc.Handshake.MagicCookieKey + "=" + rpc.Handshake.MagicCookieValue,
		"PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR=" + t.TempDir(), rpc.EnvLifeline + "=3",
	}
	cmd.ExtraFiles = []*os.File{line}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line.Close()
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "1|1|unix|") {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	// Had a signal ended it, its status would say so.
	hold.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
