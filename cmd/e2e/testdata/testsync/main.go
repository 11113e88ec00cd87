// Command testsync is a peersync plugin for tests. It reads its events and reports a
// fixed text, with the number of keys of a board that is not empty.
package main

import (
	"context"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

func main() {
	plugin.Serve(plugin.Plugin{
		Name:    "testsync",
		Version: "0.0.1",
		Doc:     "Reports a fixed text and the number of keys.",
		PeerSync: func(_ context.Context, cfg plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
			return &replicator{host: host}, nil
		},
	})
}

type replicator struct {
	host    peersync.HostServices
	changed bool // the keys may be others than reported
}

func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		switch e := e.(type) {
		case peersync.Start:
			r.changed = e.State.Count > 0
			if err := r.host.Report(ctx, peersync.Report{Summary: "in step with nobody"}); err != nil {
				return err
			}
		case peersync.LogAdvanced:
			r.changed = true
		}
	}
	if !r.changed {
		return ctx.Err()
	}
	sums, err := r.host.RangeSum(ctx, 0, []peersync.Range{{}})
	if err != nil {
		return ctx.Err() // another attempt comes with the next event
	}
	r.changed = false
	if sums[0].Count == 0 { // an empty store that was opened anew
		return nil
	}
	return r.host.Report(ctx, peersync.Report{Summary: fmt.Sprintf("in step with nobody, keys: %d", sums[0].Count)})
}

func (r *replicator) Close() error { return nil }
