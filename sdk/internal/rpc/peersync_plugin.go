package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// PeerSyncErrors are the errors of peersync.proto, in both directions.
var PeerSyncErrors = ErrorCodes{
	{peersync.ErrTooLarge, codes.OutOfRange},
	{peersync.ErrBusy, codes.Aborted},
	{peersync.ErrPeerUnknown, codes.NotFound},
	{peersync.ErrNotStarted, codes.FailedPrecondition},
	{peersync.ErrUnavailable, codes.Unavailable},
}

type peerSyncServer struct {
	pb.UnimplementedPeerSyncServer

	acquire Acquire[peersync.Replicator]
	host    *HostClient
	turn    turn
}

// NewPeerSyncServer serves the replicator that acquire gives. It makes one call at a
// time, during which host can call the relay.
func NewPeerSyncServer(acquire Acquire[peersync.Replicator], host *HostClient) pb.PeerSyncServer {
	return &peerSyncServer{acquire: acquire, host: host, turn: newTurn()}
}

// Handle passes the events of a request to the replicator. The relay may have given up a
// Handle that is still under way: the next one waits for it.
func (s *peerSyncServer) Handle(stream grpc.BidiStreamingServer[pb.HandleRequest, pb.HandleResponse]) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	events, err := decodeEvents(req)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	ctx := stream.Context()
	_, err = withLease(s.acquire, PeerSyncErrors, func(lease Lease[peersync.Replicator]) (struct{}, error) {
		if err := s.turn.take(ctx); err != nil {
			return struct{}{}, err
		}
		defer s.turn.giveBack()
		s.host.setExchange(&exchange{stream: stream, turn: newTurn()})
		defer s.host.setExchange(nil)
		return struct{}{}, lease.Implementation.Handle(ctx, events)
	})
	return err
}

// HostClient is the plugin's side of [peersync.HostServices]. It calls the relay on the
// stream of the Handle that is under way, and refuses calls beyond the limits itself.
type HostClient struct {
	mu      sync.Mutex
	current *exchange // nil while no Handle is under way
}

var _ peersync.HostServices = (*HostClient)(nil)

func (h *HostClient) setExchange(current *exchange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = current
}

// callHost makes one call. It waits for the answer, or until ctx ends.
func (h *HostClient) callHost(ctx context.Context, call *pb.HostCall) (*pb.HostAnswer, error) {
	h.mu.Lock()
	x := h.current
	h.mu.Unlock()
	if x == nil {
		return nil, status.Error(codes.InvalidArgument, "the host was called outside of Handle")
	}
	return x.callInTurn(ctx, call)
}

// exchange is the conversation of a plugin and its relay during one Handle: a call, its
// answer, the next call.
type exchange struct {
	stream grpc.BidiStreamingServer[pb.HandleRequest, pb.HandleResponse]
	turn   turn // taken until the call under way is answered
}

func (x *exchange) callInTurn(ctx context.Context, call *pb.HostCall) (answer *pb.HostAnswer, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := x.turn.take(ctx); err != nil {
		return nil, err
	}
	answered := make(chan struct{})
	var got *pb.HostAnswer
	var failed error
	go func() { // ctx may end first: the answer still has to be read before the next call
		got, failed = x.roundTrip(call)
		x.turn.giveBack()
		close(answered)
	}()
	select {
	case <-answered:
		return got, failed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (x *exchange) roundTrip(call *pb.HostCall) (*pb.HostAnswer, error) {
	if err := x.stream.Send(&pb.HandleResponse{Call: call}); err != nil {
		return nil, err
	}
	req, err := x.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return nil, status.Error(codes.Unavailable, "the relay has ended the Handle")
	case err != nil:
		return nil, err
	}
	answer := req.GetAnswer()
	return answer, status.Error(codes.Code(answer.GetCode()), answer.GetText())
}

// decodeAnswer returns the result of the call name, or its error.
func decodeAnswer[M, R any](name string, read func(M) (R, error), in M, err error) (out R, _ error) {
	if err == nil {
		out, err = read(in)
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", name, PeerSyncErrors.FromStatus(err))
	}
	return out, nil
}

func (h *HostClient) callWithoutResult(ctx context.Context, name string, call *pb.HostCall) error {
	_, err := h.callHost(ctx, call)
	if err != nil {
		return fmt.Errorf("%s: %w", name, PeerSyncErrors.FromStatus(err))
	}
	return nil
}

func (h *HostClient) Log(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	if _, _, err := req.Bounds(); err != nil {
		return peersync.LogPage{}, fmt.Errorf("log: %w", err)
	}
	resp, err := h.callHost(ctx, &pb.HostCall{Call: &pb.HostCall_Log{Log: &pb.ReplicaLogRequest{From: uint64(req.From), Max: uint32(req.Max)}}})
	return decodeAnswer("log", func(m *pb.ReplicaLogResponse) (peersync.LogPage, error) { return decodeLogPage(m, req) }, resp.GetLog(), err)
}

func (h *HostClient) Keys(ctx context.Context, ranges []peersync.Range, max int) ([][]peersync.Key, error) {
	if err := peersync.CheckKeys(ranges, max); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	resp, err := h.callHost(ctx, &pb.HostCall{Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Ranges: packRanges(ranges...), Max: uint32(max)}}})
	return decodeAnswer("keys", func(m *pb.ReplicaKeysResponse) ([][]peersync.Key, error) { return decodeKeyLists(m, ranges, max) }, resp.GetKeys(), err)
}

