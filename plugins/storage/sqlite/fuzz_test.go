package sqlite

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// FuzzOpen opens files of any content.
func FuzzOpen(f *testing.F) {
	good := storeImage(f)
	f.Add(good, []byte{})
	f.Add(good[:4*pageSize], []byte("\x37\x7f\x06\x82\x00\x2d\xe2\x18"))
	f.Add([]byte{}, []byte{})
	f.Add([]byte(magic), []byte{})
	f.Fuzz(useFiles)
}

// FuzzDamage opens the file of a store that was changed in one place.
func FuzzDamage(f *testing.F) {
	good := storeImage(f)
	for page := range len(good) / pageSize {
		f.Add(uint32(page*pageSize), []byte{0x0a, 0xff, 0xff, 0xff, 0xff}) // kind
		f.Add(uint32(page*pageSize+3), []byte{0xff, 0xff, 0, 0})           // cells
		f.Add(uint32(page*pageSize+8), []byte{0, 0, 0, 1, 0, 9, 0, 9})     // right child, first cells
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		data := bytes.Clone(good)
		copy(data[int(at)%len(data):], patch)
		useFiles(t, data, nil)
	})
}

// useFiles opens a database, perhaps with a log beside it, and uses whatever
// store comes of it.
func useFiles(t *testing.T, data, wal []byte) {
	path := filepath.Join(t.TempDir(), "messages.sqlite")
	for path, data := range map[string][]byte{path: data, path + walSuffix: wal} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(path, Options{})
	if err != nil {
		return
	}
	defer s.Close()
	bad := func(call string, err error) {
		if err != nil && !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v", call, err)
		}
	}
	_, err = s.Info(t.Context())
	bad("info", err)
	page, err := s.Log(t.Context(), storage.LogRequest{})
	bad("log", err)
	for _, e := range page.Entries {
		if _, err := s.Find(t.Context(), e.Signature); !errors.Is(err, storage.ErrNotFound) {
			bad("find", err)
		}
	}
	_, err = s.SpentTokens(t.Context(), storage.SpentTokensRequest{})
	bad("spendings", err)
	_, err = s.Append(t.Context(), storefiletest.RandomRecords(3))
	bad("append", err)
}

// FuzzRow takes rows of any content for entries of the log.
func FuzzRow(f *testing.F) {
	id := make([]byte, len(storage.ID{}))
	f.Add(int64(7), int64(12), int64(0), int64(0), id, []byte("signature"), []byte("ciphertext"), true)
	f.Add(int64(7), int64(12), int64(24), int64(0), id[1:], []byte("signature"), []byte("ciphertext"), true)
	f.Add(int64(8), int64(-1), int64(25), int64(0), id, []byte{}, []byte{}, false)
	f.Add(int64(7), int64(1<<40), int64(-1), int64(1<<40), id, []byte{}, make([]byte, storage.MaxEnvelope+1), false)
	f.Fuzz(func(t *testing.T, seq, born, lowered, sum int64, id, signature, ciphertext []byte, seal bool) {
		if seal && len(id) == len(storage.ID{}) { // past the checksum
			e := storage.Entry{Seq: storage.Seq(seq), ID: storage.ID(id), Born: storage.Hour(born), Signature: signature, Ciphertext: ciphertext}
			sum = int64(checksumOf(&e, storage.Hour(lowered)))
		}
		r := row{seq: seq, born: born, lowered: lowered, checksum: sum, id: id, signature: signature, ciphertext: ciphertext}
		p, err := r.toPartial()
		var e storage.Entry
		if err == nil {
			e, err = p.toEntry()
		}
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		if seq < 1 || int64(e.Seq) != seq || int64(e.Born) != born || born > math.MaxUint32 || lowered > storage.MaxAging ||
			!bytes.Equal(e.ID[:], id) || !bytes.Equal(e.Signature, signature) || !bytes.Equal(e.Ciphertext, ciphertext) {
			t.Error("the entry is not what is in the row")
		}
	})
}
