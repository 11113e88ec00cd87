package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

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