func (h *HostClient) RangeSum(ctx context.Context, peer peersync.Peer, ranges []peersync.Range) ([]peersync.Sum, error) {
	if err := peersync.CheckRanges(ranges); err != nil {
		return nil, fmt.Errorf("range sum: %w", err)
	}
	resp, err := h.callHost(ctx, &pb.HostCall{Call: &pb.HostCall_RangeSum{RangeSum: &pb.RangeSumRequest{Ranges: packRanges(ranges...), Peer: uint32(peer)}}})
	return decodeAnswer("range sum", func(m *pb.RangeSumResponse) ([]peersync.Sum, error) { return decodeSums(m, len(ranges)) }, resp.GetRangeSum(), err)
}

func (h *HostClient) Split(ctx context.Context, peer peersync.Peer, ranges []peersync.Range, parts int) ([][]peersync.Part, error) {
	if err := peersync.CheckSplit(ranges, parts); err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	resp, err := h.callHost(ctx, &pb.HostCall{Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Ranges: packRanges(ranges...), Parts: uint32(parts), Peer: uint32(peer)}}})
	return decodeAnswer("split", func(m *pb.SplitResponse) ([][]peersync.Part, error) { return decodeParts(m, ranges, parts) }, resp.GetSplit(), err)
}

func (h *HostClient) Send(ctx context.Context, to peersync.Peer, message []byte) error {
	if err := peersync.CheckMessage(message); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return h.callWithoutResult(ctx, "send", &pb.HostCall{Call: &pb.HostCall_Send{Send: &pb.SendRequest{Peer: uint32(to), Message: message}}})
}

func (h *HostClient) Push(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	if err := peersync.CheckIDs(len(ids)); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	return h.callWithoutResult(ctx, "push", &pb.HostCall{Call: &pb.HostCall_Push{Push: &pb.PushRequest{Peer: uint32(to), Ids: packIDs(ids)}}})
}

func (h *HostClient) Offer(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	if err := peersync.CheckIDs(len(ids)); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	return h.callWithoutResult(ctx, "offer", &pb.HostCall{Call: &pb.HostCall_Offer{Offer: &pb.OfferRequest{Peer: uint32(to), Ids: packIDs(ids)}}})
}

func (h *HostClient) Request(ctx context.Context, from peersync.Peer, keys []peersync.Key) error {
	if err := peersync.CheckIDs(len(keys)); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	return h.callWithoutResult(ctx, "request", &pb.HostCall{Call: &pb.HostCall_Request{Request: &pb.RequestRequest{Peer: uint32(from), Keys: packKeys(keys...)}}})
}

func (h *HostClient) Drop(ctx context.Context, peer peersync.Peer, reason string) error {
	if err := peersync.CheckText(reason); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	return h.callWithoutResult(ctx, "drop", &pb.HostCall{Call: &pb.HostCall_Drop{Drop: &pb.DropRequest{Peer: uint32(peer), Reason: reason}}})
}

func (h *HostClient) Rest(ctx context.Context, peer peersync.Peer, pause time.Duration) error {
	if err := peersync.CheckRest(pause); err != nil {
		return fmt.Errorf("rest: %w", err)
	}
	return h.callWithoutResult(ctx, "rest", &pb.HostCall{Call: &pb.HostCall_Rest{Rest: &pb.RestRequest{Peer: uint32(peer), Pause: int64(pause)}}})
}

func (h *HostClient) Save(ctx context.Context, cursors ...peersync.Cursor) error {
	if err := peersync.CheckCursors(cursors); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return h.callWithoutResult(ctx, "save", &pb.HostCall{Call: &pb.HostCall_Save{Save: encodeCursors(cursors)}})
}

func (h *HostClient) Load(ctx context.Context, name string) ([]byte, error) {
	if err := peersync.CheckCursorName(name); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	resp, err := h.callHost(ctx, &pb.HostCall{Call: &pb.HostCall_Load{Load: &pb.LoadRequest{Name: name}}})
	return decodeAnswer("load", decodeValue, resp.GetLoad(), err)
}

func (h *HostClient) List(ctx context.Context) ([]string, error) {
	resp, err := h.callHost(ctx, &pb.HostCall{Call: &pb.HostCall_List{List: &pb.ListRequest{}}})
	return decodeAnswer("list", decodeNames, resp.GetList(), err)
}

func (h *HostClient) Wake(ctx context.Context, after time.Duration) error {
	if err := peersync.CheckWake(after); err != nil {
		return fmt.Errorf("wake: %w", err)
	}
	return h.callWithoutResult(ctx, "wake", &pb.HostCall{Call: &pb.HostCall_Wake{Wake: &pb.WakeRequest{After: int64(after)}}})
}

func (h *HostClient) Report(ctx context.Context, report peersync.Report) error {
	if err := report.Check(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return h.callWithoutResult(ctx, "report", &pb.HostCall{Call: &pb.HostCall_Report{Report: encodeReport(report)}})
}
