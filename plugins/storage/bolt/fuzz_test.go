package bolt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// FuzzOpen opens files of any content.
func FuzzOpen(f *testing.F) {
	good := storeImage(f)
	f.Add(good)
	f.Add(good[:4*pageSize])
	f.Add([]byte{})
	f.Add([]byte("\xed\xda\x0c\xed"))
	f.Fuzz(useFile)
}

// FuzzDamage opens the file of a store that was changed in one place.
func FuzzDamage(f *testing.F) {
	good := storeImage(f)
	for page := range len(good) / pageSize {
		f.Add(uint32(page*pageSize+8), []byte{0xff, 0xff}) // kind
		f.Add(uint32(page*pageSize+10), []byte{0xff, 0xff, 0xff, 0xff})
		f.Add(uint32(page*pageSize+16), []byte{0, 0, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff}) // first element
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		data := bytes.Clone(good)
		copy(data[int(at)%len(data):], patch)
		useFile(t, data)
	})
}

// useFile opens a file and reads whatever store comes of it. It does not
// append: bbolt writes pages that it makes of those it read, and where these lie
// about their sizes it writes past the end of its memory.
func useFile(t *testing.T, data []byte) {
	path := filepath.Join(t.TempDir(), "messages.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{MaxRecent: 16})
	if err != nil {
		return
	}
	defer s.Close()
	if _, err := s.Info(t.Context()); err != nil {
		return
	}
	page, err := s.Log(t.Context(), storage.LogRequest{})
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("log: %v", err)
	}
	if _, err := s.SpentTokens(t.Context(), storage.SpentTokensRequest{}); err != nil && !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("spendings: %v", err)
	}
	if _, err := s.Hours(t.Context(), storage.HoursRequest{}); err != nil && !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("hours: %v", err)
	}
	keys, err := s.Keys(t.Context(), storage.KeysRequest{})
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("keys: %v", err)
	}
	for _, k := range keys {
		if _, err := s.Get(t.Context(), []storage.ID{k.ID}); err != nil && !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("get: %v", err)
		}
	}
	for _, e := range page.Entries {
		if seq, err := s.Find(t.Context(), e.Signature); err != nil && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("find: %d, %v", seq, err)
		}
	}
}

// FuzzRecord decodes values of the log.
func FuzzRecord(f *testing.F) {
	const seq = 7
	for i, r := range storefiletest.RandomRecords(2) {
		r.Ciphertext = r.Ciphertext[:9]
		if i == 0 {
			r.Nullifier = nil
		}
		f.Add(encodeRecord(nil, seq, &r), true)
	}
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal && len(data) >= 4 { // past the checksum
			data = bytes.Clone(data)
			sum := checksumOf(seq, data[4:])
			data[0], data[1], data[2], data[3] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		}
		r, err := decodeRecord(seq, data)
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		in := storage.Record{ID: r.id, Born: r.born, Signature: r.signature, Ciphertext: r.ciphertext}
		if again := encodeRecord(nil, seq, &in); !r.paid && !bytes.Equal(again[9+len(r.id):], data[9+len(r.id):]) {
			t.Error("the record is encoded otherwise")
		}
	})
}
