package sqlite

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The size of an envelope in the benchmarks: 4 KiB and an ed25519 signature.
const (
	benchCiphertext = 4096
	benchSignature  = 64
	benchPayload    = benchCiphertext + benchSignature
)

// BenchmarkAppend appends batches. CWTCH_RELAY_PREFILL is the number of envelopes
// in the store before; the default is 10000.
func BenchmarkAppend(b *testing.B) {
	prefill := 10_000
	if n, err := strconv.Atoi(os.Getenv("CWTCH_RELAY_PREFILL")); err == nil {
		prefill = n
	}
	for _, size := range []int{1, 16, 64, storage.MaxBatchBytes / benchPayload} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := reopen(b, filepath.Join(b.TempDir(), "messages.sqlite"), Options{})
			appendBatch := func(n int) {
				batch := randomRecords(n)
				outcomes, err := s.Append(b.Context(), batch)
				if err != nil || outcomes[n-1].Status != storage.Stored {
					b.Fatalf("append: %v, %v", outcomes, err)
				}
			}
			for n := 0; n < prefill; n += storage.MaxBatch / 2 {
				appendBatch(storage.MaxBatch / 2)
			}
			measure(b, size, func() { appendBatch(size) })
			info, err := s.Info(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Bytes)/float64(info.Count*benchPayload), "file/payload")
		})
	}
}

// BenchmarkReplay reads a log of 20000 envelopes from the first to the last.
func BenchmarkReplay(b *testing.B) {
	s := openNew(b, Options{})
	const all = 20_000
	for range all / 100 {
		if _, err := s.Append(b.Context(), randomRecords(100)); err != nil {
			b.Fatal(err)
		}
	}
	measure(b, all, func() {
		for from := storage.Seq(1); ; {
			page, err := s.Log(b.Context(), storage.LogRequest{From: from})
			if err != nil {
				b.Fatal(err)
			}
			if len(page.Entries) == 0 {
				return
			}
			from += storage.Seq(len(page.Entries))
		}
	})
}

// measure reports records and processor time of b.N calls of f, each of which
// deals with size records.
func measure(b *testing.B, size int, f func()) {
	before := processorTime(b)
	for b.Loop() {
		f()
	}
	records := float64(b.N * size)
	b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1000/records, "cpu-us/record")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// randomRecords makes records as a relay would; they share their bytes, of
// which the ids and nullifiers are random.
func randomRecords(n int) []storage.Record {
	records := make([]storage.Record, n)
	for i := range records {
		var head [64 + 32 + 32]byte
		rand.Read(head[:])
		records[i] = storage.Record{
			ID:         storage.ID(head[64:]),
			Signature:  head[:benchSignature],
			Ciphertext: benchBody[:benchCiphertext],
			Nullifier:  (*storage.Nullifier)(head[96:]),
		}
	}
	return records
}

var benchBody [benchPayload]byte
