package rpc

import (
	"context"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// ExportRequest puts a snapshot on the wire. It aliases the epoch.
func ExportRequest(s stats.Snapshot) *pb.ExportRequest {
	req := &pb.ExportRequest{Server: s.Server, Epoch: s.Epoch[:], Seq: s.Seq, Metrics: make([]*pb.Metric, len(s.Metrics))}
	for i, m := range s.Metrics {
		out := &pb.Metric{Name: m.Name, Unit: m.Unit, Doc: m.Doc, Kind: pb.Metric_Kind(m.Kind), Points: make([]*pb.Point, len(m.Points))}
		for j, p := range m.Points {
			out.Points[j] = pointMessage(p)
		}
		req.Metrics[i] = out
	}
	return req
}

func pointMessage(p stats.Point) *pb.Point {
	out := &pb.Point{Value: p.Value, Count: p.Count, Sum: p.Sum}
	for _, l := range p.Labels {
		out.Labels = append(out.Labels, &pb.Label{Name: l.Name, Value: l.Value})
	}
	for _, b := range p.Buckets {
		out.Buckets = append(out.Buckets, &pb.Bucket{UpTo: b.UpTo, Count: b.Count})
	}
	return out
}

// Snapshot reads what ExportRequest wrote. The snapshot is valid.
func Snapshot(req *pb.ExportRequest) (stats.Snapshot, error) {
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

// StatsServer serves an exporter, to which it makes one call at a time.
type StatsServer struct {
	pb.UnimplementedStatsServer

	acquire Acquire[stats.Exporter]
	turn    chan struct{} // holds an element while a call is under way
}

// NewStatsServer serves the exporter that acquire gives.
func NewStatsServer(acquire Acquire[stats.Exporter]) *StatsServer {
	return &StatsServer{acquire: acquire, turn: make(chan struct{}, 1)}
}

func (s *StatsServer) Export(ctx context.Context, req *pb.ExportRequest) (*pb.ExportResponse, error) {
	snapshot, err := Snapshot(req)
	if err != nil {
		return nil, StatsErrors.Status(err)
	}
	return &pb.ExportResponse{}, s.inTurn(ctx, func(ctx context.Context, e stats.Exporter) error {
		return e.Export(ctx, snapshot)
	})
}

func (s *StatsServer) ForceFlush(ctx context.Context, _ *pb.ForceFlushRequest) (*pb.ForceFlushResponse, error) {
	return &pb.ForceFlushResponse{}, s.inTurn(ctx, func(ctx context.Context, e stats.Exporter) error {
		return e.ForceFlush(ctx)
	})
}

// inTurn makes a call when the one before has returned, which one that the relay
// gave up may not have.
func (s *StatsServer) inTurn(ctx context.Context, call func(context.Context, stats.Exporter) error) error {
	_, err := withImplementation(s.acquire, StatsErrors, ctx, func(ctx context.Context, e stats.Exporter) (struct{}, error) {
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return struct{}{}, ctx.Err()
		}
		defer func() { <-s.turn }()
		if err := ctx.Err(); err != nil { // given up, and overtaken by the next
			return struct{}{}, err
		}
		return struct{}{}, call(ctx, e)
	})
	return err
}
