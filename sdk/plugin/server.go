package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// server answers the calls of a relay: configuration first, then those of the
// kind, until it is drained.
type server struct {
	pb.UnimplementedPluginServer

	plugin Plugin
	log    *slog.Logger

	// waiting ends calls that only wait, when the plugin is drained.
	waiting    context.Context
	endWaiting context.CancelFunc

	closing sync.Mutex // held while the store closes

	mu         sync.Mutex
	configured bool          // Configure has begun; there is no second one
	store      storage.Store // nil before Configure and after Shutdown
	draining   bool
	calls      int           // under way, of the kind's services
	idle       chan struct{} // closed when draining and calls is 0
	failure    string        // the plugin can not go on, and why
}

func newServer(p Plugin, log *slog.Logger) *server {
	s := &server{plugin: p, log: log, idle: make(chan struct{})}
	s.waiting, s.endWaiting = context.WithCancel(context.Background())
	return s
}

// register puts all services of the plugin on g.
func (s *server) register(g grpc.ServiceRegistrar) {
	pb.RegisterPluginServer(g, s)
	pb.RegisterStorageServer(g, &rpc.StorageServer{Acquire: s.acquire})
}

func (s *server) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	d := s.plugin.Describe()
	return &pb.DescribeResponse{
		Kind: string(d.Kind), Name: d.Name, Version: d.Version, Doc: d.Doc, Schema: schemaMessage(d.Schema),
	}, nil
}

func (s *server) Validate(_ context.Context, req *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	_, err := s.config(req.GetConfig(), "")
	diags, err := splitDiagnostics(err)
	return &pb.ValidateResponse{Diagnostics: diags}, err
}

func (s *server) Configure(ctx context.Context, req *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	s.mu.Lock()
	again := s.configured
	s.configured = true
	s.mu.Unlock()
	if again {
		return nil, status.Error(codes.InvalidArgument, "configured already")
	}
	store, err := s.open(ctx, req)
	if err != nil {
		diags, err := splitDiagnostics(err)
		return &pb.ConfigureResponse{Diagnostics: diags}, err
	}
	resp := &pb.ConfigureResponse{}
	if _, ok := store.(storage.Watcher); ok {
		resp.Capabilities = append(resp.Capabilities, pb.Capability_CAPABILITY_STORAGE_WATCH)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, errors.Join(status.Error(codes.Unavailable, "draining"), store.Close())
	}
	s.store = store
	return resp, nil
}

func (s *server) open(ctx context.Context, req *pb.ConfigureRequest) (storage.Store, error) {
	if !filepath.IsAbs(req.GetDir()) {
		return nil, fmt.Errorf("the plugin's directory %.100q is not absolute", req.GetDir())
	}
	cfg, err := s.config(req.GetConfig(), req.GetDir())
	if err != nil {
		return nil, err
	}
	store, err := s.plugin.Storage(ctx, cfg)
	if err == nil && store == nil {
		err = errors.New("the plugin opened no store")
	}
	return store, err
}

// config makes the configuration for the author out of what came in.
func (s *server) config(data []byte, dir string) (Config, error) {
	v, err := s.plugin.Schema.Decode(data)
	if err != nil {
		return Config{}, err
	}
	cfg, err := NewConfig(s.plugin.Schema, v, dir, s.log)
	if err == nil && s.plugin.Validate != nil {
		err = s.plugin.Validate(cfg)
	}
	return cfg, err
}

func (s *server) Health(context.Context, *pb.HealthRequest) (*pb.HealthResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failure != "":
		return &pb.HealthResponse{Status: pb.HealthResponse_STATUS_FAILED, Reason: s.failure}, nil
	case s.store == nil:
		return &pb.HealthResponse{Status: pb.HealthResponse_STATUS_DEGRADED, Reason: "not configured"}, nil
	}
	return &pb.HealthResponse{Status: pb.HealthResponse_STATUS_READY}, nil
}

func (s *server) Drain(ctx context.Context, _ *pb.DrainRequest) (*pb.DrainResponse, error) {
	if err := s.drain(ctx); err != nil {
		return nil, rpc.Status(err)
	}
	return &pb.DrainResponse{}, nil
}

func (s *server) Shutdown(ctx context.Context, _ *pb.ShutdownRequest) (*pb.ShutdownResponse, error) {
	if err := s.shutdown(ctx); err != nil {
		return nil, rpc.Status(err)
	}
	return &pb.ShutdownResponse{}, nil
}

func (s *server) drain(ctx context.Context) error {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		s.endWaiting()
		if s.calls == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shutdown closes the store once no call uses it any more; when ctx ends
// before that, the store stays open and the process ends as if it were killed.
func (s *server) shutdown(ctx context.Context) error {
	if err := s.drain(ctx); err != nil {
		return err
	}
	s.closing.Lock() // who comes second waits for the first
	defer s.closing.Unlock()
	s.mu.Lock()
	store := s.store
	s.store = nil
	s.mu.Unlock()
	if store == nil {
		return nil
	}
	return store.Close()
}

var (
	errNotConfigured = fmt.Errorf("%w: not configured", storage.ErrUnavailable)
	errDraining      = fmt.Errorf("%w: draining", storage.ErrUnavailable)
)

// acquire lets a call to the store begin.
func (s *server) acquire(ctx context.Context) (context.Context, storage.Store, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return nil, nil, nil, errDraining
	case s.store == nil:
		return nil, nil, nil, errNotConfigured
	}
	s.calls++
	return ctx, s.store, s.release, nil
}

func (s *server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls--; s.calls == 0 && s.draining {
		close(s.idle)
	}
}

// intercept keeps a panic from taking the log of its cause with it. What the
// panic left behind is unknown, so the plugin asks to be started anew. It also
// ends a Watch when the plugin is drained.
func (s *server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic in a call", "call", info.FullMethod, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			s.mu.Lock()
			s.failure = "panic in " + info.FullMethod
			s.mu.Unlock()
			resp, err = nil, status.Error(codes.Internal, "panic in "+info.FullMethod+"; the log of the plugin says more")
		}
	}()
	if info.FullMethod == pb.Storage_Watch_FullMethodName {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.waiting, cancel)()
	}
	return handle(ctx, req)
}
