package plugintest_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// emptyStore is a store that keeps nothing, so that a benchmark measures the border
// alone.
type emptyStore struct{ *storagetest.Memory }

func (emptyStore) Append(_ context.Context, records []storage.Record) ([]storage.Outcome, error) {
	outcomes := make([]storage.Outcome, len(records))
	for i := range outcomes {
		outcomes[i] = storage.Outcome{Status: storage.Stored, Seq: storage.Seq(i + 1)}
	}
	return outcomes, nil
}

func (emptyStore) Log(_ context.Context, req storage.LogRequest) (storage.Page, error) {
	page := storage.Page{Last: 1 << 40, Entries: make([]storage.Entry, req.Max)}
	for i := range page.Entries {
		page.Entries[i] = storage.Entry{Seq: req.From + storage.Seq(i), Signature: signature, Ciphertext: body}
	}
	return page, nil
}

func (emptyStore) Keys(_ context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	keys := make([]storage.Key, req.Max)
	for i := range keys {
		keys[i].Born = storage.Hour(i)
	}
	return keys, nil
}

var signature, body = make([]byte, 64), make([]byte, 4<<10)

func eachStore(b *testing.B, bench func(b *testing.B, store storage.Store)) {
	for _, transport := range plugintest.Transports(b, grpcServer) {
		b.Run(transport.Name, func(b *testing.B) {
			opened, err := transport.Open(b, b.TempDir(), map[string]any{"void": true})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := cpu(b)
			bench(b, opened.Store)
			b.StopTimer()
			if err := opened.Close(); err != nil { // a child counts once it has ended
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// cpu is the processor time of this process and its former children.
func cpu(b *testing.B) (total time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}

// BenchmarkAppend: one batch of 4 KiB envelopes.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 64, 240} {
		records := make([]storage.Record, n)
		for i := range records {
			records[i] = storage.Record{Signature: signature, Ciphertext: body, Nullifier: &storage.Nullifier{}}
		}
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			eachStore(b, func(b *testing.B, store storage.Store) {
				for b.Loop() {
					if _, err := store.Append(b.Context(), records); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkLog: one page of 60 envelopes of 4 KiB.
func BenchmarkLog(b *testing.B) {
	eachStore(b, func(b *testing.B, store storage.Store) {
		for b.Loop() {
			if _, err := store.Log(b.Context(), storage.LogRequest{From: 1, Max: 60}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkKeys: one page of as many keys as there may be.
func BenchmarkKeys(b *testing.B) {
	eachStore(b, func(b *testing.B, store storage.Store) {
		index, ok := storage.As[storage.Index](store)
		if !ok {
			b.Fatal("the store is no index")
		}
		for b.Loop() {
			if _, err := index.Keys(b.Context(), storage.KeysRequest{Max: storage.MaxKeys}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen: from nothing to a configured store; for a process, with its
// end.
func BenchmarkOpen(b *testing.B) {
	for _, transport := range plugintest.Transports(b, grpcServer) {
		b.Run(transport.Name, func(b *testing.B) {
			for b.Loop() {
				opened, err := transport.Open(b, b.TempDir(), nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := opened.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
