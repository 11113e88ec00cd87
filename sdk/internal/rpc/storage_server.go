package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

type storageServer struct {
	pb.UnimplementedStorageServer

	acquire Acquire[storage.Store]
}

// NewStorageServer serves the store that acquire gives.
func NewStorageServer(acquire Acquire[storage.Store]) pb.StorageServer {
	return &storageServer{acquire: acquire}
}

func (s *storageServer) Info(ctx context.Context, _ *pb.InfoRequest) (*pb.InfoResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.InfoResponse, error) {
		info, err := lease.Implementation.Info(ctx)
		return encodeInfoResponse(info), err
	})
}

func (s *storageServer) Append(ctx context.Context, req *pb.AppendRequest) (*pb.AppendResponse, error) {
	records, err := decodeRecords(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.AppendResponse, error) {
		outcomes, err := lease.Implementation.Append(ctx, records)
		return encodeAppendResponse(outcomes), err
	})
}

func (s *storageServer) Log(ctx context.Context, req *pb.LogRequest) (*pb.LogResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.LogResponse, error) {
		page, err := lease.Implementation.Log(ctx, storage.LogRequest{
			From:     storage.Seq(req.GetFrom()),
			Max:      toInt(req.GetMax()),
			MaxBytes: toInt(req.GetMaxBytes()),
		})
		return encodeLogResponse(page), err
	})
}

func (s *storageServer) Find(ctx context.Context, req *pb.FindRequest) (*pb.FindResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.FindResponse, error) {
		seq, err := lease.Implementation.Find(ctx, req.GetSignature())
		return &pb.FindResponse{Seq: uint64(seq)}, err
	})
}

func (s *storageServer) Watch(ctx context.Context, req *pb.WatchRequest) (*pb.WatchResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.WatchResponse, error) {
		w, err := optional[storage.Watcher](lease, "Watch")
		if err != nil {
			return nil, err
		}
		ctx, cancel := lease.untilEnding(ctx)
		defer cancel()
		seq, err := w.Watch(ctx, storage.Seq(req.GetAfter()))
		return &pb.WatchResponse{Last: uint64(seq)}, err
	})
}

// optional returns the store as a T, or the error of a store that does not offer the call.
func optional[T any](lease Lease[storage.Store], call string) (T, error) {
	t, ok := storage.As[T](lease.Implementation)
	if !ok {
		return t, fmt.Errorf("%w: %s", errNotOffered, call)
	}
	return t, nil
}
