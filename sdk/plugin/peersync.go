package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	goplugin "github.com/hashicorp/go-plugin"
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

// relay is how a peer-sync plugin reaches its relay: it gives the connection for
// a number out of a configuration, always the same one.
type relay func(number uint32) (grpc.ClientConnInterface, error)

// overBroker connects when it is first asked. The connection is as long as the
// process.
func overBroker(broker *goplugin.GRPCBroker) relay {
	var mu sync.Mutex
	var conn *grpc.ClientConn
	return func(number uint32) (_ grpc.ClientConnInterface, err error) {
		mu.Lock()
		defer mu.Unlock()
		if number == 0 {
			return nil, errNoHost
		}
		if conn == nil {
			conn, err = broker.DialWithOptions(number, rpc.HostDialOptions()...)
		}
		if err != nil {
			return nil, fmt.Errorf("connect to the relay: %w", err)
		}
		return conn, nil
	}
}

var errNoHost = errors.New("the relay offers this plugin no host")

// NewPeerSyncServer is [NewServer] for a peer-sync plugin whose host is at the
// other end of a connection.
func NewPeerSyncServer(p Plugin, log *slog.Logger, host grpc.ClientConnInterface) *grpc.Server {
	s := newServer(p, log)
	s.relay = func(uint32) (grpc.ClientConnInterface, error) { return host, nil }
	g := grpc.NewServer(serverOptions(s)...)
	s.register(g)
	return g
}

// registerPeerSync puts the service of peer-sync plugins on g.
func (s *server) registerPeerSync(g grpc.ServiceRegistrar) {
	pb.RegisterPeerSyncServer(g, &rpc.PeerSyncServer{Acquire: acquire[peersync.Replicator](s)})
}

// openPeerSync opens the replicator.
func (s *server) openPeerSync(ctx context.Context, cfg Config, req *pb.ConfigureRequest) (io.Closer, error) {
	if s.relay == nil {
		return nil, errNoHost
	}
	conn, err := s.relay(req.GetHost())
	if err != nil {
		return nil, err
	}
	return OpenPeerSync(ctx, s.plugin, cfg, rpc.NewPeerSyncHost(conn))
}
