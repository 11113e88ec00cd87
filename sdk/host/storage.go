package host

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxOutcome and maxHour are more than an outcome and an hour take on the wire, in bytes.
const maxOutcome, maxHour = 32, 32

// store is a store on the other side of a connection. It has the methods of all
// optional interfaces; As says which of them the plugin serves.
type store struct{ client *Client }

// As implements the probe of [storage.As].
func (s store) As(target any) bool {
	switch t := target.(type) {
	case *storage.Watcher:
		*t = s
		return s.client.hasCapability(plugin.Watch)
	case *storage.Ledger:
		*t = s
		return s.client.hasCapability(plugin.Ledger)
	case *storage.Pruner:
		*t = s
		return s.client.hasCapability(plugin.Prune)
	case *storage.Index:
		*t = s
		return s.client.hasCapability(plugin.Index)
	case *storage.Compactor:
		*t = s
		return s.client.hasCapability(plugin.Compact)
	case *storage.Checker:
		*t = s
		return s.client.hasCapability(plugin.Check)
	}
	return false
}

func (s store) Info(ctx context.Context) (storage.Info, error) {
	return runCall(ctx, storageErrors, "info", InfoTimeout, func(ctx context.Context) (storage.Info, error) {
		resp, err := s.client.storage.Info(ctx, &pb.InfoRequest{}, maxAnswer(MaxShortAnswer))
		if err != nil {
			return storage.Info{}, err
		}
		return rpc.DecodeInfo(resp)
	})
}

func (s store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	return runCall(ctx, storageErrors, "append", CallTimeout, func(ctx context.Context) ([]storage.Outcome, error) {
		req := rpc.EncodeAppendRequest(records)
		if proto.Size(req) > rpc.MaxMessage {
			return nil, storage.ErrTooLarge
		}
		resp, err := s.client.storage.Append(ctx, req, maxAnswer(MaxShortAnswer+maxOutcome*len(records)))
		if err != nil {
			return nil, err
		}
		return rpc.DecodeOutcomes(resp, len(records))
	})
}

func (s store) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	return runCall(ctx, storageErrors, "log", CallTimeout, func(ctx context.Context) (storage.Page, error) {
		if _, _, _, err := req.Bounds(); err != nil {
			return storage.Page{}, err
		}
		resp, err := s.client.storage.Log(ctx, &pb.LogRequest{
			From: uint64(req.From), Max: uint32(req.Max), MaxBytes: uint32(req.MaxBytes),
		}, maxAnswer(MaxAnswer))
		if err != nil {
			return storage.Page{}, err
		}
		return rpc.DecodePage(resp, req)
	})
}

func (s store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	return runCall(ctx, storageErrors, "find", CallTimeout, func(ctx context.Context) (storage.Seq, error) {
		if len(signature) > rpc.MaxMessage-16 {
			return 0, storage.ErrTooLarge
		}
		resp, err := s.client.storage.Find(ctx, &pb.FindRequest{Signature: signature}, maxAnswer(MaxShortAnswer))
		if err != nil {
			return 0, err
		}
		return rpc.DecodeFound(resp)
	})
}

func (s store) Close() error { return s.client.closeImplementation() }

func (s store) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	return runCall(ctx, storageErrors, "watch", 0, func(ctx context.Context) (storage.Seq, error) {
		resp, err := s.client.storage.Watch(ctx, &pb.WatchRequest{After: uint64(after)}, maxAnswer(MaxShortAnswer))
		if err != nil {
			return 0, err
		}
		return rpc.DecodeWatched(resp, after)
	})
}

func (s store) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	return runCall(ctx, storageErrors, "spendings", CallTimeout, func(ctx context.Context) ([]storage.SpentToken, error) {
		if _, err := req.Bound(); err != nil {
			return nil, err
		}
		resp, err := s.client.storage.Spendings(ctx, rpc.EncodeSpendingsRequest(req), maxAnswer(MaxAnswer))
		if err != nil {
			return nil, err
		}
		return rpc.DecodeSpendingsPage(resp, req)
	})
}

