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
func OpenPeerSync(ctx context.Context, p Plugin, cfg Config, host peersync.Host) (peersync.Replicator, error) {
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
		if err := r.begin(ctx); err != nil {
			return err
		}
	} else if !r.started {
		return peersync.ErrNotStarted
	}
	err := r.life().Handle(ctx, events)
	if err != nil {
		return errors.Join(err, r.end())
	}
	return nil
}

// begin makes current one that was not given Start, and has it started.
func (r *replicator) begin(ctx context.Context) error {
	if r.started {
		if err := r.end(); err != nil {
			return err
		}
	}
	if r.life() == nil {
		next, err := r.open(ctx)
		if err != nil {
			return err
		}
		r.set(next)
	}
	r.started = true
	return nil
}

// end closes current, if there is one.
func (r *replicator) end() error {
	current := r.life()
	r.set(nil)
	r.started = false
	if current == nil {
		return nil
	}
	return current.Close()
}

func (r *replicator) Close() error {
	r.handling.Lock()
	defer r.handling.Unlock()
	return r.end()
}

// Health implements [Healther] for a replicator that does.
func (r *replicator) Health(ctx context.Context) string {
	if h, ok := r.life().(Healther); ok {
		return h.Health(ctx)
	}
	return ""
}

func (r *replicator) life() peersync.Replicator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

func (r *replicator) set(current peersync.Replicator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = current
}

// registerPeerSync puts the service of peer-sync plugins on g.
func (s *server) registerPeerSync(g grpc.ServiceRegistrar) {
	pb.RegisterPeerSyncServer(g, rpc.NewPeerSyncServer(acquire[peersync.Replicator](s), &s.host))
}
