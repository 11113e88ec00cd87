package storagetest

import (
	"context"
	"fmt"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Pruning is a store in memory whose log has gaps anywhere, for tests of code that reads
// a store. Append still knows an envelope that was removed. It is no [storage.Pruner]; a
// [Memory] is.
type Pruning struct {
	storage.Store

	mu   sync.Mutex
	gone map[storage.Seq]bool
}

// NewPruning returns an empty store.
func NewPruning() *Pruning {
	return &Pruning{Store: NewMemory(), gone: make(map[storage.Seq]bool)}
}

// Prune removes the entries at the given positions from the log.
func (p *Pruning) Prune(seqs ...storage.Seq) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, seq := range seqs {
		p.gone[seq] = true
	}
}

// Info implements [storage.Store].
func (p *Pruning) Info(ctx context.Context) (storage.Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := p.Store.Info(ctx)
	info.First, info.Count = 0, 0
	for seq := info.Last; seq > 0; seq-- {
		if !p.gone[seq] {
			info.First = seq
			info.Count++
		}
	}
	return info, err
}

// Log implements [storage.Store].
func (p *Pruning) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	from, limit, bound, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("log: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	page, err := p.Store.Log(ctx, storage.LogRequest{From: from, Max: 1})
	page.Entries = nil
	size := 0
	for seq := from; err == nil && seq <= page.Last && len(page.Entries) < limit; seq++ {
		if p.gone[seq] {
			continue
		}
		var one storage.Page
		if one, err = p.Store.Log(ctx, storage.LogRequest{From: seq, Max: 1}); err != nil {
			break
		}
		e := one.Entries[0]
		if size += len(e.Signature) + len(e.Ciphertext); size > bound && len(page.Entries) > 0 {
			break
		}
		page.Entries = append(page.Entries, e)
	}
	return page, err
}

// Find implements [storage.Store]. It finds no envelope of a signature whose first one
// was pruned.
func (p *Pruning) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	seq, err := p.Store.Find(ctx, signature)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && p.gone[seq] {
		return 0, fmt.Errorf("find: %w", storage.ErrNotFound)
	}
	return seq, err
}
