package rpc

import (
	"context"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// EncodeExportRequest encodes a snapshot. The message aliases the epoch.
func EncodeExportRequest(s stats.Snapshot) *pb.ExportRequest {
	req := &pb.ExportRequest{Server: s.Server, Epoch: s.Epoch[:], Seq: s.Seq, Metrics: make([]*pb.Metric, len(s.Metrics))}
	for i, m := range s.Metrics {
		out := &pb.Metric{Name: m.Name, Unit: m.Unit, Doc: m.Doc, Kind: pb.Metric_Kind(m.Kind), Points: make([]*pb.Point, len(m.Points))}
		for j, p := range m.Points {
			out.Points[j] = encodePoint(p)
		}
		req.Metrics[i] = out
	}
	return req
}

func encodePoint(p stats.Point) *pb.Point {
	out := &pb.Point{Value: p.Value, Count: p.Count, Sum: p.Sum}
	for _, l := range p.Labels {
		out.Labels = append(out.Labels, &pb.Label{Name: l.Name, Value: l.Value})
	}
	for _, b := range p.Buckets {
		out.Buckets = append(out.Buckets, &pb.Bucket{UpTo: b.UpTo, Count: b.Count})
	}
	return out
}

// decodeSnapshot returns a valid snapshot.
func decodeSnapshot(req *pb.ExportRequest) (stats.Snapshot, error) {
	s := stats.Snapshot{Server: req.GetServer(), Seq: req.GetSeq()}
	if !copyExactly(s.Epoch[:], req.GetEpoch()) {
		return stats.Snapshot{}, stats.ErrInvalid
	}
	for _, m := range req.GetMetrics() {
		out := stats.Metric{Name: m.GetName(), Unit: m.GetUnit(), Doc: m.GetDoc()}
		if k := m.GetKind(); k > 0 && k <= pb.Metric_KIND_HISTOGRAM {
			out.Kind = stats.Kind(k)
		}
		for _, p := range m.GetPoints() {
			out.Points = append(out.Points, decodePoint(p))
		}
		s.Metrics = append(s.Metrics, out)
	}
	if err := s.Validate(); err != nil {
		return stats.Snapshot{}, err
	}
	return s, nil
}

func decodePoint(p *pb.Point) stats.Point {
	out := stats.Point{Value: p.GetValue(), Count: p.GetCount(), Sum: p.GetSum()}
	for _, l := range p.GetLabels() {
		out.Labels = append(out.Labels, stats.Label{Name: l.GetName(), Value: l.GetValue()})
	}
	for _, b := range p.GetBuckets() {
		out.Buckets = append(out.Buckets, stats.Bucket{UpTo: b.GetUpTo(), Count: b.GetCount()})
	}
	return out
}

type statsServer struct {
	pb.UnimplementedStatsServer

	acquire Acquire[stats.Exporter]
	turn    turn
}

// NewStatsServer serves the exporter that acquire gives. It makes one call at a time.
func NewStatsServer(acquire Acquire[stats.Exporter]) pb.StatsServer {
	return &statsServer{acquire: acquire, turn: newTurn()}
}

func (s *statsServer) Export(ctx context.Context, req *pb.ExportRequest) (*pb.ExportResponse, error) {
	snapshot, err := decodeSnapshot(req)
	if err != nil {
		return nil, StatsErrors.ToStatus(err)
	}
	return &pb.ExportResponse{}, s.inTurn(ctx, func(ctx context.Context, e stats.Exporter) error {
		return e.Export(ctx, snapshot)
	})
}

func (s *statsServer) ForceFlush(ctx context.Context, _ *pb.ForceFlushRequest) (*pb.ForceFlushResponse, error) {
	return &pb.ForceFlushResponse{}, s.inTurn(ctx, func(ctx context.Context, e stats.Exporter) error {
		return e.ForceFlush(ctx)
	})
}

// inTurn makes one call after the other. The relay may have given up a call that is
// still under way: the next one waits for it.
func (s *statsServer) inTurn(ctx context.Context, call func(context.Context, stats.Exporter) error) error {
	_, err := withLease(s.acquire, StatsErrors, func(lease Lease[stats.Exporter]) (struct{}, error) {
		if err := s.turn.take(ctx); err != nil {
			return struct{}{}, err
		}
		defer s.turn.giveBack()
		if err := ctx.Err(); err != nil { // given up while it waited
			return struct{}{}, err
		}
		return struct{}{}, call(ctx, lease.Implementation)
	})
	return err
}
