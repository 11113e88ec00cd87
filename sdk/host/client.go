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

// ContractError is the error of an answer that no plugin may give. It wraps
// [storage.ErrCorrupt].
type ContractError = rpc.ContractError

// Client makes calls to one process of a plugin. Its methods may be called from several
// goroutines at the same time.
type Client struct {
	conn grpc.ClientConnInterface

	plugin   pb.PluginClient
	storage  pb.StorageClient
	stats    pb.StatsClient
	peersync pb.PeerSyncClient

	host         peersync.HostServices // nil until ServeHost
	capabilities atomic.Pointer[[]plugin.Capability]
}

// NewClient returns a client on a connection, which the caller still has to close. It should
// have been dialled with [DialOptions].
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{
		conn:   conn,
		plugin: pb.NewPluginClient(conn), storage: pb.NewStorageClient(conn), stats: pb.NewStatsClient(conn),
		peersync: pb.NewPeerSyncClient(conn),
	}
}

// Conn is the connection to the plugin, for programs that forward calls unchanged.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// DialOptions bound what a plugin can make the relay hold: 16 MiB for a message, 64 KiB for
// headers. Windows of 4 and 16 MiB save a quarter of the processor time of large batches
// compared to the default of 64 KiB.
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

// maxAnswer bounds one answer. A message of many empty messages decodes into fifty times its
// size: with the bound of the connection alone, a plugin could make the relay hold a gigabyte.
func maxAnswer(bytes int) grpc.CallOption { return grpc.MaxCallRecvMsgSize(bytes) }

// Describe asks the plugin what it is. It only returns a valid description.
func (c *Client) Describe(ctx context.Context) (plugin.Description, error) {
	resp, err := c.plugin.Describe(ctx, &pb.DescribeRequest{}, maxAnswer(MaxAnswer))
	if err != nil {
		return plugin.Description{}, fmt.Errorf("describe: %w", rpc.StorageErrors.FromStatus(err))
	}
	return decodeDescription(resp)
}

// Validate asks the plugin for faults in an encoded configuration. They come back as
// [plugin.Diagnostics].
func (c *Client) Validate(ctx context.Context, config []byte) error {
	resp, err := c.plugin.Validate(ctx, &pb.ValidateRequest{Config: config}, maxAnswer(MaxAnswer))
	if err != nil {
		return fmt.Errorf("validate: %w", rpc.StorageErrors.FromStatus(err))
	}
	return decodeDiagnostics(resp.GetDiagnostics())
}

// Configure gives the plugin its encoded configuration and its directory. Faults that the
// operator can mend come back as [plugin.Diagnostics].
//
// It comes before all calls of the kind. A later Configure with another configuration waits
// for calls under way, while new ones fail as unavailable; afterwards, what Storage, Stats or
// PeerSync returned uses the new configuration. The same configuration again changes nothing.
// If a later Configure fails, the plugin either goes on as before or reports [Failed].
func (c *Client) Configure(ctx context.Context, config []byte, dir string) error {
	return c.configure(ctx, &pb.ConfigureRequest{Config: config, Dir: dir})
}

// Inspect is a Configure that opens a store to be looked at as it is, see
// [storage.Checker]. A plugin without the capability [plugin.Check] is refused before it
// is configured, because it could open the store as usual and change it.
func (c *Client) Inspect(ctx context.Context, config []byte, dir string) error {
	d, err := c.Describe(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(d.Capabilities, plugin.Check) {
		return fmt.Errorf("the %s plugin %q cannot open its store for inspection, since it lacks the capability %s", d.Kind, d.Name, plugin.Check)
	}
	if err := c.configure(ctx, &pb.ConfigureRequest{Config: config, Dir: dir, Inspect: true}); err != nil {
		return err
	}
	if !c.hasCapability(plugin.Check) {
		return &ContractError{What: fmt.Sprintf("it was asked for an inspection and does not offer %s", plugin.Check)}
	}
	return nil
}

func (c *Client) configure(ctx context.Context, req *pb.ConfigureRequest) error {
	resp, err := c.plugin.Configure(ctx, req, maxAnswer(MaxAnswer))
	if err != nil {
		return fmt.Errorf("configure: %w", rpc.StorageErrors.FromStatus(err))
	}
	if err := decodeDiagnostics(resp.GetDiagnostics()); err != nil {
		return err
	}
	c.capabilities.Store(new(decodeCapabilities(resp.GetCapabilities())))
	return nil
}

// Capabilities are the plugin's in its present configuration, in ascending order.
func (c *Client) Capabilities() []plugin.Capability {
	if p := c.capabilities.Load(); p != nil {
		return slices.Clone(*p)
	}
	return nil
}

func (c *Client) hasCapability(wanted plugin.Capability) bool {
	return slices.Contains(c.Capabilities(), wanted)
}

// Health is a plugin's own view of its state.
type Health struct {
	State  HealthState
	Reason string // for the operator; at most 1 KiB
}

// HealthState is one of three.
type HealthState int

const (
	Ready    HealthState = 1
	Degraded HealthState = 2 // it serves, but the operator should look after it
	Failed   HealthState = 3 // it cannot serve until it is started again
)

// Health asks the plugin for its state.
func (c *Client) Health(ctx context.Context) (Health, error) {
	resp, err := c.plugin.Health(ctx, &pb.HealthRequest{}, maxAnswer(MaxShortAnswer))
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

// Drain makes the plugin refuse new calls and waits until those under way have returned, or
// ctx ends.
func (c *Client) Drain(ctx context.Context) error {
	if _, err := c.plugin.Drain(ctx, &pb.DrainRequest{}, maxAnswer(MaxShortAnswer)); err != nil {
		return fmt.Errorf("drain: %w", rpc.StorageErrors.FromStatus(err))
	}
	return nil
}

// Shutdown closes the implementation.
func (c *Client) Shutdown(ctx context.Context) error {
	if _, err := c.plugin.Shutdown(ctx, &pb.ShutdownRequest{}, maxAnswer(MaxShortAnswer)); err != nil {
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

// Storage returns the store of a storage plugin, the same at every call. [storage.As]
// tells which optional interfaces it has, once the plugin is configured. Its Close
// closes the client, within EndTimeout.
func (c *Client) Storage() storage.Store { return store{c} }

// closeImplementation is the Close of the implementations of all kinds.
func (c *Client) closeImplementation() error {
	ctx, cancel := context.WithTimeout(context.Background(), EndTimeout)
	defer cancel()
	return c.Close(ctx)
}
