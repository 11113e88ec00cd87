package replica

import (
	"math/rand/v2"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// TestBodiesOfTheLogAreNotReadAgain: what the plugin has just read in the log is sent to peers
// without the store, and with the lower hour that is known by then.
func TestBodiesOfTheLogAreNotReadAgain(t *testing.T) {
	store := &countingIndex{Memory: storagetest.NewMemory()}
	appendEnvelopes(t, store, rand.New(rand.NewPCG(1, 2)), 20)
	r := newReplica(t, store)
	page, err := r.Log(t.Context(), peersync.LogRequest{From: 1})
	if err != nil || len(page.Entries) != 20 {
		t.Fatalf("%d entries, %v", len(page.Entries), err)
	}
	var ids []storage.ID
	for _, e := range page.Entries {
		ids = append(ids, e.ID)
	}
	want, err := store.Memory.Get(t.Context(), ids[:1])
	if err != nil {
		t.Fatal(err)
	}
	lower := page.Entries[0].Born - 1
	r.recent.note(ids[0], func(f *facts) { f.born = lower })
	records, err := r.fetchRecords(t.Context(), ids)
	if err != nil || len(records) != 20 || store.calls.Load() != 0 {
		t.Fatalf("%d records after %d reads, %v", len(records), store.calls.Load(), err)
	}
	if got := records[0]; got.ID != ids[0] || got.Born != lower || string(got.Ciphertext) != string(want[0].Ciphertext) || string(got.Signature) != string(want[0].Signature) {
		t.Errorf("the first record is %+v, want %+v with the hour %d", got, want[0], lower)
	}
	r.bodies.forgetAll()
	if again, err := r.fetchRecords(t.Context(), ids); err != nil || len(again) != 20 || store.calls.Load() == 0 {
		t.Errorf("%d records after %d reads, %v", len(again), store.calls.Load(), err)
	}
}

// TestBodyCacheIsBounded: it does not grow, and the latest are kept.
func TestBodyCacheIsBounded(t *testing.T) {
	var c bodyCache
	const size = 4000
	for i := range 2 * maxBodies / size {
		rec := storage.Record{ID: storage.ID{byte(i), byte(i >> 8)}, Ciphertext: make([]byte, size)}
		c.keep(rec)
		c.keep(rec) // counts once
		if _, kept := c.find(rec.ID); !kept {
			t.Fatalf("record %d is not kept", i)
		}
	}
	if _, kept := c.find(storage.ID{}); kept || c.bytes > maxBodies || c.bytes < maxBodies-2*size || len(c.records) != len(c.order) || len(c.order)*cachedSize(storage.Record{Ciphertext: make([]byte, size)}) != c.bytes {
		t.Errorf("%d records of %d bytes", len(c.records), c.bytes)
	}
}
