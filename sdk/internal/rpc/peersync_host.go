package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// maxHostCall bounds one call of a plugin, in bytes. The longest call is Send.
const maxHostCall = peersync.MaxMessage + 8<<10

// HandleEvents sends events to a plugin and answers its calls until it has handled them.
// The plugin is not trusted: its calls reach the host one at a time, within the limits,
// with a context that ends with the Handle. None is under way when HandleEvents returns.
func HandleEvents(ctx context.Context, plugin pb.PeerSyncClient, host peersync.HostServices, events *pb.HandleRequest) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := plugin.Handle(ctx, grpc.MaxCallRecvMsgSize(maxHostCall))
	if err != nil {
		return err
	}
	if err := stream.Send(events); err != nil && !errors.Is(err, io.EOF) { // EOF: Recv has the reason
		return err
	}
	var sending sync.Mutex
	var busy atomic.Bool
	for {
		resp, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !busy.CompareAndSwap(false, true):
			return &ContractError{What: "calls the relay before its last call was answered"}
		}
		calls.Go(func() {
			answer := answerCall(ctx, host, resp.GetCall())
			sending.Lock()
			defer sending.Unlock()
			busy.Store(false)                              // the plugin may call again as soon as it has the answer
			stream.Send(&pb.HandleRequest{Answer: answer}) //nolint:errcheck // Recv has the reason
		})
	}
}

// answerCall makes one call to the host and encodes its result or its error.
func answerCall(ctx context.Context, host peersync.HostServices, in *pb.HostCall) *pb.HostAnswer {
	out, err := callHost(ctx, host, in)
	if err != nil {
		s := status.Convert(PeerSyncErrors.ToStatus(err))
		return &pb.HostAnswer{Code: uint32(s.Code()), Text: s.Message()}
	}
	return out
}

func callHost(ctx context.Context, host peersync.HostServices, in *pb.HostCall) (*pb.HostAnswer, error) {
	switch c := in.GetCall().(type) {
	case *pb.HostCall_Log:
		return callLog(ctx, host, c.Log)
	case *pb.HostCall_Keys:
		return callKeys(ctx, host, c.Keys)
	case *pb.HostCall_RangeSum:
		return callRangeSum(ctx, host, c.RangeSum)
	case *pb.HostCall_Split:
		return callSplit(ctx, host, c.Split)
	case *pb.HostCall_Load:
		return callLoad(ctx, host, c.Load)
	case *pb.HostCall_List:
		names, err := host.List(ctx)
		return &pb.HostAnswer{Answer: &pb.HostAnswer_List{List: &pb.ListResponse{Names: names}}}, err
	}
	return &pb.HostAnswer{}, tellHost(ctx, host, in)
}

// tellHost makes a call that returns only an error.
func tellHost(ctx context.Context, host peersync.HostServices, in *pb.HostCall) error {
	switch c := in.GetCall().(type) {
	case *pb.HostCall_Save:
		cursors, err := decodeCursors(c.Save)
		if err != nil {
			return err
		}
		return host.Save(ctx, cursors...)
	case *pb.HostCall_Wake:
		after := time.Duration(c.Wake.GetAfter())
		if err := peersync.CheckWake(after); err != nil {
			return err
		}
		return host.Wake(ctx, after)
	case *pb.HostCall_Report:
		r, err := decodeReport(c.Report)
		if err != nil {
			return err
		}
		return host.Report(ctx, r)
	}
	return tellPeer(ctx, host, in)
}

