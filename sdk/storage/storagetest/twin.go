package storagetest

import (
	"maps"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// twin is a store with one appender, and a Memory that gets everything that the store has
// acknowledged. They must agree.
type twin struct {
	*fixture
	model  *Memory
	tokens []*storage.Nullifier // those that are spent
}

func newTwin(f *fixture) *twin { return &twin{fixture: f, model: newModel(f.store)} }

// newModel returns an empty Memory that does as the store should.
func newModel(store storage.Store) *Memory {
	m := NewMemory()
	_, isIndex := storage.As[storage.Index](store)
	m.keepsBorn = !isIndex
	return m
}

// sameOutcomes compares the outcomes of a batch with those of the model. A store may have
// forgotten that a token has paid for an envelope that was pruned and is there again.
func (m *Memory) sameOutcomes(got, want []storage.Outcome, batch []storage.Record) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		forgotten := want[i].Status == storage.Replayed && got[i] == spent && m.pruned[batch[i].ID]
		if got[i] != want[i] && !forgotten {
			return false
		}
	}
	return true
}

// sameTokens compares a page of the ledger with that of the model. A store may have
// forgotten the envelopes that were pruned.
func (m *Memory) sameTokens(got, want []storage.SpentToken) bool {
	return slices.EqualFunc(got, want, func(got, want storage.SpentToken) bool {
		return got == want || got.Token == want.Token && got.ID == storage.ID{} && m.pruned[want.ID]
	})
}

// entries returns what is in the log.
func (m *Memory) entries() []storage.Entry {
	return slices.DeleteFunc(slices.Clone(m.log), func(e storage.Entry) bool {
		_, ok := m.inLog(e.Seq)
		return !ok
	})
}

// tryAppend appends a batch and compares the outcomes, or returns the error.
func (w *twin) tryAppend(batch []storage.Record) error {
	w.Helper()
	got, err := w.store.Append(w.Context(), batch)
	if err != nil {
		return err
	}
	if want := w.applyBatch(batch); !w.model.sameOutcomes(got, want, batch) {
		w.Fatalf("append after %d entries: %v, want %v", w.model.lastSeq(), got, want)
	}
	return nil
}

// applyBatch applies a batch to the model, and returns what the store should have
// answered.
func (w *twin) applyBatch(batch []storage.Record) []storage.Outcome {
	w.Helper()
	outcomes, err := w.model.Append(w.Context(), batch)
	if err != nil {
		w.Fatal(err)
	}
	for i, o := range outcomes {
		if batch[i].Nullifier != nil && (o.Status == storage.Stored || o.Status == storage.Duplicate) {
			w.tokens = append(w.tokens, batch[i].Nullifier)
		}
	}
	return outcomes
}

// compareAll compares everything that can be read, and tries to spend each token again.
func (w *twin) compareAll() {
	w.Helper()
	w.compareReads()
	for part := range slices.Chunk(w.tokens, storage.MaxBatch) {
		thefts := newRecords(len(part), 16)
		for i := range thefts {
			thefts[i].Nullifier = part[i]
		}
		for _, o := range w.mustAppend(thefts...) {
			if o != spent {
				w.Fatalf("a token was spent a second time: %v at %d", o.Status, o.Seq)
			}
		}
	}
}

// compareReads compares what Info and Log show.
func (w *twin) compareReads() {
	w.Helper()
	got, want := w.mustInfo(), w.modelInfo()
	want.Epoch, want.Bytes, want.InUse = got.Epoch, got.Bytes, got.InUse // its own
	if got != want {
		w.Fatalf("info: %+v, want %+v", got, want)
	}
	entries, kept := w.readPrunedLog(), w.model.entries()
	if len(entries) != len(kept) {
		w.Fatalf("the log has %d entries, want %d", len(entries), len(kept))
	}
	seen := make(map[storage.ID]bool)
	for i, e := range kept {
		if entries[i].Seq != e.Seq || !sameRecord(entries[i], w.recordAt(e.Seq)) {
			w.Fatalf("entry %d is not what was acknowledged", e.Seq)
		}
		if seen[e.ID] {
			w.Fatalf("entry %d is in the log twice", e.Seq)
		}
		seen[e.ID] = true
	}
}

// compareOptional compares what the optional interfaces of the store show.
func (w *twin) compareOptional() {
	w.Helper()
	kept := make(map[storage.Seq]storage.Record)
	for _, e := range w.model.entries() {
		kept[e.Seq] = w.recordAt(e.Seq)
	}
	w.expectIndexed(kept)
	if _, ok := storage.As[storage.Pruner](w.store); ok {
		want := sizesOf(slices.Collect(maps.Values(kept)))
		if got := w.mustHours(storage.HoursRequest{}); !slices.Equal(got, want[:min(len(want), storage.MaxHours)]) {
			w.Errorf("hours: %v, want %v", got, want)
		}
	}
	if _, ok := storage.As[storage.Ledger](w.store); ok {
		if got, want := w.readLedger(), w.modelLedger(); !w.model.sameTokens(got, want) {
			w.Errorf("the ledger has %d tokens, want %d, or others than expected", len(got), len(want))
		}
	}
}

// modelLedger returns the spent tokens of the model.
func (w *twin) modelLedger() (all []storage.SpentToken) {
	for token, id := range w.model.spent {
		all = append(all, storage.SpentToken{Token: token, ID: id})
	}
	slices.SortFunc(all, byToken)
	return all
}

func (w *twin) modelInfo() storage.Info {
	w.Helper()
	info, err := w.model.Info(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return info
}

// recordAt returns the record of an entry, without the token that paid for it.
func (w *twin) recordAt(seq storage.Seq) storage.Record {
	e := w.model.log[seq-1]
	return storage.Record{ID: e.ID, Born: e.Born, Signature: e.Signature, Ciphertext: e.Ciphertext}
}
