package rpc

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

func sampleSnapshot() stats.Snapshot {
	return stats.Snapshot{Server: "book-club", Epoch: stats.Epoch{1}, Seq: math.MaxUint64, Metrics: []stats.Metric{
		{Name: "a_bytes", Unit: "bytes", Doc: "All.", Kind: stats.Counter, Points: []stats.Point{
			{Labels: []stats.Label{{Name: "k", Value: "1"}, {Name: "l", Value: "x"}}, Value: 3},
			{Labels: []stats.Label{{Name: "k", Value: "2"}, {Name: "l", Value: ""}}, Value: 0.5},
		}},
		{Name: "b", Kind: stats.Gauge, Points: []stats.Point{{Value: -1}}},
		{Name: "c", Kind: stats.Histogram, Points: []stats.Point{{Count: math.MaxUint64, Sum: 2, Buckets: []stats.Bucket{
			{UpTo: -1, Count: 0}, {UpTo: 5, Count: 7}, {UpTo: math.Inf(1), Count: math.MaxUint64},
		}}}},
		{Name: "d", Kind: stats.Counter},
	}}
}

func TestSnapshotsCrossTheWire(t *testing.T) {
	for _, want := range []stats.Snapshot{sampleSnapshot(), {Epoch: stats.Epoch{1}, Seq: 1}} {
		got, err := decodeSnapshot(roundTrip(t, EncodeExportRequest(want), &pb.ExportRequest{}))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		if size := proto.Size(EncodeExportRequest(want)); size > want.Size() {
			t.Errorf("%d bytes on the wire, %d by Size", size, want.Size())
		}
	}
}

func TestKindsAreThoseOfStats(t *testing.T) {
	for k := stats.Counter; k <= stats.Histogram; k++ {
		if got := pb.Metric_Kind(k).String(); got != "KIND_"+strings.ToUpper(k.String()) {
			t.Errorf("%v is %s on the wire", k, got)
		}
	}
}

func TestInvalidSnapshotsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*pb.ExportRequest){
		"no epoch":    func(r *pb.ExportRequest) { r.Epoch = nil },
		"short epoch": func(r *pb.ExportRequest) { r.Epoch = r.Epoch[1:] },
		"long epoch":  func(r *pb.ExportRequest) { r.Epoch = make([]byte, 17) },
		"server":      func(r *pb.ExportRequest) { r.Server = "a\nb" },
		"unit":        func(r *pb.ExportRequest) { r.Metrics[0].Unit = "seconds" },
		"no sequence": func(r *pb.ExportRequest) { r.Seq = 0 },
		"kind":        func(r *pb.ExportRequest) { r.Metrics[0].Kind = 257 },
		"negative":    func(r *pb.ExportRequest) { r.Metrics[0].Kind = -255 },
		"metrics":     func(r *pb.ExportRequest) { r.Metrics = make([]*pb.Metric, 100_000) },
		"points":      func(r *pb.ExportRequest) { r.Metrics[0].Points = make([]*pb.Point, 100_000) },
		"nil":         func(r *pb.ExportRequest) { r.Metrics[0].Points[0].Labels[0] = nil },
	} {
		req := EncodeExportRequest(sampleSnapshot())
		spoil(req)
		if _, err := decodeSnapshot(req); !errors.Is(err, stats.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// blockingExporter is an exporter that reports the beginning of its calls and returns when it is told to.
type blockingExporter struct {
	begun   chan uint64
	release chan struct{}
}

func (s blockingExporter) Export(_ context.Context, snapshot stats.Snapshot) error {
	s.begun <- snapshot.Seq
	<-s.release
	return nil
}

func (s blockingExporter) ForceFlush(context.Context) error {
	s.begun <- 0
	<-s.release
	return nil
}

func (s blockingExporter) Close() error { return nil }

func TestOneCallOfAnExporterAtATime(t *testing.T) {
	exporter := blockingExporter{begun: make(chan uint64), release: make(chan struct{})}
	server := NewStatsServer(func() (Lease[stats.Exporter], error) {
		return Lease[stats.Exporter]{Implementation: exporter, Release: func() {}}, nil
	})
	export := func(ctx context.Context, seq uint64) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := server.Export(ctx, EncodeExportRequest(stats.Snapshot{Epoch: stats.Epoch{1}, Seq: seq}))
			done <- err
		}()
		return done
	}
	first := export(t.Context(), 1)
	if seq := <-exporter.begun; seq != 1 {
		t.Fatalf("began with %d", seq)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := <-export(ctx, 2); status.Code(err) != codes.Canceled {
		t.Errorf("given up while another was under way: %v", err)
	}
	flushed := make(chan error, 1)
	go func() {
		_, err := server.ForceFlush(t.Context(), &pb.ForceFlushRequest{})
		flushed <- err
	}()
	exporter.release <- struct{}{}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if seq := <-exporter.begun; seq != 0 {
		t.Errorf("then came %d", seq)
	}
	exporter.release <- struct{}{}
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	if err := <-export(ctx, 3); status.Code(err) != codes.Canceled {
		t.Errorf("given up before its turn: %v", err)
	}
}

func TestErrorsOfStatsCrossTheWire(t *testing.T) {
	for _, want := range []error{stats.ErrInvalid, stats.ErrUnavailable, context.Canceled, context.DeadlineExceeded} {
		if got := StatsErrors.FromStatus(StatsErrors.ToStatus(want)); !errors.Is(got, want) || got.Error() != want.Error() {
			t.Errorf("%v became %v", want, got)
		}
	}
	if got := StatsErrors.FromStatus(StatsErrors.ToStatus(ErrUnavailable)); !errors.Is(got, stats.ErrUnavailable) {
		t.Errorf("an unavailable plugin: %v", got)
	}
	var broken *ContractError
	if got := StatsErrors.FromStatus(StatsErrors.ToStatus(errNotOffered)); !errors.As(got, &broken) {
		t.Errorf("a call that was never offered: %v", got)
	}
}

func FuzzExportRequest(f *testing.F) {
	data, _ := proto.Marshal(EncodeExportRequest(sampleSnapshot()))
	f.Add(data)
	data, _ = proto.Marshal(EncodeExportRequest(stats.Snapshot{Epoch: stats.Epoch{1}, Seq: 1}))
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var req pb.ExportRequest
		if proto.Unmarshal(data, &req) != nil {
			return
		}
		s, err := decodeSnapshot(&req)
		if err != nil {
			if !errors.Is(err, stats.ErrInvalid) || len(err.Error()) > 1<<10 {
				t.Errorf("%T of %d bytes", err, len(err.Error()))
			}
			return
		}
		again := EncodeExportRequest(s)
		if proto.Size(again) > s.Size() {
			t.Errorf("%d bytes on the wire, %d by Size", proto.Size(again), s.Size())
		}
		if got, err := decodeSnapshot(again); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%v became %v, %v", s, got, err)
		}
	})
}
