package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// BenchmarkAppend appends batches. CWTCH_RELAY_PREFILL is the number of envelopes
// in the store before; the default is 10000.
func BenchmarkAppend(b *testing.B) {
	prefill := 10_000
	if n, err := strconv.Atoi(os.Getenv("CWTCH_RELAY_PREFILL")); err == nil {
		prefill = n
	}
	for _, size := range []int{1, 16, 64, storage.MaxBatchBytes / storefiletest.EnvelopeSize} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := mustOpen(b, filepath.Join(b.TempDir(), "messages.sqlite"), Options{})
			appendBatch := func(n int) {
				batch := storefiletest.RandomRecords(n)
				outcomes, err := s.Append(b.Context(), batch)
				if err != nil || outcomes[n-1].Status != storage.Stored {
					b.Fatalf("append: %v, %v", outcomes, err)
				}
			}
			for n := 0; n < prefill; n += storage.MaxBatch / 2 {
				appendBatch(storage.MaxBatch / 2)
			}
			storefiletest.Measure(b, size, func() { appendBatch(size) })
			info, err := s.Info(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Bytes)/float64(info.Count*storefiletest.EnvelopeSize), "file/payload")
		})
	}
}

func BenchmarkReplay(b *testing.B) { storefiletest.BenchmarkReplay(b, openNewStore(b, Options{})) }

// BenchmarkPrune removes an hour of 10,000 envelopes, in transactions of 256, from a store
// with four more.
func BenchmarkPrune(b *testing.B) {
	const perHour = 10_000
	s := openNewStore(b, Options{})
	hour := storage.Hour(0)
	appendHour := func() {
		for n := 0; n < perHour; n += 100 {
			batch := storefiletest.RandomRecords(100)
			for i := range batch {
				batch[i].Born = hour
			}
			if _, err := s.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
		hour++
	}
	for range 4 {
		appendHour()
	}
	longest := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		appendHour()
		b.StartTimer()
		for more := true; more; {
			start := time.Now()
			p, err := s.Prune(b.Context(), storage.PruneRequest{Floor: hour - 4, Max: 256})
			if err != nil {
				b.Fatal(err)
			}
			longest = max(longest, time.Since(start))
			more = p.More
		}
	}
	b.ReportMetric(float64(b.N*perHour)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
}