// tellPeer makes a call for a peer.
func tellPeer(ctx context.Context, host peersync.HostServices, in *pb.HostCall) error {
	switch c := in.GetCall().(type) {
	case *pb.HostCall_Send:
		if err := peersync.CheckMessage(c.Send.GetMessage()); err != nil {
			return err
		}
		return host.Send(ctx, peersync.Peer(c.Send.GetPeer()), c.Send.GetMessage())
	case *pb.HostCall_Push:
		ids, err := unpackSomeIDs(c.Push.GetIds())
		if err != nil {
			return err
		}
		return host.Push(ctx, peersync.Peer(c.Push.GetPeer()), ids)
	case *pb.HostCall_Offer:
		ids, err := unpackSomeIDs(c.Offer.GetIds())
		if err != nil {
			return err
		}
		return host.Offer(ctx, peersync.Peer(c.Offer.GetPeer()), ids)
	case *pb.HostCall_Request:
		keys, err := unpackSomeKeys(c.Request.GetKeys())
		if err != nil {
			return err
		}
		return host.Request(ctx, peersync.Peer(c.Request.GetPeer()), keys)
	case *pb.HostCall_Drop:
		if err := peersync.CheckText(c.Drop.GetReason()); err != nil {
			return err
		}
		return host.Drop(ctx, peersync.Peer(c.Drop.GetPeer()), c.Drop.GetReason())
	case *pb.HostCall_Rest:
		pause := time.Duration(c.Rest.GetPause())
		if err := peersync.CheckRest(pause); err != nil {
			return err
		}
		return host.Rest(ctx, peersync.Peer(c.Rest.GetPeer()), pause)
	}
	return errUnknownCall
}

var errUnknownCall = status.Error(codes.Unimplemented, "this relay does not know the call")

func callLog(ctx context.Context, host peersync.HostServices, in *pb.ReplicaLogRequest) (*pb.HostAnswer, error) {
	req := peersync.LogRequest{From: clampSeq(in.GetFrom()), Max: clampCount(in.GetMax())}
	if _, _, err := req.Bounds(); err != nil {
		return nil, err
	}
	page, err := host.Log(ctx, req)
	return &pb.HostAnswer{Answer: &pb.HostAnswer_Log{Log: encodeLogPage(page)}}, err
}

func callKeys(ctx context.Context, host peersync.HostServices, in *pb.ReplicaKeysRequest) (*pb.HostAnswer, error) {
	ranges, err := unpackRanges(in.GetRanges())
	limit := clampCount(in.GetMax())
	if err == nil {
		err = peersync.CheckKeys(ranges, limit)
	}
	if err != nil {
		return nil, err
	}
	lists, err := host.Keys(ctx, ranges, limit)
	return &pb.HostAnswer{Answer: &pb.HostAnswer_Keys{Keys: encodeKeyLists(lists)}}, err
}

func callRangeSum(ctx context.Context, host peersync.HostServices, in *pb.RangeSumRequest) (*pb.HostAnswer, error) {
	ranges, err := unpackRanges(in.GetRanges())
	if err == nil {
		err = peersync.CheckRanges(ranges)
	}
	if err != nil {
		return nil, err
	}
	sums, err := host.RangeSum(ctx, peersync.Peer(in.GetPeer()), ranges)
	return &pb.HostAnswer{Answer: &pb.HostAnswer_RangeSum{RangeSum: encodeSums(sums)}}, err
}

func callSplit(ctx context.Context, host peersync.HostServices, in *pb.SplitRequest) (*pb.HostAnswer, error) {
	ranges, err := unpackRanges(in.GetRanges())
	parts := clampCount(in.GetParts())
	if err == nil {
		err = peersync.CheckSplit(ranges, parts)
	}
	if err != nil {
		return nil, err
	}
	out, err := host.Split(ctx, peersync.Peer(in.GetPeer()), ranges, parts)
	return &pb.HostAnswer{Answer: &pb.HostAnswer_Split{Split: encodeParts(out)}}, err
}

func callLoad(ctx context.Context, host peersync.HostServices, in *pb.LoadRequest) (*pb.HostAnswer, error) {
	if err := peersync.CheckCursorName(in.GetName()); err != nil {
		return nil, err
	}
	value, err := host.Load(ctx, in.GetName())
	return &pb.HostAnswer{Answer: &pb.HostAnswer_Load{Load: &pb.LoadResponse{Value: value}}}, err
}
