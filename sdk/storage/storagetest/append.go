package storagetest

import (
	"context"
	"errors"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var appendChecks = []check{
	{"Ordered", "sequence numbers start at 1, rise by one with every stored envelope and are never reused within an Epoch", checkOrder},
	{"Idempotent", "an envelope is stored once, however often it is appended", checkIdempotence},
	{"SameSignature", "ID: signature and ciphertext together", checkSameSignature},
	{"WithinBatch", "a record sees the effect of the records before it in the batch", checkWithinBatch},
	{"EmptyBatch", "an empty batch is no error and has no outcomes", checkEmptyBatch},
	{"EmptyBytes", "signatures and ciphertexts are opaque and may be empty; nil and empty are the same", checkEmptyBytes},
	{"Largest", "a store refuses what exceeds the limits, and nothing else", checkLargest},
	{"TooLarge", "a store refuses what exceeds the limits with ErrTooLarge and changes nothing", checkTooLarge},
	{"RecordsBelongToCaller", "the records and what they point to belong to the caller. A store does not change them, and does not keep them after the call", checkRecordsBelongToCaller},
	{"EndedContext", "a method that is called with a context that has ended returns its error and does nothing", checkEndedContext},
}

func checkOrder(f *fixture) {
	var all []storage.Record
	for _, n := range []int{1, 3, 64, 1, 130} {
		batch := newRecords(n, 40)
		for i, o := range f.mustAppend(batch...) {
			if want := storedAt(storage.Seq(len(all) + i + 1)); o != want {
				f.Fatalf("record %d of a batch after %d: %v at %d, want %v at %d", i, len(all), o.Status, o.Seq, want.Status, want.Seq)
			}
		}
		all = append(all, batch...)
		f.expectLog(all...)
	}
}

func checkIdempotence(f *fixture) {
	a, b, c := newRecord(100), newRecord(100), newRecord(100)
	f.expectOutcomes([]storage.Record{a, b}, storedAt(1), storedAt(2))
	f.expectOutcomes([]storage.Record{a, b}, duplicateOf(1), duplicateOf(2))
	f.expectOutcomes([]storage.Record{b, c, a}, duplicateOf(2), storedAt(3), duplicateOf(1))
	later := a
	later.Born++
	f.expectOutcomes([]storage.Record{later}, duplicateOf(1))
	if _, ok := storage.As[storage.Index](f.store); !ok { // which lowers Born
		earlier := a
		earlier.Born--
		f.expectOutcomes([]storage.Record{earlier}, duplicateOf(1))
	}
	f.expectLog(a, b, c)
}

func checkSameSignature(f *fixture) {
	signature := []byte("a signature that strangers know")
	a, b := signedRecord(signature, 100), signedRecord(signature, 100)
	f.expectOutcomes([]storage.Record{a, b}, storedAt(1), storedAt(2))
	f.expectOutcomes([]storage.Record{b, a}, duplicateOf(2), duplicateOf(1))
	f.expectLog(a, b)
}

func checkWithinBatch(f *fixture) {
	a, b, c := newRecord(100), newRecord(100), newRecord(100)
	x, y, z := newToken(), newToken(), newToken()
	f.expectOutcomes([]storage.Record{
		withToken(a, x), withToken(a, x), a, withToken(b, x), withToken(a, y), withToken(b, y), withToken(a, y), withToken(b, z), b, c,
	}, storedAt(1), replayOf(1), duplicateOf(1), spent, duplicateOf(1), spent, replayOf(1), storedAt(2), duplicateOf(2), storedAt(3))
	f.expectLog(a, b, c)
}

func checkEmptyBatch(f *fixture) {
	f.mustAppend(newRecord(100))
	f.expectUnchanged(func() {
		f.mustAppend()
		f.mustAppend([]storage.Record{}...)
	})
}

func checkEmptyBytes(f *fixture) {
	all := []storage.Record{
		signedRecord(nil, 20), signedRecord([]byte("no ciphertext"), 0), signedRecord(nil, 0), signedRecord([]byte{0}, 0), signedRecord(nil, 1),
	}
	f.mustAppend(all...)
	f.expectLog(all...)
	again := slices.Clone(all[:3])
	again[0].Signature, again[1].Ciphertext = []byte{}, []byte{}
	again[2].Signature, again[2].Ciphertext = []byte{}, nil
	f.expectOutcomes(again, duplicateOf(1), duplicateOf(2), duplicateOf(3))
	if seq, err := f.store.Find(f.Context(), []byte{}); seq != 1 || err != nil {
		f.Errorf("find the empty signature: %d, %v, want 1", seq, err)
	}
}

func checkLargest(f *fixture) {
	all := []storage.Record{newRecord(storage.MaxEnvelope), signedRecord(make([]byte, storage.MaxEnvelope), 0)}
	f.mustAppend(all[0])
	f.mustAppend(all[1])
	for _, batch := range [][]storage.Record{
		newRecords(storage.MaxBatch, storage.MaxBatchBytes/storage.MaxBatch),
		newRecords(storage.MaxBatchBytes/storage.MaxEnvelope, storage.MaxEnvelope),
	} {
		f.mustAppend(batch...)
		all = append(all, batch...)
	}
	f.expectLog(all...)
}

func checkTooLarge(f *fixture) {
	f.mustAppend(newRecord(100))
	long := storage.MaxBatchBytes/storage.MaxBatch + 1
	for name, batch := range map[string][]storage.Record{
		"too many records":   newRecords(storage.MaxBatch+1, 16),
		"too many bytes":     newRecords(storage.MaxBatch, long),
		"a large ciphertext": {newRecord(100), newRecord(storage.MaxEnvelope + 1)},
		"a large signature":  {signedRecord(make([]byte, storage.MaxEnvelope+1), 0)},
		"a large sum":        {signedRecord(make([]byte, 1+storage.MaxEnvelope/2), storage.MaxEnvelope/2)},
	} {
		batch[0].Nullifier = newToken()
		f.expectUnchanged(func() {
			if outcomes, err := f.store.Append(f.Context(), batch); !errors.Is(err, storage.ErrTooLarge) {
				f.Errorf("%s: %d outcomes and error %v, want ErrTooLarge", name, len(outcomes), err)
			}
		})
	}
}

func checkRecordsBelongToCaller(f *fixture) {
	batch := []storage.Record{withToken(newRecord(100), newToken()), withToken(newRecord(100), newToken())}
	kept := slices.Clone(batch)
	for i := range batch {
		batch[i].Signature = slices.Clone(batch[i].Signature)
		batch[i].Ciphertext = slices.Clone(batch[i].Ciphertext)
		token := *batch[i].Nullifier
		batch[i].Nullifier = &token
	}
	outcomes := f.mustAppend(batch...)
	for i := range batch {
		if !sameRecord(storage.Entry{ID: batch[i].ID, Born: batch[i].Born, Signature: batch[i].Signature, Ciphertext: batch[i].Ciphertext}, kept[i]) || *batch[i].Nullifier != *kept[i].Nullifier {
			f.Errorf("append changed record %d", i)
		}
		clear(batch[i].Signature)
		clear(batch[i].Ciphertext)
		clear(batch[i].Nullifier[:])
	}
	clear(batch)
	f.mustAppend(newRecord(100)) // may use the space of the batch before
	f.expectOutcomes(kept, replayOf(outcomes[0].Seq), replayOf(outcomes[1].Seq))
	if got := f.readLog(); !sameRecord(got[0], kept[0]) || !sameRecord(got[1], kept[1]) {
		f.Error("the log changed with the slices of the caller")
	}
}

func checkEndedContext(f *fixture) {
	a := withToken(newRecord(100), newToken())
	f.mustAppend(a)
	calls := map[string]func(context.Context) error{
		"info":   func(ctx context.Context) error { _, err := f.store.Info(ctx); return err },
		"append": func(ctx context.Context) error { _, err := f.store.Append(ctx, newRecords(2, 100)); return err },
		"log":    func(ctx context.Context) error { _, err := f.store.Log(ctx, storage.LogRequest{}); return err },
		"find":   func(ctx context.Context) error { _, err := f.store.Find(ctx, a.Signature); return err },
	}
	if l, ok := storage.As[storage.Ledger](f.store); ok {
		calls["spend"] = func(ctx context.Context) error { return l.Spend(ctx, newSpendings(2)) }
		calls["spendings"] = func(ctx context.Context) error {
			_, err := l.SpentTokens(ctx, storage.SpentTokensRequest{})
			return err
		}
	}
	if p, ok := storage.As[storage.Pruner](f.store); ok {
		calls["hours"] = func(ctx context.Context) error { _, err := p.Hours(ctx, storage.HoursRequest{}); return err }
		calls["prune"] = func(ctx context.Context) error { _, err := p.Prune(ctx, storage.PruneRequest{Floor: 1}); return err }
	}
	if i, ok := storage.As[storage.Index](f.store); ok {
		calls["keys"] = func(ctx context.Context) error { _, err := i.Keys(ctx, storage.KeysRequest{}); return err }
		calls["get"] = func(ctx context.Context) error { _, err := i.Get(ctx, []storage.ID{a.ID}); return err }
	}
	if c, ok := storage.As[storage.Compactor](f.store); ok {
		calls["compact"] = func(ctx context.Context) error {
			_, err := c.Compact(ctx, storage.CompactRequest{Room: ampleRoom})
			return err
		}
	}
	f.expectUnchanged(func() {
		for name, call := range calls {
			if err := call(canceled); !errors.Is(err, context.Canceled) {
				f.Errorf("%s: %v, want the error of the context", name, err)
			}
		}
	})
	for name, call := range calls {
		if err := call(f.Context()); err != nil {
			f.Errorf("%s after a call that was given up: %v", name, err)
		}
	}
}
