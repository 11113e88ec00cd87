package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Memory is a [storage.Store], [storage.Watcher] and [storage.Ledger] in memory:
// the model that [Run] compares other stores with, and a store for tests of code that
// uses one. It keeps the contract except for one sentence: it is not durable. What it
// holds is gone with the process.
//
// Close does nothing. A test reopens a store by handing the same Memory to the next
// relay, and shares one by handing it to two relays at once.
type Memory struct {
	epoch storage.Epoch

	mu    sync.Mutex
	log   []storage.Entry // log[i] has sequence number i+1 and is never changed
	byID  map[storage.ID]storage.Seq
	first map[string]storage.Seq // by signature
	spent map[storage.TokenID]storage.ID
	bytes uint64
	grown chan struct{} // closed, and replaced, when log grows
}

var (
	_ storage.Store   = (*Memory)(nil)
	_ storage.Watcher = (*Memory)(nil)
	_ storage.Ledger  = (*Memory)(nil)
)

// NewMemory returns an empty store with an epoch of its own.
func NewMemory() *Memory {
	return &Memory{
		epoch: storage.NewEpoch(),
		byID:  make(map[storage.ID]storage.Seq),
		first: make(map[string]storage.Seq),
		spent: make(map[storage.TokenID]storage.ID),
		grown: make(chan struct{}),
	}
}

// Info implements [storage.Store]. Bytes counts ciphertexts and signatures.
func (m *Memory) Info(ctx context.Context) (storage.Info, error) {
	if err := ctx.Err(); err != nil {
		return storage.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return storage.Info{
		Epoch:  m.epoch,
		First:  min(1, m.lastSeq()),
		Last:   m.lastSeq(),
		Count:  uint64(len(m.log)),
		Bytes:  m.bytes,
		Tokens: uint64(len(m.spent)),
	}, nil
}

// Append implements [storage.Store].
func (m *Memory) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := storage.CheckBatch(records); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.lastSeq()
	outcomes := make([]storage.Outcome, len(records))
	for i := range records {
		outcomes[i] = m.appendRecord(&records[i])
	}
	if m.lastSeq() > before {
		close(m.grown)
		m.grown = make(chan struct{})
	}
	return outcomes, nil
}

func (m *Memory) appendRecord(r *storage.Record) storage.Outcome {
	seq, inLog := m.byID[r.ID]
	_, signed := m.first[string(r.Signature)]
	if r.Nullifier != nil {
		token := storage.NewTokenID(*r.Nullifier)
		switch paid, spent := m.spent[token]; {
		case spent && paid == r.ID && inLog:
			return storage.Outcome{Status: storage.Replayed, Seq: seq}
		case spent:
			return storage.Outcome{Status: storage.Spent}
		case !inLog && signed && len(r.Signature) > 0:
			return storage.Outcome{Status: storage.Conflict}
		}
		m.spent[token] = r.ID
	}
	if inLog {
		return storage.Outcome{Status: storage.Duplicate, Seq: seq}
	}
	seq = m.lastSeq() + 1
	m.log = append(m.log, storage.Entry{
		Seq:        seq,
		ID:         r.ID,
		Born:       r.Born,
		Signature:  bytes.Clone(r.Signature),
		Ciphertext: bytes.Clone(r.Ciphertext),
	})
	m.byID[r.ID] = seq
	if !signed {
		m.first[string(r.Signature)] = seq
	}
	m.bytes += uint64(len(r.Signature) + len(r.Ciphertext))
	return storage.Outcome{Status: storage.Stored, Seq: seq}
}

// Log implements [storage.Store].
func (m *Memory) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	if err := ctx.Err(); err != nil {
		return storage.Page{}, err
	}
	from, limit, bound, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("log: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	page := storage.Page{Last: m.lastSeq()}
	size := 0
	for seq := from; seq <= page.Last && len(page.Entries) < limit; seq++ {
		e := m.log[seq-1]
		size += len(e.Signature) + len(e.Ciphertext)
		if size > bound && len(page.Entries) > 0 {
			break
		}
		e.Signature, e.Ciphertext = bytes.Clone(e.Signature), bytes.Clone(e.Ciphertext)
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

// Find implements [storage.Store].
func (m *Memory) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("find a signature of %d bytes: %w", len(signature), storage.ErrTooLarge)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	seq, ok := m.first[string(signature)]
	if !ok {
		return 0, fmt.Errorf("find: %w", storage.ErrNotFound)
	}
	return seq, nil
}

// Watch implements [storage.Watcher].
func (m *Memory) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	for {
		m.mu.Lock()
		last, grown := m.lastSeq(), m.grown
		m.mu.Unlock()
		if last > after {
			return last, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// SpentTokens implements [storage.Ledger]. It sorts all tokens for each page.
func (m *Memory) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("spendings: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var page []storage.SpentToken
	for token, id := range m.spent {
		if req.After == nil || bytes.Compare(token[:], req.After[:]) > 0 {
			page = append(page, storage.SpentToken{Token: token, ID: id})
		}
	}
	slices.SortFunc(page, func(a, b storage.SpentToken) int { return bytes.Compare(a.Token[:], b.Token[:]) })
	return page[:min(len(page), limit)], nil
}

// Spend implements [storage.Ledger].
func (m *Memory) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := storage.CheckSpend(spendings); err != nil {
		return fmt.Errorf("spend: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range spendings {
		if _, spent := m.spent[s.Token]; !spent {
			m.spent[s.Token] = s.ID
		}
	}
	return nil
}

// Close implements [storage.Store]; the Memory stays usable.
func (m *Memory) Close() error { return nil }

// lastSeq returns the highest sequence number assigned. m.mu is held.
func (m *Memory) lastSeq() storage.Seq { return storage.Seq(len(m.log)) }
