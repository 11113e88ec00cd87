package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// downgrade makes a file that was never pruned one of format 2 or 3, apart from firsts.
func downgrade(tx *bbolt.Tx, format uint32) error {
	st, err := readState(tx)
	if err != nil {
		return err
	}
	tree := tx.Bucket(indexBucket)
	for k, _ := tree.Cursor().Seek([]byte{idKind}); k != nil; k, _ = tree.Cursor().Seek([]byte{idKind}) {
		if err := tree.Delete(slices.Clone(k)); err != nil {
			return err
		}
	}
	var merged marks
	for s := range merged {
		merged[s] = st.merged[s/2]
	}
	meta := tx.Bucket(metaBucket)
	return errors.Join(
		tx.DeleteBucket(hoursBucket),
		meta.Delete(marksKey),
		meta.Put(mergedKey, merged.marshal()),
		meta.Put(stateKey, st.marshal()[:earlierStateSize]),
		meta.Put(versionKey, binary.BigEndian.AppendUint32(nil, format)),
	)
}

// TestUpgradeAddsKeys opens a file of format 3, some of whose keys are recent, and compares
// it with what it was before.
func TestUpgradeAddsKeys(t *testing.T) {
	opts := Options{MaxRecent: 64}
	s := openNewStore(t, opts)
	records := storefiletest.RandomRecords(300)
	for i := range records {
		records[i].Born = storage.Hour(i / 7)
		records[i].Ciphertext = records[i].Ciphertext[:i]
	}
	appendAll(t, s, records)
	want := describe(t, s)
	if err := s.db.Update(func(tx *bbolt.Tx) error { return downgrade(tx, 3) }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, s.path, opts)
		if got := describe(t, s); !slices.Equal(got.keys, want.keys) || !slices.Equal(got.hours, want.hours) || got.found != len(records) {
			t.Errorf("%d keys and %d hours, %d envelopes are found by id; want %d, %d and all", len(got.keys), len(got.hours), got.found, len(want.keys), len(want.hours))
		}
	}
}

// TestUpgradeOfKeysGoesOn cuts an upgrade to format 4 short and opens the file.
func TestUpgradeOfKeysGoesOn(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 64})
	for range 3 {
		appendAll(t, s, storefiletest.RandomRecords(100))
	}
	want := describe(t, s)
	if err := s.db.Update(func(tx *bbolt.Tx) error { return downgrade(tx, 3) }); err != nil {
		t.Fatal(err)
	}
	var st state
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		st, err = readState(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for first := storage.Seq(1); first < 200; first += 100 {
		if err := s.upgradeEntries(&st, first, first+99); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, s.path, Options{MaxRecent: 64})
	if got := describe(t, s); !slices.Equal(got.keys, want.keys) || !slices.Equal(got.hours, want.hours) || got.found != 300 {
		t.Errorf("%d keys and %d hours, %d envelopes are found by id", len(got.keys), len(got.hours), got.found)
	}
}

// TestUpgradeIsKilled kills the upgrade of files that earlier releases wrote after each of its
// transactions. The next start loses nothing.
func TestUpgradeIsKilled(t *testing.T) {
	for name, extraTokens := range map[string]int{"format1-whole.db.gz": 0, "format2.db.gz": 1, "format3.db.gz": 1} {
		path := filepath.Join(t.TempDir(), "messages.db")
		unpackTestdata(t, name, path)
		s := &Store{path: path, upgrade: upgradeSizes{chunk: 7, keys: 3}, index: index{hash: sha256.Sum256, max: 16}}
		var left []string
		s.committed = func() {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			left = append(left, filepath.Join(t.TempDir(), "messages.db"))
			writeFile(t, left[len(left)-1], data)
		}
		if err := s.openOrCreate(); err != nil {
			t.Fatal(err)
		}
		s.committed = nil
		expectEarlierRecords(t, s, extraTokens)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(left) < 20 {
			t.Errorf("%s: the upgrade has %d transactions", name, len(left))
		}
		for _, path := range left {
			if faults := checkAll(t, mustInspectOnce(t, path)); len(faults) > 0 {
				t.Errorf("%s: faults in the middle of an upgrade:\n%s", name, faultsText(faults))
			}
			expectEarlierRecords(t, mustOpen(t, path, Options{MaxRecent: 16}), extraTokens)
		}
	}
}

// mustInspectOnce checks a file that is opened afterwards.
func mustInspectOnce(t *testing.T, path string) *inspection {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "messages.db")
	writeFile(t, other, data)
	return mustInspect(t, other)
}

// description is what a Pruner and an Index say of a store.
type description struct {
	hours []storage.HourSize
	keys  []storage.Key
	found int // by their ids
}

func describe(t *testing.T, s *Store) (d description) {
	t.Helper()
	var err error
	if d.hours, err = s.Hours(t.Context(), storage.HoursRequest{}); err != nil {
		t.Fatal(err)
	}
	if d.keys, err = s.Keys(t.Context(), storage.KeysRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, k := range d.keys {
		entries, err := s.Get(t.Context(), []storage.ID{k.ID})
		if err != nil {
			t.Fatal(err)
		}
		d.found += len(entries)
	}
	return d
}
