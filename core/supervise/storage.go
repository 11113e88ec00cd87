package supervise

import (
	"context"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Storage is the store of a storage plugin, the same through all incarnations.
// It is a [storage.Watcher] and a [storage.Ledger] when the plugin was one at
// last, which is known once WaitReady has returned nil. Its Close does nothing;
// Stop ends the plugin.
func (p *Plugin) Storage() storage.Store {
	b := proxy[storage.Store]{plugin: p, pick: (*host.Client).Storage, unavailable: storage.ErrUnavailable, patient: true}
	var last storage.Store
	p.mu.Lock()
	if p.last != nil {
		last = p.last.process.Client().Storage()
	}
	p.mu.Unlock()
	_, watches := last.(storage.Watcher)
	_, keepsLedger := last.(storage.Ledger)
	base := &store{b}
	switch {
	case watches && keepsLedger:
		return struct {
			*store
			watcher
			ledger
		}{base, watcher{b}, ledger{b}}
	case watches:
		return struct {
			*store
			watcher
		}{base, watcher{b}}
	case keepsLedger:
		return struct {
			*store
			ledger
		}{base, ledger{b}}
	}
	return base
}

// A store that passes calls on, and what it may offer beyond.
type (
	store   struct{ border proxy[storage.Store] }
	watcher struct{ border proxy[storage.Store] }
	ledger  struct{ border proxy[storage.Store] }
)

func (s *store) Info(ctx context.Context) (storage.Info, error) {
	return invoke(ctx, s.border, "info", func(target storage.Store) (storage.Info, error) {
		return target.Info(ctx)
	})
}

func (s *store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	return invoke(ctx, s.border, "append", func(target storage.Store) ([]storage.Outcome, error) {
		return target.Append(ctx, records)
	})
}

func (s *store) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	return invoke(ctx, s.border, "log", func(target storage.Store) (storage.Page, error) {
		return target.Log(ctx, req)
	})
}

func (s *store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	return invoke(ctx, s.border, "find", func(target storage.Store) (storage.Seq, error) {
		return target.Find(ctx, signature)
	})
}

func (s *store) Close() error { return nil }

// Watch is not measured by overdue: it waits by design.
func (w watcher) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	inc, err := w.border.awaitIncarnation(ctx)
	if err != nil {
		return 0, err
	}
	target, err := capabilityOf[storage.Watcher](inc.process.Client().Storage(), "watch")
	if err != nil {
		return 0, err
	}
	return target.Watch(ctx, after)
}

func (l ledger) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	return invoke(ctx, l.border, "spendings", func(target storage.Store) ([]storage.SpentToken, error) {
		ledger, err := capabilityOf[storage.Ledger](target, "list spendings")
		if err != nil {
			return nil, err
		}
		return ledger.SpentTokens(ctx, req)
	})
}

func (l ledger) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	_, err := invoke(ctx, l.border, "spend", func(target storage.Store) (none, error) {
		ledger, err := capabilityOf[storage.Ledger](target, "spend")
		if err != nil {
			return none{}, err
		}
		return none{}, ledger.Spend(ctx, spendings)
	})
	return err
}

// capabilityOf is target as what it was in an earlier incarnation.
func capabilityOf[T any](target storage.Store, what string) (T, error) {
	t, ok := target.(T)
	if !ok {
		return t, fmt.Errorf("%w: the plugin can no longer %s", storage.ErrUnavailable, what)
	}
	return t, nil
}
