// Command testsync is a peersync plugin for tests. It reads its events and reports a
// fixed text.
package main

import (
	"context"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

func main() {
	plugin.Serve(plugin.Plugin{
		Name:    "testsync",
		Version: "0.0.1",
		Doc:     "Reports a fixed text.",
		PeerSync: func(_ context.Context, cfg plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
			return &replicator{host}, nil
		},
	})
}

type replicator struct{ host peersync.HostServices }

func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		if _, ok := e.(peersync.Start); ok {
			return r.host.Report(ctx, peersync.Report{Summary: "in step with nobody"})
		}
	}
	return ctx.Err()
}

func (r *replicator) Close() error { return nil }
