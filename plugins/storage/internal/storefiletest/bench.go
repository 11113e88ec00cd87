//go:build linux

package storefiletest

import (
	"crypto/rand"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The size of an envelope of RandomRecords: 4 KiB and an ed25519 signature.
const (
	ciphertextSize = 4096
	signatureSize  = 64
	EnvelopeSize   = ciphertextSize + signatureSize
)

var ciphertext [ciphertextSize]byte // of all

// RandomRecords makes paid records as a relay would, with random ids, signatures and
// nullifiers.
func RandomRecords(n int) []storage.Record {
	records := make([]storage.Record, n)
	for i := range records {
		var head [signatureSize + 32 + 32]byte
		rand.Read(head[:])
		records[i] = storage.Record{
			ID:         storage.ID(head[signatureSize:]),
			Signature:  head[:signatureSize],
			Ciphertext: ciphertext[:],
			Nullifier:  (*storage.Nullifier)(head[signatureSize+32:]),
		}
	}
	return records
}

// Measure reports records and processor time of b.N calls of f, each of which deals
// with n records.
func Measure(b *testing.B, n int, f func()) {
	before := processorTime(b)
	for b.Loop() {
		f()
	}
	records := float64(b.N * n)
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

// BenchmarkReplay reads a log of 20,000 envelopes from the first to the last.
func BenchmarkReplay(b *testing.B, s storage.Store) {
	const all = 20_000
	for range all / 100 {
		if _, err := s.Append(b.Context(), RandomRecords(100)); err != nil {
			b.Fatal(err)
		}
	}
	Measure(b, all, func() {
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
