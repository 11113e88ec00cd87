package supervise

import (
	"context"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Storage is the store of a storage plugin, the same through all incarnations.
// Which optional interfaces it has is asked with [storage.As]; the answer is that of
// the latest incarnation, so it is known once WaitReady has returned nil. Its Close
// is Stop.
func (p *Plugin) Storage() storage.Store {
	return store{&proxy{plugin: p, unavailable: storage.ErrUnavailable, patient: true}}
}

// store passes the calls of a store on.
type store struct{ *proxy }

// As implements the probe of [storage.As].
func (s store) As(target any) bool {
	s.plugin.mu.Lock()
	last := s.plugin.lastReady
	s.plugin.mu.Unlock()
	if last == nil {
		return false
	}
	behind, ok := last.process.Client().Storage(), false
	switch t := target.(type) {
	case *storage.Watcher:
		_, ok = storage.As[storage.Watcher](behind)
		*t = s
	case *storage.Ledger:
		_, ok = storage.As[storage.Ledger](behind)
		*t = s
	case *storage.Pruner:
		_, ok = storage.As[storage.Pruner](behind)
		*t = s
	case *storage.Index:
		_, ok = storage.As[storage.Index](behind)
		*t = s
	case *storage.Compactor:
		_, ok = storage.As[storage.Compactor](behind)
		*t = s
	case *storage.Checker:
		_, ok = storage.As[storage.Checker](behind)
		*t = s
	}
	return ok
}

func (s store) Info(ctx context.Context) (storage.Info, error) {
	call, err := s.beginCall(ctx, "info")
	if err != nil {
		return storage.Info{}, err
	}
	info, err := call.Storage().Info(ctx)
	return info, s.endCall(ctx, call, err)
}

func (s store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	call, err := s.beginCall(ctx, "append")
	if err != nil {
		return nil, err
	}
	outcomes, err := call.Storage().Append(ctx, records)
	return outcomes, s.endCall(ctx, call, err)
}

func (s store) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	call, err := s.beginCall(ctx, "log")
	if err != nil {
		return storage.Page{}, err
	}
	page, err := call.Storage().Log(ctx, req)
	return page, s.endCall(ctx, call, err)
}

func (s store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	call, err := s.beginCall(ctx, "find")
	if err != nil {
		return 0, err
	}
	seq, err := call.Storage().Find(ctx, signature)
	return seq, s.endCall(ctx, call, err)
}

// Watch has no endCall: it waits by design, so a long one says nothing of the plugin.
func (s store) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	call, err := s.beginCall(ctx, "watch")
	if err != nil {
		return 0, err
	}
	watcher, ok := storage.As[storage.Watcher](call.Storage())
	if !ok {
		return 0, lostCapability("watch")
	}
	return watcher.Watch(ctx, after)
}

func (s store) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	call, err := s.beginCall(ctx, "spendings")
	if err != nil {
		return nil, err
	}
	ledger, ok := storage.As[storage.Ledger](call.Storage())
	if !ok {
		return nil, s.endCall(ctx, call, lostCapability("list spendings"))
	}
	page, err := ledger.SpentTokens(ctx, req)
	return page, s.endCall(ctx, call, err)
}

func (s store) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	call, err := s.beginCall(ctx, "spend")
	if err != nil {
		return err
	}
	ledger, ok := storage.As[storage.Ledger](call.Storage())
	if !ok {
		return s.endCall(ctx, call, lostCapability("spend"))
	}
	return s.endCall(ctx, call, ledger.Spend(ctx, spendings))
}

func (s store) Hours(ctx context.Context, req storage.HoursRequest) ([]storage.HourSize, error) {
	call, err := s.beginCall(ctx, "hours")
	if err != nil {
		return nil, err
	}
	pruner, ok := storage.As[storage.Pruner](call.Storage())
	if !ok {
		return nil, s.endCall(ctx, call, lostCapability("list hours"))
	}
	hours, err := pruner.Hours(ctx, req)
	return hours, s.endCall(ctx, call, err)
}

func (s store) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	call, err := s.beginCall(ctx, "prune")
	if err != nil {
		return storage.Pruned{}, err
	}
	pruner, ok := storage.As[storage.Pruner](call.Storage())
	if !ok {
		return storage.Pruned{}, s.endCall(ctx, call, lostCapability("prune"))
	}
	pruned, err := pruner.Prune(ctx, req)
	return pruned, s.endCall(ctx, call, err)
}

func (s store) Keys(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	call, err := s.beginCall(ctx, "keys")
	if err != nil {
		return nil, err
	}
	index, ok := storage.As[storage.Index](call.Storage())
	if !ok {
		return nil, s.endCall(ctx, call, lostCapability("list keys"))
	}
	keys, err := index.Keys(ctx, req)
	return keys, s.endCall(ctx, call, err)
}

func (s store) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	call, err := s.beginCall(ctx, "get")
	if err != nil {
		return nil, err
	}
	index, ok := storage.As[storage.Index](call.Storage())
	if !ok {
		return nil, s.endCall(ctx, call, lostCapability("get entries by id"))
	}
	entries, err := index.Get(ctx, ids)
	return entries, s.endCall(ctx, call, err)
}

func (s store) Compact(ctx context.Context, req storage.CompactRequest) (storage.Compacted, error) {
	call, err := s.beginCall(ctx, compactMethod)
	if err != nil {
		return storage.Compacted{}, err
	}
	compactor, ok := storage.As[storage.Compactor](call.Storage())
	if !ok {
		return storage.Compacted{}, s.endCall(ctx, call, lostCapability("compact"))
	}
	compacted, err := compactor.Compact(ctx, req)
	return compacted, s.endCall(ctx, call, err)
}

func (s store) Check(ctx context.Context, req storage.CheckRequest) (storage.Checked, error) {
	call, err := s.beginCall(ctx, checkMethod)
	if err != nil {
		return storage.Checked{}, err
	}
	checker, ok := storage.As[storage.Checker](call.Storage())
	if !ok {
		return storage.Checked{}, s.endCall(ctx, call, lostCapability("check its store"))
	}
	checked, err := checker.Check(ctx, req)
	return checked, s.endCall(ctx, call, err)
}

// lostCapability is the error of an incarnation that lacks a capability of the previous one.
func lostCapability(what string) error {
	return fmt.Errorf("%w: the plugin can no longer %s", storage.ErrUnavailable, what)
}
