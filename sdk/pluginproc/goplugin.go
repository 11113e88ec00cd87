package pluginproc

import (
	"context"
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// framingVersions are the versions of the framing that a relay speaks. go-plugin chooses the
// highest that the plugin speaks as well.
var framingVersions = map[int]goplugin.PluginSet{int(rpc.Handshake.ProtocolVersion): {rpc.PluginName: clientPlugin{}}}

// clientPlugin tells go-plugin how to make a connection of ours out of its own.
type clientPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (clientPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the plugin's side is in sdk/plugin")
}

func (clientPlugin) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &connection{conn, broker}, nil
}

// connection is a connection to a plugin that has shaken hands.
type connection struct {
	*grpc.ClientConn
	broker *goplugin.GRPCBroker
}

// connect connects to a plugin that has shaken hands.
func connect(library *goplugin.Client) (*connection, error) {
	client, err := library.Client()
	if err != nil {
		return nil, err
	}
	dispensed, err := client.Dispense(rpc.PluginName)
	if err != nil {
		return nil, err
	}
	c, ok := dispensed.(*connection)
	if !ok {
		return nil, &host.ContractError{What: "does not speak gRPC"}
	}
	return c, nil
}

// dialOptions adds to the options of the client a bound on the streams that go-plugin opens,
// and the tracing of calls unless t is nil.
func dialOptions(t Tracer) []grpc.DialOption {
	options := append(host.DialOptions(), grpc.WithChainStreamInterceptor(boundStreams))
	if t == nil {
		return options
	}
	c := callTracer{t}
	return append(options, grpc.WithChainUnaryInterceptor(c.traceUnary), grpc.WithChainStreamInterceptor(c.traceStream))
}
