package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// lastCalls is how long a plugin whose relay is gone goes on with the calls
// that are under way.
const lastCalls = 5 * time.Second

// Serve is the main function of a plugin. It returns, or ends the process,
// when the relay is done with the plugin.
func Serve(p Plugin) {
	if err := p.Describe().Validate(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if os.Getenv(rpc.Handshake.MagicCookieKey) != rpc.Handshake.MagicCookieValue {
		os.Exit(byHand(p, os.Args[1:]))
	}
	log := newLogger(os.Stderr, levelFromEnv())
	s := newServer(p, log)
	serveProcess(p.Name, log, s.shutDown, &wire{server: s}, serverOptions(s))
}

// serveProcess makes this process a plugin: it serves until the relay is done
// with it, and then ends it by way of shutdown.
func serveProcess(name string, log *slog.Logger, shutdown func(context.Context) error, services goplugin.Plugin, options []grpc.ServerOption) {
	setProcessName(name)
	syscall.Umask(0o077) // what it makes is for this user alone
	if err := watchLifeline(shutdown, log); err != nil {
		log.Error("no lifeline", "error", err)
		os.Exit(1)
	}
	goplugin.Serve(serveConfig(services, options))
}

// serveConfig has go-plugin serve what a relay calls.
func serveConfig(services goplugin.Plugin, options []grpc.ServerOption) *goplugin.ServeConfig {
	return &goplugin.ServeConfig{
		HandshakeConfig:  rpc.Handshake,
		VersionedPlugins: map[int]goplugin.PluginSet{int(rpc.Handshake.ProtocolVersion): {rpc.PluginName: services}},
		Logger:           libraryLogger(os.Stderr),
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, options...)...)
		},
	}
}

// setProcessName gives the process a name for ps and top, 15 bytes of it at most.
// It is executed through a file descriptor, and would go by the number of that.
func setProcessName(name string) {
	os.WriteFile("/proc/self/comm", []byte("cwtch-"+name), 0) //nolint:errcheck // a convenience, and Linux only
}

// NewServer makes the gRPC server of a plugin without a process around it, for
// tests that want the wire and nothing else. Where [Serve] takes over the
// process, it leaves signals, standard output and the lifeline alone.
func NewServer(p Plugin, log *slog.Logger) *grpc.Server {
	s := newServer(p, log)
	g := grpc.NewServer(serverOptions(s)...)
	s.registerServices(g)
	return g
}

// byHand answers a person who starts the binary: the exit status.
func byHand(p Plugin, args []string) int {
	var err error
	switch {
	case len(args) == 1 && args[0] == "describe":
		err = printDescription(p.Describe())
	case len(args) == 1 && args[0] == "debug":
		err = serveDebug(p, os.Stdout)
	default:
		err = fmt.Errorf("this is the %s plugin %q of cwtch-relay, version %s, which a relay starts by itself\n"+
			"hint: name it in the configuration of the relay, or run it with the argument \"describe\" to see what it is,\n"+
			"or with \"debug\" to have a relay attach to it", p.Describe().Kind, p.Name, p.Version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func printDescription(d Description) error {
	out, err := json.MarshalIndent(d, "", "  ")
	if err == nil {
		_, err = fmt.Printf("%s\n", out)
	}
	return err
}

func serverOptions(s *server) []grpc.ServerOption {
	return append(limitOptions(), grpc.ForceServerCodecV2(rpc.Codec), grpc.UnaryInterceptor(s.recoverPanic), grpc.StreamInterceptor(s.interceptStream))
}

// limitOptions and windows are as on the side of the relay. Windows of 4/16 MiB save a
// quarter of the processor time of large batches against the default of 64 KiB.
func limitOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(rpc.MaxMessage),
		grpc.MaxSendMsgSize(math.MaxInt32), // the relay refuses what is too large, and can say so
		grpc.InitialWindowSize(4 << 20),
		grpc.InitialConnWindowSize(16 << 20),
	}
}

// wire is how go-plugin puts the services on its server.
type wire struct {
	goplugin.NetRPCUnsupportedPlugin
	server *server
}

func (w *wire) GRPCServer(_ *goplugin.GRPCBroker, g *grpc.Server) error {
	w.server.registerServices(g)
	return nil
}

func (w *wire) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("plugin: the relay's side is in sdk/pluginproc")
}

// watchLifeline ends the process in good order when the relay is gone or done,
// and until then ignores the signals that are meant for the relay. Without a
// lifeline, as under a debugger, it does nothing.
func watchLifeline(shutdown func(context.Context) error, log *slog.Logger) error {
	text := os.Getenv(rpc.EnvLifeline)
	if text == "" {
		return nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return fmt.Errorf("%s is %.20q, not a file descriptor", rpc.EnvLifeline, text)
	}
	line := os.NewFile(uintptr(fd), "lifeline")
	if info, err := line.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return fmt.Errorf("file descriptor %d is not a pipe", fd)
	}
	syscall.CloseOnExec(fd)
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	outliveReaders() // the process closes its files after the relay has gone
	go func() {
		for {
			if _, err := line.Read(make([]byte, 64)); err != nil {
				break
			}
		}
		os.Exit(lastWords(shutdown, log))
	}()
	return nil
}

// outliveReaders keeps a line that nobody reads from ending the process by SIGPIPE.
// Children do not inherit that, as they would an ignored signal.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// lastWords closes the implementation and gives the exit status.
func lastWords(shutdown func(context.Context) error, log *slog.Logger) int {
	ctx, cancel := context.WithTimeout(context.Background(), lastCalls)
	defer cancel()
	if err := shutdown(ctx); err != nil {
		log.Error("closing failed", "error", err)
		return 1
	}
	return 0
}
