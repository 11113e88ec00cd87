package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// mutant is a Memory with a fault, which may be killed. Functions that are nil stand for the
// methods of the Memory.
type mutant struct {
	*Memory
	info       func(storage.Info) storage.Info
	appendWith func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error)
	log        func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error)
	find       func(ctx context.Context, m *Memory, signature []byte) (storage.Seq, error)
	watch      func(ctx context.Context, m *Memory, after storage.Seq) (storage.Seq, error)
	spendings  func(ctx context.Context, m *Memory, req storage.SpentTokensRequest) ([]storage.SpentToken, error)
	spend      func(ctx context.Context, m *Memory, spendings []storage.SpentToken) error
	hoursOf    func(ctx context.Context, m *Memory, req storage.HoursRequest) ([]storage.HourSize, error)
	prune      func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error)
	keys       func(ctx context.Context, m *Memory, req storage.KeysRequest) ([]storage.Key, error)
	get        func(ctx context.Context, m *Memory, ids []storage.ID) ([]storage.Entry, error)
	compact    func(ctx context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error)
	inspect    func(m memoryInspection, dir string) storage.Store
	end        func(m *Memory) // is called by Close and after a kill
	// logFile is whether the ciphertexts are written to a file in the directory, and
	// erases whether a compaction removes from it what was removed from the store.
	logFile, erases bool

	dir    string
	killed *atomic.Bool
}

// call makes a call of a store that may be killed before it answers.
func call[R any](m *mutant, do func() (R, error)) (result R, err error) {
	if m.killed.Load() {
		return result, storage.ErrUnavailable
	}
	result, err = do()
	if m.killed.Load() {
		return *new(R), storage.ErrUnavailable
	}
	return result, err
}

func (m *mutant) Info(ctx context.Context) (storage.Info, error) {
	return call(m, func() (storage.Info, error) {
		info, err := m.Memory.Info(ctx)
		if m.info != nil {
			info = m.info(info)
		}
		return info, err
	})
}

func (m *mutant) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	return call(m, func() ([]storage.Outcome, error) {
		if m.logFile {
			defer m.writeLog()
		}
		if m.appendWith != nil {
			return m.appendWith(ctx, m.Memory, records)
		}
		return m.Memory.Append(ctx, records)
	})
}

// writeLog writes the ciphertexts of the store to a file, after those that are in it.
func (m *mutant) writeLog() {
	file, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	for _, e := range m.entries() {
		file.Write(e.Ciphertext)
	}
}

func (m *mutant) Compact(ctx context.Context, req storage.CompactRequest) (storage.Compacted, error) {
	return call(m, func() (storage.Compacted, error) {
		if m.logFile && m.erases {
			os.Remove(filepath.Join(m.dir, "log"))
			m.writeLog()
		}
		if m.compact != nil {
			return m.compact(ctx, m.Memory, req)
		}
		return m.Memory.Compact(ctx, req)
	})
}

func (m *mutant) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	return call(m, func() (storage.Page, error) {
		if m.log != nil {
			return m.log(ctx, m.Memory, req)
		}
		return m.Memory.Log(ctx, req)
	})
}

func (m *mutant) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	return call(m, func() (storage.Seq, error) {
		if m.find != nil {
			return m.find(ctx, m.Memory, signature)
		}
		return m.Memory.Find(ctx, signature)
	})
}

func (m *mutant) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	if m.watch != nil {
		return m.watch(ctx, m.Memory, after)
	}
	return m.Memory.Watch(ctx, after)
}

func (m *mutant) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	return call(m, func() ([]storage.SpentToken, error) {
		if m.spendings != nil {
			return m.spendings(ctx, m.Memory, req)
		}
		return m.Memory.SpentTokens(ctx, req)
	})
}

func (m *mutant) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	_, err := call(m, func() (struct{}, error) {
		if m.spend != nil {
			return struct{}{}, m.spend(ctx, m.Memory, spendings)
		}
		return struct{}{}, m.Memory.Spend(ctx, spendings)
	})
	return err
}

