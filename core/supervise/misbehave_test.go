package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// The plugins of these tests are this binary: a store in memory that behaves, or misbehaves
// as envMode says.
const (
	envMode     = "TEST_MODE"
	envPresence = "TEST_PRESENCE" // a socket to be connected to while the process lives
	envDir      = "TEST_DIR"      // of the relay in the mode "relay"
	envPlugin   = "TEST_PLUGIN"   // the mode of its plugin
)

func TestMain(m *testing.M) {
	sandbox.Main()
	if path := os.Getenv(envPresence); path != "" && !strings.HasSuffix(os.Getenv(envMode), "listening") {
		announce(path)
	}
	switch mode := os.Getenv(envMode); mode {
	case "":
		code := m.Run()
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop")); code == 0 && err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	case "relay":
		runRelay()
	case "crowded relay":
		runCrowdedRelay()
	case "child":
		select {}
	case "silent":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "exit":
		fmt.Fprintln(os.Stderr, "fatal error: told to exit")
		os.Exit(3)
	case "garbage":
		fmt.Println("hello")
		select {}
	case "protocol":
		fmt.Println("1|99|unix|/nowhere|grpc|")
		select {}
	case "elsewhere":
		fmt.Println("1|1|tcp|127.0.0.1:9|grpc|")
		select {}
	case "deaf": // handshakes, and then accepts nothing
		listenDeaf()
	case "earlier contract":
		serveDescription("\n\x08peersync\x12\x04test\x1a\x051.2.3*\x00B\x01\x01")
	default:
		plugin.Serve(testPlugin(mode))
	}
}

// someCertificate has no key: no server can show it.
const someCertificate = "MIIBbzCCARWgAwIBAgIUD1Tz4alG7ldoqaleM5K8z3pYnYMwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBeDAgFw0yNjExMjgxMTQyMjJaGA8yMTI2MTEwNDExNDIyMlowDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCfIh717LBmT3Z8IQuPACftZ+IazsOu8ZwxaZ14q/NcS44PzZxBH0YAxPBnGsc3EqswnEoWRIq4DAJF4T7bVeuujUzBRMB0GA1UdDgQWBBRsgcLZ9lwFUc+HPtZ3/InzQIYFMTAfBgNVHSMEGDAWgBRsgcLZ9lwFUc+HPtZ3/InzQIYFMTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIFHTssdbTp697+mhlkt7pjLvuX4VsA/2JL7fc8hYrecIAiEAl9BRr7VLx87coJXHVjzN12mWJIlk9ubqw4GZ/6Tpe/4"

// announce connects to the socket of the test, for as long as the process lives.
func announce(path string) {
	conn, err := net.Dial("unix", path)
	if err == nil {
		_, err = fmt.Fprintln(conn, os.Getpid())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "announce:", err)
		os.Exit(4)
	}
	presenceConn = conn
}

var presenceConn net.Conn // from the garbage collector

// serveDescription is a plugin that answers every call with the encoded description of a plugin.
func serveDescription(description string) {
	answer := &emptypb.Empty{}
	answer.ProtoReflect().SetUnknown([]byte(description))
	plugin.ServeInterceptor(plugin.Interceptor{
		Name: "test", Codec: encoding.GetCodecV2("proto"),
		Open: func(context.Context, *slog.Logger) (grpc.StreamHandler, func(context.Context) error, error) {
			return func(_ any, stream grpc.ServerStream) error {
				return errors.Join(stream.RecvMsg(&emptypb.Empty{}), stream.SendMsg(answer))
			}, func(context.Context) error { return nil }, nil
		},
	})
}

