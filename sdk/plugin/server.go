package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// server answers the calls of a relay: configuration first, then those of the
// kind, until it is drained.
type server struct {
	pb.UnimplementedPluginServer

	plugin      Plugin
	description Description
	lasting     bool // after Shutdown another relay may configure it
	log         *slog.Logger
	host        rpc.HostClient // of a peer-sync plugin

	gate *gate
	// turn holds an element while the implementation is being opened or closed.
	turn chan struct{}

	mu       sync.Mutex
	impl     io.Closer            // nil before Configure and after Shutdown
	opened   *pb.ConfigureRequest // what impl was opened with
	draining bool                 // for good
	failure  string               // the plugin cannot go on, and why
}

func newServer(p Plugin, log *slog.Logger) *server {
	return &server{plugin: p, description: p.Describe(), log: log, gate: newGate(errNotConfigured), turn: make(chan struct{}, 1)}
}

// Why calls of the kind are refused.
var (
	errNotConfigured = fmt.Errorf("%w: not configured", rpc.ErrUnavailable)
	errConfiguring   = fmt.Errorf("%w: being configured anew", rpc.ErrUnavailable)
	errDraining      = fmt.Errorf("%w: draining", rpc.ErrUnavailable)
)

// registerServices puts all services of the plugin on g.
func (s *server) registerServices(g grpc.ServiceRegistrar) {
	pb.RegisterPluginServer(g, s)
	switch s.description.Kind {
	case KindStorage:
		pb.RegisterStorageServer(g, rpc.NewStorageServer(acquireAs[storage.Store](s)))
	case KindStats:
		pb.RegisterStatsServer(g, rpc.NewStatsServer(acquireAs[stats.Exporter](s)))
	case KindPeerSync:
		s.registerPeerSync(g)
	}
}

// openImplementation opens the implementation.
func (s *server) openImplementation(ctx context.Context, cfg Config) (io.Closer, error) {
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

// acquireAs lets calls to the implementation, which is an I, begin.
func acquireAs[I any](s *server) rpc.Acquire[I] {
	return func() (rpc.Lease[I], error) {
		ending, err := s.gate.beginCall()
		if err != nil {
			return rpc.Lease[I]{}, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return rpc.Lease[I]{Implementation: s.impl.(I), Ending: ending, Release: s.gate.endCall}, nil
	}
}

func (s *server) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return descriptionMessage(s.description), nil
}

func (s *server) Validate(_ context.Context, req *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	_, err := s.decodeConfig(req.GetConfig(), "")
	diags, err := splitDiagnostics(err)
	return &pb.ValidateResponse{Diagnostics: diags}, err
}

func (s *server) Configure(ctx context.Context, req *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	resp := &pb.ConfigureResponse{Capabilities: capabilityNumbers(s.description.Capabilities)}
	if err := s.ensureConfigured(ctx, req); err != nil {
		diags, err := splitDiagnostics(err)
		return &pb.ConfigureResponse{Diagnostics: diags}, err
	}
	return resp, nil
}

// ensureConfigured sees to it that there is an implementation with the configuration
// of req.
func (s *server) ensureConfigured(ctx context.Context, req *pb.ConfigureRequest) error {
	release, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	if same, err := s.isConfigured(req); same || err != nil {
		return err
	}
	if !filepath.IsAbs(req.GetDir()) {
		return fmt.Errorf("the plugin's directory %.100q is not absolute", req.GetDir())
	}
	cfg, err := s.decodeConfig(req.GetConfig(), req.GetDir())
	if err != nil {
		return err
	}
	before, err := s.closeImplementation(ctx, errConfiguring)
	if err == nil {
		err = s.replaceImplementation(ctx, cfg, req)
	}
	if err != nil && before {
		s.setFailed("the plugin could not be configured anew: " + err.Error())
	}
	return err
}

// isConfigured reports whether the implementation is that of req already, or
// why there can be none.
func (s *server) isConfigured(req *pb.ConfigureRequest) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return false, errDraining
	case s.failure != "":
		return false, fmt.Errorf("%w: %s", rpc.ErrUnavailable, s.failure)
	}
	return s.impl != nil && bytes.Equal(req.GetConfig(), s.opened.GetConfig()) && req.GetDir() == s.opened.GetDir(), nil
}