func (m *mutant) Hours(ctx context.Context, req storage.HoursRequest) ([]storage.HourSize, error) {
	return call(m, func() ([]storage.HourSize, error) {
		if m.hoursOf != nil {
			return m.hoursOf(ctx, m.Memory, req)
		}
		return m.Memory.Hours(ctx, req)
	})
}

func (m *mutant) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	return call(m, func() (storage.Pruned, error) {
		if m.prune != nil {
			return m.prune(ctx, m.Memory, req)
		}
		return m.Memory.Prune(ctx, req)
	})
}

func (m *mutant) Keys(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	return call(m, func() ([]storage.Key, error) {
		if m.keys != nil {
			return m.keys(ctx, m.Memory, req)
		}
		return m.Memory.Keys(ctx, req)
	})
}

func (m *mutant) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	return call(m, func() ([]storage.Entry, error) {
		if m.get != nil {
			return m.get(ctx, m.Memory, ids)
		}
		return m.Memory.Get(ctx, ids)
	})
}

func (m *mutant) Close() error {
	if m.end != nil {
		m.end(m.Memory)
	}
	return nil
}

// mutants are faults, by the check that must find them.
var mutants = map[string]mutant{
	"Ordered": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		backwards := slices.Clone(records)
		slices.Reverse(backwards)
		outcomes, err := m.Append(ctx, backwards)
		slices.Reverse(outcomes)
		return outcomes, err
	}},
	"Idempotent": {appendWith: appendChanged(func(r *storage.Record) { // as if the hour were part of the id
		r.ID[0] += byte(r.Born)
	})},
	"SameSignature": {appendWith: appendChanged(func(r *storage.Record) {
		r.ID = storage.NewID(r.Signature, nil)
	})},
	"WithinBatch": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) { // the batch before is all that counts
			if o.Status == storage.Replayed && o.Seq == m.lastSeq() {
				o.Status = storage.Duplicate
			}
		})
	}},
	"TooLarge": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		if err := storage.CheckBatch(records); err != nil && len(records) > 1 {
			_, _ = m.Append(ctx, records[:1])
			return nil, err
		}
		return m.Append(ctx, records)
	}},
	"RecordsBelongToCaller": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		outcomes, err := m.Append(ctx, records)
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, o := range outcomes {
			if o.Status == storage.Stored {
				m.log[o.Seq-1].Signature = records[i].Signature
			}
		}
		return outcomes, err
	}},
	"EndedContext": {appendWith: func(_ context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return m.Append(context.Background(), records)
	}},
	"Spent": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if o.Status == storage.Spent { // and yet keep the envelope
				free := records[i]
				free.Nullifier = nil
				_, _ = m.Append(ctx, []storage.Record{free})
			}
		})
	}},
	"Replayed": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(_ int, o *storage.Outcome) {
			if o.Status == storage.Replayed {
				*o = storage.Outcome{Status: storage.Spent}
			}
		})
	}},
	"DuplicateSpends": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if n := records[i].Nullifier; o.Status == storage.Duplicate && n != nil {
				m.mu.Lock()
				delete(m.spent, storage.NewTokenID(*n))
				m.mu.Unlock()
			}
		})
	}},
	"PaidAndUnpaid": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if records[i].Nullifier == nil && o.Status == storage.Duplicate {
				o.Status = storage.Replayed
			}
		})
	}},
	"Conflict": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if o.Status == storage.Conflict { // take another ciphertext, as long as somebody pays
				free := records[i]
				free.Nullifier = nil
				outcomes, _ := m.Append(ctx, []storage.Record{free})
				_ = m.Spend(ctx, []storage.SpentToken{spendingOf(records[i])})
				*o = outcomes[0]
			}
		})
	}},
	"ConflictUnpaid": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if first, _ := m.Find(ctx, records[i].Signature); first < o.Seq && len(records[i].Signature) > 0 {
				*o = conflict // wherever the record comes from
			}
		})
	}},
	"ConflictWithinBatch": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		before := m.lastSeq()
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) { // the batches before are all that counts
			if first, _ := m.Find(ctx, records[i].Signature); o.Status == storage.Conflict && first > before {
				o.Status = storage.Spent
			}
		})
	}},
	"CrowdedSignature": {find: func(_ context.Context, m *Memory, signature []byte) (storage.Seq, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var all []storage.Seq
		for _, e := range m.log {
			if bytes.Equal(e.Signature, signature) {
				all = append(all, e.Seq)
			}
		}
		if len(all) == 0 {
			return 0, storage.ErrNotFound
		}
		return slices.Min(all), nil
	}},
	"GroundKeys": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		outcomes, err := m.Append(ctx, records)
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, r := range records { // a token is looked for among all whose ids have its first byte
			if r.Nullifier == nil || storage.NewTokenID(*r.Nullifier)[0] != 0 {
				continue // other shards are short
			}
			n := 0
			for token := range m.spent {
				if token[0] == 0 {
					n++
				}
			}
			if n == 0 {
				return nil, storage.ErrCorrupt
			}
		}
		return outcomes, err
	}},
	"ShownAtOnce": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(int, *storage.Outcome) { time.Sleep(time.Millisecond) }) // readers look meanwhile
	}},
	"TokensCounted": {info: func(i storage.Info) storage.Info { i.Tokens = i.Count; return i }},
	"ManyTokens": {appendWith: appendChanged(func(r *storage.Record) { // looks at a part
		if r.Nullifier != nil {
			n := *r.Nullifier
			n[30] = 0
			r.Nullifier = &n
		}
	})},
	"LogEnd": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		page, err := m.Log(ctx, req)
		if len(page.Entries) == 0 {
			page.Last = 0
		}
		return page, err
	}},
	"LogFrom": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		if req.From > 5 {
			req.From++
		}
		return m.Log(ctx, req)
	}},
	"LogMax": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		req.Max = min(max(req.Max, 0), storage.MaxPage)
		return m.Log(ctx, req)
	}},
	"LogPageBytes": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		page, err := m.Log(ctx, req)
		if len(page.Entries) > 20 {
			page.Entries = page.Entries[:20]
		}
		return page, err
	}},
	"LogMaxPage": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		if req.Max == 0 {
			req.Max = storage.MaxPage / 2
		}
		return m.Log(ctx, req)
	}},
	"PagesBelongToCaller": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		page, err := m.Log(ctx, req)
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, e := range page.Entries {
			page.Entries[i].Ciphertext = m.log[e.Seq-1].Ciphertext
		}
		return page, err
	}},
	"FindLowest": {find: func(_ context.Context, m *Memory, signature []byte) (found storage.Seq, _ error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, e := range m.log {
			if bytes.Equal(e.Signature, signature) {
				found = e.Seq
			}
		}
		return found, nil
	}},
	"FindNothing": {find: func(ctx context.Context, m *Memory, signature []byte) (storage.Seq, error) {
		seq, err := m.Find(ctx, signature)
		if errors.Is(err, storage.ErrNotFound) {
			err = nil
		}
		return seq, err
	}},
	"FindTooLarge": {find: func(ctx context.Context, m *Memory, signature []byte) (storage.Seq, error) {
		return m.Find(ctx, signature[:min(len(signature), storage.MaxEnvelope)])
	}},
	"InUse": {info: func(i storage.Info) storage.Info { i.InUse = i.Bytes + 1; return i }},
	"Epoch": {info: func(i storage.Info) storage.Info { i.Epoch = storage.Epoch{1}; return i }},
	"Empty": {info: func(i storage.Info) storage.Info { i.First = 1; return i }},
	"Model": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(_ int, o *storage.Outcome) {
			if o.Status == storage.Duplicate && o.Seq == 11 { // a rare fault
				o.Seq = 12
			}
		})
	}},
	"Readers": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		page, err := m.Log(ctx, req)
		if n := len(page.Entries); n > 2 && page.Last%2 == 0 { // a hole where another writer is at work
			page.Entries = slices.Delete(page.Entries, n-2, n-1)
		}
		return page, err
	}},
	"SpentTokens": {spendings: func(ctx context.Context, m *Memory, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
		page, err := m.SpentTokens(ctx, req)
		return slices.DeleteFunc(page, func(s storage.SpentToken) bool { // knows only the first token of an envelope
			return slices.ContainsFunc(page, func(o storage.SpentToken) bool { return o.ID == s.ID && o.Token != s.Token })
		}), err
	}},
	"SpentTokensPages": {spendings: func(ctx context.Context, m *Memory, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
		if req.After != nil && req.Max == 5 { // as if the token before the page had to be there
			if all, err := m.SpentTokens(ctx, storage.SpentTokensRequest{}); err != nil || !slices.ContainsFunc(all, func(s storage.SpentToken) bool { return s.Token == *req.After }) {
				return nil, err
			}
		}
		return m.SpentTokens(ctx, req)
	}},
	"SpentTokensMax": {spendings: func(ctx context.Context, m *Memory, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
		req.Max = min(max(req.Max, 0), storage.MaxSpentTokens)
		return m.SpentTokens(ctx, req)
	}},
	"Spend": {spend: func(ctx context.Context, m *Memory, spendings []storage.SpentToken) error { // only of envelopes that are there
		return m.Spend(ctx, slices.DeleteFunc(slices.Clone(spendings), func(s storage.SpentToken) bool {
			_, ok := m.byID[s.ID]
			return !ok
		}))
	}},
	"SpendPaysNothing": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if n := records[i].Nullifier; n != nil && o.Status == storage.Spent && m.spent[storage.NewTokenID(*n)] == records[i].ID {
				free := records[i] // it was paid for, after all
				free.Nullifier = nil
				outcomes, _ := m.Append(ctx, []storage.Record{free})
				*o = outcomes[0]
			}
		})
	}},
	"SpendTwice": {spend: func(ctx context.Context, m *Memory, spendings []storage.SpentToken) error { // the last one stays
		m.mu.Lock()
		for _, s := range spendings {
			delete(m.spent, s.Token)
		}
		m.mu.Unlock()
		return m.Spend(ctx, spendings)
	}},
	"SpendTooLarge": {spend: func(ctx context.Context, m *Memory, spendings []storage.SpentToken) error {
		if err := storage.CheckSpend(spendings); err != nil {
			_ = m.Spend(ctx, spendings[:1])
			return err
		}
		return m.Spend(ctx, spendings)
	}},
	"Prune": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
		req.Floor = max(req.Floor, 1) - 1 // keeps an hour too much
		return m.Prune(ctx, req)
	}},
	"PruneAtOnce": {log: func(_ context.Context, m *Memory, _ storage.LogRequest) (page storage.Page, _ error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		page.Last = m.lastSeq()
		for _, e := range m.log { // as long as they are there
			if e.Seq > 0 && len(m.log) < 100 {
				page.Entries = append(page.Entries, e)
			}
		}
		return page, nil
	}},
	"PruneMax": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
		req.Max = min(max(req.Max, 0), storage.MaxPrune)
		return m.Prune(ctx, req)
	}},
	"FloorRises": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
		p, err := m.Prune(ctx, req)
		m.mu.Lock()
		defer m.mu.Unlock()
		if req.Floor > 0 {
			m.floor = req.Floor
			p.Floor = req.Floor
		}
		return p, err
	}},
	"Expired": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if o.Status == storage.Expired && records[i].Nullifier != nil {
				_ = m.Spend(ctx, []storage.SpentToken{spendingOf(records[i])})
			}
		})
	}},
	"PrunedTokens": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
		p, err := m.Prune(ctx, req)
		m.mu.Lock()
		defer m.mu.Unlock()
		maps.DeleteFunc(m.spent, func(_ storage.TokenID, id storage.ID) bool { _, ok := m.byID[id]; return !ok })
		return p, err
	}},
	"PrunedAgain": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
		m.mu.Lock()
		for _, e := range m.log { // takes what was stored again for what it was before
			if seq := m.byID[e.ID]; e.Seq > 0 && e.Born < m.floor && seq != e.Seq && seq > 0 {
				m.setBorn(seq, e.Born)
				m.kept.Count--
				m.kept.Bytes -= sizeOf(e)
			}
		}
		m.mu.Unlock()
		return m.Prune(ctx, req)
	}},
	"PrunedSignature": {find: func(_ context.Context, m *Memory, signature []byte) (storage.Seq, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, e := range m.entries() { // the lowest of those that are left
			if bytes.Equal(e.Signature, signature) {
				return e.Seq, nil
			}
		}
		return 0, storage.ErrNotFound
	}},
	"PrunedNumbers": {end: func(m *Memory) { // counts on from the last one that is left
		for n := len(m.log); n > 0 && m.log[n-1].Seq == 0; n-- {
			m.log, m.born = m.log[:n-1], m.born[:n-1]
		}
		m.lowest = 1
	}},
	"PruneReopened": {end: func(m *Memory) { // remembers the floor as long as there is something to remove
		if len(m.hours) == 0 {
			m.floor = 0
		}
	}},
	"PruneReaders": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		req.Max = readHours * readPerHour / 2 // reads in two transactions
		page, err := m.Log(ctx, req)
		if n := len(page.Entries); err == nil && n > 0 {
			time.Sleep(time.Millisecond) // a prune falls in between
			more, moreErr := m.Log(ctx, storage.LogRequest{From: page.Entries[n-1].Seq + 1})
			page.Entries, err = append(page.Entries, more.Entries...), moreErr
		}
		return page, err
	}},
	"PruneAppends": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
		p, err := m.Prune(ctx, req)
		m.mu.Lock()
		defer m.mu.Unlock()
		if n := len(m.log); n > 8 && m.log[n-1].Born == 1000 { // overwrites what came meanwhile
			m.kept.Count--
			m.kept.Bytes -= sizeOf(m.log[n-1])
			m.removeEntry(storage.Seq(n))
		}
		return p, err
	}},
	"PruneCost": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
		p, err := m.Prune(ctx, req)
		m.mu.Lock()
		defer m.mu.Unlock()
		for range p.Envelopes { // looks for each of them in the whole log
			for at, h := range m.hours {
				for seq := range h.seqs {
					if m.log[seq-1].Born != at {
						return p, storage.ErrCorrupt
					}
				}
			}
		}
		return p, err
	}},
	"PruneKilled": {end: func(m *Memory) { // raises the floor when everything below it is gone
		hours := slices.Sorted(maps.Keys(m.hours))
		if len(hours) > 0 && hours[0] < m.floor {
			floor := m.floor
			m.floor = hours[0]
			for at, h := range m.hours {
				if at < floor {
					m.kept.Count += uint64(len(h.seqs))
					m.kept.Bytes += h.bytes
				}
			}
			m.lowest = 1
		}
	}},
	"Hours": {hoursOf: func(ctx context.Context, m *Memory, req storage.HoursRequest) ([]storage.HourSize, error) {
		hours, err := m.Hours(ctx, req)
		for i := range hours {
			hours[i].Bytes = max(hours[i].Bytes, 1) // an empty envelope has some size
		}
		return hours, err
	}},
	"HoursMax": {hoursOf: func(ctx context.Context, m *Memory, req storage.HoursRequest) ([]storage.HourSize, error) {
		req.Max = min(max(req.Max, 0), storage.MaxHours)
		return m.Hours(ctx, req)
	}},
	"Keys": {keys: func(ctx context.Context, m *Memory, req storage.KeysRequest) ([]storage.Key, error) {
		if req.Range.Hi != (storage.Key{}) {
			req.Range.Hi = req.Range.Hi.Next() // both ends are in it
		}
		return m.Keys(ctx, req)
	}},
	"KeysMax": {keys: func(ctx context.Context, m *Memory, req storage.KeysRequest) ([]storage.Key, error) {
		req.Max = min(max(req.Max, 0), storage.MaxKeys)
		return m.Keys(ctx, req)
	}},
	"Get": {get: func(ctx context.Context, m *Memory, ids []storage.ID) ([]storage.Entry, error) {
		entries, err := m.Get(ctx, ids)
		slices.SortFunc(entries, func(a, b storage.Entry) int { return cmp.Compare(a.Seq, b.Seq) }) // as they are in the log
		return entries, err
	}},
	"GetBytes": {get: func(ctx context.Context, m *Memory, ids []storage.ID) ([]storage.Entry, error) {
		entries, err := m.Get(ctx, ids)
		return entries[:min(len(entries), 10)], err
	}},
	"GetTooLarge": {get: func(ctx context.Context, m *Memory, ids []storage.ID) ([]storage.Entry, error) {
		return m.Get(ctx, ids[:min(len(ids), storage.MaxGet)])
	}},
	"GetBelongsToCaller": {get: func(ctx context.Context, m *Memory, ids []storage.ID) ([]storage.Entry, error) {
		entries, err := m.Get(ctx, ids)
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, e := range entries {
			entries[i].Ciphertext = m.log[e.Seq-1].Ciphertext
		}
		return entries, err
	}},
	"OneBorn": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(i int, o *storage.Outcome) {
			if o.Status == storage.Replayed { // whatever the token says
				free := records[i]
				free.Nullifier = nil
				_, _ = m.Append(ctx, []storage.Record{free})
			}
		})
	}},
	"OneBornInAnyOrder": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(_ int, o *storage.Outcome) {
			if o.Status == storage.Duplicate { // a day before the hour that it has now
				m.mu.Lock()
				defer m.mu.Unlock()
				m.born[o.Seq-1] = m.log[o.Seq-1].Born
			}
		})
	}},
	"IndexCost": {keys: func(ctx context.Context, m *Memory, req storage.KeysRequest) ([]storage.Key, error) {
		m.mu.Lock()
		for _, h := range m.hours {
			h.keys = nil // sorts them again
		}
		m.mu.Unlock()
		return m.Keys(ctx, req)
	}},
	"Compact": {compact: func(ctx context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error) {
		_, err := req.Bound() // reuses what is free, some day
		return storage.Compacted{}, errors.Join(err, ctx.Err())
	}},
	"CompactMax": {compact: func(ctx context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error) {
		req.Max = min(max(req.Max, 0), storage.MaxCompact)
		return m.Compact(ctx, req)
	}},
	"CompactRoom": {compact: func(ctx context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error) {
		copied := m.copied
		c, err := m.Compact(ctx, req)
		if errors.Is(err, storage.ErrFull) { // goes on when there is room
			m.copied = copied
		}
		return c, err
	}},
	"CompactUnseen": {compact: func(ctx context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error) {
		c, err := m.Compact(ctx, req)
		m.mu.Lock()
		defer m.mu.Unlock()
		if n := len(m.log); n > 0 && !c.More { // what came last is not in the new file
			delete(m.byID, m.log[n-1].ID)
		}
		return c, err
	}},
	"CompactWaits": {compact: func(ctx context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error) {
		m.mu.Lock()
		time.Sleep(momentWait * 3 / 2)
		m.mu.Unlock()
		return m.Compact(ctx, req)
	}},
	"CompactEnds": {compact: func(_ context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error) {
		time.Sleep(2 * time.Second)
		return m.Compact(context.Background(), req)
	}},
	"CompactReopened": {end: func(m *Memory) {
		if m.copied > 0 {
			loseToken(m)
		}
	}},
	"CompactKilled": {
		compact: func(ctx context.Context, m *Memory, req storage.CompactRequest) (storage.Compacted, error) {
			time.Sleep(time.Millisecond)
			return m.Compact(ctx, req)
		},
		end: func(m *Memory) {
			if m.copied > 0 {
				loseToken(m)
			}
		},
	},
	"CompactErases": {logFile: true},
	"Inspect": {inspect: func(m memoryInspection, _ string) storage.Store {
		return changedInspection{memoryInspection: m, log: func(p *storage.Page) { // as if the last page had not been written
			p.Entries = p.Entries[:max(len(p.Entries), 1)-1]
		}}
	}},
	"InspectKilled": {inspect: func(m memoryInspection, _ string) storage.Store {
		return changedInspection{memoryInspection: m, check: func(c *storage.Checked) { // which an ordinary start would repair
			c.Faults = []storage.Fault{{Place: "file", Text: "it was not closed"}}
		}}
	}},
	"InspectUnchanged": {inspect: makeFile},
	"InspectNothing":   {inspect: makeFile},
	"CheckWhole": {inspect: func(m memoryInspection, _ string) storage.Store {
		return changedInspection{memoryInspection: m, check: func(c *storage.Checked) { c.Total++ }} // leaves out a part
	}},
	"CheckState": {inspect: func(m memoryInspection, _ string) storage.Store {
		return changedInspection{memoryInspection: m, after: func(after []byte) []byte {
			if len(after) > storage.MaxCheckState {
				return nil
			}
			return after
		}}
	}},
	"CheckDamage": {inspect: func(m memoryInspection, _ string) storage.Store {
		return changedInspection{memoryInspection: m, check: func(c *storage.Checked) { c.Faults = nil }}
	}},
	"FaultTexts": {inspect: func(m memoryInspection, _ string) storage.Store {
		return changedInspection{memoryInspection: m, check: func(c *storage.Checked) {
			for i := range c.Faults {
				c.Faults[i].Text += fmt.Sprintf(" %X", m.log[len(m.log)/2].ID)
			}
		}}
	}},
	"LogMaxBytes": {log: func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error) {
		req.MaxBytes = max(req.MaxBytes, 0)
		return m.Log(ctx, req)
	}},
	"Find": {find: func(ctx context.Context, m *Memory, signature []byte) (storage.Seq, error) {
		seq, err := m.Find(ctx, signature)
		if seq > 200 { // of the second batch
			seq -= 200
		}
		return seq, err
	}},
	"Appenders": {appendWith: func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		return appendAnswered(ctx, m, records, func(_ int, o *storage.Outcome) {
			if o.Status == storage.Replayed && o.Seq < m.lastSeq()-10 { // somebody else has stored it
				o.Status = storage.Duplicate
			}
		})
	}},
	"Reopened":      {end: loseLast},
	"SpendReopened": {end: loseToken},
	"Killed":        {end: loseLast},
	"SpendKilled":   {end: loseToken},
	"Watch": {watch: func(ctx context.Context, m *Memory, after storage.Seq) (storage.Seq, error) {
		_, err := m.Watch(ctx, after)
		return after + 1, err
	}},
}

