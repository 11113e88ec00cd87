package rpc

import (
	"context"
	"math"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// EncodeKeysRequest encodes the request for a page of keys.
func EncodeKeysRequest(req storage.KeysRequest) *pb.KeysRequest {
	return &pb.KeysRequest{Range: packRanges(req.Range), Max: uint32(req.Max)}
}

// DecodeKeys checks and returns the answer to req.
func DecodeKeys(resp *pb.KeysResponse, req storage.KeysRequest) ([]storage.Key, error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, err
	}
	keys, err := unpackKeys(resp.GetKeys(), limit)
	if err != nil {
		return nil, protocolError("%v", err)
	}
	for i := range keys {
		if !req.Range.Has(keys[i]) || i > 0 && keys[i].Compare(keys[i-1]) <= 0 {
			return nil, protocolError("key %d of a page is not in the range or does not come after the one before it", i)
		}
	}
	return keys, nil
}

// EncodeGetRequest encodes the request for entries.
func EncodeGetRequest(ids []storage.ID) *pb.GetRequest { return &pb.GetRequest{Ids: packIDs(ids)} }

// DecodeEntries checks and returns the answer to a Get of ids. The entries alias the
// response.
func DecodeEntries(resp *pb.GetResponse, ids []storage.ID) ([]storage.Entry, error) {
	if n := len(resp.GetEntries()); n > len(ids) {
		return nil, protocolError("%d entries for %d ids", n, len(ids))
	}
	entries := make([]storage.Entry, len(resp.GetEntries()))
	size := 0
	for i, in := range resp.GetEntries() {
		n, err := decodeEntry(&entries[i], in)
		if err != nil {
			return nil, err
		}
		size += n
		at := slices.Index(ids, entries[i].ID)
		switch {
		case at < 0:
			return nil, protocolError("an entry that was not asked for, or not in this place")
		case entries[i].Seq == 0 || entries[i].Seq > maxSeq:
			return nil, protocolError("an entry with the sequence number %d", entries[i].Seq)
		case size > storage.PageBytes && len(entries) > 1:
			return nil, protocolError("entries of more than %d bytes", storage.PageBytes)
		}
		ids = ids[at+1:]
	}
	return entries, nil
}

func (s *storageServer) Keys(ctx context.Context, req *pb.KeysRequest) (*pb.KeysResponse, error) {
	in, err := unpackRange(req.GetRange())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.KeysResponse, error) {
		index, err := optional[storage.Index](lease, "Keys")
		if err != nil {
			return nil, err
		}
		keys, err := index.Keys(ctx, storage.KeysRequest{Range: in, Max: toInt(req.GetMax())})
		return &pb.KeysResponse{Keys: packKeys(keys...)}, err
	})
}

func (s *storageServer) Get(ctx context.Context, req *pb.GetRequest) (*pb.GetResponse, error) {
	ids, err := unpackIDs(req.GetIds(), math.MaxInt) // the store refuses too many
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.GetResponse, error) {
		index, err := optional[storage.Index](lease, "Get")
		if err != nil {
			return nil, err
		}
		entries, err := index.Get(ctx, ids)
		return &pb.GetResponse{Entries: encodeEntries(entries)}, err
	})
}
