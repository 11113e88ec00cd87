package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Memory is a [storage.Store] in memory with all optional interfaces: the model
// that [Run] compares other stores with, and a store for tests of code that uses one. It
// keeps the contract except for one sentence: it is not durable. What it holds is gone
// with the process. Its spent tokens keep the ids of pruned envelopes.
//
// Close does nothing. A test reopens a store by handing the same Memory to the next
// relay, and shares one by handing it to two relays at once.
type Memory struct {
	epoch storage.Epoch

	// keepsBorn makes a Duplicate leave the Born of its entry as it is, as in a store that
	// is no Index.
	keepsBorn bool

	mu    sync.Mutex
	log   []storage.Entry // log[i] has sequence number i+1, or is zero once it was removed
	born  []storage.Hour  // born[i] is the Born with which log[i] was stored
	byID  map[storage.ID]storage.Seq
	first map[string]storage.Seq // by signature
	spent map[storage.TokenID]storage.ID
	grown chan struct{} // closed, and replaced, when log grows

	floor  storage.Hour
	hours  map[storage.Hour]*hour // of all that was not removed, pruned or not
	kept   storage.HourSize       // all of the log
	bytes  uint64                 // of all that was not removed
	lowest storage.Seq            // nothing below it is in the log
	free   uint64                 // bytes of what was removed, until they are used again or given back
	copied uint64                 // bytes that the compaction under way has moved; 0: there is none
	pruned map[storage.ID]bool    // ids that were ever pruned
}

// hour holds what was born in one hour.
type hour struct {
	seqs  map[storage.Seq]bool
	bytes uint64
	keys  []storage.Key // in order; nil if not known
}

var (
	_ storage.Store     = (*Memory)(nil)
	_ storage.Watcher   = (*Memory)(nil)
	_ storage.Ledger    = (*Memory)(nil)
	_ storage.Pruner    = (*Memory)(nil)
	_ storage.Index     = (*Memory)(nil)
	_ storage.Compactor = (*Memory)(nil)
	_ storage.Checker   = (*memoryInspection)(nil)
)

// NewMemory returns an empty store with an epoch of its own.
func NewMemory() *Memory {
	return &Memory{
		epoch:  storage.NewEpoch(),
		byID:   make(map[storage.ID]storage.Seq),
		first:  make(map[string]storage.Seq),
		spent:  make(map[storage.TokenID]storage.ID),
		grown:  make(chan struct{}),
		hours:  make(map[storage.Hour]*hour),
		lowest: 1,
		pruned: make(map[storage.ID]bool),
	}
}