func (s store) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	_, err := runCall(ctx, storageErrors, "spend", CallTimeout, func(ctx context.Context) (*pb.SpendResponse, error) {
		if err := storage.CheckSpend(spendings); err != nil {
			return nil, err
		}
		return s.client.storage.Spend(ctx, rpc.EncodeSpendRequest(spendings), maxAnswer(MaxShortAnswer))
	})
	return err
}

func (s store) Hours(ctx context.Context, req storage.HoursRequest) ([]storage.HourSize, error) {
	return runCall(ctx, storageErrors, "hours", CallTimeout, func(ctx context.Context) ([]storage.HourSize, error) {
		limit, err := req.Bound()
		if err != nil {
			return nil, err
		}
		resp, err := s.client.storage.Hours(ctx, &pb.HoursRequest{From: uint32(req.From), Max: uint32(req.Max)},
			maxAnswer(MaxShortAnswer+maxHour*limit))
		if err != nil {
			return nil, err
		}
		return rpc.DecodeHours(resp, req)
	})
}

func (s store) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	return runCall(ctx, storageErrors, "prune", CallTimeout, func(ctx context.Context) (storage.Pruned, error) {
		if _, err := req.Bound(); err != nil {
			return storage.Pruned{}, err
		}
		resp, err := s.client.storage.Prune(ctx, &pb.PruneRequest{Floor: uint32(req.Floor), Max: uint32(req.Max)}, maxAnswer(MaxShortAnswer))
		if err != nil {
			return storage.Pruned{}, err
		}
		return rpc.DecodePruned(resp, req)
	})
}

func (s store) Keys(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	return runCall(ctx, storageErrors, "keys", CallTimeout, func(ctx context.Context) ([]storage.Key, error) {
		if _, err := req.Bound(); err != nil {
			return nil, err
		}
		resp, err := s.client.storage.Keys(ctx, rpc.EncodeKeysRequest(req), maxAnswer(MaxAnswer))
		if err != nil {
			return nil, err
		}
		return rpc.DecodeKeys(resp, req)
	})
}

func (s store) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	return runCall(ctx, storageErrors, "get", CallTimeout, func(ctx context.Context) ([]storage.Entry, error) {
		if err := storage.CheckGet(ids); err != nil {
			return nil, err
		}
		resp, err := s.client.storage.Get(ctx, rpc.EncodeGetRequest(ids), maxAnswer(MaxAnswer))
		if err != nil {
			return nil, err
		}
		return rpc.DecodeEntries(resp, ids)
	})
}

func (s store) Compact(ctx context.Context, req storage.CompactRequest) (storage.Compacted, error) {
	return runCall(ctx, storageErrors, "compact", StepTimeout, func(ctx context.Context) (storage.Compacted, error) {
		if _, err := req.Bound(); err != nil {
			return storage.Compacted{}, err
		}
		resp, err := s.client.storage.Compact(ctx, &pb.CompactRequest{Room: req.Room, Max: uint32(req.Max)}, maxAnswer(MaxShortAnswer))
		if err != nil {
			return storage.Compacted{}, err
		}
		return rpc.DecodeCompacted(resp, req)
	})
}

func (s store) Check(ctx context.Context, req storage.CheckRequest) (storage.Checked, error) {
	return runCall(ctx, storageErrors, "check", StepTimeout, func(ctx context.Context) (storage.Checked, error) {
		if err := req.Bound(); err != nil {
			return storage.Checked{}, err
		}
		resp, err := s.client.storage.Check(ctx, &pb.CheckRequest{After: req.After}, maxAnswer(MaxAnswer))
		if err != nil {
			return storage.Checked{}, err
		}
		return rpc.DecodeChecked(resp, req)
	})
}
