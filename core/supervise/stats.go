package supervise

import (
	"context"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// Stats is the exporter of a stats plugin, the same through all incarnations. A
// call fails at once when there is no incarnation, because by the time there is one
// the figures are out of date. A new incarnation has no snapshot until the next
// Export. Its Close is Stop.
func (p *Plugin) Stats() stats.Exporter {
	return exporter{&proxy{plugin: p, unavailable: stats.ErrUnavailable}}
}

// exporter passes the calls of an exporter on.
type exporter struct{ *proxy }

func (e exporter) Export(ctx context.Context, s stats.Snapshot) error {
	call, err := e.beginCall(ctx, "export")
	if err != nil {
		return err
	}
	return e.endCall(ctx, call, call.Stats().Export(ctx, s))
}

func (e exporter) ForceFlush(ctx context.Context) error {
	call, err := e.beginCall(ctx, "force flush")
	if err != nil {
		return err
	}
	return e.endCall(ctx, call, call.Stats().ForceFlush(ctx))
}
