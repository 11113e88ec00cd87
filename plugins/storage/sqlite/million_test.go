package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// millionVariable asks for TestMillion, with the number of envelopes.
const millionVariable = "CWTCH_RELAY_MILLION"

// millionEnvelope is the size of signature and ciphertext.
const millionEnvelope = 1 << 10

// appendHours appends n envelopes, 1000 of each hour from first on.
func appendHours(tb testing.TB, s *Store, n int, first storage.Hour) {
	tb.Helper()
	const batch = 250
	for i := 0; i < n; i += batch {
		records := storefiletest.RandomRecords(batch)
		for j := range records {
			ciphertext := make([]byte, millionEnvelope-64)
			binary.BigEndian.PutUint64(ciphertext, uint64(i+j))
			records[j].Born = first + storage.Hour(i/1000)
			records[j].Ciphertext = ciphertext
			records[j].ID = storage.NewID(records[j].Signature, ciphertext)
		}
		if _, err := s.Append(tb.Context(), records); err != nil {
			tb.Fatal(err)
		}
	}
}

func usedTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentMiB is the memory of this process.
func residentMiB(tb testing.TB) int {
	tb.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		tb.Fatal(err)
	}
	return kib >> 10
}

// measure logs the time that f takes.
func measure(t *testing.T, what string, f func()) time.Duration {
	t.Helper()
	used, start := usedTime(t), time.Now()
	f()
	took := time.Since(start)
	t.Logf("%s: %v, %v of a processor", what, took.Round(time.Millisecond), (usedTime(t) - used).Round(time.Millisecond))
	return took
}

// TestMillion measures a large store: how it is filled, started, pruned, compacted and checked.
// It takes minutes and is only run if CWTCH_RELAY_MILLION has the number of envelopes.
func TestMillion(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv(millionVariable))
	if n == 0 {
		t.Skipf("takes minutes; set %s to the number of envelopes", millionVariable)
	}
	path := filepath.Join(t.TempDir(), "messages.sqlite")
	s := mustOpen(t, path, Options{})
	measure(t, "fill", func() { appendHours(t, s, n, 1000) })
	size := func(what string) {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		live := float64(info.Count) * (millionEnvelope + liveBytes)
		t.Logf("%s: %d envelopes, %d MiB, %d MiB in use, %.3f of what is kept", what, info.Count, info.Bytes>>20, info.InUse>>20, float64(info.Bytes)/live)
	}
	size("full")
	killed := filepath.Join(t.TempDir(), "messages.sqlite")
	copyFiles(t, path, killed)
	s.Close()
	measure(t, "start", func() { s = mustOpen(t, path, Options{}) })
	s.Close()
	measure(t, "start of a killed one", func() { s = mustOpen(t, killed, Options{}) })
	s.Close()
	os.Remove(killed)
	s = mustOpen(t, path, Options{})
	debug.FreeOSMemory()
	t.Logf("memory after the start: %d MiB", residentMiB(t))
	measure(t, "replay", func() { replayAll(t, s) })
	debug.FreeOSMemory()
	t.Logf("memory after the replay: %d MiB", residentMiB(t))
	longest := time.Duration(0)
	measure(t, "prune of a tenth", func() {
		for more := true; more; {
			start := time.Now()
			p, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 1000 + storage.Hour(n/10000), Max: 256})
			if err != nil {
				t.Fatal(err)
			}
			longest = max(longest, time.Since(start))
			more = p.More
		}
	})
	t.Logf("longest call: %v", longest)
	size("pruned")
	var moved uint64
	took := measure(t, "compact", func() {
		for more := true; more; {
			c, err := s.Compact(t.Context(), storage.CompactRequest{Room: 64 << 20, Max: 4 << 20})
			if err != nil {
				t.Fatal(err)
			}
			moved += c.Moved
			more = c.More
		}
	})
	t.Logf("%d MiB written, %.1f MiB/s", moved>>20, float64(moved)/(1<<20)/took.Seconds())
	size("compacted")
	t.Logf("memory: %d MiB", residentMiB(t))
	s.Close()
	measure(t, "check", func() {
		x, err := Inspect(path)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		checker, _ := storage.As[storage.Checker](x)
		for next := []byte(nil); ; {
			c, err := checker.Check(t.Context(), storage.CheckRequest{After: next})
			if err != nil || len(c.Faults) > 0 {
				t.Fatal(c.Faults, err)
			}
			if next = c.Next; len(next) == 0 {
				return
			}
		}
	})
	t.Logf("memory: %d MiB", residentMiB(t))
}

func replayAll(tb testing.TB, s *Store) {
	for from := storage.Seq(1); ; {
		page, err := s.Log(tb.Context(), storage.LogRequest{From: from})
		if err != nil {
			tb.Fatal(err)
		}
		if len(page.Entries) == 0 {
			return
		}
		from = page.Entries[len(page.Entries)-1].Seq + 1
	}
}

// copyFiles copies the files of a store, as they are when its process is killed.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", walSuffix} {
		out, err := exec.CommandContext(context.Background(), "cp", from+suffix, to+suffix).CombinedOutput()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// TestMillionUpgrade measures how long a large file of format 1 takes to be upgraded.
func TestMillionUpgrade(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv(millionVariable))
	if n == 0 {
		t.Skipf("takes minutes; set %s to the number of envelopes", millionVariable)
	}
	path := filepath.Join(t.TempDir(), "messages.sqlite")
	unpackFormat(t, 1, path)
	for i := 0; i < n; i += 10_000 {
		records := storefiletest.RandomRecords(10_000)
		for j := range records {
			records[j].Ciphertext = records[j].Ciphertext[:millionEnvelope-64]
			records[j].Born = storage.Hour(1000 + (i+j)/1000)
		}
		db := openAsOtherProgram(t, path, "rw")
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		addFormat1(t, tx, records)
		if err := errors.Join(tx.Commit(), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	before := fileSize(path)
	var s *Store
	measure(t, "upgrade", func() { s = mustOpen(t, path, Options{}) })
	t.Logf("%d MiB became %d MiB, memory %d MiB", before>>20, fileSize(s.path)>>20, residentMiB(t))
}