// Info implements [storage.Store]. Bytes counts ciphertexts and signatures, also of removed
// envelopes until new ones take their room or Compact gives it back. InUse counts those
// that are not pruned.
func (m *Memory) Info(ctx context.Context) (storage.Info, error) {
	if err := ctx.Err(); err != nil {
		return storage.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return storage.Info{
		Epoch:  m.epoch,
		First:  m.firstSeq(),
		Last:   m.lastSeq(),
		Count:  m.kept.Count,
		Bytes:  m.bytes + m.free + m.copied,
		InUse:  m.kept.Bytes,
		Tokens: uint64(len(m.spent)),
		Floor:  m.floor,
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
	seq, inLog := m.inLog(m.byID[r.ID])
	if r.Nullifier != nil {
		switch paid, spent := m.spent[storage.NewTokenID(*r.Nullifier)]; {
		case spent && paid == r.ID && inLog:
			return storage.Outcome{Status: storage.Replayed, Seq: seq}
		case spent:
			return storage.Outcome{Status: storage.Spent}
		}
	}
	if r.Born < m.floor {
		return storage.Outcome{Status: storage.Expired}
	}
	_, signed := m.inLog(m.first[string(r.Signature)])
	if r.Nullifier != nil {
		if !inLog && signed && len(r.Signature) > 0 {
			return storage.Outcome{Status: storage.Conflict}
		}
		m.spent[storage.NewTokenID(*r.Nullifier)] = r.ID
	}
	if inLog {
		if !m.keepsBorn {
			m.setBorn(seq, storage.LowerBorn(m.born[seq-1], m.log[seq-1].Born, r.Born))
		}
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
	m.born = append(m.born, r.Born)
	m.byID[r.ID] = seq
	if !signed {
		m.first[string(r.Signature)] = seq
	}
	m.addToHour(seq)
	size := sizeOf(m.log[seq-1])
	m.bytes += size
	m.free -= min(m.free, size)
	m.kept.Count++
	m.kept.Bytes += size
	return storage.Outcome{Status: storage.Stored, Seq: seq}
}

// inLog returns seq and whether an entry of that number is in the log. m.mu is held, as in
// the functions below.
func (m *Memory) inLog(seq storage.Seq) (storage.Seq, bool) {
	return seq, seq > 0 && m.log[seq-1].Seq > 0 && m.log[seq-1].Born >= m.floor
}

func (m *Memory) setBorn(seq storage.Seq, born storage.Hour) {
	if e := &m.log[seq-1]; e.Born != born {
		m.removeFromHour(seq)
		e.Born = born
		m.addToHour(seq)
	}
}

func (m *Memory) addToHour(seq storage.Seq) {
	e := m.log[seq-1]
	h := m.hours[e.Born]
	if h == nil {
		h = &hour{seqs: make(map[storage.Seq]bool)}
		m.hours[e.Born] = h
	}
	h.seqs[seq] = true
	h.bytes += sizeOf(e)
	h.keys = nil
}

func (m *Memory) removeFromHour(seq storage.Seq) {
	e := m.log[seq-1]
	h := m.hours[e.Born]
	if delete(h.seqs, seq); len(h.seqs) == 0 {
		delete(m.hours, e.Born)
	}
	h.bytes -= sizeOf(e)
	h.keys = nil
}

func sizeOf(e storage.Entry) uint64 { return uint64(len(e.Signature) + len(e.Ciphertext)) }

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
	for seq := max(from, m.lowest); seq <= page.Last && len(page.Entries) < limit; seq++ {
		if _, ok := m.inLog(seq); !ok {
			continue
		}
		e := m.cloneEntry(seq)
		size += len(e.Signature) + len(e.Ciphertext)
		if size > bound && len(page.Entries) > 0 {
			break
		}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

func (m *Memory) cloneEntry(seq storage.Seq) storage.Entry {
	e := m.log[seq-1]
	e.Signature, e.Ciphertext = bytes.Clone(e.Signature), bytes.Clone(e.Ciphertext)
	return e
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
	seq, ok := m.inLog(m.first[string(signature)])
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

// Hours implements [storage.Pruner]. It sorts all hours.
func (m *Memory) Hours(ctx context.Context, req storage.HoursRequest) ([]storage.HourSize, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("hours: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var page []storage.HourSize
	for _, at := range slices.Sorted(maps.Keys(m.hours)) {
		if h := m.hours[at]; at >= max(req.From, m.floor) && len(page) < limit {
			page = append(page, storage.HourSize{Hour: at, Count: uint64(len(h.seqs)), Bytes: h.bytes})
		}
	}
	return page, nil
}

// Prune implements [storage.Pruner].
func (m *Memory) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	if err := ctx.Err(); err != nil {
		return storage.Pruned{}, err
	}
	limit, err := req.Bound()
	if err != nil {
		return storage.Pruned{}, fmt.Errorf("prune: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.raiseFloor(req.Floor)
	p := storage.Pruned{Floor: m.floor}
	for at, h := range m.hours {
		if at >= m.floor {
			continue
		}
		for seq := range h.seqs {
			if p.Envelopes == uint64(limit) {
				p.More = true
				return p, nil
			}
			p.Envelopes++
			p.Bytes += sizeOf(m.log[seq-1])
			m.removeEntry(seq)
		}
	}
	return p, nil
}

func (m *Memory) raiseFloor(floor storage.Hour) {
	for at, h := range m.hours {
		if at < m.floor || at >= floor {
			continue
		}
		m.kept.Count -= uint64(len(h.seqs))
		m.kept.Bytes -= h.bytes
		for seq := range h.seqs {
			m.pruned[m.log[seq-1].ID] = true
		}
	}
	m.floor = max(m.floor, floor)
}

func (m *Memory) removeEntry(seq storage.Seq) {
	e := m.log[seq-1]
	if m.byID[e.ID] == seq { // and not stored again
		delete(m.byID, e.ID)
	}
	if m.first[string(e.Signature)] == seq {
		delete(m.first, string(e.Signature))
	}
	m.removeFromHour(seq)
	m.bytes -= sizeOf(e)
	m.free += sizeOf(e)
	m.log[seq-1] = storage.Entry{}
}

// Keys implements [storage.Index]. It sorts all hours, and the keys of the hours that it
// reads if they have changed.
func (m *Memory) Keys(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var page []storage.Key
	for _, at := range slices.Sorted(maps.Keys(m.hours)) {
		if at < max(req.Range.Lo.Born, m.floor) {
			continue
		}
		keys := m.sortedKeys(m.hours[at])
		from, _ := slices.BinarySearchFunc(keys, req.Range.Lo, storage.Key.Compare)
		for _, k := range keys[from:] {
			if len(page) == limit || !req.Range.Has(k) {
				return page, nil
			}
			page = append(page, k)
		}
	}
	return page, nil
}

func (m *Memory) sortedKeys(h *hour) []storage.Key {
	if h.keys == nil {
		for seq := range h.seqs {
			h.keys = append(h.keys, storage.Key{Born: m.log[seq-1].Born, ID: m.log[seq-1].ID})
		}
		slices.SortFunc(h.keys, storage.Key.Compare)
	}
	return h.keys
}

// Get implements [storage.Index].
func (m *Memory) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := storage.CheckGet(ids); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []storage.Entry
	size := 0
	for _, id := range ids {
		seq, ok := m.inLog(m.byID[id])
		if !ok {
			continue
		}
		e := m.cloneEntry(seq)
		if size += len(e.Signature) + len(e.Ciphertext); size > storage.PageBytes && len(entries) > 0 {
			break
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Compact implements [storage.Compactor]. It counts like a store that copies everything into
// a new file.
func (m *Memory) Compact(ctx context.Context, req storage.CompactRequest) (storage.Compacted, error) {
	if err := ctx.Err(); err != nil {
		return storage.Compacted{}, err
	}
	limit, err := req.Bound()
	if err != nil {
		return storage.Compacted{}, fmt.Errorf("compact: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.free == 0 {
		m.copied = 0
		return storage.Compacted{}, nil
	}
	if m.bytes > req.Room {
		m.copied = 0
		return storage.Compacted{}, fmt.Errorf("compact: %d bytes are needed, %d are allowed: %w", m.bytes, req.Room, storage.ErrFull)
	}
	moved := min(uint64(limit), m.bytes-min(m.copied, m.bytes))
	if m.copied += moved; m.copied < m.bytes {
		return storage.Compacted{Moved: moved, More: true}, nil
	}
	m.free, m.copied = 0, 0
	return storage.Compacted{Moved: moved}, nil
}

// Close implements [storage.Store]; the Memory stays usable.
func (m *Memory) Close() error { return nil }

// firstSeq returns the lowest sequence number in the log, or 0.
func (m *Memory) firstSeq() storage.Seq {
	for ; m.lowest <= m.lastSeq(); m.lowest++ {
		if _, ok := m.inLog(m.lowest); ok {
			return m.lowest
		}
	}
	return 0
}

// lastSeq returns the highest sequence number assigned. m.mu is held.
func (m *Memory) lastSeq() storage.Seq { return storage.Seq(len(m.log)) }
