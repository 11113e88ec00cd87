package storagetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"math"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var compactorChecks = []check{
	{"Compact", "Compact moves data so that the store takes less room, again and again until nothing is left to do", checkCompact},
	{"CompactMax", "Compact moves at most req.Max bytes; 0 means MaxCompact, and less than MinCompact means MinCompact. Less than 0 or more than MaxCompact is ErrTooLarge and changes nothing", checkCompactMax},
	{"CompactRoom", "Room is how many bytes the store may take beside those that it takes without a compaction. ErrFull means that the compaction needs more; it is over then, its room is given back, and nothing else was changed", checkCompactRoom},
	{"CompactUnseen", "the other methods work meanwhile, and see what they would see without it, apart from Bytes and InUse of Info", checkCompactUnseen},
	{"CompactWaits", "none of the other methods waits for more than a moment, however large the store is", checkCompactWaits},
	{"CompactEnds", "Compact returns within a second after the end of ctx", checkCompactEnds},
	{"CompactReopened", "a compaction that is interrupted loses nothing: the store resumes it, or gives its room back and begins again", checkCompactReopened},
	{"CompactErases", "when a compaction ends, what had been removed before it began has left the disk, overwritten or cut off", checkCompactErases},
	{"CompactKilled", "a compaction that is interrupted, at any moment and for any reason, loses nothing", checkCompactKilled},
}

// ampleRoom is more than any compaction of the suite needs.
const ampleRoom = 1 << 30

// roomSlack is what a store may take beyond its room, in bytes: file systems give whole
// blocks, and stores make files a little longer than they need.
const roomSlack = 1 << 20

// mustCompactor returns the store as a Compactor, or skips the check if it is none.
func (f *fixture) mustCompactor() storage.Compactor {
	c, ok := storage.As[storage.Compactor](f.store)
	if !ok {
		f.Skip("the store is no storage.Compactor, which is optional")
	}
	return c
}

// tryCompact makes one step, and checks the answer.
func (f *fixture) tryCompact(req storage.CompactRequest) (more bool, err error) {
	f.Helper()
	c, err := f.mustCompactor().Compact(f.Context(), req)
	if err != nil {
		return false, err
	}
	if limit, _ := req.Bound(); c.Moved > uint64(limit) {
		f.Errorf("compact at most %d bytes: %d were moved", limit, c.Moved)
	}
	return c.More, nil
}

// compactAll compacts until nothing is left to do, and returns the number of steps.
func (f *fixture) compactAll(req storage.CompactRequest) (steps int) {
	f.Helper()
	for steps < 100_000 {
		more, err := f.tryCompact(req)
		if err != nil {
			f.Fatalf("compact: %v", err)
		}
		if steps++; !more {
			return steps
		}
	}
	f.Fatal("compact says again and again that there is more")
	return 0
}

// makeGarbage appends records of a size, some of which are kept, and removes the others,
// which stand between them, and all that was there before. It returns the bytes of what was removed.
func (w *twin) makeGarbage(kept, removed, size int) uint64 {
	w.Helper()
	f := w.fixture
	if _, ok := storage.As[storage.Pruner](f.store); !ok {
		f.Skip("the store is no storage.Pruner, so that nothing is removed")
	}
	old := storage.Hour(serial.Add(1))
	serial.Add(1)
	all := newRecords(kept+removed, size)
	for i := range all {
		if all[i].Born = old; i*kept/len(all) != (i+1)*kept/len(all) {
			all[i].Born++
		}
		all[i].Nullifier = newToken()
	}
	for len(all) > 0 {
		n := min(len(all), storage.MaxBatch, storage.MaxBatchBytes/size)
		if err := w.tryAppend(all[:n]); err != nil {
			f.Fatalf("append: %v", err)
		}
		all = all[n:]
	}
	f.pruneAll(old+1, 0)
	w.applyPrune(old + 1)
	return uint64(removed * size)
}

