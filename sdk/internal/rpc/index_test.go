package rpc

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestKeysAndEntriesCrossTheWire(t *testing.T) {
	keys := []storage.Key{{Born: 5}, {Born: 5, ID: storage.ID{1}}, {Born: 6}}
	req := storage.KeysRequest{Range: storage.Range{Lo: keys[0], Hi: storage.Key{Born: 6, ID: storage.ID{31: 1}}}, Max: 3}
	sent := roundTrip(t, EncodeKeysRequest(req), &pb.KeysRequest{})
	if in, err := unpackRange(sent.GetRange()); err != nil || in != req.Range || sent.GetMax() != 3 {
		t.Errorf("got %v of at most %d, %v", in, sent.GetMax(), err)
	}
	got, err := DecodeKeys(roundTrip(t, &pb.KeysResponse{Keys: packKeys(keys...)}, &pb.KeysResponse{}), req)
	if err != nil || !slices.Equal(got, keys) {
		t.Errorf("got %v, %v; want %v", got, err, keys)
	}
	ids := []storage.ID{{1}, {2}, {1}, {3}}
	entries := []storage.Entry{
		{Seq: 4, ID: storage.ID{1}, Born: 2, Signature: []byte{3}, Ciphertext: []byte{4}},
		{Seq: 4, ID: storage.ID{1}, Born: 2, Signature: []byte{3}, Ciphertext: []byte{4}},
		{Seq: 1, ID: storage.ID{3}, Ciphertext: make([]byte, storage.MaxEnvelope)},
	}
	found, err := DecodeEntries(roundTrip(t, &pb.GetResponse{Entries: encodeEntries(entries)}, &pb.GetResponse{}), ids)
	if err != nil || !reflect.DeepEqual(found, entries) {
		t.Errorf("got %v, %v; want %v", found, err, entries)
	}
}

// TestLiesOfAnIndex has a plugin answer what no store may.
func TestLiesOfAnIndex(t *testing.T) {
	req := storage.KeysRequest{Range: storage.Range{Lo: storage.Key{Born: 5}, Hi: storage.Key{Born: 7}}, Max: 2}
	for name, keys := range map[string][]byte{
		"half a key":          packKeys(storage.Key{Born: 5})[:35],
		"a key before":        packKeys(storage.Key{Born: 4}),
		"the key behind":      packKeys(storage.Key{Born: 7}),
		"a key twice":         packKeys(storage.Key{Born: 5}, storage.Key{Born: 5}),
		"keys backwards":      packKeys(storage.Key{Born: 6}, storage.Key{Born: 5}),
		"more than asked for": packKeys(storage.Key{Born: 5}, storage.Key{Born: 6}, storage.Key{Born: 6, ID: storage.ID{1}}),
	} {
		if got, err := DecodeKeys(&pb.KeysResponse{Keys: keys}, req); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v, %v, want a broken contract", name, got, err)
		}
	}
	ids := make([]storage.ID, 20)
	for i := range ids {
		ids[i] = storage.ID{byte(i)}
	}
	entry := func(id byte, seq, size int) *pb.Entry {
		return &pb.Entry{Id: append([]byte{id}, make([]byte, 31)...), Seq: uint64(seq), Ciphertext: make([]byte, size)}
	}
	large := func(n int) (all []*pb.Entry) {
		for i := range n {
			all = append(all, entry(byte(i), i+1, storage.MaxEnvelope))
		}
		return all
	}
	if _, err := DecodeEntries(&pb.GetResponse{Entries: large(16)}, ids); err != nil {
		t.Errorf("a full answer was refused: %v", err)
	}
	for name, entries := range map[string][]*pb.Entry{
		"empty":             {{}},
		"a short id":        {{Id: make([]byte, 31), Seq: 1}},
		"not asked for":     {entry(99, 1, 8)},
		"answered twice":    {entry(3, 1, 8), entry(3, 1, 8)},
		"another order":     {entry(4, 1, 8), entry(3, 2, 8)},
		"nowhere":           {entry(3, 0, 8)},
		"beyond the end":    {{Id: make([]byte, 32), Seq: 1 << 63}},
		"a large entry":     {entry(3, 1, storage.MaxEnvelope+1)},
		"a large answer":    large(17),
		"more than ids are": make([]*pb.Entry, 21),
	} {
		if got, err := DecodeEntries(&pb.GetResponse{Entries: entries}, ids); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %d entries, %v, want a broken contract", name, len(got), err)
		}
	}
}

func FuzzKeysResponse(f *testing.F) {
	f.Add(packKeys(storage.Key{Born: 1}, storage.Key{Born: 2}), []byte{}, 0)
	f.Add(packKeys(storage.Key{Born: 1}), packRanges(storage.Range{Lo: storage.Key{Born: 1}}), 1)
	f.Fuzz(func(t *testing.T, data, in []byte, limit int) {
		req := storage.KeysRequest{Max: limit}
		req.Range, _ = unpackRange(in)
		keys, err := DecodeKeys(&pb.KeysResponse{Keys: data}, req)
		if err != nil {
			return
		}
		if len(keys) > storage.MaxKeys || !slices.IsSortedFunc(keys, storage.Key.Compare) {
			t.Errorf("%d keys: %v", len(keys), keys)
		}
		for _, k := range keys {
			if !req.Range.Has(k) {
				t.Errorf("%v is not in %v", k, req.Range)
			}
		}
	})
}

func FuzzGetResponse(f *testing.F) {
	data, _ := proto.Marshal(&pb.GetResponse{Entries: encodeEntries([]storage.Entry{{Seq: 1, ID: storage.ID{1}, Signature: []byte{1}}})})
	f.Add(data, packIDs([]storage.ID{{}, {1}}))
	f.Fuzz(func(t *testing.T, data, asked []byte) {
		var resp pb.GetResponse
		ids, err := unpackIDs(asked, storage.MaxGet)
		if err != nil || proto.Unmarshal(data, &resp) != nil {
			return
		}
		entries, err := DecodeEntries(&resp, ids)
		if err != nil {
			return
		}
		for _, e := range entries {
			at := slices.Index(ids, e.ID)
			if at < 0 || e.Seq == 0 {
				t.Fatalf("entry %d of %v", e.Seq, ids)
			}
			ids = ids[at+1:]
		}
	})
}
