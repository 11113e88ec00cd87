package storage_test

import (
	"context"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// probed is a store that says whether it has a Watch.
type probed struct {
	storage.Store
	watches bool
}

func (p probed) Watch(context.Context, storage.Seq) (storage.Seq, error) { return 7, nil }

func (p probed) As(target any) bool {
	watcher, ok := target.(*storage.Watcher)
	if ok {
		*watcher = p
	}
	return ok && p.watches
}

func TestAsAsksTheStoreOrItsType(t *testing.T) {
	memory := storagetest.NewMemory()
	for name, c := range map[string]struct {
		store           storage.Store
		watches, ledger bool
	}{
		"a type with both":           {memory, true, true},
		"a type with neither":        {struct{ storage.Store }{memory}, false, false},
		"no store":                   {nil, false, false},
		"one that says yes":          {probed{memory, true}, true, false},
		"one that says no":           {probed{memory, false}, false, false},
		"a wrapper of one that says": {struct{ probed }{probed{memory, true}}, true, false},
	} {
		watcher, ok := storage.As[storage.Watcher](c.store)
		if ok != c.watches || ok == (watcher == nil) {
			t.Errorf("%s: watcher is %v, %v", name, watcher, ok)
		}
		if p, isProbed := c.store.(probed); ok && isProbed && watcher != storage.Watcher(p) {
			t.Errorf("%s: got %v", name, watcher)
		}
		if _, ok := storage.As[storage.Ledger](c.store); ok != c.ledger {
			t.Errorf("%s: ledger is %v", name, ok)
		}
	}
}