func checkCompact(f *fixture) {
	f.mustCompactor()
	w := newTwin(f)
	f.compactAll(storage.CompactRequest{Room: ampleRoom}) // of nothing
	w.compareAll()
	removed := w.makeGarbage(500, 1500, 8<<10)
	live := w.modelInfo().InUse
	f.compactAll(storage.CompactRequest{Room: ampleRoom})
	for range 2 {
		if after := f.mustInfo().Bytes; after > live+removed/2 {
			f.Errorf("the store takes %d bytes for envelopes of %d, after a compaction that should have given back %d", after, live, removed)
		}
		w.compareAll()
		w.compareOptional()
		f.reopenStore()
	}
	f.compactAll(storage.CompactRequest{Room: ampleRoom})
	w.compareAll()
}

func checkCompactMax(f *fixture) {
	c := f.mustCompactor()
	w := newTwin(f)
	w.makeGarbage(150, 150, 8<<10)
	f.expectUnchanged(func() {
		for _, limit := range []int{-1, math.MinInt, storage.MaxCompact + 1, math.MaxInt} {
			if _, err := c.Compact(f.Context(), storage.CompactRequest{Room: ampleRoom, Max: limit}); !errors.Is(err, storage.ErrTooLarge) {
				f.Errorf("at most %d: %v, want ErrTooLarge", limit, err)
			}
		}
	})
	for _, limit := range []int{1, storage.MinCompact + 1, storage.MaxCompact, 0} {
		f.compactAll(storage.CompactRequest{Room: ampleRoom, Max: limit})
		w.compareAll()
		w.makeGarbage(60, 60, 8<<10)
	}
}

func checkCompactRoom(f *fixture) {
	f.mustCompactor()
	w := newTwin(f)
	w.makeGarbage(400, 400, 8<<10)
	before, base := f.mustInfo(), f.diskUsage()
	expectNoRoom := func() {
		f.Helper()
		if got := f.diskUsage(); got > base+roomSlack {
			f.Errorf("after ErrFull the store takes %d bytes of the disk, %d before the compaction", got, base)
		}
		if got := f.mustInfo(); got.Bytes > before.Bytes+roomSlack {
			f.Errorf("after ErrFull the store says that it takes %d bytes, %d before the compaction", got.Bytes, before.Bytes)
		}
		w.compareAll()
	}
	ended := false
	for room := uint64(0); !ended; room = max(2*room, 1<<20) {
		if room > 16*before.Bytes+ampleRoom {
			f.Fatalf("a store of %d bytes cannot be compacted with %d bytes of room", before.Bytes, room)
		}
		for more := true; more; {
			var err error
			if more, err = f.tryCompact(storage.CompactRequest{Room: room, Max: 1 << 20}); err != nil {
				if !errors.Is(err, storage.ErrFull) {
					f.Fatalf("compact with %d bytes of room: %v, want ErrFull or none", room, err)
				}
				expectNoRoom()
				break
			}
			if got := f.diskUsage(); got > base+room+roomSlack {
				f.Errorf("a compaction with %d bytes of room takes %d bytes of the disk, %d before", room, got, base)
			}
			ended = !more
		}
	}
	w.compareAll()

	w.makeGarbage(400, 400, 8<<10) // a compaction that loses its room on the way
	before, base = f.mustInfo(), f.diskUsage()
	if _, err := f.tryCompact(storage.CompactRequest{Room: ampleRoom, Max: 2 * roomSlack}); err != nil {
		f.Fatalf("compact: %v", err)
	}
	if _, err := f.tryCompact(storage.CompactRequest{}); errors.Is(err, storage.ErrFull) {
		expectNoRoom()
	}
	f.compactAll(storage.CompactRequest{Room: ampleRoom})
	w.compareAll()
}

// diskUsage returns how many bytes of the disk the store takes, or 0 if it is not in the
// directory of the check.
func (f *fixture) diskUsage() (total uint64) {
	f.Helper()
	if !f.opener.Disk {
		return 0
	}
	f.walkFiles(func(_ string, info os.FileInfo) { total += allocatedBytes(info) })
	return total
}

