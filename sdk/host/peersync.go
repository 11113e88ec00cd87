package host

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

var peersyncErrors = callErrors{plugin.KindPeerSync, rpc.PeerSyncErrors, peersync.ErrUnavailable}

// ServeHost gives a peer-sync plugin its host. It is called before Configure. The plugin calls
// the host while a Handle is under way, one call at a time.
func (c *Client) ServeHost(h peersync.HostServices) { c.host = h }

// PeerSync returns the replicator of a peer-sync plugin, the same at every call. Its Close
// closes the client, within EndTimeout.
func (c *Client) PeerSync() peersync.Replicator { return replicator{c} }

// replicator is the client's [peersync.Replicator].
type replicator struct{ client *Client }

func (r replicator) Handle(ctx context.Context, events []peersync.Event) error {
	_, err := runCall(ctx, peersyncErrors, "handle", HandleTimeout, func(ctx context.Context) (_ *struct{}, err error) {
		if err := errors.Join(ctx.Err(), peersync.CheckEvents(events)); err != nil {
			return nil, err
		}
		req := rpc.EncodeHandleRequest(events)
		if proto.Size(req) > rpc.MaxMessage {
			return nil, peersync.ErrTooLarge
		}
		if r.client.host == nil {
			return nil, errNoHost
		}
		return nil, rpc.HandleEvents(ctx, r.client.peersync, r.client.host, req)
	})
	return err
}

var errNoHost = errors.New("the plugin was given no host")

func (r replicator) Close() error { return r.client.closeImplementation() }
