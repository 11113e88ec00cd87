package bolt

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestIndexMatchesLog appends until every shard has moved into the tree several times,
// opens the store again now and then, and compares the index with the log.
func TestIndexMatchesLog(t *testing.T) {
	opts := Options{MaxRecent: 300}
	s := openNewStore(t, opts)
	for round := range 40 {
		records := storefiletest.RandomRecords(100)
		for i := range records {
			records[i].Ciphertext = records[i].Ciphertext[:8]
		}
		if _, err := s.Append(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		if round%7 == 6 {
			recent := s.index
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, s.path, opts)
			expectSameIndex(t, &s.index, &recent)
		}
		if s.index.count > opts.MaxRecent+4*len(records) {
			t.Fatalf("%d recent keys", s.index.count)
		}
		checkIndex(t, s)
	}
	if first := slices.Min(s.index.merged[:]); first < 3000 {
		t.Errorf("a shard has not moved since entry %d", first)
	}
}

func expectSameIndex(t *testing.T, got, want *index) {
	t.Helper()
	if !maps.Equal(got.tails, want.tails) {
		t.Errorf("%d rests of ids, want %d, or others", len(got.tails), len(want.tails))
	}
	if got.merged != want.merged || got.count != want.count {
		t.Errorf("%d recent keys, want %d, or other marks", got.count, want.count)
	}
	for i := range got.recent {
		if !slices.Equal(got.recent[i], want.recent[i]) {
			t.Fatalf("part %d has %d keys, want %d", i, len(got.recent[i]), len(want.recent[i]))
		}
	}
}

// checkIndex checks that the keys of the log are in the tree or recent, each
// once, and no others.
func checkIndex(t *testing.T, s *Store) {
	t.Helper()
	want := make(map[key]int)
	err := s.db.View(func(tx *bbolt.Tx) error {
		log := tx.Bucket(logBucket)
		for seq := storage.Seq(1); hasRecord(log, seq); seq++ {
			r, _, err := readRecord(log, seq, nil)
			if err != nil {
				return err
			}
			for _, k := range s.index.keysOf(&r, seq) {
				want[k]++
			}
		}
		return tx.Bucket(indexBucket).ForEach(func(k, _ []byte) error {
			want[key(k)]--
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for i, part := range s.index.recent {
		for _, k := range part {
			want[k]--
			count++
			if partOf(k[:]) != i {
				t.Fatalf("a key of part %d is in part %d", partOf(k[:]), i)
			}
		}
	}
	if count != s.index.count {
		t.Fatalf("%d recent keys, counted as %d", count, s.index.count)
	}
	for k, n := range want {
		if n != 0 {
			t.Fatalf("a key of entry %d is missing %d times", k.seqOf(), n)
		}
	}
}

// TestShardsAreNeighbours checks that the keys of a shard are neighbours in the tree.
func TestShardsAreNeighbours(t *testing.T) {
	x := index{hash: sha256.Sum256}
	var keys []key
	for _, r := range storefiletest.RandomRecords(1000) {
		keys = append(keys, newKey(envelopeKind, x.envelopeTag(r.Signature, r.ID), 1), newKey(tokenKind, tokenTag(*r.Nullifier), 1))
	}
	slices.SortFunc(keys, func(a, b key) int { return bytes.Compare(a[:], b[:]) })
	if !slices.IsSortedFunc(keys, func(a, b key) int { return shardOf(a[:]) - shardOf(b[:]) }) {
		t.Error("the shards are not in the order of the keys")
	}
	for kind, want := range map[byte]int{envelopeKind: 63, tokenKind: 127, idKind: 191, bornKind: 255} {
		if s := shardOf([]byte{kind, 0xff, 0xff, 0xff, 0xff, 0xff}); s != want {
			t.Errorf("the last key of kind %d is in shard %d, want %d", kind, s, want)
		}
	}
}

// TestTagCollision appends envelopes whose tags are equal, as those of one
// signature and one half of an id are.
func TestTagCollision(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 1})
	records := storefiletest.RandomRecords(2)
	records[1].Signature = records[0].Signature
	records[1].ID = records[0].ID
	records[1].ID[31]++
	for i := range records {
		for range 3 {
			got, err := s.Append(t.Context(), []storage.Record{{ID: records[i].ID, Signature: records[i].Signature}})
			if err != nil || got[0].Seq != storage.Seq(i+1) {
				t.Fatalf("envelope %d: %v, %v", i, got, err)
			}
		}
	}
}
