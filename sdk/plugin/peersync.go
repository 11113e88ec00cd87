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

// OpenPeerSync opens the replicator of a peer-sync plugin as the process of the
// plugin does: Start opens the author's replicator anew, whatever the one before
// it was doing, and after an error of Handle the replicator takes nothing but a
// Start; see [peersync.ErrNotStarted].
func OpenPeerSync(ctx context.Context, p Plugin, cfg Config, host peersync.HostServices) (peersync.Replicator, error) {
	first, err := p.PeerSync(ctx, cfg, host)
	if err == nil && first == nil {
		err = errors.New("the plugin opened nothing")
	}
	if err != nil {
		return nil, err
	}
	return &replicator{current: first, open: func(ctx context.Context) (peersync.Replicator, error) {
		return p.PeerSync(ctx, cfg, host)
	}}, nil
}

// replicator is the author's replicator through all of its lives.
type replicator struct {
	open func(context.Context) (peersync.Replicator, error)

	handling sync.Mutex // held by Handle and Close
	started  bool       // current was given Start

	mu      sync.Mutex
	current peersync.Replicator // nil after an error
}

func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
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

// startCurrent makes current one that was not given Start, and has it started.
func (r *replicator) startCurrent(ctx context.Context) error {
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

// closeCurrent closes current, if there is one.
func (r *replicator) closeCurrent() error {
	current := r.currentReplicator()
	r.setCurrent(nil)
	r.started = false
	if current == nil {
		return nil
	}
	return current.Close()
}

func (r *replicator) Close() error {
	r.handling.Lock()
	defer r.handling.Unlock()
	return r.closeCurrent()
}

// Health implements [HealthReporter] for a replicator that does.
func (r *replicator) Health(ctx context.Context) string {
	if h, ok := r.currentReplicator().(HealthReporter); ok {
		return h.Health(ctx)
	}
	return ""
}

func (r *replicator) currentReplicator() peersync.Replicator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

func (r *replicator) setCurrent(current peersync.Replicator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = current
}

// registerPeerSync puts the service of peer-sync plugins on g.
func (s *server) registerPeerSync(g grpc.ServiceRegistrar) {
	pb.RegisterPeerSyncServer(g, rpc.NewPeerSyncServer(acquireAs[peersync.Replicator](s), &s.host))
}
