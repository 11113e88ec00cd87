package bolt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// openNewStore opens a store in a directory of its own.
func openNewStore(t testing.TB, opts Options) *Store {
	t.Helper()
	return mustOpen(t, filepath.Join(t.TempDir(), "messages.db"), opts)
}

func mustOpen(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// storeImage returns the file of a store with a few dozen envelopes, some of them in the
// tree of the index.
func storeImage(t testing.TB) []byte {
	t.Helper()
	s := openNewStore(t, Options{MaxRecent: 16})
	for range 4 {
		if _, err := s.Append(t.Context(), storefiletest.RandomRecords(16)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Spend(t.Context(), []storage.SpentToken{{}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeDatabase writes a bbolt database that is not ours.
func writeDatabase(t *testing.T, path string, options *bbolt.Options, fill func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fill), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRefused(t *testing.T) {
	good := storeImage(t)
	inMeta := func(key, value string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			writeFile(t, path, good)
			writeDatabase(t, path, nil, func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put([]byte(key), []byte(value)) })
		}
	}
	withData := func(data []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) { writeFile(t, path, data) }
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
		kind    error
	}{
		"text":          {withData([]byte("dear operator\n")), "is not a store of this relay, or its beginning is damaged", nil},
		"zeros":         {withData(make([]byte, 1<<17)), "is not a store of this relay", nil},
		"empty":         {withData(nil), "is empty; restore a backup", nil},
		"cut":           {withData(good[:8*pageSize]), "bytes are there); keep a copy of the file and restore a backup", storage.ErrCorrupt},
		"cut to header": {withData(good[:2*pageSize]), "keep a copy of the file and restore a backup", storage.ErrCorrupt},
		"headers": {func(t *testing.T, path string) {
			data := bytes.Clone(good)
			data[40]++
			data[pageSize+40]++
			writeFile(t, path, data)
		}, "both headers", storage.ErrCorrupt},
		"pages": {func(t *testing.T, path string) {
			data := bytes.Clone(good)
			for i := range data[2*pageSize:] {
				data[2*pageSize+i] ^= 0x55
			}
			writeFile(t, path, data)
		}, "keep a copy of the file and restore a backup", storage.ErrCorrupt},
		"directory": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "something else than a file; put the file itself there", nil},
		"foreign": {func(t *testing.T, path string) {
			writeDatabase(t, path, nil, func(tx *bbolt.Tx) error {
				_, err := tx.CreateBucket([]byte("users"))
				return err
			})
		}, "is not a store of this relay", nil},
		"foreign, to be written when opened": {func(t *testing.T, path string) {
			writeDatabase(t, path, &bbolt.Options{NoFreelistSync: true}, func(tx *bbolt.Tx) error { return nil })
		}, "is not a store of this relay", nil},
		"other application": {inMeta("application", "cwtch-relay/storage/other"), "is not a store of this relay", nil},
		"newer":             {inMeta("version", "\x00\x00\x00\x05"), "has format 5 and this release knows formats up to 4", nil},
		"no version":        {inMeta("version", ""), "no version", storage.ErrCorrupt},
		"short counters":    {inMeta("state", "?"), "counters", storage.ErrCorrupt},
		"wrong counters":    {inMeta("state", string(make([]byte, stateSize))), "does not end where the counters say", storage.ErrCorrupt},
		"no bucket": {func(t *testing.T, path string) {
			writeFile(t, path, good)
			writeDatabase(t, path, nil, func(tx *bbolt.Tx) error { return tx.DeleteBucket(indexBucket) })
		}, "bucket", storage.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "messages.db")
			c.prepare(t, path)
			before := storefiletest.ListDir(t, dir)
			s, err := Open(path, Options{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if text := err.Error(); strings.Count(text, path) != 1 || !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("the error is %q, want the path once and %q", text, c.want)
			}
			if errors.Is(err, storage.ErrCorrupt) != (c.kind != nil) {
				t.Errorf("%v is ErrCorrupt: %t", err, c.kind == nil)
			}
			if after := storefiletest.ListDir(t, dir); after != before {
				t.Errorf("Open changed the directory:\n%s\nbefore:\n%s", after, before)
			}
			if c.kind != nil {
				writeFile(t, path, good) // nothing of the attempt holds the lock
				mustOpen(t, path, Options{})
			}
		})
	}
}

func TestNewStoreIsPrivateAndFlushed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "messages.db")
	s := mustOpen(t, path, Options{})
	for path, want := range map[string]os.FileMode{path: fileMode, filepath.Dir(path): os.ModeDir | 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("the directory has %v, %v", names, err)
	}
	if got := s.db.Info().PageSize; got != pageSize {
		t.Errorf("pages of %d bytes", got)
	}
	if s.db.NoSync || s.db.NoGrowSync || s.db.NoFreelistSync {
		t.Error("a commit is not flushed")
	}
}
