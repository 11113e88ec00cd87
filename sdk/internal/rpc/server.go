package rpc

import (
	"context"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// StorageServer serves a store.
type StorageServer struct {
	pb.UnimplementedStorageServer

	// Acquire gives the store for one call, and a context for it that may end
	// before the caller's. release is called when the call is over.
	Acquire func(ctx context.Context) (callCtx context.Context, store storage.Store, release func(), err error)
}

// ServeStore serves a store that is there from first to last.
func ServeStore(store storage.Store) *StorageServer {
	return &StorageServer{Acquire: func(ctx context.Context) (context.Context, storage.Store, func(), error) {
		return ctx, store, func() {}, nil
	}}
}

// with runs one call on the store and gives its error the form of the wire.
func with[R any](s *StorageServer, ctx context.Context, call func(context.Context, storage.Store) (R, error)) (R, error) {
	var none R
	ctx, store, release, err := s.Acquire(ctx)
	if err != nil {
		return none, Status(err)
	}
	defer release()
	resp, err := call(ctx, store)
	if err != nil {
		return none, Status(err)
	}
	return resp, nil
}

func (s *StorageServer) Info(ctx context.Context, _ *pb.InfoRequest) (*pb.InfoResponse, error) {
	return with(s, ctx, func(ctx context.Context, store storage.Store) (*pb.InfoResponse, error) {
		info, err := store.Info(ctx)
		return InfoResponse(info), err
	})
}

func (s *StorageServer) Append(ctx context.Context, req *pb.AppendRequest) (*pb.AppendResponse, error) {
	records, err := Records(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return with(s, ctx, func(ctx context.Context, store storage.Store) (*pb.AppendResponse, error) {
		outcomes, err := store.Append(ctx, records)
		return AppendResponse(outcomes), err
	})
}

func (s *StorageServer) Log(ctx context.Context, req *pb.LogRequest) (*pb.LogResponse, error) {
	return with(s, ctx, func(ctx context.Context, store storage.Store) (*pb.LogResponse, error) {
		page, err := store.Log(ctx, storage.LogRequest{
			From:     storage.Seq(req.GetFrom()),
			Max:      int(min(req.GetMax(), math.MaxInt32)),
			MaxBytes: int(min(req.GetMaxBytes(), math.MaxInt32)),
		})
		return LogResponse(page), err
	})
}

func (s *StorageServer) Find(ctx context.Context, req *pb.FindRequest) (*pb.FindResponse, error) {
	return with(s, ctx, func(ctx context.Context, store storage.Store) (*pb.FindResponse, error) {
		seq, err := store.Find(ctx, req.GetSignature())
		return &pb.FindResponse{Seq: uint64(seq)}, err
	})
}

func (s *StorageServer) Watch(ctx context.Context, req *pb.WatchRequest) (*pb.WatchResponse, error) {
	return with(s, ctx, func(ctx context.Context, store storage.Store) (*pb.WatchResponse, error) {
		w, ok := store.(storage.Watcher)
		if !ok {
			return nil, errNoWatch
		}
		seq, err := w.Watch(ctx, storage.Seq(req.GetAfter()))
		return &pb.WatchResponse{Last: uint64(seq)}, err
	})
}
