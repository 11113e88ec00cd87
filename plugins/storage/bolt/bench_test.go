package bolt

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// BenchmarkAppend appends batches, and for comparison puts the same bytes into
// a bucket of bbolt without any index. CWTCH_RELAY_PREFILL is the number of
// envelopes in the store before; the default is 10000.
func BenchmarkAppend(b *testing.B) {
	prefill := 10_000
	if n, err := strconv.Atoi(os.Getenv("CWTCH_RELAY_PREFILL")); err == nil {
		prefill = n
	}
	for _, size := range []int{1, 64, storage.MaxBatchBytes / storefiletest.EnvelopeSize} {
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
		batch := storefiletest.RandomRecords(n)
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
	storefiletest.Measure(b, size, func() { appendBatch(size) })
	info, err := s.Info(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Bytes)/float64(info.Count*storefiletest.EnvelopeSize), "file/payload")
}

func benchmarkBare(b *testing.B, prefill, size int) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), fileMode, boltOptions())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	seq := storage.Seq(0)
	put := func(n int) {
		batch := storefiletest.RandomRecords(n)
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(logBucket)
			if err != nil {
				return err
			}
			bucket.FillPercent = 1
			for range batch {
				seq++
				if err := bucket.Put(binary.BigEndian.AppendUint64(nil, uint64(seq)), make([]byte, storefiletest.EnvelopeSize)); err != nil {
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
	storefiletest.Measure(b, size, func() { put(size) })
}

func BenchmarkReplay(b *testing.B) {
	s := openNewStore(b, Options{})
	s.db.NoSync = true
	storefiletest.BenchmarkReplay(b, s)
}

// BenchmarkCompact compacts a store of 100,000 envelopes.
func BenchmarkCompact(b *testing.B) {
	s := openNewStore(b, Options{})
	s.db.NoSync = true
	for n := 0; n < 100_000; n += storage.MaxBatch / 2 {
		if _, err := s.Append(b.Context(), storefiletest.RandomRecords(storage.MaxBatch/2)); err != nil {
			b.Fatal(err)
		}
	}
	s.db.NoSync = false
	moved := uint64(0)
	storefiletest.Measure(b, 100_000, func() {
		for more := true; more; {
			done, err := s.Compact(b.Context(), storage.CompactRequest{Room: math.MaxInt64})
			if err != nil {
				b.Fatal(err)
			}
			more = done.More
			moved += done.Moved
		}
	})
	b.ReportMetric(float64(moved)/(1<<20)/b.Elapsed().Seconds(), "MiB/s")
}
