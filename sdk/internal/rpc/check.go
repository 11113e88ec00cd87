package rpc

import (
	"bytes"
	"context"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func encodeCheckResponse(c storage.Checked) *pb.CheckResponse {
	out := &pb.CheckResponse{Next: c.Next, Done: c.Done, Total: c.Total}
	for _, f := range c.Faults {
		out.Faults = append(out.Faults, &pb.Fault{Place: Clean(f.Place, storage.MaxFaultText), Text: Clean(f.Text, storage.MaxFaultText)})
	}
	return out
}

// DecodeChecked checks and returns the answer to req. A plugin may answer for ever that
// there is a next part: callers bound how long they go on.
func DecodeChecked(resp *pb.CheckResponse, req storage.CheckRequest) (storage.Checked, error) {
	if err := req.Bound(); err != nil {
		return storage.Checked{}, err
	}
	c := storage.Checked{Next: bytes.Clone(resp.GetNext()), Done: resp.GetDone(), Total: resp.GetTotal()}
	switch n := len(resp.GetFaults()); {
	case n > storage.MaxFaults:
		return storage.Checked{}, protocolError("%d faults in one part, limit %d", n, storage.MaxFaults)
	case len(c.Next) > storage.MaxCheckState:
		return storage.Checked{}, protocolError("a state of %d bytes, limit %d", len(c.Next), storage.MaxCheckState)
	case len(c.Next) > 0 && bytes.Equal(c.Next, req.After):
		return storage.Checked{}, protocolError("the next part begins where this one began")
	case c.Done > c.Total:
		return storage.Checked{}, protocolError("%d bytes are verified of %d", c.Done, c.Total)
	}
	for _, f := range resp.GetFaults() {
		c.Faults = append(c.Faults, storage.Fault{Place: Clean(f.GetPlace(), storage.MaxFaultText), Text: Clean(f.GetText(), storage.MaxFaultText)})
	}
	return c, nil
}

func (s *storageServer) Check(ctx context.Context, req *pb.CheckRequest) (*pb.CheckResponse, error) {
	return withLease(s.acquire, StorageErrors, func(lease Lease[storage.Store]) (*pb.CheckResponse, error) {
		checker, err := optional[storage.Checker](lease, "Check")
		if err != nil {
			return nil, err
		}
		ctx, cancel := lease.untilEnding(ctx)
		defer cancel()
		c, err := checker.Check(ctx, storage.CheckRequest{After: req.GetAfter()})
		return encodeCheckResponse(c), err
	})
}
