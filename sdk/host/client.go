package host

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// ContractError is in every error about an answer that no plugin may give. Such
// an error is a [storage.ErrCorrupt] as well.
type ContractError = rpc.ContractError

// Client speaks to one incarnation of a plugin. Its methods may be called at
// the same time from several goroutines.
type Client struct {
	conn grpc.ClientConnInterface

	plugin   pb.PluginClient
	storage  pb.StorageClient
	stats    pb.StatsClient
	peersync pb.PeerSyncClient

	host         peersync.HostServices // what a peer-sync plugin calls; nil: nothing
	capabilities atomic.Pointer[[]plugin.Capability]
}

// NewClient makes a client of a connection, which stays the caller's. The
// connection should have been dialled with [DialOptions].
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{
		conn:   conn,
		plugin: pb.NewPluginClient(conn), storage: pb.NewStorageClient(conn), stats: pb.NewStatsClient(conn),
		peersync: pb.NewPeerSyncClient(conn),
	}
}

// Conn is the connection to the plugin, for programs that pass calls on as
// they are. It ends with the process.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// DialOptions bound what a plugin can make the relay hold: messages of 16 MiB,
// headers of 64 KiB, and next to nothing by streams that nobody asked for. Windows of 4/16 MiB save a quarter of the processor
// time of large batches against the default of 64 KiB.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(rpc.MaxMessage),
			grpc.MaxCallSendMsgSize(rpc.MaxMessage),
			grpc.ForceCodecV2(rpc.Codec),
		),
		grpc.WithMaxHeaderListSize(MaxHeaders),
		grpc.WithInitialWindowSize(4 << 20),
		grpc.WithInitialConnWindowSize(16 << 20),
		grpc.WithDisableServiceConfig(),
	}
}

// atMost bounds a single answer. A message can decode into fifty times its size, when
// it holds many messages that are empty, so that the bound of a connection alone would
// let a plugin make the relay hold a gigabyte.
func atMost(bytes int) grpc.CallOption { return grpc.MaxCallRecvMsgSize(bytes) }

// Describe asks the plugin what it is. The description is valid, whatever the
// plugin says.
func (c *Client) Describe(ctx context.Context) (plugin.Description, error) {
	resp, err := c.plugin.Describe(ctx, &pb.DescribeRequest{}, atMost(MaxAnswer))
	if err != nil {
		return plugin.Description{}, fmt.Errorf("describe: %w", rpc.StorageErrors.FromStatus(err))
	}
	return decodeDescription(resp)
}

// Validate asks the plugin for faults in an encoded configuration; those come
// back as [plugin.Diagnostics].
func (c *Client) Validate(ctx context.Context, config []byte) error {
	resp, err := c.plugin.Validate(ctx, &pb.ValidateRequest{Config: config}, atMost(MaxAnswer))
	if err != nil {
		return fmt.Errorf("validate: %w", rpc.StorageErrors.FromStatus(err))
	}
	return decodeDiagnostics(resp.GetDiagnostics())
}

// Configure hands over the encoded configuration and the plugin's directory.
// Faults that the operator can mend come back as [plugin.Diagnostics].
//
// It is called before anything of the kind, and may be called again with another
// configuration: calls of the kind that are under way are waited for, new ones
// fail as unavailable, and what Storage, Stats or PeerSync returned goes on with
// the new configuration. The same one again changes nothing. When a later
// Configure fails, the plugin is as it was or asks by its Health for a new process.
func (c *Client) Configure(ctx context.Context, config []byte, dir string) error {
	resp, err := c.plugin.Configure(ctx, &pb.ConfigureRequest{Config: config, Dir: dir}, atMost(MaxAnswer))
	if err != nil {
		return fmt.Errorf("configure: %w", rpc.StorageErrors.FromStatus(err))
	}
	if err := decodeDiagnostics(resp.GetDiagnostics()); err != nil {
		return err
	}
	c.capabilities.Store(new(decodeCapabilities(resp.GetCapabilities())))
	return nil
}

// Capabilities are those of the plugin as it is configured, ascending.
func (c *Client) Capabilities() []plugin.Capability {
	if p := c.capabilities.Load(); p != nil {
		return slices.Clone(*p)
	}
	return nil
}

func (c *Client) hasCapability(wanted plugin.Capability) bool {
	return slices.Contains(c.Capabilities(), wanted)
}

// Health is how a plugin says it is.
type Health struct {
	State  HealthState
	Reason string // for the operator; at most 1 KiB
}

// HealthState is the kind of a Health.
type HealthState int

const (
	Ready    HealthState = 1
	Degraded HealthState = 2 // it serves, but the operator should look
	Failed   HealthState = 3 // it cannot serve, and wants to be started anew
)

// Health asks the plugin how it is.
func (c *Client) Health(ctx context.Context) (Health, error) {
	resp, err := c.plugin.Health(ctx, &pb.HealthRequest{}, atMost(MaxShortAnswer))
	if err != nil {
		return Health{}, fmt.Errorf("health: %w", rpc.StorageErrors.FromStatus(err))
	}
	return decodeHealth(resp)
}

func decodeHealth(resp *pb.HealthResponse) (Health, error) {
	h := Health{State: HealthState(resp.GetStatus()), Reason: rpc.Clean(resp.GetReason(), maxReason)}
	if h.State < Ready || h.State > Failed {
		return Health{}, &ContractError{What: fmt.Sprintf("the unknown health %d", resp.GetStatus())}
	}
	return h, nil
}

// Drain lets no new call to the implementation begin and waits for those under
// way, until ctx ends.
func (c *Client) Drain(ctx context.Context) error {
	if _, err := c.plugin.Drain(ctx, &pb.DrainRequest{}, atMost(MaxShortAnswer)); err != nil {
		return fmt.Errorf("drain: %w", rpc.StorageErrors.FromStatus(err))
	}
	return nil
}

// Shutdown closes the implementation.
func (c *Client) Shutdown(ctx context.Context) error {
	if _, err := c.plugin.Shutdown(ctx, &pb.ShutdownRequest{}, atMost(MaxShortAnswer)); err != nil {
		return fmt.Errorf("shut down: %w", rpc.StorageErrors.FromStatus(err))
	}
	return nil
}

// Close closes the implementation in good order: Drain, then Shutdown.
func (c *Client) Close(ctx context.Context) error {
	if err := c.Drain(ctx); err != nil {
		return err
	}
	return c.Shutdown(ctx)
}

// Storage is the store of a storage plugin, the same at every call. Which optional
// interfaces it has is asked with [storage.As], once the plugin is configured. Its
// Close is that of the client, within EndTimeout.
func (c *Client) Storage() storage.Store { return store{c} }

// closeImplementation is the Close of the implementations of all kinds.
func (c *Client) closeImplementation() error {
	ctx, cancel := context.WithTimeout(context.Background(), EndTimeout)
	defer cancel()
	return c.Close(ctx)
}