// replaceImplementation opens the implementation, of which there is none, and lets calls begin.
func (s *server) replaceImplementation(ctx context.Context, cfg Config, req *pb.ConfigureRequest) error {
	impl, err := s.openImplementation(ctx, cfg)
	if err != nil {
		return err
	}
	if impl == nil {
		return errors.New("the plugin opened nothing")
	}
	if err := s.checkCapabilities(impl); err != nil {
		return errors.Join(err, impl.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errors.Join(errDraining, impl.Close())
	}
	s.impl, s.opened = impl, req
	s.gate.openGate()
	return nil
}

// checkCapabilities returns an error when impl has not all that the plugin declares.
func (s *server) checkCapabilities(impl io.Closer) error {
	for _, c := range s.description.Capabilities {
		if !c.implementedBy(impl) {
			return fmt.Errorf("the plugin declares the capability %s, and its %T does not have it", c, impl)
		}
	}
	return nil
}

// takeTurn waits until nobody else opens or closes the implementation.
func (s *server) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// closeImplementation closes the implementation, and reports whether there was one, once no
// call uses it any more. The caller has the turn.
func (s *server) closeImplementation(ctx context.Context, reason error) (was bool, err error) {
	s.mu.Lock()
	impl := s.impl
	s.mu.Unlock()
	if impl == nil {
		return false, nil
	}
	if err := s.gate.closeGate(ctx, reason); err != nil {
		return true, err
	}
	s.mu.Lock()
	s.impl, s.opened = nil, nil
	s.mu.Unlock()
	return true, impl.Close()
}

// decodeConfig makes the configuration for the author out of what came in.
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

// degradedReason asks the implementation how it is, unless it is about to be closed.
func (s *server) degradedReason(ctx context.Context) string {
	lease, err := acquireAs[any](s)()
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
	return &pb.DrainResponse{}, rpc.StorageErrors.ToStatus(s.drainCalls(ctx))
}

func (s *server) Shutdown(ctx context.Context, _ *pb.ShutdownRequest) (*pb.ShutdownResponse, error) {
	return &pb.ShutdownResponse{}, rpc.StorageErrors.ToStatus(s.shutDown(ctx))
}

func (s *server) drainCalls(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	return s.gate.closeGate(ctx, errDraining)
}

// shutDown closes the implementation once no call uses it any more; when ctx
// ends before that, it stays open and the process ends as if it were killed.
func (s *server) shutDown(ctx context.Context) error {
	if err := s.drainCalls(ctx); err != nil {
		return err
	}
	release, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = s.closeImplementation(ctx, errDraining)
	if s.lasting && err == nil {
		s.mu.Lock()
		s.draining, s.failure = false, ""
		s.mu.Unlock()
	}
	return err
}

// recoverPanic keeps a panic from taking the log of its cause with it.
func (s *server) recoverPanic(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer s.recoverCall(info.FullMethod, &err)
	return handle(ctx, req)
}

// interceptStream does the same for Handle, the one call that is a stream.
func (s *server) interceptStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recoverCall(info.FullMethod, &err)
	return handle(service, stream)
}

// recoverCall is deferred by what makes a call. What a panic left behind is
// unknown, so the plugin asks to be started anew.
func (s *server) recoverCall(method string, err *error) {
	if r := recover(); r != nil {
		s.log.Error("panic in a call", "call", method, "panic", fmt.Sprint(r), "stack", callerStack())
		s.setFailed("panic in " + method)
		*err = status.Error(codes.Internal, "panic in "+method+"; the log of the plugin says more")
	}
}
