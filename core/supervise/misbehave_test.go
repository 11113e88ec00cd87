package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// The plugins of these tests are this binary: a store in memory that behaves,
// or misbehaves as envMode says.
const (
	envMode     = "TEST_MODE"
	envPresence = "TEST_PRESENCE" // a socket to be connected to while the process lives
	envDir      = "TEST_DIR"      // of the relay in the mode "relay"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(envPresence); path != "" {
		announce(path)
	}
	switch mode := os.Getenv(envMode); mode {
	case "":
		code := m.Run()
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/host.spawnLoop")); code == 0 && err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	case "relay":
		relay()
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
	default:
		plugin.Serve(testPlugin(mode))
	}
}

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
	keep = conn
}

var keep net.Conn // from the garbage collector

func listenDeaf() {
	l, err := net.Listen("unix", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/deaf")
	if err != nil {
		os.Exit(4)
	}
	fmt.Printf("1|1|unix|%s|grpc|\n", l.Addr())
	select {}
}

func testPlugin(mode string) plugin.Plugin {
	p := plugin.Plugin{
		Name:    "test",
		Version: "1.2.3",
		Schema:  plugin.Schema{Attributes: []plugin.Attribute{{Name: "refuse", Type: plugin.String}}},
		Storage: func(_ context.Context, cfg plugin.Config) (storage.Store, error) {
			var c struct {
				Refuse string `cty:"refuse"`
			}
			if err := cfg.Decode(&c); err != nil {
				return nil, err
			}
			switch {
			case c.Refuse != "":
				return nil, plugin.Invalid(c.Refuse, "", "refuse")
			case mode == "locked":
				return nil, fmt.Errorf("messages.db is in use by another process")
			case mode == "fork":
				return storagetest.NewMemory(), fork()
			case mode == "flood":
				go flood(cfg.Logger)
			case mode == "print":
				go func() {
					for {
						fmt.Println("to standard output")
					}
				}()
			}
			cfg.Logger.Warn("opened", "mode", mode)
			return &testStore{Memory: storagetest.NewMemory(), mode: mode, stuck: make(chan struct{})}, nil
		},
	}
	if mode == "name" {
		p.Name = "other"
	}
	return p
}

// fork starts a child that has the files of the plugin and outlives it if it can.
func fork() error {
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

// testStore is a store with faults.
type testStore struct {
	*storagetest.Memory
	mode  string
	stuck chan struct{}
}

func (s *testStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	switch s.mode {
	case "crash":
		os.Exit(5)
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

func (s *testStore) Close() error {
	if s.mode == "stubborn" {
		<-s.stuck
	}
	return s.Memory.Close()
}

// relay is a whole relay that does nothing but run a plugin, to be killed.
func relay() {
	p := Start(Config{
		Kind: plugin.KindStorage, Name: "test", Dir: os.Getenv(envDir), Logger: slog.Default(),
		Command: func() (host.Command, error) {
			return host.Command{Path: "/proc/self/exe", Env: []string{envMode + "=stubborn", envPresence + "=" + os.Getenv(envPresence)}}, nil
		},
	})
	if err := p.WaitReady(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}
