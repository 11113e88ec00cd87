package rpc

import (
	"context"
	"math"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func encodeHoursResponse(hours []storage.HourSize) *pb.HoursResponse {
	out := make([]*pb.HourSize, len(hours))
	all := make([]pb.HourSize, len(hours)) // one allocation instead of many
	for i, h := range hours {
		out[i] = &all[i]
		out[i].Hour, out[i].Count, out[i].Bytes = uint32(h.Hour), h.Count, h.Bytes
	}
	return &pb.HoursResponse{Hours: out}
}

// DecodeHours checks and returns the answer to req.
func DecodeHours(resp *pb.HoursResponse, req storage.HoursRequest) ([]storage.HourSize, error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, err
	}
	if n := len(resp.GetHours()); n > limit {
		return nil, protocolError("%d hours, %d were allowed", n, limit)
	}
	hours := make([]storage.HourSize, len(resp.GetHours()))
	var count, bytes uint64 // of the hours before
	for i, in := range resp.GetHours() {
		h := storage.HourSize{Hour: storage.Hour(in.GetHour()), Count: in.GetCount(), Bytes: in.GetBytes()}
		switch {
		case h.Hour < req.From, i > 0 && h.Hour <= hours[i-1].Hour:
			return nil, protocolError("hour %d does not come after the one before it", h.Hour)
		case h.Count == 0 || h.Count > maxSeq-count:
			return nil, protocolError("hour %d has %d envelopes", h.Hour, h.Count)
		case h.Bytes > maxSeq-bytes, !fitsEnvelopes(h.Bytes, h.Count):
			return nil, protocolError("hour %d has %d envelopes of %d bytes together", h.Hour, h.Count, h.Bytes)
		}
		count, bytes = count+h.Count, bytes+h.Bytes
		hours[i] = h
	}
	return hours, nil
}

// fitsEnvelopes reports whether count envelopes can have so many bytes.
func fitsEnvelopes(bytes, count uint64) bool {
	return bytes <= maxSeq && (bytes+storage.MaxEnvelope-1)/storage.MaxEnvelope <= count
}

func encodePruneResponse(p storage.Pruned) *pb.PruneResponse {
	return &pb.PruneResponse{Floor: uint32(p.Floor), Envelopes: p.Envelopes, Bytes: p.Bytes, More: p.More}
}

// DecodePruned checks and returns the answer to req. An answer with More has removed
// something, but a plugin may give it for ever: callers count what is removed.
func DecodePruned(resp *pb.PruneResponse, req storage.PruneRequest) (storage.Pruned, error) {
	limit, err := req.Bound()
	if err != nil {
		return storage.Pruned{}, err
	}
	p := storage.Pruned{
		Floor: storage.Hour(resp.GetFloor()), Envelopes: resp.GetEnvelopes(), Bytes: resp.GetBytes(), More: resp.GetMore(),
	}
	switch {
	case p.Floor < req.Floor:
		return storage.Pruned{}, protocolError("the floor is %d after it was raised to %d", p.Floor, req.Floor)
	case p.Envelopes > uint64(limit), p.More && p.Envelopes < uint64(limit):
		return storage.Pruned{}, protocolError("%d envelopes were removed, %d were allowed, more: %v", p.Envelopes, limit, p.More)
	case !fitsEnvelopes(p.Bytes, p.Envelopes):
		return storage.Pruned{}, protocolError("%d envelopes of %d bytes were removed", p.Envelopes, p.Bytes)
	}
	return p, nil
}

func (s *storageServer) Hours(ctx context.Context, req *pb.HoursRequest) (*pb.HoursResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.HoursResponse, error) {
		pruner, err := optional[storage.Pruner](lease, "Hours")
		if err != nil {
			return nil, err
		}
		hours, err := pruner.Hours(ctx, storage.HoursRequest{From: storage.Hour(req.GetFrom()), Max: toInt(req.GetMax())})
		return encodeHoursResponse(hours), err
	})
}

func (s *storageServer) Prune(ctx context.Context, req *pb.PruneRequest) (*pb.PruneResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.PruneResponse, error) {
		pruner, err := optional[storage.Pruner](lease, "Prune")
		if err != nil {
			return nil, err
		}
		pruned, err := pruner.Prune(ctx, storage.PruneRequest{Floor: storage.Hour(req.GetFloor()), Max: toInt(req.GetMax())})
		return encodePruneResponse(pruned), err
	})
}

// toInt returns a number that a relay has sent as an int, which may have 32 bits.
func toInt(n uint32) int { return int(min(n, math.MaxInt32)) }