// changedInspection is an inspection with a fault.
type changedInspection struct {
	memoryInspection
	log   func(*storage.Page)
	check func(*storage.Checked)
	after func([]byte) []byte
}

func (c changedInspection) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	page, err := c.memoryInspection.Log(ctx, req)
	if c.log != nil {
		c.log(&page)
	}
	return page, err
}

func (c changedInspection) Check(ctx context.Context, req storage.CheckRequest) (storage.Checked, error) {
	if c.after != nil {
		req.After = c.after(req.After)
	}
	checked, err := c.memoryInspection.Check(ctx, req)
	if c.check != nil {
		c.check(&checked)
	}
	return checked, err
}

// makeFile opens a store for inspection and makes a file, such as a lock.
func makeFile(m memoryInspection, dir string) storage.Store {
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		panic(err)
	}
	return m
}

// loseLast loses the last envelope and not its token.
func loseLast(m *Memory) {
	if n := len(m.log); n > 0 {
		m.removeEntry(storage.Seq(n))
		m.log, m.born, m.kept.Count = m.log[:n-1], m.born[:n-1], m.kept.Count-1
	}
}

func loseToken(m *Memory) {
	for token := range m.spent {
		delete(m.spent, token)
		return
	}
}

// appendChanged appends records after change has changed each.
func appendChanged(change func(*storage.Record)) func(context.Context, *Memory, []storage.Record) ([]storage.Outcome, error) {
	return func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error) {
		other := slices.Clone(records)
		for i := range other {
			change(&other[i])
		}
		return m.Append(ctx, other)
	}
}

