package supervise

import (
	"context"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// Stats is the exporter of a stats plugin, the same through all incarnations. A
// call fails at once when there is none: what is not shown now is out of date
// by the time that it could be. A new incarnation has no snapshot until the next
// Export. Its Close does nothing; Stop ends the plugin.
func (p *Plugin) Stats() stats.Exporter {
	return &exporter{proxy[stats.Exporter]{plugin: p, pick: (*host.Client).Stats, unavailable: stats.ErrUnavailable}}
}

type exporter struct{ border proxy[stats.Exporter] }

func (e *exporter) Export(ctx context.Context, s stats.Snapshot) error {
	_, err := invoke(ctx, e.border, "export", func(target stats.Exporter) (none, error) {
		return none{}, target.Export(ctx, s)
	})
	return err
}

func (e *exporter) ForceFlush(ctx context.Context) error {
	_, err := invoke(ctx, e.border, "force flush", func(target stats.Exporter) (none, error) {
		return none{}, target.ForceFlush(ctx)
	})
	return err
}

func (e *exporter) Close() error { return nil }
