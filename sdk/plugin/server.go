package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// server answers the calls of a relay: first Configure, then those of the kind, until it is
// drained.
type server struct {
	pb.UnimplementedPluginServer

	plugin      Plugin
	description Description
	reusable    bool // another relay may configure it after Shutdown
	log         *slog.Logger
	host        rpc.HostClient // what a replicator calls

	drainer *drainer
	// turn holds an element while the implementation is being opened or closed.
	turn chan struct{}

	mu         sync.Mutex
	impl       io.Closer            // nil before Configure and after Shutdown
	openedWith *pb.ConfigureRequest // the request for which impl was opened
	offered    []Capability         // those of impl
	draining   bool                 // Drain or Shutdown was called
	failure    string               // why the plugin cannot go on, or ""
}

func newServer(p Plugin, log *slog.Logger) *server {
	return &server{plugin: p, description: p.Describe(), log: log, drainer: newDrainer(errNotConfigured), turn: make(chan struct{}, 1)}
}

// Reasons to refuse calls of the kind.
var (
	errNotConfigured = fmt.Errorf("%w: not configured", rpc.ErrUnavailable)
	errConfiguring   = fmt.Errorf("%w: being configured anew", rpc.ErrUnavailable)
	errDraining      = fmt.Errorf("%w: draining", rpc.ErrUnavailable)
)

// registerServices registers the services of the plugin.
func (s *server) registerServices(g grpc.ServiceRegistrar) {
	pb.RegisterPluginServer(g, s)
	switch s.description.Kind {
	case KindStorage:
		pb.RegisterStorageServer(g, rpc.NewStorageServer(acquire[storage.Store](s)))
	case KindStats:
		pb.RegisterStatsServer(g, rpc.NewStatsServer(acquire[stats.Exporter](s)))
	case KindPeerSync:
		s.registerPeerSync(g)
	}
}

// callConstructor calls the author's constructor.
func (s *server) callConstructor(ctx context.Context, cfg Config) (io.Closer, error) {
	switch s.description.Kind {
	case KindStorage:
		return s.plugin.Storage(ctx, cfg)
	case KindStats:
		return s.plugin.Stats(ctx, cfg)
	case KindPeerSync:
		return OpenPeerSync(ctx, s.plugin, cfg, &s.host)
	}
	return nil, fmt.Errorf("%.40q is not a kind of plugin", string(s.description.Kind))
}

// acquire returns a function that admits calls to the implementation, which is an I.
func acquire[I any](s *server) rpc.Acquire[I] {
	return func() (rpc.Lease[I], error) {
		waitCtx, err := s.drainer.begin()
		if err != nil {
			return rpc.Lease[I]{}, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return rpc.Lease[I]{Implementation: s.impl.(I), Ending: waitCtx, Release: s.drainer.end}, nil
	}
}

func (s *server) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return encodeDescription(s.description), nil
}

func (s *server) Validate(_ context.Context, req *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	_, err := s.decodeConfig(req.GetConfig(), "")
	diags, err := encodeDiagnostics(err)
	return &pb.ValidateResponse{Diagnostics: diags}, err
}

func (s *server) Configure(ctx context.Context, req *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	if err := s.ensureConfigured(ctx, req); err != nil {
		diags, err := encodeDiagnostics(err)
		return &pb.ConfigureResponse{Diagnostics: diags}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.ConfigureResponse{Capabilities: encodeCapabilities(s.offered)}, nil
}

// ensureConfigured opens the implementation with the configuration of req, unless it is open
// with the same one.
func (s *server) ensureConfigured(ctx context.Context, req *pb.ConfigureRequest) error {
	release, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	if same, err := s.isConfigured(req); same || err != nil {
		return err
	}
	if req.GetInspect() && !slices.Contains(s.description.Capabilities, Check) {
		return fmt.Errorf("this plugin cannot open its store for inspection, since it lacks the capability %s", Check)
	}
	if !filepath.IsAbs(req.GetDir()) {
		return fmt.Errorf("the plugin's directory %.100q is not absolute", req.GetDir())
	}
	cfg, err := s.decodeConfig(req.GetConfig(), req.GetDir())
	if err != nil {
		return err
	}
	cfg.Inspect = req.GetInspect()
	closed, err := s.closeImplementation(ctx, errConfiguring)
	if err == nil {
		err = s.openImplementation(ctx, cfg, req)
	}
	if err != nil && closed {
		s.setFailed("the plugin could not be configured anew: " + err.Error())
	}
	return err
}

// isConfigured reports whether the implementation is open for req. The error is why none can
// be opened.
func (s *server) isConfigured(req *pb.ConfigureRequest) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return false, errDraining
	case s.failure != "":
		return false, fmt.Errorf("%w: %s", rpc.ErrUnavailable, s.failure)
	}
	return s.impl != nil && proto.Equal(req, s.openedWith), nil
}