// appendAnswered appends records one by one and returns the outcomes after change has
// changed each.
func appendAnswered(ctx context.Context, m *Memory, records []storage.Record, change func(int, *storage.Outcome)) ([]storage.Outcome, error) {
	if err := storage.CheckBatch(records); err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	var outcomes []storage.Outcome
	for i := range records {
		o, err := m.Append(ctx, records[i:i+1])
		if err != nil {
			return nil, err
		}
		change(i, &o[0])
		outcomes = append(outcomes, o[0])
	}
	return outcomes, nil
}

const mutantVariable = "CWTCH_RELAY_TEST_MUTANT"

// TestMutant runs the suite on a mutant, in a process that TestMutants starts.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantVariable)
	m, ok := mutants[name]
	if !ok {
		t.Skip("only for TestMutants")
	}
	Run(t, openMutants(m, strings.HasSuffix(name, "Killed")))
}

// openMutants opens one mutant for each directory, which may be killed or not.
func openMutants(m mutant, mortal bool) Opener {
	stores := make(map[string]*Memory)
	o := Opener{Disk: m.logFile, Damages: map[string]func(testing.TB, string){
		"an entry": func(_ testing.TB, dir string) {
			e := stores[dir].entries()[3]
			e.Ciphertext[0] ^= 1
		},
		"the index": func(_ testing.TB, dir string) {
			e := stores[dir].entries()[3]
			delete(stores[dir].byID, e.ID)
		},
	}}
	o.Inspect = func(_ testing.TB, dir string) (*plugintest.Opened, error) {
		inspection := memoryInspection{stores[dir]}
		var store storage.Store = inspection
		if m.inspect != nil {
			store = m.inspect(inspection, dir)
		}
		if inspection.Memory == nil {
			return nil, errors.New("there is no store")
		}
		return &plugintest.Opened{Store: store, Close: func() error { return nil }}, nil
	}
	o.Open = func(_ testing.TB, dir string) (*plugintest.Opened, error) {
		if stores[dir] == nil {
			stores[dir] = NewMemory()
		}
		m := m
		m.Memory, m.dir, m.killed = stores[dir], dir, new(atomic.Bool)
		opened := &plugintest.Opened{Store: &m}
		opened.Close = func() error {
			if m.killed.Load() {
				return nil
			}
			return m.Close()
		}
		if mortal {
			opened.Kill = func() {
				m.killed.Store(true)
				m.mu.Lock()
				defer m.mu.Unlock()
				if m.end != nil {
					m.end(m.Memory)
				}
			}
		}
		return opened, nil
	}
	return o
}

