package bolt

import (
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// figuresVariable is how many envelopes TestFigures stores, such as 1000000.
const figuresVariable = "CWTCH_RELAY_FIGURES"

// TestFigures prints what docs/performance.md says of a large store: start, memory, prune,
// compaction and upgrade. It takes minutes and as much of the disk as three such stores, so it
// runs only when it is asked for. CWTCH_RELAY_FIGURES_SIZE is the size of the ciphertexts.
func TestFigures(t *testing.T) {
	count, _ := strconv.Atoi(os.Getenv(figuresVariable))
	if count == 0 {
		t.Skipf("takes minutes; set %s to the number of envelopes", figuresVariable)
	}
	const hours = 100
	size := 1024
	if n, err := strconv.Atoi(os.Getenv(figuresVariable + "_SIZE")); err == nil {
		size = n
	}
	path := filepath.Join(t.TempDir(), "messages.db")
	s := mustOpen(t, path, Options{})
	s.db.NoSync = true
	fill := startFigure(t, "fill with %d envelopes of %d bytes", count, size)
	for n := 0; n < count; n += storage.MaxBatch {
		appendAll(t, s, figureRecords(storage.MaxBatch, storage.Hour(n*hours/count), size))
	}
	s.db.NoSync = false
	if err := s.db.Sync(); err != nil {
		t.Fatal(err)
	}
	fill()
	reopen := func(what string) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = nil
		runtime.GC()
		debug.FreeOSMemory()
		before := anonymousMemory(t)
		open := startFigure(t, what)
		s = mustOpen(t, path, Options{})
		open()
		runtime.GC()
		debug.FreeOSMemory()
		t.Logf("memory of the process: %d MiB, and %d MiB before; the mapped file comes on top", anonymousMemory(t)>>20, before>>20)
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return downgrade(tx, 3) }); err != nil {
		t.Fatal(err)
	}
	reopen("upgrade from format 3, with the start")
	reopen("start") // a killed process leaves the same file: Close writes nothing
	logSize(t, s, "filled")
	t.Logf("posts, nothing else at work: %v", appendFor(t, s, func() bool { <-time.After(10 * time.Second); return false }))

	prune := startFigure(t, "prune of a tenth, in calls of 512")
	latency := appendFor(t, s, func() bool {
		p, err := s.Prune(t.Context(), storage.PruneRequest{Floor: hours / 10, Max: 512})
		if err != nil {
			t.Error(err)
		}
		return p.More
	})
	prune()
	t.Logf("posts meanwhile: %v", latency)
	logSize(t, s, "pruned")

	moved := uint64(0)
	compactStep := func() bool {
		done, err := s.Compact(t.Context(), storage.CompactRequest{Room: math.MaxInt64})
		if err != nil {
			t.Error(err)
		}
		moved += done.Moved
		return done.More
	}
	compact, began := startFigure(t, "compaction, nothing else at work"), time.Now()
	for compactStep() {
	}
	compact()
	t.Logf("that are %.0f MiB/s", float64(moved)/(1<<20)/time.Since(began).Seconds())
	logSize(t, s, "compacted")
	compact = startFigure(t, "compaction and posts")
	latency = appendFor(t, s, compactStep)
	compact()
	t.Logf("posts meanwhile: %v", latency)
	logSize(t, s, "compacted again")
	reopen("start after compaction")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = nil
	debug.SetGCPercent(inspectionGCPercent)
	debug.FreeOSMemory()
	before := anonymousMemory(t)
	check := startFigure(t, "check")
	if faults := checkAll(t, mustInspect(t, path)); len(faults) > 0 {
		t.Error(faultsText(faults))
	}
	check()
	t.Logf("memory of the process: %d MiB, and %d MiB before", anonymousMemory(t)>>20, before>>20)
}

// figureRecords makes paid records with random content.
func figureRecords(n int, born storage.Hour, size int) []storage.Record {
	records := make([]storage.Record, n)
	data := make([]byte, n*(64+32+size))
	rand.Read(data)
	for i := range records {
		b := data[i*(64+32+size):][:64+32+size]
		r := storage.Record{Born: born, Signature: b[:64], Nullifier: (*storage.Nullifier)(b[64:96]), Ciphertext: b[96:]}
		r.ID = storage.NewID(r.Signature, r.Ciphertext)
		records[i] = r
	}
	return records
}

// startFigure begins to measure, and returns what ends that.
func startFigure(t *testing.T, format string, args ...any) (end func()) {
	began, cpu := time.Now(), cpuTime(t)
	return func() {
		t.Helper()
		t.Logf(format+": %.2f s, of a processor %.2f s", append(args, time.Since(began).Seconds(), (cpuTime(t)-cpu).Seconds())...)
	}
}

func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// anonymousMemory returns the memory of this process that is not of a file.
func anonymousMemory(t *testing.T) int {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[0] == "RssAnon:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

func logSize(t *testing.T, s *Store, what string) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live := uint64(0)
	for _, h := range s.hours.from(info.Floor) {
		live += h.Bytes
	}
	t.Logf("%s: %d MiB, %d MiB in use, %d MiB of envelopes: %.2f", what, info.Bytes>>20, info.InUse>>20, live>>20, float64(info.Bytes)/float64(live))
}

// appendFor posts single envelopes, one after the other, until work has no more to do, and
// describes how long the posts took.
func appendFor(t *testing.T, s *Store, work func() (more bool)) string {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for work() {
		}
	}()
	var took []time.Duration
	for {
		select {
		case <-ended:
			slices.Sort(took)
			at := func(share float64) time.Duration { return took[int(share*float64(len(took)-1))] }
			return fmt.Sprintf("%d, median %v, p99 %v, longest %v", len(took), at(0.5), at(0.99), at(1))
		default:
		}
		begun := time.Now()
		appendAll(t, s, figureRecords(1, 1000, 1024))
		took = append(took, time.Since(begun))
	}
}
