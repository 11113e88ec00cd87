package sqlite

import (
	"bytes"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestPieces cuts ciphertexts of every length, and checks that what is left for the row shares
// its page with enough others.
func TestPieces(t *testing.T) {
	for _, signature := range []int{0, 64, 100} {
		for n := 0; n+signature <= storage.MaxEnvelope; n++ {
			pieces := countPieces(signature, n)
			head := n - pieces*pieceSize
			if pieces > 6 || head < 0 || sizeInLeaf(rowHead+signature+head) > max(maxInLeaf, rowHead+signature+pieceSize) {
				t.Fatalf("a ciphertext of %d bytes has %d pieces, and %d bytes are left", n, pieces, head)
			}
		}
	}
}

// liveBytes is what has to be kept of an envelope beside signature and ciphertext: id (32),
// hour (4), sequence number (8) and checksum (4), the spent token with its sequence number
// (16 + 8), and what finds the envelope by the beginning of its id (8 + 8), by its hour and the
// beginning of its id (4 + 8 + 8) and by a hash of its signature (8 + 8).
const liveBytes = 124

// TestSizeOfFile stores envelopes of one size after the other, and compares the file with what
// has to be kept.
func TestSizeOfFile(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	for _, size := range []int{100, 300, 630, 800, 1 << 10, 1536, 2150, 3 << 10, 4160, 5 << 10, 15 << 10, storage.MaxEnvelope} {
		s := openNewStore(t, Options{})
		const n = 4000
		for range n / 50 {
			records := storefiletest.RandomRecords(50)
			for i := range records {
				records[i].Ciphertext = make([]byte, size-64)
			}
			if _, err := s.Append(t.Context(), records); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		ratio := float64(fileSize(s.path)) / float64(n*(size+liveBytes))
		t.Logf("%5d bytes: %.2f of what is kept, %.2f of signatures and ciphertexts", size, ratio, float64(fileSize(s.path))/float64(n*size))
		if ratio > 1.3 {
			t.Errorf("a file of envelopes of %d bytes is %.2f times what has to be kept", size, ratio)
		}
	}
}

// TestReadPieces reads what was stored in any number of pieces, in every way.
func TestReadPieces(t *testing.T) {
	s := openNewStore(t, Options{})
	var records []storage.Record
	for n := 0; n < storage.MaxEnvelope; n += 97 {
		signature, ciphertext := bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 32), bytes.Repeat([]byte{byte(n / 97), 1, 2}, n/3)
		if len(signature)+len(ciphertext) > storage.MaxEnvelope {
			break
		}
		r := storage.Record{ID: storage.NewID(signature, ciphertext), Born: storage.Hour(100 + n%3), Signature: signature, Ciphertext: ciphertext}
		records = append(records, r)
		for _, born := range []storage.Hour{r.Born, r.Born - 5} { // the second lowers the hour
			r.Born = born
			if _, err := s.Append(t.Context(), []storage.Record{r}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var page storage.Page
	for i, r := range records {
		if len(page.Entries) == 0 {
			var err error
			if page, err = s.Log(t.Context(), storage.LogRequest{From: storage.Seq(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Get(t.Context(), []storage.ID{r.ID})
		if err != nil || len(got) != 1 {
			t.Fatalf("%d entries, %v", len(got), err)
		}
		for _, e := range []storage.Entry{page.Entries[0], got[0]} {
			if e.Seq != storage.Seq(i+1) || e.ID != r.ID || e.Born != r.Born-5 || !bytes.Equal(e.Ciphertext, r.Ciphertext) {
				t.Errorf("a ciphertext of %d bytes is not what it was", len(r.Ciphertext))
			}
		}
		page.Entries = page.Entries[1:]
	}
	checkIntegrity(t, s)
}