// walkFiles calls visit for each file of the store. Files may come and go meanwhile.
func (f *fixture) walkFiles(visit func(path string, info os.FileInfo)) {
	f.Helper()
	err := filepath.WalkDir(f.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info os.FileInfo
			if info, err = d.Info(); err == nil {
				visit(path, info)
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

// checkCompactUnseen compacts again and again while it makes other calls.
func checkCompactUnseen(f *fixture) {
	c := f.mustCompactor()
	w := newTwin(f)
	w.makeGarbage(100, 300, 4<<10)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var compactions, steps atomic.Int64
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			done, err := c.Compact(f.Context(), storage.CompactRequest{Room: ampleRoom, Max: storage.MinCompact})
			if err != nil {
				f.Errorf("compact: %v", err)
				return
			}
			if steps.Add(1); !done.More {
				compactions.Add(1)
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	for round := 0; round < 60 || round < 1000 && compactions.Load() < 3 && !f.Failed(); round++ {
		switch err := error(nil); mathrand.IntN(3) {
		case 0:
			if err = w.tryPrune(storage.PruneRequest{Floor: w.nextFloor(), Max: 1 + mathrand.IntN(40)}); err != nil {
				f.Fatalf("prune: %v", err)
			}
		default:
			if err = w.tryAppend(w.mixedBatch()); err != nil {
				f.Fatalf("append: %v", err)
			}
		}
		if first := w.model.entries(); len(first) > 0 {
			f.expectFound(first[0].Signature, first[0].Seq)
		}
		if round%10 == 0 {
			w.compareAll()
			w.compareOptional()
		}
	}
	f.Logf("%d compactions in %d steps", compactions.Load(), steps.Load())
}

// momentWait is how long a call may wait for a compaction. It leaves room for a busy machine.
const momentWait = 500 * time.Millisecond

// checkCompactWaits compares the longest call during a compaction with the longest without.
func checkCompactWaits(f *fixture) {
	c := f.mustCompactor()
	w := newTwin(f)
	w.makeGarbage(1000, 500, storage.MaxEnvelope)
	known := w.model.entries()[0]
	longest := func() (longest time.Duration) {
		for name, call := range map[string]func() error{
			"info":   func() error { _, err := f.store.Info(f.Context()); return err },
			"append": func() error { return w.tryAppend(newRecords(1, 1000)) },
			"log":    func() error { _, err := f.store.Log(f.Context(), storage.LogRequest{}); return err },
			"find":   func() error { _, err := f.store.Find(f.Context(), known.Signature); return err },
		} {
			start := time.Now()
			if err := call(); err != nil {
				f.Fatalf("%s: %v", name, err)
			}
			longest = max(longest, time.Since(start))
		}
		return longest
	}
	var limit time.Duration
	for range 20 {
		limit = max(limit, longest())
	}
	limit = 10*limit + momentWait
	done := make(chan error, 1)
	go func() {
		for {
			step, err := c.Compact(f.Context(), storage.CompactRequest{Room: ampleRoom})
			if err != nil || !step.More {
				done <- err
				return
			}
		}
	}()
	for {
		if took := longest(); took > limit {
			f.Errorf("a call during a compaction takes %v, want at most %v", took, limit)
		}
		select {
		case err := <-done:
			if err != nil {
				f.Errorf("compact: %v", err)
			}
			w.compareAll()
			return
		default:
		}
	}
}

func checkCompactEnds(f *fixture) {
	c := f.mustCompactor()
	w := newTwin(f)
	w.makeGarbage(700, 300, storage.MaxEnvelope)
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(f.Context(), after)
		_, err := c.Compact(ctx, storage.CompactRequest{Room: ampleRoom})
		end, _ := ctx.Deadline()
		cancel()
		if late := time.Since(end); late > time.Second+momentWait {
			f.Fatalf("a compact whose context ended after %v returned %v later", after, late)
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			f.Errorf("a compact whose context ended: %v", err)
		}
		w.compareAll()
	}
	f.compactAll(storage.CompactRequest{Room: ampleRoom})
	w.compareAll()
}

// checkCompactReopened closes the store in the middle of compactions.
func checkCompactReopened(f *fixture) {
	f.mustCompactor()
	w := newTwin(f)
	w.makeGarbage(100, 300, 8<<10)
	before, base := f.mustInfo(), f.diskUsage()
	for steps := range 6 {
		for range steps {
			if _, err := f.tryCompact(storage.CompactRequest{Room: ampleRoom, Max: storage.MinCompact}); err != nil {
				f.Fatalf("compact: %v", err)
			}
		}
		f.reopenStore()
		w.compareAll()
		w.compareOptional()
		if err := w.tryAppend(newRecords(3, 100)); err != nil {
			f.Fatalf("append: %v", err)
		}
	}
	f.compactAll(storage.CompactRequest{Room: ampleRoom})
	for range 2 {
		if got := f.diskUsage(); got > base+roomSlack {
			f.Errorf("after compactions that were interrupted the store takes %d bytes of the disk, %d before", got, base)
		}
		if got := f.mustInfo().Bytes; got >= before.Bytes {
			f.Errorf("after compactions that were interrupted the store takes %d bytes, %d before", got, before.Bytes)
		}
		w.compareAll()
		f.reopenStore()
	}
}

// checkCompactErases looks for what was removed in the files of the store.
func checkCompactErases(f *fixture) {
	f.mustCompactor()
	if !f.opener.Disk {
		f.Skip("the store is not on a disk of the test")
	}
	marker := make([]byte, 32)
	rand.Read(marker) // never fails
	w := newTwin(f)
	w.makeGarbage(20, 20, 1000)
	old := storage.Hour(serial.Add(1))
	for range 50 {
		r := bornIn(old, newRecord(100))
		r.Ciphertext = bytes.Repeat(marker, 1+mathrand.IntN(200))
		r.ID = storage.NewID(r.Signature, r.Ciphertext)
		if err := w.tryAppend([]storage.Record{r, newRecord(2000)}); err != nil {
			f.Fatalf("append: %v", err)
		}
	}
	if len(f.filesWith(marker)) == 0 {
		f.Skip("the files of the store do not hold ciphertexts as they are")
	}
	f.pruneAll(old+1, 0)
	w.applyPrune(old + 1)
	f.compactAll(storage.CompactRequest{Room: ampleRoom})
	if names := f.filesWith(marker); len(names) > 0 {
		f.Errorf("a ciphertext that was removed is still in %v", names)
	}
	w.compareAll()
}

// filesWith returns the names of the files of the store that hold a text.
func (f *fixture) filesWith(text []byte) (names []string) {
	f.Helper()
	f.walkFiles(func(path string, _ os.FileInfo) {
		switch data, err := os.ReadFile(path); {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			f.Fatal(err)
		case bytes.Contains(data, text):
			names = append(names, filepath.Base(path))
		}
	})
	return names
}

// checkCompactKilled kills the process while it compacts, appends and prunes, again and again.
func checkCompactKilled(f *fixture) {
	f.mustCompactor()
	if f.opened.Kill == nil {
		f.Skip("the store is no process of its own")
	}
	w := newTwin(f)
	w.makeGarbage(50, 100, 8<<10)
	before, base := f.mustInfo().Bytes, f.diskUsage()
	var compactions atomic.Int64
	for range killedRounds {
		c, stopped := f.mustCompactor(), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				step, err := c.Compact(f.Context(), storage.CompactRequest{Room: ampleRoom, Max: storage.MinCompact})
				if err != nil {
					if !errors.Is(err, storage.ErrUnavailable) {
						f.Errorf("compact: %v", err)
					}
					return
				}
				if !step.More {
					compactions.Add(1)
				}
			}
		}()
		var batch []storage.Record // that was cut off; nil if a prune was
		var raised storage.Hour
		w.callUntilKilled(func() error {
			if batch = nil; mathrand.IntN(3) > 0 {
				batch = w.mixedBatch()
				return w.tryAppend(batch)
			}
			raised = w.nextFloor()
			return w.tryPrune(storage.PruneRequest{Floor: raised, Max: 1 + mathrand.IntN(20)})
		})
		<-stopped
		w.reopenStore()
		w.settleKilled(batch, raised)
		w.makeGarbage(30, 30, 8<<10)
	}
	f.pruneAll(0, 0)
	f.compactAll(storage.CompactRequest{Room: ampleRoom})
	w.compareAll()
	w.compareOptional()
	live := w.modelInfo().InUse
	if got := f.diskUsage(); got > base+2*live+roomSlack {
		f.Errorf("after compactions that a kill cut off the store takes %d bytes of the disk for envelopes of %d; the first took %d, %d before", got, live, before, base)
	}
	f.Logf("%d compactions ended, %d of %d envelopes are left", compactions.Load(), w.modelInfo().Count, w.model.lastSeq())
}
