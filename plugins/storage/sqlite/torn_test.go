package sqlite

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestTornFirstPage: a power cut while SQLite copies its log may leave garbage in
// the first page of the database, on a disk without atomic sectors. The log has
// the page whole, so nothing is lost.
func TestTornFirstPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var records []storage.Record
	for i := range 20 {
		signature, ciphertext := []byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 2000)
		records = append(records, storage.Record{ID: storage.NewID(signature, ciphertext), Signature: signature, Ciphertext: ciphertext})
	}
	if _, err := s.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	database, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(path + walSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !hasFirstPage(log) {
		t.Fatal("the log does not have the first page, so this shows nothing")
	}
	for name, torn := range map[string][]byte{
		"zeros":   make([]byte, 512),
		"garbage": bytes.Repeat([]byte("garbage "), 64),
		"all":     bytes.Repeat([]byte{0xff}, pageSize),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "messages")
			cut := bytes.Clone(database)
			copy(cut, torn)
			for path, data := range map[string][]byte{path: cut, path + walSuffix: log} {
				if err := os.WriteFile(path, data, fileMode); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			page, err := s.Log(t.Context(), storage.LogRequest{})
			if err != nil || len(page.Entries) != len(records) {
				t.Fatalf("%d entries, %v", len(page.Entries), err)
			}
		})
	}
}

// hasFirstPage reports whether a log of SQLite has a frame of page 1, see
// https://www.sqlite.org/fileformat2.html#walformat.
func hasFirstPage(log []byte) bool {
	const header, frame = 32, 24 + pageSize
	for at := header; at+frame <= len(log); at += frame {
		if binary.BigEndian.Uint32(log[at:]) == 1 {
			return true
		}
	}
	return false
}
