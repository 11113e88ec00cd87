package storagetest

import (
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var failureChecks = []check{
	{"Killed", "a batch is applied whole or not at all; every outcome that Append reported survives the death of the process", checkKilled},
	{"SpendKilled", "Spend records tokens as spent, all of them in one transaction, and returns when that is durable", checkSpendKilled},
	{"Full", "ErrFull: nothing was changed; the store goes on serving reads and accepts appends again once there is room", checkFull},
}

// smallDiskBytes is the room that checkFull begins with, and that it adds each time.
const smallDiskBytes = 24 << 20

// checkFull fills the disk and makes room, twice.
func checkFull(f *fixture) {
	if !f.opener.Disk {
		f.Skip("the store is not on a disk of the test")
	}
	f.closeStore()
	disk := newSmallDisk(f, smallDiskBytes)
	f.dir = disk.dir
	f.reopenStore()
	w := newTwin(f)
	for range 2 {
		refused := w.fillDisk()
		w.compareAll()
		first := w.model.entries()[0]
		f.expectFound(first.Signature, first.Seq)
		if err := w.tryAppend(refused); err != nil && !errors.Is(err, storage.ErrFull) {
			f.Fatalf("append to a full store: %v, want ErrFull", err)
		}
		w.compareAll()
		if _, ok := storage.As[storage.Pruner](f.store); ok {
			if err := w.tryPrune(storage.PruneRequest{Floor: w.nextFloor(), Max: 32}); err != nil && !errors.Is(err, storage.ErrFull) {
				f.Fatalf("prune a full store: %v, want none or ErrFull", err)
			}
			w.compareAll()
		}
		if c, ok := storage.As[storage.Compactor](f.store); ok {
			if _, err := c.Compact(f.Context(), storage.CompactRequest{Room: ampleRoom}); err != nil && !errors.Is(err, storage.ErrFull) {
				f.Fatalf("compact a full store: %v, want none or ErrFull", err)
			}
			w.compareAll()
		}

		disk.growBy(f, smallDiskBytes)
		err := w.tryAppend(refused)
		if errors.Is(err, storage.ErrFull) && disk.ofProcess {
			f.reopenStore()
			err = w.tryAppend(refused)
		}
		if err != nil {
			f.Fatalf("append when there is room again: %v", err)
		}
		w.compareAll()
	}
	f.reopenStore()
	w.compareAll()
}

// fillDisk appends until the disk is full, and returns the batch that was refused.
func (w *twin) fillDisk() []storage.Record {
	w.Helper()
	for size := 0; size < 8*smallDiskBytes; {
		batch := newRecords(8, storage.MaxEnvelope)
		for i := range batch {
			batch[i].Nullifier = newToken()
			size += storage.MaxEnvelope
		}
		switch err := w.tryAppend(batch); {
		case errors.Is(err, storage.ErrFull):
			return batch
		case err != nil:
			w.Fatalf("append to a store that is getting full: %v, want ErrFull", err)
		}
	}
	w.Fatal("the disk never became full; is the store in the directory that it was given?")
	return nil
}
