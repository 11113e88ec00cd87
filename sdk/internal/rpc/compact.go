package rpc

import (
	"context"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// DecodeCompacted checks and returns the answer to req. A plugin may answer for ever that
// there is more: callers bound how long they go on.
func DecodeCompacted(resp *pb.CompactResponse, req storage.CompactRequest) (storage.Compacted, error) {
	limit, err := req.Bound()
	if err != nil {
		return storage.Compacted{}, err
	}
	if resp.GetMoved() > uint64(limit) {
		return storage.Compacted{}, protocolError("%d bytes were moved, %d were allowed", resp.GetMoved(), limit)
	}
	return storage.Compacted{Moved: resp.GetMoved(), More: resp.GetMore()}, nil
}

func (s *storageServer) Compact(ctx context.Context, req *pb.CompactRequest) (*pb.CompactResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.CompactResponse, error) {
		compactor, err := optional[storage.Compactor](lease, "Compact")
		if err != nil {
			return nil, err
		}
		ctx, cancel := lease.untilEnding(ctx)
		defer cancel()
		c, err := compactor.Compact(ctx, storage.CompactRequest{Room: req.GetRoom(), Max: toInt(req.GetMax())})
		return &pb.CompactResponse{Moved: c.Moved, More: c.More}, err
	})
}
