package bolt

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// writeFormat1 writes a file of format 1 that an earlier release has made, and returns
// its content: 40 envelopes. Some were paid for once, some twice and some not at all.
func writeFormat1(t *testing.T, path string) (records []storage.Record, ledger []storage.SpentToken) {
	t.Helper()
	file, err := os.Open("testdata/format1.db.gz")
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
	for i := range 40 {
		signature, ciphertext := fmt.Appendf(nil, "signature %d", i), fmt.Appendf(nil, "ciphertext %d", i)
		r := storage.Record{ID: storage.NewID(signature, ciphertext), Born: storage.Hour(i), Signature: signature, Ciphertext: ciphertext}
		pay := func(token int) {
			r.Nullifier = &storage.Nullifier{0: byte(token), 31: 1}
			ledger = append(ledger, storage.SpentToken{Token: storage.NewTokenID(*r.Nullifier), ID: r.ID})
		}
		if i%5 == 0 {
			pay(100 + i)
		}
		if i%4 > 0 {
			pay(i)
		}
		records = append(records, r)
	}
	slices.SortFunc(ledger, func(a, b storage.SpentToken) int { return bytes.Compare(a.Token[:], b.Token[:]) })
	return records, ledger
}

// TestFormat1 uses a file of an earlier release, with and without tokens that
// only later ones can record. It has the format of today from the first start on.
func TestFormat1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.db")
	records, ledger := writeFormat1(t, path)
	s := mustOpen(t, path, Options{MaxRecent: 16})
	again := func() {
		t.Helper()
		for i, r := range records {
			want := storage.Outcome{Status: storage.Replayed, Seq: storage.Seq(i + 1)}
			if r.Nullifier == nil {
				want.Status = storage.Duplicate
			}
			if got, err := s.Append(t.Context(), records[i:i+1]); err != nil || got[0] != want {
				t.Fatalf("envelope %d: %v, %v, want %v", i, got, err, want)
			}
		}
		if got, err := s.SpentTokens(t.Context(), storage.SpentTokensRequest{}); err != nil || !slices.Equal(got, ledger) {
			t.Fatalf("%d spendings, %v, want %d, or others than expected", len(got), err, len(ledger))
		}
		s.db.View(func(tx *bbolt.Tx) error {
			if got := formatOf(tx); got != formatVersion {
				t.Fatalf("the file has format %d, want %d", got, formatVersion)
			}
			return nil
		})
	}
	again()
	if err := s.Spend(t.Context(), ledger); err != nil { // which is known
		t.Fatal(err)
	}
	again()

	early := storefiletest.RandomRecords(1)[0]
	spending := storage.SpentToken{Token: storage.NewTokenID(*early.Nullifier), ID: early.ID}
	if err := s.Spend(t.Context(), []storage.SpentToken{spending}); err != nil {
		t.Fatal(err)
	}
	ledger = append(ledger, spending)
	slices.SortFunc(ledger, func(a, b storage.SpentToken) int { return bytes.Compare(a.Token[:], b.Token[:]) })
	again()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path, Options{})
	again()
}

// TestSpendingsWhileMerging reads the ledger while keys move into the tree.
func TestSpendingsWhileMerging(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 64})
	var known []storage.SpentToken
	done := make(chan error, 1)
	go func() {
		var err error
		for range 200 {
			if _, err = s.Append(t.Context(), storefiletest.RandomRecords(8)); err != nil {
				break
			}
		}
		done <- err
	}()
	for ended := false; !ended; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		page, err := s.SpentTokens(t.Context(), storage.SpentTokensRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(page, func(a, b storage.SpentToken) int { return bytes.Compare(a.Token[:], b.Token[:]) }) {
			t.Fatal("the page is not in order")
		}
		if len(slices.Compact(slices.Clone(page))) != len(page) {
			t.Fatal("a token is on the page twice")
		}
		if len(page) < min(len(known), storage.MaxSpentTokens) {
			t.Fatalf("%d spendings after %d", len(page), len(known))
		}
		known = page
	}
	if len(known) != storage.MaxSpentTokens {
		t.Errorf("a page of %d of 1600 spendings", len(known))
	}
}
