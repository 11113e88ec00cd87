package rpc

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// SpendingsRequest puts the request for a page of a ledger on the wire.
func SpendingsRequest(req storage.SpendingsRequest) *pb.SpendingsRequest {
	out := &pb.SpendingsRequest{Max: uint32(req.Max)}
	if req.After != nil {
		out.After = req.After[:]
	}
	return out
}

// SpendRequest puts spendings on the wire. It aliases them.
func SpendRequest(spendings []storage.Spending) *pb.SpendRequest {
	return &pb.SpendRequest{Spendings: spendingMessages(spendings)}
}

// SpendingsResponse puts a page of a ledger on the wire. It aliases the page.
func SpendingsResponse(spendings []storage.Spending) *pb.SpendingsResponse {
	return &pb.SpendingsResponse{Spendings: spendingMessages(spendings)}
}

func spendingMessages(spendings []storage.Spending) []*pb.Spending {
	out := make([]*pb.Spending, len(spendings))
	all := make([]pb.Spending, len(spendings)) // one allocation instead of many
	for i := range spendings {
		out[i] = &all[i]
		out[i].Token, out[i].Id = spendings[i].Token[:], spendings[i].ID[:]
	}
	return out
}

// Spendings reads what SpendRequest wrote.
func Spendings(in []*pb.Spending) ([]storage.Spending, error) {
	spendings := make([]storage.Spending, len(in))
	for i, s := range in {
		if !exactly(spendings[i].Token[:], s.GetToken()) || !exactly(spendings[i].ID[:], s.GetId()) {
			return nil, fmt.Errorf("spending %d: a token of %d bytes and an id of %d", i, len(s.GetToken()), len(s.GetId()))
		}
	}
	return spendings, nil
}

// SpendingsPage reads the answer to req.
func SpendingsPage(resp *pb.SpendingsResponse, req storage.SpendingsRequest) ([]storage.Spending, error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, err
	}
	if n := len(resp.GetSpendings()); n > limit {
		return nil, broken("%d spendings on a page, %d were allowed", n, limit)
	}
	page, err := Spendings(resp.GetSpendings())
	if err != nil {
		return nil, broken("%v", err)
	}
	before := req.After
	for i := range page {
		if before != nil && bytes.Compare(page[i].Token[:], before[:]) <= 0 {
			return nil, broken("spending %d does not come after the one before it", i)
		}
		before = &page[i].Token
	}
	return page, nil
}

func (s *StorageServer) Spendings(ctx context.Context, req *pb.SpendingsRequest) (*pb.SpendingsResponse, error) {
	asked := storage.SpendingsRequest{Max: int(min(req.GetMax(), math.MaxInt32))}
	if len(req.GetAfter()) > 0 {
		asked.After = new(storage.TokenID)
		if !exactly(asked.After[:], req.GetAfter()) {
			return nil, status.Errorf(codes.InvalidArgument, "after a token of %d bytes", len(req.GetAfter()))
		}
	}
	return with(s.Acquire, StorageErrors, ctx, func(ctx context.Context, store storage.Store) (*pb.SpendingsResponse, error) {
		ledger, ok := store.(storage.Ledger)
		if !ok {
			return nil, errNoLedger
		}
		page, err := ledger.Spendings(ctx, asked)
		return SpendingsResponse(page), err
	})
}

func (s *StorageServer) Spend(ctx context.Context, req *pb.SpendRequest) (*pb.SpendResponse, error) {
	spendings, err := Spendings(req.GetSpendings())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return with(s.Acquire, StorageErrors, ctx, func(ctx context.Context, store storage.Store) (*pb.SpendResponse, error) {
		ledger, ok := store.(storage.Ledger)
		if !ok {
			return nil, errNoLedger
		}
		return &pb.SpendResponse{}, ledger.Spend(ctx, spendings)
	})
}

var errNoLedger = fmt.Errorf("%w: Ledger", errUnannounced)
