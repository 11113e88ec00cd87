package rpc

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestLiesOfACompactor has a plugin answer what no store may.
func TestLiesOfACompactor(t *testing.T) {
	const limit = 100_000
	for _, want := range []storage.Compacted{{}, {Moved: limit}, {Moved: limit, More: true}, {More: true}} {
		got, err := DecodeCompacted(roundTrip(t, &pb.CompactResponse{Moved: want.Moved, More: want.More}, &pb.CompactResponse{}), storage.CompactRequest{Max: limit})
		if err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
	for limit, moved := range map[int]uint64{limit: limit + 1, 1: storage.MinCompact + 1, 0: storage.MaxCompact + 1, storage.MaxCompact: math.MaxUint64} {
		if got, err := DecodeCompacted(&pb.CompactResponse{Moved: moved}, storage.CompactRequest{Max: limit}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%d bytes moved with a limit of %d: %v, %v, want a broken contract", moved, limit, got, err)
		}
	}
}

func TestCheckedCrossesTheWire(t *testing.T) {
	long := strings.Repeat("x", storage.MaxFaultText)
	for _, want := range []storage.Checked{
		{},
		{Next: []byte("b"), Done: 1, Total: 2},
		{Faults: []storage.Fault{{Place: "file, page 1", Text: long}, {}}, Done: math.MaxUint64, Total: math.MaxUint64},
		{Faults: make([]storage.Fault, storage.MaxFaults), Next: make([]byte, storage.MaxCheckState)},
	} {
		got, err := DecodeChecked(roundTrip(t, encodeCheckResponse(want), &pb.CheckResponse{}), storage.CheckRequest{After: []byte("a")})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}

// TestLiesOfAChecker has a plugin answer what no store may.
func TestLiesOfAChecker(t *testing.T) {
	for name, answer := range map[string]*pb.CheckResponse{
		"too many faults":        {Faults: make([]*pb.Fault, storage.MaxFaults+1)},
		"a long state":           {Next: make([]byte, storage.MaxCheckState+1)},
		"the same part again":    {Next: []byte("a")},
		"more than there is":     {Done: 2, Total: 1},
		"more than there can be": {Done: 1},
	} {
		if got, err := DecodeChecked(answer, storage.CheckRequest{After: []byte("a")}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v, %v, want a broken contract", name, got, err)
		}
	}
	loud := &pb.CheckResponse{Faults: []*pb.Fault{{Place: strings.Repeat("p", 1<<16), Text: "a\x1b[31m\u202e\nb" + strings.Repeat("t", 1<<16)}}}
	got, err := DecodeChecked(loud, storage.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if f := got.Faults[0]; len(f.Place) > storage.MaxFaultText || len(f.Text) > storage.MaxFaultText || strings.ContainsAny(f.Text, "\x1b\u202e\n") {
		t.Errorf("texts for a terminal: %.300q, %.300q", f.Place, f.Text)
	}
}

func FuzzCheckResponse(f *testing.F) {
	data, _ := proto.Marshal(encodeCheckResponse(storage.Checked{Faults: []storage.Fault{{Place: "p", Text: "t"}}, Next: []byte("n"), Done: 1, Total: 2}))
	f.Add(data, []byte(nil))
	f.Add(data, []byte("n"))
	f.Fuzz(func(t *testing.T, data, after []byte) {
		var resp pb.CheckResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		c, err := DecodeChecked(&resp, storage.CheckRequest{After: after})
		if err != nil {
			return
		}
		if len(c.Faults) > storage.MaxFaults || len(c.Next) > storage.MaxCheckState || len(c.Next) > 0 && bytes.Equal(c.Next, after) || c.Done > c.Total {
			t.Errorf("%d faults, next %q after %q, %d of %d", len(c.Faults), c.Next, after, c.Done, c.Total)
		}
		for _, fault := range c.Faults {
			if len(fault.Place) > storage.MaxFaultText || len(fault.Text) > storage.MaxFaultText {
				t.Errorf("texts of %d and %d bytes", len(fault.Place), len(fault.Text))
			}
		}
	})
}

// slowStore is a store whose Compact and Check take until their contexts end.
type slowStore struct{ storage.Store }

func (slowStore) Compact(ctx context.Context, _ storage.CompactRequest) (storage.Compacted, error) {
	<-ctx.Done()
	return storage.Compacted{}, ctx.Err()
}

func (slowStore) Check(ctx context.Context, _ storage.CheckRequest) (storage.Checked, error) {
	<-ctx.Done()
	return storage.Checked{}, ctx.Err()
}

// TestLongCallsEndWithThePlugin shows that a plugin that ends does not wait for the rest of a
// step.
func TestLongCallsEndWithThePlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ending, end := context.WithCancel(t.Context())
		s := NewStorageServer(func() (Lease[storage.Store], error) {
			return Lease[storage.Store]{Implementation: slowStore{}, Ending: ending, Release: func() {}}, nil
		})
		errs := make(chan error, 2)
		go func() { _, err := s.Compact(t.Context(), &pb.CompactRequest{}); errs <- err }()
		go func() { _, err := s.Check(t.Context(), &pb.CheckRequest{}); errs <- err }()
		synctest.Wait()
		if len(errs) > 0 {
			t.Errorf("a call returned by itself: %v", <-errs)
		}
		end()
		for range 2 {
			if err := <-errs; status.Code(err) != codes.Canceled {
				t.Errorf("a call that was ended: %v", err)
			}
		}
	})
}