func listenDeaf() {
	l, err := net.Listen("unix", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/deaf")
	if err != nil {
		os.Exit(4)
	}
	fmt.Printf("1|1|unix|%s|grpc|%s\n", l.Addr(), someCertificate)
	select {}
}

// testConfig is the configuration of all test plugins.
type testConfig struct {
	Refuse string `cty:"refuse"` // the diagnostic to return
	Tokens int    `cty:"tokens"` // what Info returns, to tell configurations apart
	Crash  bool   `cty:"crash"`  // in Configure
	Stall  bool   `cty:"stall"`  // in Configure
}

var testSchema = plugin.Schema{Attributes: []plugin.Attribute{
	{Name: "refuse", Type: plugin.String, Default: ""},
	{Name: "tokens", Type: plugin.Int, Default: "0"},
	{Name: "crash", Type: plugin.Bool, Default: "false"},
	{Name: "stall", Type: plugin.Bool, Default: "false"},
}}

// encodeValue returns a configuration of a test plugin as it crosses the wire.
func encodeValue(t *testing.T, config map[string]any) []byte {
	t.Helper()
	value, err := testSchema.Value(config)
	if err != nil {
		t.Fatal(err)
	}
	data, err := testSchema.Encode(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func testPlugin(mode string) plugin.Plugin {
	p := plugin.Plugin{Name: "test", Version: "1.2.3", Schema: testSchema}
	switch mode {
	case "name":
		p.Name = "other"
	case "stats":
		p.Stats = func(context.Context, plugin.Config) (stats.Exporter, error) { return &testExporter{}, nil }
		return p
	case "away":
		p.Stats = func(context.Context, plugin.Config) (stats.Exporter, error) {
			return nil, fmt.Errorf("the database: %w", stats.ErrUnavailable)
		}
		return p
	case "listening", "self-listening":
		p.Schema, p.Stats = listeningSchema, func(_ context.Context, cfg plugin.Config) (stats.Exporter, error) {
			return openListening(cfg, mode == "self-listening")
		}
		return p
	case "peersync":
		p.PeerSync = func(_ context.Context, _ plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
			return &testReplicator{host: host}, nil
		}
		return p
	}
	p.Capabilities = plugin.Capabilities()
	p.Storage = func(ctx context.Context, cfg plugin.Config) (storage.Store, error) {
		s := &testStore{Memory: storagetest.NewMemory(), mode: mode, stuck: make(chan struct{})}
		if err := cfg.Decode(&s.config); err != nil {
			return nil, err
		}
		if cfg.Inspect {
			return s.Inspect(), nil
		}
		return s, s.misbehave(cfg.Logger)
	}
	return p
}

// misbehave does what the store does wrong in Configure, or from then on.
func (s *testStore) misbehave(log *slog.Logger) error {
	switch {
	case s.config.Refuse != "":
		return plugin.Invalid(s.config.Refuse, "", "refuse")
	case s.config.Crash:
		os.Exit(6)
	case s.config.Stall:
		<-s.stuck
	}
	switch s.mode {
	case "locked":
		return fmt.Errorf("messages.db is in use by another process")
	case "fork":
		return startChild()
	case "flood":
		go flood(log)
	case "print":
		go func() {
			for {
				fmt.Println("to standard output")
			}
		}()
	case "hog":
		go takeMemory(func(n int) ([]byte, error) { return make([]byte, n), nil })
	case "hog shared memory":
		go takeMemory(func(n int) ([]byte, error) {
			return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_ANONYMOUS)
		})
	case "threads":
		go makeThreads(math.MaxInt)
	case "a few threads too many":
		go makeThreads(fewThreads + 2)
	case "interruptible":
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		go func() {
			fmt.Fprintln(presenceConn, <-interrupts)
		}()
	}
	log.Warn("opened", "mode", s.mode)
	return nil
}

// startChild starts a child that would outlive the plugin.
func startChild() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{envMode + "=child", envPresence + "=" + os.Getenv(envPresence)}
	cmd.Stderr = os.Stderr
	return cmd.Start()
}

func flood(log *slog.Logger) {
	for i := 0; ; i++ {
		log.Info(strings.Repeat("flood ", 20), "line", i)
	}
}

// fewThreads is the limit of a test.
const fewThreads = 40

// makeThreads makes n threads that never end.
func makeThreads(n int) {
	for range n {
		running := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(running)
			select {}
		}()
		<-running
	}
}

// takeMemory takes memory until the process is killed.
func takeMemory(take func(int) ([]byte, error)) {
	for {
		chunk, err := take(4 << 20)
		if err != nil {
			panic(err)
		}
		for i := range chunk {
			chunk[i] = 1
		}
		heldMemory = append(heldMemory, chunk)
	}
}

var heldMemory [][]byte // by hog

// testStore is a store with faults.
type testStore struct {
	*storagetest.Memory
	mode   string
	config testConfig
	stuck  chan struct{}
	asked  atomic.Int32 // how often for its health
}

// Health of a "degraded" store is good from the third question on. A store that hangs up at
// the question does so at the first.
func (s *testStore) Health(context.Context) string {
	asked := s.asked.Add(1)
	if s.mode == "hang up at the question" && asked == 1 {
		hangUp()
	}
	if asked < 3 && (s.mode == "degraded" || s.mode == "hang up at the question") {
		return "the disk is nearly full"
	}
	return ""
}

func (s *testStore) Info(ctx context.Context) (storage.Info, error) {
	info, err := s.Memory.Info(ctx)
	info.Tokens = uint64(s.config.Tokens)
	return info, err
}

// Find of a store that hangs up breaks the connection to the relay. "hang up forever" also
// removes the socket, so there is no other connection.
func (s *testStore) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	switch s.mode {
	case "hang up forever":
		os.RemoveAll(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"))
		hangUp()
	case "hang up":
		hangUp()
	}
	return s.Memory.Find(ctx, signature)
}