// openImplementation opens an implementation, if there is none, and lets calls begin.
func (s *server) openImplementation(ctx context.Context, cfg Config, req *pb.ConfigureRequest) error {
	impl, err := s.callConstructor(ctx, cfg)
	if err != nil {
		return err
	}
	if impl == nil {
		return errors.New("the plugin opened nothing")
	}
	offered, err := s.findCapabilities(impl, cfg.Inspect)
	if err != nil {
		return errors.Join(err, impl.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errors.Join(errDraining, impl.Close())
	}
	s.impl, s.openedWith, s.offered = impl, req, offered
	s.drainer.open()
	return nil
}

// findCapabilities returns the declared capabilities that impl offers. It has to implement
// all but Check. If it is open for inspection, it has to implement Check and may lack others.
func (s *server) findCapabilities(impl io.Closer, inspect bool) (offered []Capability, err error) {
	for _, c := range s.description.Capabilities {
		switch has := c.implementedBy(impl); {
		case has && (inspect || c != Check):
			offered = append(offered, c)
		case !has && inspect == (c == Check):
			return nil, fmt.Errorf("the plugin declares the capability %s, but its %T does not implement it", c, impl)
		}
	}
	return offered, nil
}

// takeTurn waits until nothing else opens or closes the implementation.
func (s *server) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// closeImplementation waits for the calls under way and closes the implementation. It
// refuses new calls with refusal, and reports whether there was an implementation. The
// caller has the turn.
func (s *server) closeImplementation(ctx context.Context, refusal error) (existed bool, err error) {
	s.mu.Lock()
	impl := s.impl
	s.mu.Unlock()
	if impl == nil {
		return false, nil
	}
	if err := s.drainer.drain(ctx, refusal); err != nil {
		return true, err
	}
	s.mu.Lock()
	s.impl, s.openedWith, s.offered = nil, nil, nil
	s.mu.Unlock()
	return true, impl.Close()
}

// decodeConfig decodes, completes and checks a configuration.
func (s *server) decodeConfig(data []byte, dir string) (Config, error) {
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

func (s *server) Health(ctx context.Context, _ *pb.HealthRequest) (*pb.HealthResponse, error) {
	s.mu.Lock()
	failure, impl := s.failure, s.impl
	s.mu.Unlock()
	switch {
	case failure != "":
		return &pb.HealthResponse{Status: pb.HealthResponse_STATUS_FAILED, Reason: failure}, nil
	case impl == nil:
		return &pb.HealthResponse{Status: pb.HealthResponse_STATUS_DEGRADED, Reason: "not configured"}, nil
	}
	if degraded := s.degradedReason(ctx); degraded != "" {
		return &pb.HealthResponse{Status: pb.HealthResponse_STATUS_DEGRADED, Reason: degraded}, nil
	}
	return &pb.HealthResponse{Status: pb.HealthResponse_STATUS_READY}, nil
}

// degradedReason asks the implementation for its health, unless it is being closed.
func (s *server) degradedReason(ctx context.Context) string {
	lease, err := acquire[any](s)()
	if err != nil {
		return ""
	}
	defer lease.Release()
	if h, ok := lease.Implementation.(HealthReporter); ok {
		return h.Health(ctx)
	}
	return ""
}

func (s *server) setFailed(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = reason
}

func (s *server) Drain(ctx context.Context, _ *pb.DrainRequest) (*pb.DrainResponse, error) {
	return &pb.DrainResponse{}, rpc.StorageErrors.ToStatus(s.drain(ctx))
}

func (s *server) Shutdown(ctx context.Context, _ *pb.ShutdownRequest) (*pb.ShutdownResponse, error) {
	return &pb.ShutdownResponse{}, rpc.StorageErrors.ToStatus(s.shutDown(ctx))
}

func (s *server) drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	return s.drainer.drain(ctx, errDraining)
}

// shutDown waits for the calls under way and closes the implementation. If ctx ends first,
// the implementation stays open, and the process ends as if it were killed.
func (s *server) shutDown(ctx context.Context) error {
	if err := s.drain(ctx); err != nil {
		return err
	}
	release, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = s.closeImplementation(ctx, errDraining)
	if s.reusable && err == nil {
		s.mu.Lock()
		s.draining, s.failure = false, ""
		s.mu.Unlock()
	}
	return err
}

// recoverUnary turns a panic in a call into an error.
func (s *server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer s.recoverPanic(info.FullMethod, &err)
	return handle(ctx, req)
}

// recoverStream does the same for Handle, the only stream.
func (s *server) recoverStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recoverPanic(info.FullMethod, &err)
	return handle(service, stream)
}

// recoverPanic is deferred around every call. A panic may leave anything behind, so the plugin
// reports that it has to be started again.
func (s *server) recoverPanic(method string, err *error) {
	if r := recover(); r != nil {
		s.log.Error("panic in a call", "call", method, "panic", fmt.Sprint(r), "stack", callStack())
		s.setFailed("panic in " + method)
		*err = status.Error(codes.Internal, "panic in "+method+"; see the log of the plugin")
	}
}
