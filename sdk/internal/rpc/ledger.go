package rpc

import (
	"bytes"
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// EncodeSpendingsRequest encodes the request for a page of a ledger.
func EncodeSpendingsRequest(req storage.SpentTokensRequest) *pb.SpendingsRequest {
	out := &pb.SpendingsRequest{Max: uint32(req.Max)}
	if req.After != nil {
		out.After = req.After[:]
	}
	return out
}

// EncodeSpendRequest encodes spendings. The message aliases them.
func EncodeSpendRequest(spendings []storage.SpentToken) *pb.SpendRequest {
	return &pb.SpendRequest{Spendings: encodeSpendings(spendings)}
}

// encodeSpendingsResponse encodes a page of a ledger. The message aliases it.
func encodeSpendingsResponse(spendings []storage.SpentToken) *pb.SpendingsResponse {
	return &pb.SpendingsResponse{Spendings: encodeSpendings(spendings)}
}

func encodeSpendings(spendings []storage.SpentToken) []*pb.Spending {
	out := make([]*pb.Spending, len(spendings))
	all := make([]pb.Spending, len(spendings)) // one allocation instead of many
	for i := range spendings {
		out[i] = &all[i]
		out[i].Token, out[i].Id = spendings[i].Token[:], spendings[i].ID[:]
	}
	return out
}

func decodeSpendings(in []*pb.Spending) ([]storage.SpentToken, error) {
	spendings := make([]storage.SpentToken, len(in))
	for i, s := range in {
		if !copyExactly(spendings[i].Token[:], s.GetToken()) || !copyExactly(spendings[i].ID[:], s.GetId()) {
			return nil, fmt.Errorf("spending %d: a token of %d bytes and an id of %d", i, len(s.GetToken()), len(s.GetId()))
		}
	}
	return spendings, nil
}

// DecodeSpendingsPage checks and returns the answer to req.
func DecodeSpendingsPage(resp *pb.SpendingsResponse, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, err
	}
	if n := len(resp.GetSpendings()); n > limit {
		return nil, protocolError("%d spendings on a page, %d were allowed", n, limit)
	}
	page, err := decodeSpendings(resp.GetSpendings())
	if err != nil {
		return nil, protocolError("%v", err)
	}
	before := req.After
	for i := range page {
		if before != nil && bytes.Compare(page[i].Token[:], before[:]) <= 0 {
			return nil, protocolError("spending %d does not come after the previous one", i)
		}
		before = &page[i].Token
	}
	return page, nil
}

func (s *storageServer) Spendings(ctx context.Context, req *pb.SpendingsRequest) (*pb.SpendingsResponse, error) {
	asked := storage.SpentTokensRequest{Max: toInt(req.GetMax())}
	if len(req.GetAfter()) > 0 {
		asked.After = new(storage.TokenID)
		if !copyExactly(asked.After[:], req.GetAfter()) {
			return nil, status.Errorf(codes.InvalidArgument, "after a token of %d bytes", len(req.GetAfter()))
		}
	}
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.SpendingsResponse, error) {
		ledger, err := optional[storage.Ledger](lease, "Spendings")
		if err != nil {
			return nil, err
		}
		page, err := ledger.SpentTokens(ctx, asked)
		return encodeSpendingsResponse(page), err
	})
}

func (s *storageServer) Spend(ctx context.Context, req *pb.SpendRequest) (*pb.SpendResponse, error) {
	spendings, err := decodeSpendings(req.GetSpendings())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.SpendResponse, error) {
		ledger, err := optional[storage.Ledger](lease, "Spend")
		if err != nil {
			return nil, err
		}
		return &pb.SpendResponse{}, ledger.Spend(ctx, spendings)
	})
}
