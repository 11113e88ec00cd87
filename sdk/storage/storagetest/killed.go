package storagetest

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// killedRounds is how often checkKilled kills the process.
const killedRounds = 12

// checkKilled kills the process while it appends, again and again.
func checkKilled(f *fixture) {
	if f.opened.Kill == nil {
		f.Skip("the store is no process of its own")
	}
	w := newTwin(f)
	epoch := f.mustInfo().Epoch
	applied := 0
	for range killedRounds {
		cut := w.appendUntilKilled()
		w.reopenStore()
		if w.mustInfo().Epoch != epoch {
			f.Fatal("the epoch changed")
		}
		if w.settleCut(cut) {
			applied++
		}
	}
	f.Logf("%d entries, %d tokens; of %d batches that a kill cut off %d were applied", w.model.lastSeq(), len(w.tokens), killedRounds, applied)
}

// checkSpendKilled kills the process while it records spent tokens.
func checkSpendKilled(f *fixture) {
	if f.opened.Kill == nil {
		f.Skip("the store is no process of its own")
	}
	f.mustLedger()
	var known []storage.SpentToken
	for range killedRounds / 3 {
		var cut []storage.SpentToken
		f.callUntilKilled(func() error {
			cut = newSpendings(1 + rand.IntN(200))
			err := f.mustLedger().Spend(f.Context(), cut)
			if err == nil {
				known = append(known, cut...)
			}
			return err
		})
		f.reopenStore()
		if f.mustInfo().Tokens != uint64(len(known)) {
			known = append(known, cut...)
		}
		f.expectLedger(known...)
		f.mustSpend(cut...)
		f.mustSpend(known[:min(len(known), storage.MaxSpentTokens)]...)
		known = f.readLedger()
	}
}

// appendUntilKilled appends until the process is killed, and returns the batch that was
// cut off.
func (w *twin) appendUntilKilled() (batch []storage.Record) {
	w.Helper()
	w.callUntilKilled(func() error {
		batch = w.mixedBatch()
		return w.tryAppend(batch)
	})
	return batch
}

// callUntilKilled kills the process of the store while it makes calls, and returns when one
// has failed.
func (f *fixture) callUntilKilled(call func() error) {
	f.Helper()
	kill, killed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		<-kill
		// The kill falls somewhere within the next few calls.
		time.Sleep(time.Duration(rand.Int64N(int64(10 * time.Millisecond))))
		f.opened.Kill()
	}()
	for n := 0; ; n++ {
		if n == 3 {
			close(kill)
		}
		err := call()
		if err == nil {
			continue
		}
		if n < 3 {
			close(kill)
			<-killed
			f.Fatalf("a call before the kill: %v", err)
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			f.Errorf("a call of a store that was killed: %v, want ErrUnavailable", err)
		}
		<-killed
		return
	}
}

// mixedBatch makes records. Most are new and paid for, some are repeated, and some pay
// with a spent token.
func (w *twin) mixedBatch() []storage.Record {
	batch := newRecords(1+rand.IntN(64), 16+rand.IntN(4096))
	kept := w.model.entries()
	pick := func() storage.Record { return w.recordAt(kept[rand.IntN(len(kept))].Seq) }
	for i := range batch {
		switch n := rand.IntN(10); {
		case n == 0:
		case n == 1 && len(kept) > 0:
			batch[i] = pick()
		case n == 2 && len(kept) > 0:
			batch[i] = withToken(pick(), newToken())
		case n == 4 && w.model.floor > 0:
			batch[i] = withToken(bornIn(w.model.floor-1, batch[i]), newToken())
		case n == 3 && len(w.tokens) > 0:
			batch[i].Nullifier = w.tokens[rand.IntN(len(w.tokens))]
		default:
			batch[i].Nullifier = newToken()
		}
	}
	return batch
}

// settleCut checks that a batch whose outcome is unknown was applied whole or not at
// all, and that the store holds all the rest. Then it appends the batch again. It
// reports whether the batch had been applied.
func (w *twin) settleCut(cut []storage.Record) (applied bool) {
	w.Helper()
	got, without := w.mustInfo(), w.modelInfo()
	if applied = got.Last != without.Last || got.Tokens != without.Tokens; applied {
		w.applyBatch(cut)
	}
	w.compareAll()
	if err := w.tryAppend(cut); err != nil {
		w.Fatalf("append again what was cut off: %v", err)
	}
	for _, o := range w.mustAppend(cut...) {
		if o.Status == storage.Stored {
			w.Fatal("an envelope was stored twice")
		}
	}
	w.applyBatch(cut)
	w.compareAll()
	return applied
}
