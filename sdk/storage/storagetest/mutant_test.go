package storagetest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// mutant is a Memory with a fault. Functions that are nil stand for the methods of the
// Memory.
type mutant struct {
	*Memory
	info       func(storage.Info) storage.Info
	appendWith func(ctx context.Context, m *Memory, records []storage.Record) ([]storage.Outcome, error)
	log        func(ctx context.Context, m *Memory, req storage.LogRequest) (storage.Page, error)
	find       func(ctx context.Context, m *Memory, signature []byte) (storage.Seq, error)
	watch      func(ctx context.Context, m *Memory, after storage.Seq) (storage.Seq, error)
	spendings  func(ctx context.Context, m *Memory, req storage.SpentTokensRequest) ([]storage.SpentToken, error)
	spend      func(ctx context.Context, m *Memory, spendings []storage.SpentToken) error
}

func (m *mutant) Info(ctx context.Context) (storage.Info, error) {
	info, err := m.Memory.Info(ctx)
	if m.info != nil {
		info = m.info(info)
	}
	return info, err
}

func (m *mutant) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	if m.appendWith != nil {
		return m.appendWith(ctx, m.Memory, records)
	}
	return m.Memory.Append(ctx, records)
}

func (m *mutant) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	if m.log != nil {
		return m.log(ctx, m.Memory, req)
	}
	return m.Memory.Log(ctx, req)
}

func (m *mutant) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if m.find != nil {
		return m.find(ctx, m.Memory, signature)
	}
	return m.Memory.Find(ctx, signature)
}

func (m *mutant) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	if m.watch != nil {
		return m.watch(ctx, m.Memory, after)
	}
	return m.Memory.Watch(ctx, after)
}

func (m *mutant) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	if m.spendings != nil {
		return m.spendings(ctx, m.Memory, req)
	}
	return m.Memory.SpentTokens(ctx, req)
}

func (m *mutant) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	if m.spend != nil {
		return m.spend(ctx, m.Memory, spendings)
	}
	return m.Memory.Spend(ctx, spendings)
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
	"Watch": {watch: func(ctx context.Context, m *Memory, after storage.Seq) (storage.Seq, error) {
		_, err := m.Watch(ctx, after)
		return after + 1, err
	}},
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
	m, ok := mutants[os.Getenv(mutantVariable)]
	if !ok {
		t.Skip("only for TestMutants")
	}
	Run(t, openMemories(func(memory *Memory) storage.Store {
		m := m
		m.Memory = memory
		return &m
	}))
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
