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

// shutdownGrace bounds how long a plugin whose relay is gone waits for calls under way.
const shutdownGrace = 5 * time.Second

// Serve is the main function of a plugin. It returns or ends the process when the relay is
// done with the plugin.
func Serve(p Plugin) {
	if err := p.Describe().Validate(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if os.Getenv(rpc.Handshake.MagicCookieKey) != rpc.Handshake.MagicCookieValue {
		os.Exit(runByHand(p, os.Args[1:]))
	}
	log := newLogger(os.Stderr, levelFromEnv())
	s := newServer(p, log)
	serveProcess(p.Name, log, s.shutDown, &serverPlugin{server: s}, serverOptions(s))
}

// serveProcess serves until the relay is done with this process, and calls shutdown before the
// process ends.
func serveProcess(name string, log *slog.Logger, shutdown func(context.Context) error, services goplugin.Plugin, options []grpc.ServerOption) {
	setProcessName(name)
	syscall.Umask(0o077) // what it makes is for this user alone
	if err := watchLifeline(shutdown, log); err != nil {
		log.Error("no lifeline", "error", err)
		os.Exit(1)
	}
	goplugin.Serve(serveConfig(services, options))
}

// serveConfig tells go-plugin what to serve.
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

// setProcessName gives the process a name for ps and top, which show 15 bytes. Because it is
// executed through a file descriptor, its name would otherwise be a number.
func setProcessName(name string) {
	os.WriteFile("/proc/self/comm", []byte("cwtch-"+name), 0) //nolint:errcheck // a convenience that only Linux has
}

// NewServer makes the gRPC server of a plugin for tests that need no process. Unlike [Serve]
// it leaves signals, standard output and the lifeline alone.
func NewServer(p Plugin, log *slog.Logger) *grpc.Server {
	s := newServer(p, log)
	g := grpc.NewServer(serverOptions(s)...)
	s.registerServices(g)
	return g
}

// runByHand serves a person who starts the binary and returns the exit status.
func runByHand(p Plugin, args []string) int {
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
	return append(limitOptions(), grpc.ForceServerCodecV2(rpc.Codec), grpc.UnaryInterceptor(s.recoverUnary), grpc.StreamInterceptor(s.recoverStream))
}

// limitOptions are the relay's limits and windows, see [host.DialOptions] in sdk/host.
func limitOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(rpc.MaxMessage),
		grpc.MaxSendMsgSize(math.MaxInt32), // the relay refuses longer messages and names the reason
		grpc.InitialWindowSize(4 << 20),
		grpc.InitialConnWindowSize(16 << 20),
	}
}

// serverPlugin lets go-plugin register the services.
type serverPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	server *server
}

func (w *serverPlugin) GRPCServer(_ *goplugin.GRPCBroker, g *grpc.Server) error {
	w.server.registerServices(g)
	return nil
}

func (w *serverPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("plugin: the relay's side is in sdk/pluginproc")
}

// watchLifeline closes the implementation and ends the process when the relay is gone or done.
// Until then it ignores signals that are meant for the relay. Without a lifeline, as under
// a debugger, it does nothing.
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
	ignoreBrokenPipes() // nobody reads the log once the relay is gone
	go func() {
		for {
			if _, err := line.Read(make([]byte, 64)); err != nil {
				break
			}
		}
		os.Exit(shutDownInTime(shutdown, log))
	}()
	return nil
}

// ignoreBrokenPipes keeps SIGPIPE from ending the process when nobody reads its log. Children
// do not inherit this, unlike an ignored signal.
func ignoreBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// shutDownInTime closes the implementation and returns the exit status.
func shutDownInTime(shutdown func(context.Context) error, log *slog.Logger) int {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if err := shutdown(ctx); err != nil {
		log.Error("closing failed", "error", err)
		return 1
	}
	return 0
}
