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

// memory is a plugin that is called over gRPC within the process.
type memory struct{ stops []func() }

func openGRPC(ctx context.Context, p plugin.Plugin, t target) (*Opened, error) {
	var m memory
	o, err := m.openInMemory(ctx, p, t)
	if err != nil {
		m.stopServer()
		return nil, err
	}
	closing := o.Close
	o.Close = func() error {
		defer m.stopServer()
		return closing()
	}
	return o, nil
}

func (m *memory) openInMemory(ctx context.Context, p plugin.Plugin, t target) (*Opened, error) {
	conn, listener, err := m.dialPipe()
	if err != nil {
		return nil, err
	}
	client := host.NewClient(conn)
	if t.host != nil {
		client.ServeHost(t.host)
	}
	m.serveOn(plugin.NewServer(p, t.log), listener)
	return t.configurePlugin(ctx, client, p.Describe())
}

// dialPipe makes a connection and its other end.
func (m *memory) dialPipe() (*grpc.ClientConn, net.Listener, error) {
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

func (m *memory) serveOn(s *grpc.Server, l net.Listener) {
	go s.Serve(l) //nolint:errcheck // ends with Stop
	m.stops = append(m.stops, s.Stop)
}

func (m *memory) stopServer() {
	for _, stop := range slices.Backward(m.stops) {
		stop()
	}
}