// TestErased shows that a store passes that does not leave what was removed in its files.
func TestErased(t *testing.T) {
	for _, c := range Checks(openMutants(mutant{logFile: true, erases: true}, false)) {
		if c.Name == "CompactErases" {
			t.Run(c.Name, func(t *testing.T) { c.Run(t) })
		}
	}
}

// TestForgetful shows that a store may forget which pruned envelope a token has paid for, and
// that it may do so at any time after the prune.
func TestForgetful(t *testing.T) {
	forget := func(m *Memory) {
		for token, id := range m.spent {
			if _, inLog := m.inLog(m.byID[id]); m.pruned[id] && !inLog {
				m.spent[token] = storage.ID{}
			}
		}
	}
	for name, m := range map[string]mutant{
		"at once": {prune: func(ctx context.Context, m *Memory, req storage.PruneRequest) (storage.Pruned, error) {
			p, err := m.Prune(ctx, req)
			m.mu.Lock()
			defer m.mu.Unlock()
			forget(m)
			return p, err
		}},
		"at the end": {end: forget},
	} {
		t.Run(name, func(t *testing.T) { Run(t, openMutants(m, false)) })
	}
}

// TestKilled runs the checks that kill a store, which no other test here does.
func TestKilled(t *testing.T) {
	for _, c := range Checks(openMutants(mutant{}, true)) {
		if strings.HasSuffix(c.Name, "Killed") {
			t.Run(c.Name, func(t *testing.T) { c.Run(t) })
		}
	}
}

// TestEveryCheckFindsAMutant keeps the list of mutants complete. Full needs a disk, and the
// other checks without a mutant look at what a Memory cannot easily do wrong.
func TestEveryCheckFindsAMutant(t *testing.T) {
	without := []string{"EmptyBatch", "EmptyBytes", "Largest", "Full"}
	for _, c := range Checks(Opener{}) {
		if _, ok := mutants[c.Name]; ok == slices.Contains(without, c.Name) {
			t.Errorf("%s: has a mutant: %v", c.Name, ok)
		}
	}
}

// TestMutants shows that the suite finds each fault, by the check whose sentence it
// breaks.
func TestMutants(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range mutants {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.run=^TestMutant$/^"+name+"$")
			cmd.Env = append(os.Environ(), mutantVariable+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestMutant/"+name+" ") || !strings.Contains(string(out), "the contract says: ") {
				t.Errorf("the fault was not found: %v\n%s", err, out)
			}
		})
	}
}
