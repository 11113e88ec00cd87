package rpc

import (
	"errors"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestHoursAndPrunedCrossTheWire(t *testing.T) {
	want := []storage.HourSize{{Hour: 5, Count: 1}, {Hour: 7, Count: 2, Bytes: 2 * storage.MaxEnvelope}, {Hour: math.MaxUint32, Count: 1 << 40, Bytes: 1}}
	hours, err := DecodeHours(roundTrip(t, encodeHoursResponse(want), &pb.HoursResponse{}), storage.HoursRequest{From: 5, Max: 3})
	if err != nil || !slices.Equal(hours, want) {
		t.Errorf("got %v, %v; want %v", hours, err, want)
	}
	for _, want := range []storage.Pruned{
		{Floor: 9}, {Floor: 10, Envelopes: 3, Bytes: 3 * storage.MaxEnvelope}, {Floor: math.MaxUint32, Envelopes: 3, More: true},
	} {
		got, err := DecodePruned(roundTrip(t, encodePruneResponse(want), &pb.PruneResponse{}), storage.PruneRequest{Floor: 9, Max: 3})
		if err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}

// TestLiesOfAPruner has a plugin answer what no store may.
func TestLiesOfAPruner(t *testing.T) {
	for name, hours := range map[string][]*pb.HourSize{
		"an hour before the first": {{Hour: 4, Count: 1}},
		"an hour twice":            {{Hour: 5, Count: 1}, {Hour: 5, Count: 1}},
		"hours backwards":          {{Hour: 6, Count: 1}, {Hour: 5, Count: 1}},
		"an empty hour":            {{Hour: 5}},
		"too many bytes":           {{Hour: 5, Count: 2, Bytes: 2*storage.MaxEnvelope + 1}},
		"a sum that overflows":     {{Hour: 5, Count: math.MaxInt64}, {Hour: 6, Count: 1}},
		"bytes that overflow":      {{Hour: 5, Count: 1 << 60, Bytes: math.MaxInt64}, {Hour: 6, Count: 1, Bytes: 1}},
		"more than asked for":      {{Hour: 5, Count: 1}, {Hour: 6, Count: 1}, {Hour: 7, Count: 1}, {Hour: 8, Count: 1}},
	} {
		if got, err := DecodeHours(&pb.HoursResponse{Hours: hours}, storage.HoursRequest{From: 5, Max: 3}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v, %v, want a broken contract", name, got, err)
		}
	}
	for name, answer := range map[string]*pb.PruneResponse{
		"a lower floor":            {Floor: 8},
		"more than allowed":        {Floor: 9, Envelopes: 4},
		"more without an end":      {Floor: 9, More: true},
		"more after less than Max": {Floor: 9, Envelopes: 2, More: true},
		"too many bytes":           {Floor: 9, Envelopes: 1, Bytes: storage.MaxEnvelope + 1},
		"bytes of nothing":         {Floor: 9, Bytes: 1},
		"bytes that overflow":      {Floor: 9, Envelopes: 3, Bytes: math.MaxUint64},
	} {
		if got, err := DecodePruned(answer, storage.PruneRequest{Floor: 9, Max: 3}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v, %v, want a broken contract", name, got, err)
		}
	}
}

func FuzzHoursResponse(f *testing.F) {
	data, _ := proto.Marshal(encodeHoursResponse([]storage.HourSize{{Hour: 1, Count: 2, Bytes: 3}, {Hour: 2, Count: 1}}))
	f.Add(data, uint32(0), 0)
	f.Add(data, uint32(1), 2)
	f.Fuzz(func(t *testing.T, data []byte, from uint32, limit int) {
		var resp pb.HoursResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		hours, err := DecodeHours(&resp, storage.HoursRequest{From: storage.Hour(from), Max: limit})
		if err != nil {
			return
		}
		if len(hours) > storage.MaxHours {
			t.Errorf("%d hours", len(hours))
		}
		count, bytes, next := uint64(0), uint64(0), uint64(from)
		for _, h := range hours {
			if uint64(h.Hour) < next || h.Count == 0 || count+h.Count < count || bytes+h.Bytes < bytes {
				t.Errorf("%+v after %d envelopes of %d bytes", h, count, bytes)
			}
			count, bytes, next = count+h.Count, bytes+h.Bytes, uint64(h.Hour)+1
		}
	})
}
