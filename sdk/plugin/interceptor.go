package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// Interceptor is a program that stands between a relay and a plugin, such as one
// that measures or disturbs what they say. The relay starts it as it would
// start the plugin; it gets every call as it is on the wire.
type Interceptor struct {
	Name string // of the process
	// Usage tells a person who starts the program by hand how to put it into
	// the configuration of a relay.
	Usage string
	// Open is called once, before the first call. It returns the handler of all
	// calls (see [grpc.UnknownServiceHandler]) and a function that ends what
	// Open began, when the relay is done.
	Open func(ctx context.Context, log *slog.Logger) (handle grpc.StreamHandler, end func(context.Context) error, err error)
	// Codec reads and writes the messages that the handler gets and gives. It
	// must take messages of protobuf as well, which the services of the
	// handshake use.
	Codec encoding.CodecV2
}

// ServeInterceptor is the main function of such a program; see [Serve].
func ServeInterceptor(b Interceptor) {
	if os.Getenv(rpc.Handshake.MagicCookieKey) != rpc.Handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "error: this program is started by a relay, between itself and a plugin\n%s", b.Usage)
		os.Exit(1)
	}
	log := newLogger(os.Stderr, levelFromEnv())
	handle, end, err := b.Open(context.Background(), log)
	if err != nil {
		log.Error("cannot start", "error", err)
		os.Exit(1)
	}
	serveProcess(b.Name, log, end, between{}, append(limitOptions(),
		grpc.ForceServerCodecV2(b.Codec),
		grpc.UnknownServiceHandler(handle)))
}

// between has no services of its own.
type between struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (between) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error { return nil }

func (between) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("plugin: the relay's side is in sdk/pluginproc")
}
