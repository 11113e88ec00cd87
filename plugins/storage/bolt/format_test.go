package bolt

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var update = flag.Bool("update", false, "write testdata/formatN.dump")

// unpackTestdata writes a file of testdata to path.
func unpackTestdata(t *testing.T, name, path string) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, data)
}

// earlierRecords is what the files of earlier releases hold, each record with the
// last token that paid for it, and the number of tokens.
func earlierRecords() (records []storage.Record, tokens int) {
	for i := range 40 {
		signature, ciphertext := fmt.Appendf(nil, "signature %d", i), fmt.Appendf(nil, "ciphertext %d", i)
		if i%8 == 0 {
			ciphertext = append(ciphertext, make([]byte, 1024*(i/4))...)
		}
		r := storage.Record{ID: storage.NewID(signature, ciphertext), Born: storage.Hour(i), Signature: signature, Ciphertext: ciphertext}
		if i%5 == 0 {
			r.Nullifier, tokens = &storage.Nullifier{0: byte(100 + i), 31: 1}, tokens+1
		}
		if i%4 > 0 {
			r.Nullifier, tokens = &storage.Nullifier{0: byte(i), 31: 1}, tokens+1
		}
		records = append(records, r)
	}
	return records, tokens
}

// expectEarlierRecords checks that a store has all of it, by every way to ask.
func expectEarlierRecords(t *testing.T, s *Store, extraTokens int) {
	t.Helper()
	records, tokens := earlierRecords()
	if info, err := s.Info(t.Context()); err != nil || info.Last != 40 || info.Count != 40 || info.Tokens != uint64(tokens+extraTokens) {
		t.Fatalf("info is %+v, %v, want 40 envelopes and %d tokens", info, err, tokens+extraTokens)
	}
	spent, err := s.SpentTokens(t.Context(), storage.SpentTokensRequest{})
	if err != nil || len(spent) != tokens+extraTokens {
		t.Fatalf("%d spendings, %v, want %d", len(spent), err, tokens+extraTokens)
	}
	var entries []storage.Entry
	for len(entries) < len(records) {
		page, err := s.Log(t.Context(), storage.LogRequest{From: storage.Seq(len(entries) + 1)})
		if err != nil || len(page.Entries) == 0 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		entries = append(entries, page.Entries...)
	}
	for i, r := range records {
		if e := entries[i]; e.ID != r.ID || e.Born != r.Born || !bytes.Equal(e.Signature, r.Signature) || !bytes.Equal(e.Ciphertext, r.Ciphertext) {
			t.Fatalf("entry %d is another one", i+1)
		}
		if seq, err := s.Find(t.Context(), r.Signature); err != nil || seq != storage.Seq(i+1) {
			t.Fatalf("the signature %d is found at %d, %v", i, seq, err)
		}
		want := storage.Outcome{Status: storage.Replayed, Seq: storage.Seq(i + 1)}
		if r.Nullifier == nil {
			want.Status = storage.Duplicate
		}
		if got, err := s.Append(t.Context(), records[i:i+1]); err != nil || got[0] != want {
			t.Fatalf("envelope %d: %v, %v, want %v", i, got, err, want)
		}
	}
}

// TestEarlierFormats opens files of earlier releases. The first releases kept records whole
// and also called that format 1.
func TestEarlierFormats(t *testing.T) {
	for name, extraTokens := range map[string]int{"format1-whole.db.gz": 0, "format2.db.gz": 1, "format3.db.gz": 1, "format4.db.gz": 1} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "messages.db")
			unpackTestdata(t, name, path)
			for range 2 { // the second time it is a file of today
				s := mustOpen(t, path, Options{MaxRecent: 16})
				expectEarlierRecords(t, s, extraTokens)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestUpgradeGoesOnAfterKill goes on where a start that cut whole records was killed.
func TestUpgradeGoesOnAfterKill(t *testing.T) {
	for _, done := range []storage.Seq{1, 17, 39} {
		path := filepath.Join(t.TempDir(), "messages.db")
		unpackTestdata(t, "format1-whole.db.gz", path)
		writeDatabase(t, path, boltOptions(), func(tx *bbolt.Tx) error { return splitRecords(tx.Bucket(logBucket), 1, done) })
		expectEarlierRecords(t, mustOpen(t, path, Options{MaxRecent: 16}), 0)
	}
}

// TestFormatHasANumber compares what is in a file with what its format is known to
// hold. Whoever changes that raises version, keeps reading the format before, adds a
// file of it to testdata, and writes the new dump with -update.
func TestFormatHasANumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.db")
	if err := ensureFile(path); err != nil {
		t.Fatal(err)
	}
	writeDatabase(t, path, boltOptions(), func(tx *bbolt.Tx) error { // the rest is random
		meta := tx.Bucket(metaBucket)
		if err := meta.Put(epochKey, bytes.Repeat([]byte{7}, len(storage.Epoch{}))); err != nil {
			return err
		}
		return meta.Put(secretKey, bytes.Repeat([]byte{9}, secretSize))
	})
	s := mustOpen(t, path, Options{MaxRecent: 16})
	records, _ := earlierRecords()
	for i := range records {
		if _, err := s.Append(t.Context(), records[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Spend(t.Context(), []storage.SpentToken{{Token: storage.TokenID{1}, ID: storage.ID{2}}}); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				sum := sha256.Sum256(v)
				_, err := fmt.Fprintf(&dump, "%s %x %d %x\n", name, k, len(v), sum[:8])
				return err
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", fmt.Sprintf("format%d.dump", formatVersion))
	if *update {
		if err := os.WriteFile(golden, dump.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(dump.Bytes(), want) {
		t.Errorf("a file of format %d is not what %s says, %v: a change of the format needs another number", formatVersion, golden, err)
	}
}
