package supervise

import (
	"context"
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// PeerSync is the replicator of a peer-sync plugin, the same through all
// incarnations. A new incarnation knows nothing of what the one before was told:
// until it has been given Start it answers events with
// [peersync.ErrNotStarted], and OnReady is when to give it. One whose Handle
// returned an error of its own is ended, as its contract has it. Its Close does
// nothing; Stop ends the plugin.
func (p *Plugin) PeerSync() peersync.Replicator {
	return &replicator{proxy[peersync.Replicator]{
		plugin: p, pick: (*host.Client).PeerSync, unavailable: peersync.ErrUnavailable, patient: true, fatal: lostItsWay,
	}}
}

// lostItsWay tells an error of the replicator from those of the way to it and
// of the caller.
func lostItsWay(err error) bool {
	for _, other := range []error{peersync.ErrUnavailable, peersync.ErrNotStarted, peersync.ErrTooLarge, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return false
		}
	}
	return err != nil
}

type replicator struct{ border proxy[peersync.Replicator] }

func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	_, err := invoke(ctx, r.border, "handle", func(target peersync.Replicator) (none, error) {
		return none{}, target.Handle(ctx, events)
	})
	return err
}

func (r *replicator) Close() error { return nil }
