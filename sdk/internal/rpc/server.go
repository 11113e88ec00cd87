package rpc

import (
	"context"
	"fmt"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// StorageServer serves a store.
type StorageServer struct {
	pb.UnimplementedStorageServer

	Acquire Acquire[storage.Store]
}

func (s *StorageServer) Info(ctx context.Context, _ *pb.InfoRequest) (*pb.InfoResponse, error) {
	return withImplementation(s.Acquire, StorageErrors, ctx, func(ctx context.Context, store storage.Store) (*pb.InfoResponse, error) {
		info, err := store.Info(ctx)
		return InfoResponse(info), err
	})
}

func (s *StorageServer) Append(ctx context.Context, req *pb.AppendRequest) (*pb.AppendResponse, error) {
	records, err := Records(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return withImplementation(s.Acquire, StorageErrors, ctx, func(ctx context.Context, store storage.Store) (*pb.AppendResponse, error) {
		outcomes, err := store.Append(ctx, records)
		return AppendResponse(outcomes), err
	})
}

func (s *StorageServer) Log(ctx context.Context, req *pb.LogRequest) (*pb.LogResponse, error) {
	return withImplementation(s.Acquire, StorageErrors, ctx, func(ctx context.Context, store storage.Store) (*pb.LogResponse, error) {
		page, err := store.Log(ctx, storage.LogRequest{
			From:     storage.Seq(req.GetFrom()),
			Max:      int(min(req.GetMax(), math.MaxInt32)),
			MaxBytes: int(min(req.GetMaxBytes(), math.MaxInt32)),
		})
		return LogResponse(page), err
	})
}

func (s *StorageServer) Find(ctx context.Context, req *pb.FindRequest) (*pb.FindResponse, error) {
	return withImplementation(s.Acquire, StorageErrors, ctx, func(ctx context.Context, store storage.Store) (*pb.FindResponse, error) {
		seq, err := store.Find(ctx, req.GetSignature())
		return &pb.FindResponse{Seq: uint64(seq)}, err
	})
}

func (s *StorageServer) Watch(ctx context.Context, req *pb.WatchRequest) (*pb.WatchResponse, error) {
	return waitWithImplementation(s.Acquire, StorageErrors, ctx, func(ctx context.Context, store storage.Store) (*pb.WatchResponse, error) {
		w, ok := store.(storage.Watcher)
		if !ok {
			return nil, errNoWatch
		}
		seq, err := w.Watch(ctx, storage.Seq(req.GetAfter()))
		return &pb.WatchResponse{Last: uint64(seq)}, err
	})
}

var errNoWatch = fmt.Errorf("%w: Watch", errUnannounced)
