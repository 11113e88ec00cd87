package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// memoryInspection is a [Memory] that is opened for inspection.
type memoryInspection struct{ *Memory }

// Inspect returns the store as a [plugin.Config] with Inspect opens it: it is a
// [storage.Checker] and refuses every change.
//
// [plugin.Config]: https://pkg.go.dev/github.com/cwtch-relay/cwtch-relay/sdk/plugin#Config
func (m *Memory) Inspect() storage.Store { return memoryInspection{m} }

var errInspected = errors.New("the store is open for inspection only")

// Append implements [storage.Store].
func (m memoryInspection) Append(context.Context, []storage.Record) ([]storage.Outcome, error) {
	return nil, fmt.Errorf("append: %w", errInspected)
}

// Spend implements [storage.Ledger].
func (m memoryInspection) Spend(context.Context, []storage.SpentToken) error {
	return fmt.Errorf("spend: %w", errInspected)
}

// Prune implements [storage.Pruner].
func (m memoryInspection) Prune(context.Context, storage.PruneRequest) (storage.Pruned, error) {
	return storage.Pruned{}, fmt.Errorf("prune: %w", errInspected)
}

// Compact implements [storage.Compactor].
func (m memoryInspection) Compact(context.Context, storage.CompactRequest) (storage.Compacted, error) {
	return storage.Compacted{}, fmt.Errorf("compact: %w", errInspected)
}

// checkPart is how many entries one Check of a Memory verifies.
const checkPart = 256

// Check implements [storage.Checker]. It computes the id of every entry again, and looks it up
// in the index.
func (m memoryInspection) Check(ctx context.Context, req storage.CheckRequest) (storage.Checked, error) {
	if err := ctx.Err(); err != nil {
		return storage.Checked{}, err
	}
	if err := req.Bound(); err != nil {
		return storage.Checked{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	from := 0
	if len(req.After) > 0 {
		n, err := strconv.ParseUint(string(req.After), 10, 64)
		if err != nil || n >= uint64(len(m.log)) {
			return storage.Checked{}, errors.New("check: no part begins there")
		}
		from = int(n)
	}
	to := min(from+checkPart, len(m.log))
	c := storage.Checked{Total: m.bytes}
	for i := range m.log[:to] {
		e := m.log[i]
		c.Done += sizeOf(e)
		if i >= from && e.Seq > 0 && !m.isWhole(e) {
			c.Faults = append(c.Faults, storage.Fault{Place: fmt.Sprintf("entry %d", e.Seq), Text: "it is not the envelope of its id"})
		}
	}
	if to < len(m.log) {
		c.Next = strconv.AppendInt(nil, int64(to), 10)
	}
	return c, nil
}

// isWhole reports whether an entry is the one that its id stands for. m.mu is held.
func (m memoryInspection) isWhole(e storage.Entry) bool {
	return (m.byID[e.ID] == e.Seq || m.pruned[e.ID]) && hasItsID(e)
}

func hasItsID(e storage.Entry) bool { return storage.NewID(e.Signature, e.Ciphertext) == e.ID }

// Log implements [storage.Store]. It leaves out damaged entries. Its page is empty at the end
// of the log only.
func (m memoryInspection) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	for {
		page, err := m.Memory.Log(ctx, req)
		if err != nil || len(page.Entries) == 0 {
			return page, err
		}
		req.From = page.Entries[len(page.Entries)-1].Seq + 1
		page.Entries = slices.DeleteFunc(page.Entries, func(e storage.Entry) bool { return !hasItsID(e) })
		if len(page.Entries) > 0 {
			return page, nil
		}
	}
}

// Get implements [storage.Index]. It leaves out damaged entries.
func (m memoryInspection) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	entries, err := m.Memory.Get(ctx, ids)
	return slices.DeleteFunc(entries, func(e storage.Entry) bool { return !hasItsID(e) }), err
}
