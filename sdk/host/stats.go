package host

import (
	"context"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// exporter is the client's [stats.Exporter].
type exporter struct{ client *Client }

// Stats is the exporter of a stats plugin, the same at every call. Its Close is that
// of the client, within EndTimeout.
func (c *Client) Stats() stats.Exporter { return exporter{c} }

func (e exporter) Export(ctx context.Context, s stats.Snapshot) error {
	if err := s.Validate(); err != nil {
		return err
	}
	_, err := runCall(ctx, statsErrors, "export", ExportTimeout, func(ctx context.Context) (*pb.ExportResponse, error) {
		return e.client.stats.Export(ctx, rpc.EncodeExportRequest(s), maxAnswer(MaxShortAnswer))
	})
	return err
}

func (e exporter) ForceFlush(ctx context.Context) error {
	_, err := runCall(ctx, statsErrors, "force flush", ExportTimeout, func(ctx context.Context) (*pb.ForceFlushResponse, error) {
		return e.client.stats.ForceFlush(ctx, &pb.ForceFlushRequest{}, maxAnswer(MaxShortAnswer))
	})
	return err
}

func (e exporter) Close() error { return e.client.closeImplementation() }
