package plugin

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// OpenPeerSync opens the replicator of a peer-sync plugin as its process does. Every Start
// after the first closes the author's replicator and opens another one. After an error of
// Handle, only Start is accepted; see [peersync.ErrNotStarted].
func OpenPeerSync(ctx context.Context, p Plugin, cfg Config, host peersync.HostServices) (peersync.Replicator, error) {
	first, err := p.PeerSync(ctx, cfg, host)
	if err == nil && first == nil {
		err = errors.New("the plugin opened nothing")
	}
	if err != nil {
		return nil, err
	}
	return &restartingReplicator{current: first, open: func(ctx context.Context) (peersync.Replicator, error) {
		return p.PeerSync(ctx, cfg, host)
	}}, nil
}

// restartingReplicator opens the author's replicator again for each Start.
type restartingReplicator struct {
	open func(context.Context) (peersync.Replicator, error)

	handling sync.Mutex // held by Handle and Close
	started  bool       // current has handled Start

	mu      sync.Mutex
	current peersync.Replicator // nil after an error
}

func (r *restartingReplicator) Handle(ctx context.Context, events []peersync.Event) error {
	r.handling.Lock()
	defer r.handling.Unlock()
	if err := errors.Join(ctx.Err(), peersync.CheckEvents(events)); err != nil || len(events) == 0 {
		return err
	}
	if _, start := events[0].(peersync.Start); start {
		if err := r.startCurrent(ctx); err != nil {
			return err
		}
	} else if !r.started {
		return peersync.ErrNotStarted
	}
	err := r.currentReplicator().Handle(ctx, events)
	if err != nil {
		return errors.Join(err, r.closeCurrent())
	}
	return nil
}

// startCurrent prepares for a Start: it replaces a replicator that has already had one.
func (r *restartingReplicator) startCurrent(ctx context.Context) error {
	if r.started {
		if err := r.closeCurrent(); err != nil {
			return err
		}
	}
	if r.currentReplicator() == nil {
		next, err := r.open(ctx)
		if err != nil {
			return err
		}
		r.setCurrent(next)
	}
	r.started = true
	return nil
}

func (r *restartingReplicator) closeCurrent() error {
	current := r.currentReplicator()
	r.setCurrent(nil)
	r.started = false
	if current == nil {
		return nil
	}
	return current.Close()
}

func (r *restartingReplicator) Close() error {
	r.handling.Lock()
	defer r.handling.Unlock()
	return r.closeCurrent()
}

// Health implements [HealthReporter] if the author's replicator does.
func (r *restartingReplicator) Health(ctx context.Context) string {
	if h, ok := r.currentReplicator().(HealthReporter); ok {
		return h.Health(ctx)
	}
	return ""
}

func (r *restartingReplicator) currentReplicator() peersync.Replicator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

func (r *restartingReplicator) setCurrent(current peersync.Replicator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = current
}

func (s *server) registerPeerSync(g grpc.ServiceRegistrar) {
	pb.RegisterPeerSyncServer(g, rpc.NewPeerSyncServer(acquire[peersync.Replicator](s), &s.host))
}
