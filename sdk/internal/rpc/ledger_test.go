package rpc

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestSpendingsCrossTheWire(t *testing.T) {
	want := []storage.SpentToken{{Token: storage.TokenID{1}, ID: storage.ID{2}}, {Token: storage.TokenID{3}, ID: storage.ID{2}}}
	got, err := decodeSpendings(roundTrip(t, EncodeSpendRequest(want), &pb.SpendRequest{}).GetSpendings())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	page, err := DecodeSpendingsPage(roundTrip(t, encodeSpendingsResponse(want), &pb.SpendingsResponse{}), storage.SpentTokensRequest{After: &storage.TokenID{}, Max: 2})
	if err != nil || !slices.Equal(page, want) {
		t.Errorf("got %v, %v; want %v", page, err, want)
	}
}

// TestLiesOfALedgerAreRefused decodes answers that no ledger may give.
func TestLiesOfALedgerAreRefused(t *testing.T) {
	spending := func(token, id int) *pb.Spending {
		return &pb.Spending{Token: bytes.Repeat([]byte{7}, token), Id: make([]byte, id)}
	}
	seven := storage.TokenID(bytes.Repeat([]byte{7}, 16))
	for name, c := range map[string]struct {
		page []*pb.Spending
		req  storage.SpentTokensRequest
	}{
		"empty":            {[]*pb.Spending{{}}, storage.SpentTokensRequest{}},
		"a short token":    {[]*pb.Spending{spending(15, 32)}, storage.SpentTokensRequest{}},
		"a long token":     {[]*pb.Spending{spending(17, 32)}, storage.SpentTokensRequest{}},
		"a nullifier":      {[]*pb.Spending{spending(32, 32)}, storage.SpentTokensRequest{}},
		"a short id":       {[]*pb.Spending{spending(16, 31)}, storage.SpentTokensRequest{}},
		"a token twice":    {[]*pb.Spending{spending(16, 32), spending(16, 32)}, storage.SpentTokensRequest{}},
		"the token before": {[]*pb.Spending{spending(16, 32)}, storage.SpentTokensRequest{After: &seven}},
		"too many":         {encodeSpendingsResponse([]storage.SpentToken{{}, {Token: storage.TokenID{1}}}).Spendings, storage.SpentTokensRequest{Max: 1}},
	} {
		if page, err := DecodeSpendingsPage(&pb.SpendingsResponse{Spendings: c.page}, c.req); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v, %v, want a broken contract", name, page, err)
		}
	}
}

func FuzzSpendingsResponse(f *testing.F) {
	data, _ := proto.Marshal(encodeSpendingsResponse([]storage.SpentToken{{}, {Token: storage.TokenID{1}}}))
	f.Add(data, []byte{}, 0)
	f.Add(data, make([]byte, 16), 2)
	f.Fuzz(func(t *testing.T, data, after []byte, limit int) {
		var resp pb.SpendingsResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		req := storage.SpentTokensRequest{Max: limit}
		if len(after) == 16 {
			req.After = (*storage.TokenID)(after)
		}
		page, err := DecodeSpendingsPage(&resp, req)
		if err != nil {
			return
		}
		if len(page) > storage.MaxSpentTokens {
			t.Errorf("a page of %d", len(page))
		}
		for i := range page {
			if i > 0 && bytes.Compare(page[i-1].Token[:], page[i].Token[:]) >= 0 {
				t.Error("a page that is not in order")
			}
		}
	})
}
