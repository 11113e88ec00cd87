package rpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// PeerSyncHostServer serves a host to a plugin that is not trusted: it passes on
// one call at a time, while a Handle is under way, and nothing that exceeds the
// limits.
type PeerSyncHostServer struct {
	pb.UnimplementedPeerSyncHostServer

	host peersync.Host
	turn chan struct{} // holds an element while a call is under way

	mu       sync.Mutex
	handling context.Context // of the Handle that is under way; nil without one
}

// ServePeerSyncHost serves h.
func ServePeerSyncHost(h peersync.Host) *PeerSyncHostServer {
	return &PeerSyncHostServer{host: h, turn: make(chan struct{}, 1)}
}

// NewServer makes the gRPC server of one plugin's connection. It bounds what a
// plugin can make the relay hold: one call at a time, and in it hardly more than
// the longest message. (A request decodes into fifty times its size if it is
// made for that.)
func (s *PeerSyncHostServer) NewServer(opts ...grpc.ServerOption) *grpc.Server {
	g := grpc.NewServer(append(opts,
		grpc.MaxConcurrentStreams(1),
		grpc.MaxRecvMsgSize(peersync.MaxMessage+(8<<10)),
		grpc.MaxSendMsgSize(maxHostAnswer),
		grpc.MaxHeaderListSize(8<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.ForceServerCodecV2(Codec),
	)...)
	pb.RegisterPeerSyncHostServer(g, s)
	return g
}

// During lets the plugin call while handle runs, with contexts that end when ctx
// does, and returns when the last call has ended. It is not called again
// meanwhile.
func (s *PeerSyncHostServer) During(ctx context.Context, handle func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	s.set(ctx)
	err := handle(ctx)
	cancel()
	s.set(nil) //nolint:staticcheck // SA1012: nil stands for no Handle
	s.turn <- struct{}{}
	<-s.turn
	return err
}

func (s *PeerSyncHostServer) set(handling context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handling = handling
}

// answer runs one call on the host, with a request that has been read, and gives
// its error the form of the wire.
func answer[Q, R any](ctx context.Context, s *PeerSyncHostServer, req Q, err error, call func(context.Context, Q) (R, error)) (R, error) {
	var none R
	if err != nil {
		return none, PeerSyncErrors.Status(err)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return none, PeerSyncErrors.Status(ctx.Err())
	}
	s.mu.Lock()
	handling := s.handling
	s.mu.Unlock()
	if handling == nil {
		return none, status.Error(codes.InvalidArgument, "the host was called outside of Handle")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(handling, cancel)()
	resp, err := call(ctx, req)
	if err != nil {
		return none, PeerSyncErrors.Status(err)
	}
	return resp, nil
}

func (s *PeerSyncHostServer) Log(ctx context.Context, in *pb.ReplicaLogRequest) (*pb.ReplicaLogResponse, error) {
	req := peersync.LogRequest{From: seq(in.GetFrom()), Max: count(in.GetMax())}
	_, _, err := req.Bounds()
	return answer(ctx, s, req, err, func(ctx context.Context, req peersync.LogRequest) (*pb.ReplicaLogResponse, error) {
		page, err := s.host.Log(ctx, req)
		return logPageMessage(page), err
	})
}

func (s *PeerSyncHostServer) Keys(ctx context.Context, in *pb.KeysRequest) (*pb.KeysResponse, error) {
	r, err := unpackRange(in.GetRange())
	max := count(in.GetMax())
	if err == nil {
		err = peersync.CheckKeys(max)
	}
	return answer(ctx, s, r, err, func(ctx context.Context, r peersync.Range) (*pb.KeysResponse, error) {
		keys, err := s.host.Keys(ctx, r, max)
		return &pb.KeysResponse{Keys: packKeys(keys...)}, err
	})
}

func (s *PeerSyncHostServer) RangeSum(ctx context.Context, in *pb.RangeSumRequest) (*pb.RangeSumResponse, error) {
	ranges, err := unpackRanges(in.GetRanges(), peersync.MaxRanges)
	return answer(ctx, s, ranges, err, func(ctx context.Context, ranges []peersync.Range) (*pb.RangeSumResponse, error) {
		sums, err := s.host.RangeSum(ctx, ranges)
		return sumMessages(sums), err
	})
}

func (s *PeerSyncHostServer) Split(ctx context.Context, in *pb.SplitRequest) (*pb.SplitResponse, error) {
	r, err := unpackRange(in.GetRange())
	parts := count(in.GetParts())
	if err == nil {
		err = peersync.CheckParts(parts)
	}
	return answer(ctx, s, r, err, func(ctx context.Context, r peersync.Range) (*pb.SplitResponse, error) {
		out, err := s.host.Split(ctx, r, parts)
		return partMessages(out), err
	})
}

func (s *PeerSyncHostServer) Send(ctx context.Context, in *pb.SendRequest) (*pb.SendResponse, error) {
	err := peersync.CheckMessage(in.GetMessage())
	return answer(ctx, s, in, err, func(ctx context.Context, in *pb.SendRequest) (*pb.SendResponse, error) {
		return &pb.SendResponse{}, s.host.Send(ctx, peersync.Peer(in.GetPeer()), in.GetMessage())
	})
}

func (s *PeerSyncHostServer) Transfer(ctx context.Context, in *pb.TransferRequest) (*pb.TransferResponse, error) {
	ids, err := someIDs(in.GetIds())
	return answer(ctx, s, in, err, func(ctx context.Context, in *pb.TransferRequest) (*pb.TransferResponse, error) {
		return &pb.TransferResponse{}, s.host.Transfer(ctx, peersync.Peer(in.GetPeer()), ids)
	})
}

func (s *PeerSyncHostServer) Request(ctx context.Context, in *pb.RequestRequest) (*pb.RequestResponse, error) {
	ids, err := someIDs(in.GetIds())
	return answer(ctx, s, in, err, func(ctx context.Context, in *pb.RequestRequest) (*pb.RequestResponse, error) {
		return &pb.RequestResponse{}, s.host.Request(ctx, peersync.Peer(in.GetPeer()), ids)
	})
}

func (s *PeerSyncHostServer) Drop(ctx context.Context, in *pb.DropRequest) (*pb.DropResponse, error) {
	err := peersync.CheckText(in.GetReason())
	return answer(ctx, s, in, err, func(ctx context.Context, in *pb.DropRequest) (*pb.DropResponse, error) {
		return &pb.DropResponse{}, s.host.Drop(ctx, peersync.Peer(in.GetPeer()), in.GetReason())
	})
}

func (s *PeerSyncHostServer) Save(ctx context.Context, in *pb.SaveRequest) (*pb.SaveResponse, error) {
	err := peersync.CheckCursor(in.GetName(), in.GetValue())
	return answer(ctx, s, in, err, func(ctx context.Context, in *pb.SaveRequest) (*pb.SaveResponse, error) {
		return &pb.SaveResponse{}, s.host.Save(ctx, in.GetName(), in.GetValue())
	})
}

func (s *PeerSyncHostServer) Load(ctx context.Context, in *pb.LoadRequest) (*pb.LoadResponse, error) {
	err := peersync.CheckCursor(in.GetName(), nil)
	return answer(ctx, s, in, err, func(ctx context.Context, in *pb.LoadRequest) (*pb.LoadResponse, error) {
		value, err := s.host.Load(ctx, in.GetName())
		return &pb.LoadResponse{Value: value}, err
	})
}

func (s *PeerSyncHostServer) Report(ctx context.Context, in *pb.ReportRequest) (*pb.ReportResponse, error) {
	r, err := report(in)
	return answer(ctx, s, r, err, func(ctx context.Context, r peersync.Report) (*pb.ReportResponse, error) {
		return &pb.ReportResponse{}, s.host.Report(ctx, r)
	})
}
