package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/keyindex"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// BenchmarkKeys compares two ways to have sums over the keys of a million envelopes, which
// are spread over a year: in the memory of the relay, for which all keys are read at each
// start, and in the store, for which each question is a call. The store is in a process as
// a relay starts it. To fill it takes minutes.
func BenchmarkKeys(b *testing.B) {
	program := filepath.Join(b.TempDir(), "cwtch-relay")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, "../cwtch-relay").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for _, p := range storagePlugins() {
		dir := b.TempDir()
		fillStore(b, p, dir)
		o, err := (&bench{program: program}).openProcess(b.Context(), p, dir)
		if err != nil {
			b.Fatal(err)
		}
		index, ok := storage.As[storage.Index](o.Store)
		if !ok {
			b.Fatal("the store is no Index")
		}
		b.Run(p.Name+"/read all", func(b *testing.B) { measureReading(b, o, index) })
		hour := storage.Key{Born: keysFrom + keyHours/2}
		for name, in := range map[string]storage.Range{
			"one key":     {Lo: hour, Hi: storage.Key{Born: hour.Born, ID: storage.ID{2}}},
			"an hour":     {Lo: hour, Hi: storage.Key{Born: hour.Born + 1}},
			"a full page": {Lo: hour},
		} {
			b.Run(p.Name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if _, err := index.Keys(b.Context(), storage.KeysRequest{Range: in}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		if err := o.closeAll(); err != nil {
			b.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

const (
	keysInStore = 1_000_000
	keyHours    = 8760
	keysFrom    = 400_000 // the first hour
)

// fillStore makes a store of a million small envelopes.
func fillStore(b *testing.B, p plugin.Plugin, dir string) {
	o, err := (&bench{}).openDirect(b.Context(), p, dir)
	if err != nil {
		b.Fatal(err)
	}
	src := &envelopeSource{newEnvelopeSource(1024).random, 64}
	for n := 0; n < keysInStore; n += storage.MaxBatch {
		batch := src.newRecords(storage.MaxBatch)
		for i := range batch {
			batch[i].Born, batch[i].Nullifier = keysFrom+storage.Hour((n+i)*keyHours/keysInStore), nil
		}
		if _, err := o.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := o.closeAll(); err != nil {
		b.Fatal(err)
	}
}

// measureReading reads all keys into an index, as a relay does at its start.
func measureReading(b *testing.B, o *openStore, index storage.Index) {
	before, err := o.cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var x keyindex.Index
		for in := (storage.Range{}); ; {
			keys, err := index.Keys(b.Context(), storage.KeysRequest{Range: in})
			if err != nil {
				b.Fatal(err)
			}
			if len(keys) == 0 {
				break
			}
			page := storage.Range{Lo: in.Lo, Hi: keys[len(keys)-1].Next()}
			x.Replace(page, keys)
			in.Lo = page.Hi
		}
		if x.Len() < keysInStore {
			b.Fatalf("%d keys", x.Len())
		}
	}
	after, err := o.cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric((after-before).Seconds()/float64(b.N), "CPU-s/op")
	if resident, err := readMemory(o.pid, "VmRSS"); err == nil {
		b.ReportMetric(float64(resident)/1024, "MiB-plugin")
	}
}
