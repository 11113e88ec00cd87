package host

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// handleTimeout is how long a Handle may take when its context sets no deadline.
// It may have to look through a whole log.
const handleTimeout = time.Minute

var peersyncCalls = calls{plugin.KindPeerSync, rpc.PeerSyncErrors, peersync.ErrUnavailable}

// ServeHost gives a peer-sync plugin its host, and is called before Configure.
// The plugin can call the host while a Handle is under way, one call at a time.
func (c *Client) ServeHost(h peersync.Host) { c.relay.host = rpc.ServePeerSyncHost(h) }

// HostServer makes a server of the host set with ServeHost, for a connection that
// go-plugin is not around: a plugin made with [plugin.NewPeerSyncServer] calls it.
// The server is the caller's, who takes one connection at a time.
func (c *Client) HostServer() *grpc.Server { return c.relay.host.NewServer() }

// relay is what a peer-sync plugin sees of the relay.
type relay struct {
	host     *rpc.PeerSyncHostServer // nil: the plugin has no host
	identity *tls.Config             // of the connection to the plugin; nil: it is not encrypted

	mu     sync.Mutex
	number uint32
	server *grpc.Server // of the announced socket
}

// announce has the broker announce a socket for the host, and gives the number
// under which the plugin finds it; 0 when there is no host or no broker. The
// plugin has to connect within five seconds.
func (r *relay) announce(broker *goplugin.GRPCBroker) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.host == nil || broker == nil {
		return 0
	}
	if r.server == nil {
		r.number = broker.NextId()
		var options []grpc.ServerOption
		if r.identity != nil {
			options = append(options, grpc.Creds(credentials.NewTLS(r.identity)))
		}
		r.server = r.host.NewServer(options...)
		go serveOver(broker, r.number, r.server)
	}
	return r.number
}

// serveOver takes one connection at a time, so that a plugin can not make the
// relay hold more than one request. The announcement waits until the plugin
// listens to the broker, or until the connection to it is closed.
func serveOver(broker *goplugin.GRPCBroker, number uint32, server *grpc.Server) {
	socket, err := broker.Accept(number)
	if err != nil {
		return // and the plugin says that it could not connect
	}
	server.Serve(netutil.LimitListener(socket, 1)) //nolint:errcheck // ends with stop
}

// stop ends the connection. Nothing may be announced afterwards.
func (r *relay) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		r.server.Stop()
	}
}

// PeerSync is the replicator of a configured peer-sync plugin. Closing it drains
// the plugin and shuts it down.
func (c *Client) PeerSync() peersync.Replicator { return &replicator{client: c} }

// replicator is a replicator on the other side of a connection.
type replicator struct{ client *Client }

func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	_, err := call(ctx, peersyncCalls, "handle", handleTimeout, func(ctx context.Context) (_ *pb.HandleResponse, err error) {
		if err := errors.Join(ctx.Err(), peersync.CheckEvents(events)); err != nil {
			return nil, err
		}
		req := rpc.HandleRequest(events)
		if proto.Size(req) > rpc.MaxMessage {
			return nil, peersync.ErrTooLarge
		}
		if r.client.relay.host == nil {
			return nil, errNoHost
		}
		return nil, r.client.relay.host.During(ctx, func(ctx context.Context) error {
			_, err := r.client.peersync.Handle(ctx, req, atMost(maxShortAnswer))
			return err
		})
	})
	return err
}

var errNoHost = errors.New("the plugin was given no host")

func (r *replicator) Close() error { return r.client.close() }
