package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// PeerSyncErrors are those of peersync.proto, in both directions.
var PeerSyncErrors = Vocabulary{
	{peersync.ErrTooLarge, codes.OutOfRange},
	{peersync.ErrBusy, codes.Aborted},
	{peersync.ErrPeerUnknown, codes.NotFound},
	{peersync.ErrNotStarted, codes.FailedPrecondition},
	{peersync.ErrUnavailable, codes.Unavailable},
}

// PeerSyncServer serves a replicator.
type PeerSyncServer struct {
	pb.UnimplementedPeerSyncServer

	Acquire Acquire[peersync.Replicator]
}

func (s *PeerSyncServer) Handle(ctx context.Context, req *pb.HandleRequest) (*pb.HandleResponse, error) {
	events, err := Events(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return with(s.Acquire, PeerSyncErrors, ctx, func(ctx context.Context, r peersync.Replicator) (*pb.HandleResponse, error) {
		return &pb.HandleResponse{}, r.Handle(ctx, events)
	})
}

// maxHostAnswer bounds what the relay answers a plugin, in bytes; the longest is a
// full page of keys.
const maxHostAnswer = 1 << 20

// NewPeerSyncHost gives the host at the other end of a connection.
func NewPeerSyncHost(conn grpc.ClientConnInterface) peersync.Host {
	return &remoteHost{rpc: pb.NewPeerSyncHostClient(conn)}
}

// remoteHost is a host in another process. It refuses what exceeds the limits
// without asking.
type remoteHost struct{ rpc pb.PeerSyncHostClient }

var hostAnswers = grpc.MaxCallRecvMsgSize(maxHostAnswer)

// asked makes the result of a call out of what came back.
func asked[M, R any](name string, read func(M) (R, error), in M, err error) (out R, _ error) {
	if err == nil {
		out, err = read(in)
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", name, PeerSyncErrors.Error(err))
	}
	return out, nil
}

// told is asked for calls that answer nothing.
func told[M any](name string, _ M, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, PeerSyncErrors.Error(err))
	}
	return nil
}

func (h *remoteHost) Log(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	if _, _, err := req.Bounds(); err != nil {
		return peersync.LogPage{}, fmt.Errorf("log: %w", err)
	}
	resp, err := h.rpc.Log(ctx, &pb.ReplicaLogRequest{From: uint64(req.From), Max: uint32(req.Max)}, hostAnswers)
	return asked("log", func(m *pb.ReplicaLogResponse) (peersync.LogPage, error) { return logPage(m, req) }, resp, err)
}

func (h *remoteHost) Keys(ctx context.Context, in peersync.Range, max int) ([]peersync.Key, error) {
	if err := peersync.CheckKeys(max); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	resp, err := h.rpc.Keys(ctx, &pb.KeysRequest{Range: packRanges(in), Max: uint32(max)}, hostAnswers)
	return asked("keys", func(m *pb.KeysResponse) ([]peersync.Key, error) { return unpackKeys(m.GetKeys(), max) }, resp, err)
}

func (h *remoteHost) RangeSum(ctx context.Context, ranges []peersync.Range) ([]peersync.Sum, error) {
	if err := peersync.CheckRanges(ranges); err != nil {
		return nil, fmt.Errorf("range sum: %w", err)
	}
	resp, err := h.rpc.RangeSum(ctx, &pb.RangeSumRequest{Ranges: packRanges(ranges...)}, hostAnswers)
	return asked("range sum", func(m *pb.RangeSumResponse) ([]peersync.Sum, error) { return rangeSums(m, len(ranges)) }, resp, err)
}

func (h *remoteHost) Split(ctx context.Context, in peersync.Range, parts int) ([]peersync.Part, error) {
	if err := peersync.CheckParts(parts); err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	resp, err := h.rpc.Split(ctx, &pb.SplitRequest{Range: packRanges(in), Parts: uint32(parts)}, hostAnswers)
	return asked("split", func(m *pb.SplitResponse) ([]peersync.Part, error) { return splitParts(m, parts) }, resp, err)
}

func (h *remoteHost) Send(ctx context.Context, to peersync.Peer, message []byte) error {
	if err := peersync.CheckMessage(message); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	resp, err := h.rpc.Send(ctx, &pb.SendRequest{Peer: uint32(to), Message: message}, hostAnswers)
	return told("send", resp, err)
}

func (h *remoteHost) Transfer(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	if err := peersync.CheckIDs(ids); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	resp, err := h.rpc.Transfer(ctx, &pb.TransferRequest{Peer: uint32(to), Ids: packIDs(ids)}, hostAnswers)
	return told("transfer", resp, err)
}

func (h *remoteHost) Request(ctx context.Context, from peersync.Peer, ids []storage.ID) error {
	if err := peersync.CheckIDs(ids); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	resp, err := h.rpc.Request(ctx, &pb.RequestRequest{Peer: uint32(from), Ids: packIDs(ids)}, hostAnswers)
	return told("request", resp, err)
}

func (h *remoteHost) Drop(ctx context.Context, peer peersync.Peer, reason string) error {
	if err := peersync.CheckText(reason); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	resp, err := h.rpc.Drop(ctx, &pb.DropRequest{Peer: uint32(peer), Reason: reason}, hostAnswers)
	return told("drop", resp, err)
}

func (h *remoteHost) Save(ctx context.Context, name string, value []byte) error {
	if err := peersync.CheckCursor(name, value); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	resp, err := h.rpc.Save(ctx, &pb.SaveRequest{Name: name, Value: value}, hostAnswers)
	return told("save", resp, err)
}

func (h *remoteHost) Load(ctx context.Context, name string) ([]byte, error) {
	if err := peersync.CheckCursor(name, nil); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	resp, err := h.rpc.Load(ctx, &pb.LoadRequest{Name: name}, hostAnswers)
	return asked("load", func(m *pb.LoadResponse) ([]byte, error) { return m.GetValue(), nil }, resp, err)
}

func (h *remoteHost) Report(ctx context.Context, report peersync.Report) error {
	if err := report.Check(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	resp, err := h.rpc.Report(ctx, reportMessage(report), hostAnswers)
	return told("report", resp, err)
}

// HostDialOptions are those of the connection from a plugin to its relay.
func HostDialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxHostAnswer),
			grpc.MaxCallSendMsgSize(MaxMessage),
			grpc.ForceCodecV2(Codec),
		),
		grpc.WithMaxHeaderListSize(8 << 10),
		grpc.WithIdleTimeout(0), // the relay's socket is for one connection at a time
		grpc.WithDisableServiceConfig(),
	}
}
