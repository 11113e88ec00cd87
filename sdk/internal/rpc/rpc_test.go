package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// roundTrip encodes in and decodes it into out.
func roundTrip[M proto.Message](t *testing.T, in, out M) M {
	t.Helper()
	data, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRecordsCrossTheWire(t *testing.T) {
	want := []storage.Record{
		{ID: storage.ID{1}, Born: 2, Signature: []byte{3}, Ciphertext: []byte{4}, Nullifier: &storage.Nullifier{5}},
		{ID: storage.ID{6}, Born: math.MaxUint32, Signature: []byte{7}},
	}
	got, err := decodeRecords(roundTrip(t, EncodeAppendRequest(want), &pb.AppendRequest{}))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []*pb.Record{
		{}, {Id: make([]byte, 31)}, {Id: make([]byte, 33)},
		{Id: make([]byte, 32), Nullifier: make([]byte, 31)}, {Id: make([]byte, 32), Nullifier: make([]byte, 33)},
	} {
		if _, err := decodeRecords(&pb.AppendRequest{Records: []*pb.Record{bad}}); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestOutcomesCrossTheWire(t *testing.T) {
	want := []storage.Outcome{
		{Status: storage.Stored, Seq: 4}, {Status: storage.Spent}, {Status: storage.Duplicate, Seq: 2},
		{Status: storage.Stored, Seq: 5}, {Status: storage.Replayed, Seq: 5}, {Status: storage.Conflict},
		{Status: storage.Expired},
	}
	got, err := DecodeOutcomes(roundTrip(t, encodeAppendResponse(want), &pb.AppendResponse{}), len(want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestStatusNumbersAreThoseOfStorage(t *testing.T) {
	for s := storage.Stored; s <= storage.Expired; s++ {
		want := "STATUS_" + strings.ToUpper(s.String())
		if got := pb.Outcome_Status(s).String(); got != want {
			t.Errorf("status %d is %s on the wire, want %s", s, got, want)
		}
	}
}

func TestPageAndInfoCrossTheWire(t *testing.T) {
	page := storage.Page{Last: 9, Entries: []storage.Entry{
		{Seq: 3, ID: storage.ID{1}, Born: 2, Signature: []byte{3}, Ciphertext: []byte{4}},
		{Seq: 5, ID: storage.ID{2}, Signature: []byte{5}, Ciphertext: make([]byte, storage.MaxEnvelope-1)},
	}}
	got, err := DecodePage(roundTrip(t, encodeLogResponse(page), &pb.LogResponse{}), storage.LogRequest{From: 3, Max: 2})
	if err != nil || !reflect.DeepEqual(got, page) {
		t.Errorf("got %v, %v", got, err)
	}
	info := storage.Info{Epoch: storage.Epoch{1}, First: 2, Last: 9, Count: 8, Bytes: 5, InUse: 4, Tokens: 6, Floor: math.MaxUint32}
	if got, err := DecodeInfo(roundTrip(t, encodeInfoResponse(info), &pb.InfoResponse{})); err != nil || got != info {
		t.Errorf("got %v, %v", got, err)
	}
	empty := storage.Info{Epoch: storage.Epoch{1}}
	if got, err := DecodeInfo(encodeInfoResponse(empty)); err != nil || got != empty {
		t.Errorf("got %v, %v", got, err)
	}
	pruned := storage.Info{Epoch: storage.Epoch{1}, Last: 5}
	if got, err := DecodeInfo(encodeInfoResponse(pruned)); err != nil || got != pruned {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestLiesOfAStoreAreRefused(t *testing.T) {
	stored, id := pb.Outcome_STATUS_STORED, make([]byte, 32)
	outcomes := func(o ...*pb.Outcome) func() error {
		return func() error { _, err := DecodeOutcomes(&pb.AppendResponse{Outcomes: o}, 2); return err }
	}
	page := func(last uint64, e ...*pb.Entry) func() error {
		return func() error {
			_, err := DecodePage(&pb.LogResponse{Entries: e, Last: last}, storage.LogRequest{From: 5, Max: 20})
			return err
		}
	}
	info := func(i *pb.InfoResponse) func() error { return func() error { _, err := DecodeInfo(i); return err } }
	large := func(n int) (all []*pb.Entry) {
		for i := range n {
			all = append(all, &pb.Entry{Seq: uint64(5 + i), Id: id, Ciphertext: make([]byte, storage.MaxEnvelope)})
		}
		return all
	}
	if err := page(20, large(16)...)(); err != nil {
		t.Errorf("a full page was refused: %v", err)
	}
	epoch := make([]byte, 16)
	for name, lie := range map[string]func() error{
		"too few outcomes":       outcomes(&pb.Outcome{Status: stored, Seq: 1}),
		"too many outcomes":      outcomes(&pb.Outcome{Status: stored, Seq: 1}, &pb.Outcome{Status: stored, Seq: 2}, &pb.Outcome{Status: stored, Seq: 3}),
		"no status":              outcomes(&pb.Outcome{Seq: 1}, &pb.Outcome{Status: stored, Seq: 2}),
		"unknown status":         outcomes(&pb.Outcome{Status: 7, Seq: 1}, &pb.Outcome{Status: stored, Seq: 2}),
		"status beyond a byte":   outcomes(&pb.Outcome{Status: 257, Seq: 1}, &pb.Outcome{Status: stored, Seq: 2}),
		"negative status":        outcomes(&pb.Outcome{Status: -255, Seq: 1}, &pb.Outcome{Status: stored, Seq: 2}),
		"stored nowhere":         outcomes(&pb.Outcome{Status: stored}, &pb.Outcome{Status: stored, Seq: 1}),
		"spent somewhere":        outcomes(&pb.Outcome{Status: pb.Outcome_STATUS_SPENT, Seq: 1}, &pb.Outcome{Status: stored, Seq: 2}),
		"expired somewhere":      outcomes(&pb.Outcome{Status: pb.Outcome_STATUS_EXPIRED, Seq: 1}, &pb.Outcome{Status: stored, Seq: 2}),
		"stored backwards":       outcomes(&pb.Outcome{Status: stored, Seq: 2}, &pb.Outcome{Status: stored, Seq: 1}),
		"stored twice":           outcomes(&pb.Outcome{Status: stored, Seq: 2}, &pb.Outcome{Status: stored, Seq: 2}),
		"stored with a gap":      outcomes(&pb.Outcome{Status: stored, Seq: 2}, &pb.Outcome{Status: stored, Seq: 4}),
		"stored at the end":      outcomes(&pb.Outcome{Status: stored, Seq: math.MaxUint64}, &pb.Outcome{Status: stored, Seq: 1}),
		"entry before the first": page(9, &pb.Entry{Seq: 4, Id: id}),
		"entry after the last":   page(9, &pb.Entry{Seq: 10, Id: id}),
		"entries backwards":      page(9, &pb.Entry{Seq: 6, Id: id}, &pb.Entry{Seq: 5, Id: id}),
		"entry twice":            page(9, &pb.Entry{Seq: 6, Id: id}, &pb.Entry{Seq: 6, Id: id}),
		"entry at the end":       page(math.MaxUint64, &pb.Entry{Seq: math.MaxUint64, Id: id}),
		"last at the end":        page(math.MaxUint64),
		"short id":               page(9, &pb.Entry{Seq: 6, Id: id[1:]}),
		"large entry":            page(9, &pb.Entry{Seq: 6, Id: id, Ciphertext: make([]byte, storage.MaxEnvelope), Signature: []byte{1}}),
		"more than asked for":    page(90, make([]*pb.Entry, 21)...),
		"large page":             page(90, large(17)...),
		"short epoch":            info(&pb.InfoResponse{Epoch: epoch[1:]}),
		"first after last":       info(&pb.InfoResponse{Epoch: epoch, First: 2, Last: 1, Count: 1}),
		"last too high":          info(&pb.InfoResponse{Epoch: epoch, First: 1, Last: math.MaxUint64, Count: 1}),
		"more than there can be": info(&pb.InfoResponse{Epoch: epoch, First: 2, Last: 3, Count: 3}),
		"count without entries":  info(&pb.InfoResponse{Epoch: epoch, Last: 3, Count: 3}),
		"first without entries":  info(&pb.InfoResponse{Epoch: epoch, First: 1, Last: 3}),
		"more in use than there": info(&pb.InfoResponse{Epoch: epoch, Bytes: 7, InUse: 8}),
		"found nowhere":          func() error { _, err := DecodeFound(&pb.FindResponse{}); return err },
		"found beyond":           func() error { _, err := DecodeFound(&pb.FindResponse{Seq: math.MaxUint64}); return err },
		"watched nothing":        func() error { _, err := DecodeWatched(&pb.WatchResponse{Last: 3}, 3); return err },
		"watched beyond":         func() error { _, err := DecodeWatched(&pb.WatchResponse{Last: math.MaxUint64}, 3); return err },
	} {
		t.Run(name, func(t *testing.T) {
			var broken *ContractError
			if err := lie(); !errors.As(err, &broken) || !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestErrorsCrossTheWire(t *testing.T) {
	for _, kind := range []error{
		storage.ErrNotFound, storage.ErrTooLarge, storage.ErrFull, storage.ErrCorrupt, storage.ErrUnavailable,
		context.Canceled, context.DeadlineExceeded,
	} {
		got := StorageErrors.FromStatus(StorageErrors.ToStatus(fmt.Errorf("write messages.db: %w", kind)))
		if !errors.Is(got, kind) || got.Error() != "write messages.db: "+kind.Error() {
			t.Errorf("%v became %v", kind, got)
		}
		for _, other := range StorageErrors {
			if other.err != kind && errors.Is(got, other.err) {
				t.Errorf("%v became %v as well", kind, other.err)
			}
		}
	}
	if StorageErrors.ToStatus(nil) != nil || StorageErrors.FromStatus(nil) != nil {
		t.Error("nil became an error")
	}
	if got := StorageErrors.FromStatus(StorageErrors.ToStatus(errors.New("disk on fire"))); got.Error() != "disk on fire" {
		t.Errorf("got %v", got)
	}
	if got := StorageErrors.FromStatus(status.Error(codes.NotFound, "")); got.Error() != "not found" {
		t.Errorf("an empty text became %q", got)
	}
	if got := StorageErrors.FromStatus(status.Error(codes.DataLoss, "page 7")); got.Error() != "store is damaged: page 7" {
		t.Errorf("got %q", got)
	}
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Unimplemented} {
		var broken *ContractError
		if got := StorageErrors.FromStatus(status.Error(code, "x")); !errors.As(got, &broken) {
			t.Errorf("%v became %v", code, got)
		}
	}
	long := StorageErrors.FromStatus(StorageErrors.ToStatus(errors.New(strings.Repeat("x\x1b\n", 10_000))))
	if len(long.Error()) > maxErrorText || strings.ContainsAny(long.Error(), "\x1b\n") {
		t.Errorf("a text of %d bytes", len(long.Error()))
	}
}

func FuzzAppendResponse(f *testing.F) {
	f.Add([]byte{}, 0)
	data, _ := proto.Marshal(encodeAppendResponse([]storage.Outcome{{Status: storage.Stored, Seq: 1}, {Status: storage.Spent}}))
	f.Add(data, 2)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		var resp pb.AppendResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		outcomes, err := DecodeOutcomes(&resp, n)
		if err != nil {
			return
		}
		if len(outcomes) != n {
			t.Fatalf("%d outcomes for %d records", len(outcomes), n)
		}
		for _, o := range outcomes {
			if (o.Status == storage.Spent) != (o.Seq == 0) || o.Status.String() == "unknown" {
				t.Errorf("outcome %+v", o)
			}
		}
	})
}

func FuzzLogResponse(f *testing.F) {
	f.Add([]byte{}, uint64(0), 0)
	data, _ := proto.Marshal(encodeLogResponse(storage.Page{Entries: []storage.Entry{{Seq: 1, Signature: []byte{1}}, {Seq: 2}}, Last: 2}))
	f.Add(data, uint64(1), 2)
	f.Fuzz(func(t *testing.T, data []byte, from uint64, limit int) {
		var resp pb.LogResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		page, err := DecodePage(&resp, storage.LogRequest{From: storage.Seq(from), Max: limit})
		if err != nil {
			return
		}
		next := max(storage.Seq(from), 1)
		for _, e := range page.Entries {
			if e.Seq < next || e.Seq > page.Last || e.Seq+1 < e.Seq {
				t.Errorf("entry %d, next %d, last %d", e.Seq, next, page.Last)
			}
			next = e.Seq + 1
		}
	})
}

func FuzzInfoResponse(f *testing.F) {
	data, _ := proto.Marshal(encodeInfoResponse(storage.Info{First: 1, Last: 2, Count: 2}))
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var resp pb.InfoResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		if info, err := DecodeInfo(&resp); err == nil && info.Count > uint64(info.Last) {
			t.Errorf("%+v", info)
		}
	})
}

func FuzzAppendRequest(f *testing.F) {
	data, _ := proto.Marshal(EncodeAppendRequest([]storage.Record{{Signature: []byte{1}, Nullifier: &storage.Nullifier{}}}))
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var req pb.AppendRequest
		if proto.Unmarshal(data, &req) != nil {
			return
		}
		if records, err := decodeRecords(&req); err == nil && len(records) != len(req.GetRecords()) {
			t.Error("records were lost")
		}
	})
}
