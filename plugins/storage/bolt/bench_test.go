package bolt

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The size of an envelope in the benchmarks: 4 KiB and an ed25519 signature.
const (
	benchCiphertext = 4096
	benchSignature  = 64
	benchPayload    = benchCiphertext + benchSignature
)

// BenchmarkAppend appends batches, and for comparison puts the same bytes into
// a bucket of bbolt without any index. CWTCH_RELAY_PREFILL is the number of
// envelopes in the store before; the default is 10000.
func BenchmarkAppend(b *testing.B) {
	prefill := 10_000
	if n, err := strconv.Atoi(os.Getenv("CWTCH_RELAY_PREFILL")); err == nil {
		prefill = n
	}
	for _, size := range []int{1, 64, storage.MaxBatchBytes / benchPayload} {
		b.Run(fmt.Sprintf("bare/batch=%d", size), func(b *testing.B) { benchmarkBare(b, prefill, size) })
		b.Run(fmt.Sprintf("store/batch=%d", size), func(b *testing.B) { benchmarkStore(b, prefill, size) })
	}
}

func benchmarkStore(b *testing.B, prefill, size int) {
	path := filepath.Join(b.TempDir(), "messages.db")
	s, err := Open(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	appendBatch := func(n int) {
		batch := randomRecords(n)
		outcomes, err := s.Append(b.Context(), batch)
		if err != nil || outcomes[n-1].Status != storage.Stored {
			b.Fatalf("append: %v, %v", outcomes, err)
		}
	}
	s.db.NoSync = true
	for n := 0; n < prefill; n += storage.MaxBatch / 2 {
		appendBatch(storage.MaxBatch / 2)
	}
	s.db.NoSync = false
	if err := s.db.Sync(); err != nil {
		b.Fatal(err)
	}
	measure(b, size, func() { appendBatch(size) })
	info, err := s.Info(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Bytes)/float64(info.Count*benchPayload), "file/payload")
}

func benchmarkBare(b *testing.B, prefill, size int) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), fileMode, boltOptions(time.Second))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	seq := storage.Seq(0)
	put := func(n int) {
		batch := randomRecords(n)
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(logBucket)
			if err != nil {
				return err
			}
			bucket.FillPercent = 1
			for range batch {
				seq++
				if err := bucket.Put(binary.BigEndian.AppendUint64(nil, uint64(seq)), benchBody[:]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	db.NoSync = true
	for n := 0; n < prefill; n += storage.MaxBatch / 2 {
		put(storage.MaxBatch / 2)
	}
	db.NoSync = false
	if err := db.Sync(); err != nil {
		b.Fatal(err)
	}
	measure(b, size, func() { put(size) })
}

// measure reports records and processor time of b.N calls of f, which appends
// size records.
func measure(b *testing.B, size int, f func()) {
	before := processorTime(b)
	for b.Loop() {
		f()
	}
	records := float64(b.N * size)
	b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/records, "cpu-us/record")
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

// BenchmarkReplay reads a log of 20000 envelopes from the first to the last.
func BenchmarkReplay(b *testing.B) {
	s := openNew(b, Options{})
	s.db.NoSync = true
	for range 20_000 / 100 {
		if _, err := s.Append(b.Context(), randomRecords(100)); err != nil {
			b.Fatal(err)
		}
	}
	before, entries := processorTime(b), 0
	for b.Loop() {
		for from := storage.Seq(1); ; {
			page, err := s.Log(b.Context(), storage.LogRequest{From: from})
			if err != nil {
				b.Fatal(err)
			}
			if len(page.Entries) == 0 {
				break
			}
			entries += len(page.Entries)
			from += storage.Seq(len(page.Entries))
		}
	}
	b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(entries)/1000, "cpu-us/record")
}