// hangUp breaks the connection to the relay.
func hangUp() {
	for fd := range 64 {
		name, err := syscall.Getsockname(fd)
		if _, notConnected := syscall.Getpeername(fd); err == nil && notConnected == nil && name.(*syscall.SockaddrUnix).Name != "" {
			syscall.Shutdown(fd, syscall.SHUT_RDWR)
		}
	}
}

func (s *testStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	switch s.mode {
	case "crash":
		os.Exit(5)
	case "heap": // as the runtime of Node says it, past package log
		syscall.Write(2, []byte("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n\x1b[2J----- Native stack trace -----\n\n 1: 0xe13fde node::OOMErrorHandler [node]\n"))
		os.Exit(134)
	case "panic":
		panic("told to panic")
	case "hang":
		<-s.stuck
	case "count":
		return make([]storage.Outcome, len(records)+1), nil
	case "unavailable":
		return nil, fmt.Errorf("%w until the file is opened anew", storage.ErrUnavailable)
	case "full":
		return nil, fmt.Errorf("write messages.db: %w", storage.ErrFull)
	}
	return s.Memory.Append(ctx, records)
}

func (s *testStore) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	if s.mode == "huge" {
		return storage.Page{Entries: []storage.Entry{{Seq: 1, Ciphertext: make([]byte, 20<<20)}}, Last: 1}, nil
	}
	return s.Memory.Log(ctx, req)
}

func (s *testStore) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	if presenceConn != nil {
		fmt.Fprintln(presenceConn, "watching")
	}
	return s.Memory.Watch(ctx, after)
}

func (s *testStore) Close() error {
	if s.mode == "stubborn" {
		<-s.stuck
	}
	if presenceConn != nil {
		fmt.Fprintln(presenceConn, "closed")
	}
	return s.Memory.Close()
}

// testExporter shows nothing, and can be told to end by a snapshot.
type testExporter struct{}

func (*testExporter) Export(_ context.Context, s stats.Snapshot) error {
	if s.Seq == 13 {
		os.Exit(7)
	}
	return nil
}

func (*testExporter) ForceFlush(context.Context) error { return nil }
func (*testExporter) Close() error                     { return nil }

// testReplicator reports every event, returns an error for a message, and hangs at a PeerReady.
type testReplicator struct{ host peersync.HostServices }

func (r *testReplicator) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		if _, ok := e.(peersync.PeerReady); ok {
			select {}
		}
		if m, ok := e.(peersync.PeerMessage); ok {
			return fmt.Errorf("cannot go on after %q", m.Data)
		}
		if err := r.host.Report(ctx, peersync.Report{Summary: fmt.Sprintf("%T", e)}); err != nil {
			return err
		}
	}
	return nil
}

func (*testReplicator) Close() error { return nil }

// runRelay runs a plugin, as a relay, until the process is killed or interrupted.
func runRelay() {
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	p := Start(Config{
		Kind: plugin.KindStorage, Name: "test", Dir: os.Getenv(envDir), Logger: slog.Default(),
		Sandbox: &sandbox.Policy{Network: sandbox.Open, Read: []string{os.TempDir()}},
		Command: func() (pluginproc.Command, error) {
			return pluginproc.Command{Path: "/proc/self/exe", Env: []string{envMode + "=" + os.Getenv(envPlugin), envPresence + "=" + os.Getenv(envPresence)}}, nil
		},
	})
	if err := p.WaitReady(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	<-interrupted.Done()
	if err := p.Stop(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	fmt.Println("stopped")
	os.Exit(0)
}

// crowdedTasks is how many tasks the user of a crowded relay may have.
const crowdedTasks = 140

// runCrowdedRelay is a relay of a user who may not have many tasks, with a plugin that takes
// as many as it gets. It prints why the plugin ended, and then needs threads itself.
func runCrowdedRelay() {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fail(unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: crowdedTasks, Max: crowdedTasks}))
	sandbox.ReserveThreads(16)
	modes := []string{"threads", "good"}
	p := startWith(Config{
		Kind: plugin.KindStorage, Name: "test", Dir: os.Getenv(envDir), Logger: slog.Default(),
		Sandbox: &sandbox.Policy{},
		Command: func() (pluginproc.Command, error) {
			mode := modes[0]
			modes = modes[len(modes)-1:]
			return pluginproc.Command{Path: "/proc/self/exe", Env: []string{envMode + "=" + mode}}, nil
		},
	}, quickTiming())
	for {
		changed := p.statusChange()
		if s := p.Status(); s.State == Ready && s.Incarnation > 1 {
			fmt.Println(s.LastError)
			break
		} else if s.State == Failed {
			fail(errors.New(s.Reason))
		}
		<-changed
	}
	_, err := p.Storage().Info(context.Background())
	fail(err)
	makeThreads(30)
	fmt.Println("serves")
	fail(p.Stop(context.Background()))
	os.Exit(0)
}
