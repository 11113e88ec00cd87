package storagetest

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// checkKilled kills the process while it appends, again and again.
func checkKilled(f *fixture) {
	if f.opened.Kill == nil {
		f.Skip("the store is no process of its own")
	}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	w := newTwin(f)
	epoch := f.info().Epoch
	applied := 0
	for range rounds {
		cut := w.appendUntilKilled()
		w.reopen()
		if w.info().Epoch != epoch {
			f.Fatal("the epoch changed")
		}
		if w.settle(cut) {
			applied++
		}
	}
	f.Logf("%d entries, %d tokens; of %d batches that a kill cut off %d were applied", w.model.last(), len(w.tokens), rounds, applied)
}

// appendUntilKilled appends until the process is killed, which it sees to, and
// returns the batch that was cut off.
func (w *twin) appendUntilKilled() []storage.Record {
	w.Helper()
	begun, killed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		<-begun
		// Some time within the next few appends.
		time.Sleep(time.Duration(rand.Int64N(int64(10 * time.Millisecond))))
		w.opened.Kill()
	}()
	for n := 0; ; n++ {
		if n == 3 {
			close(begun)
		}
		batch := w.mixedBatch()
		err := w.try(batch)
		if err == nil {
			continue
		}
		if n < 3 {
			close(begun)
			<-killed
			w.Fatalf("append: %v", err)
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			w.Errorf("append to a store that was killed: %v, want ErrUnavailable", err)
		}
		<-killed
		return batch
	}
}

// mixedBatch makes records of which most are new and paid for, some repeats,
// and some pay with a spent token.
func (w *twin) mixedBatch() []storage.Record {
	batch := newRecords(1+rand.IntN(64), 16+rand.IntN(4096))
	last := int(w.model.last())
	for i := range batch {
		switch n := rand.IntN(10); {
		case n == 0:
		case n == 1 && last > 0:
			batch[i] = w.record(storage.Seq(1 + rand.IntN(last)))
		case n == 2 && last > 0:
			batch[i] = paid(w.record(storage.Seq(1+rand.IntN(last))), newToken())
		case n == 3 && len(w.tokens) > 0:
			batch[i].Nullifier = w.tokens[rand.IntN(len(w.tokens))]
		default:
			batch[i].Nullifier = newToken()
		}
	}
	return batch
}

// settle checks that a batch whose outcome is unknown was applied whole or not
// at all, and that the store holds all the rest; then appends it again. It
// reports whether it had been applied.
func (w *twin) settle(cut []storage.Record) (applied bool) {
	w.Helper()
	got, without := w.info(), w.modelInfo()
	if applied = got.Last != without.Last || got.Tokens != without.Tokens; applied {
		w.acknowledge(cut)
	}
	w.agree()
	if err := w.try(cut); err != nil {
		w.Fatalf("append again what was cut off: %v", err)
	}
	for _, o := range w.append(cut...) {
		if o.Status == storage.Stored {
			w.Fatal("an envelope was stored twice")
		}
	}
	w.acknowledge(cut)
	w.agree()
	return applied
}
