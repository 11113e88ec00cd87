package plugintest

import (
	"context"
	"net"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// grpcServer is a plugin that is called over gRPC within this process.
type grpcServer struct{ stops []func() }

func openGRPC(ctx context.Context, p plugin.Plugin, r openRequest) (*Opened, error) {
	var m grpcServer
	o, err := m.openInMemory(ctx, p, r)
	if err != nil {
		m.stop()
		return nil, err
	}
	closing := o.Close
	o.Close = func() error {
		defer m.stop()
		return closing()
	}
	return o, nil
}

func (m *grpcServer) openInMemory(ctx context.Context, p plugin.Plugin, r openRequest) (*Opened, error) {
	conn, listener, err := m.dialPipe()
	if err != nil {
		return nil, err
	}
	client := host.NewClient(conn)
	if r.host != nil {
		client.ServeHost(r.host)
	}
	m.serve(plugin.NewServer(p, r.log), listener)
	return r.configurePlugin(ctx, client, p.Describe())
}

// dialPipe returns a connection and the listener at its other end.
func (m *grpcServer) dialPipe() (*grpc.ClientConn, net.Listener, error) {
	listener := bufconn.Listen(1 << 20)
	conn, err := grpc.NewClient("passthrough:///memory", append(host.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)...)
	if err != nil {
		return nil, nil, err
	}
	m.stops = append(m.stops, func() { conn.Close() }) //nolint:errcheck // only says that it is closed already
	return conn, listener, nil
}

func (m *grpcServer) serve(s *grpc.Server, l net.Listener) {
	go s.Serve(l) //nolint:errcheck // ends with Stop
	m.stops = append(m.stops, s.Stop)
}

func (m *grpcServer) stop() {
	for _, stop := range slices.Backward(m.stops) {
		stop()
	}
}
