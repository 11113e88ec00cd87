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

// Interceptor is a program between a relay and a plugin, for example to measure or disturb
// their calls. The relay starts it in place of the plugin, and it receives every call
// undecoded.
type Interceptor struct {
	Name string // of the process
	// Usage is shown to a person who starts the program by hand: how to write it into
	// the configuration of a relay.
	Usage string
	// Open is called once, before the first call. It returns the handler of all calls (see
	// [grpc.UnknownServiceHandler]) and a function that is called when the relay is done.
	Open func(ctx context.Context, log *slog.Logger) (handle grpc.StreamHandler, end func(context.Context) error, err error)
	// Codec encodes and decodes the handler's messages. It must accept protobuf messages
	// as well, which go-plugin's own services use.
	Codec encoding.CodecV2
}

// ServeInterceptor is the main function of an interceptor; see [Serve].
func ServeInterceptor(i Interceptor) {
	if os.Getenv(rpc.Handshake.MagicCookieKey) != rpc.Handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "error: this program is started by a relay, between itself and a plugin\n%s", i.Usage)
		os.Exit(1)
	}
	log := newLogger(os.Stderr, levelFromEnv())
	handle, end, err := i.Open(context.Background(), log)
	if err != nil {
		log.Error("cannot start", "error", err)
		os.Exit(1)
	}
	serveProcess(i.Name, log, end, interceptorPlugin{}, append(limitOptions(),
		grpc.ForceServerCodecV2(i.Codec),
		grpc.UnknownServiceHandler(handle)))
}

// interceptorPlugin registers no service: the handler receives all calls.
type interceptorPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (interceptorPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error { return nil }

func (interceptorPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("plugin: the relay's side is in sdk/pluginproc")
}
