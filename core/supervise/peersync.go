package supervise

import (
	"context"
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// PeerSync is the replicator of a peer-sync plugin, the same through all
// incarnations. A new incarnation knows no events of the previous one.
// Until it is given Start, it answers events with [peersync.ErrNotStarted]; OnReady
// is when to give it. An incarnation whose Handle returns an error of its own is
// ended, as the contract of Handle says. Its Close is Stop.
func (p *Plugin) PeerSync() peersync.Replicator {
	return replicator{&proxy{plugin: p, unavailable: peersync.ErrUnavailable, patient: true, isFatal: isReplicatorFault}}
}

// isReplicatorFault tells an error of the replicator from those of the way to it and
// of the caller.
func isReplicatorFault(err error) bool {
	for _, other := range []error{peersync.ErrUnavailable, peersync.ErrNotStarted, peersync.ErrTooLarge, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return false
		}
	}
	return err != nil
}

// replicator passes the calls of a replicator on.
type replicator struct{ *proxy }

func (r replicator) Handle(ctx context.Context, events []peersync.Event) error {
	call, err := r.beginCall(ctx, handleMethod)
	if err != nil {
		return err
	}
	call.incarnation.handling.Store(&call.begin)
	defer call.incarnation.handling.Store(nil)
	return r.endCall(ctx, call, call.PeerSync().Handle(ctx, events))
}
