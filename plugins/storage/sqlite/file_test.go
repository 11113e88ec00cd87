package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func openNewStore(t testing.TB, opts Options) *Store {
	t.Helper()
	return mustOpen(t, filepath.Join(t.TempDir(), "messages.sqlite"), opts)
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

// storeImage returns the file of a store with a few dozen envelopes.
func storeImage(t testing.TB) []byte {
	t.Helper()
	s := openNewStore(t, Options{})
	for range 4 {
		if _, err := s.Append(t.Context(), storefiletest.RandomRecords(16)); err != nil {
			t.Fatal(err)
		}
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

// openAsOtherProgram opens the database at path as another program does.
func openAsOtherProgram(t *testing.T, path, mode string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=" + mode}).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// execStatement runs a statement on the database at path, which nobody else uses.
func execStatement(t *testing.T, path, statement string) {
	t.Helper()
	db := openAsOtherProgram(t, path, "rwc")
	_, err := db.Exec(statement)
	if err := errors.Join(err, db.Close()); err != nil {
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
	changed := func(statement string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			writeFile(t, path, good)
			execStatement(t, path, statement)
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
		"text":  {withData([]byte("dear operator\n")), "is not a store of this relay, or its beginning is damaged", nil},
		"zeros": {withData(make([]byte, 1<<17)), "is not a store of this relay", nil},
		"empty": {withData(nil), "is empty; restore a backup", nil},
		"short": {withData(good[:headerSize-1]), "keep a copy of the file and restore a backup", storage.ErrCorrupt},
		"cut":   {withData(good[:8*pageSize]), "keep a copy of the file and restore a backup", storage.ErrCorrupt},
		"pages": {func(t *testing.T, path string) {
			data := bytes.Clone(good)
			for i := range data[pageSize:] {
				data[pageSize+i] ^= 0x55
			}
			writeFile(t, path, data)
		}, "keep a copy of the file and restore a backup", storage.ErrCorrupt},
		"directory": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "something else than a file; put the file itself there", nil},
		"link": {func(t *testing.T, path string) {
			elsewhere := filepath.Join(t.TempDir(), "elsewhere.db")
			writeFile(t, elsewhere, good)
			if err := os.Symlink(elsewhere, path); err != nil {
				t.Fatal(err)
			}
		}, "something else than a file; put the file itself there", nil},
		"link to nothing": {func(t *testing.T, path string) {
			if err := os.Symlink("nothing", path); err != nil {
				t.Fatal(err)
			}
		}, "something else than a file; put the file itself there", nil},
		"foreign":           {func(t *testing.T, path string) { execStatement(t, path, "CREATE TABLE users (name TEXT)") }, "is not a store of this relay", nil},
		"other application": {changed("PRAGMA application_id = 7"), "is not a store of this relay", nil},
		"newer":             {changed("PRAGMA user_version = 3"), "has format 3 and this release knows format 2", nil},
		"no version":        {changed("PRAGMA user_version = 0"), "has format 0", nil},
		"no epoch":          {changed("UPDATE meta SET epoch = x''"), "makes no sense", storage.ErrCorrupt},
		"nothing in meta":   {changed("DELETE FROM meta"), "is empty", storage.ErrCorrupt},
		"wrong end":         {changed("UPDATE meta SET last = last - 1"), "does not end where the table meta says", storage.ErrCorrupt},
		"end of log gone":   {changed("DELETE FROM envelopes WHERE seq > 60"), "does not end where the table meta says", storage.ErrCorrupt},
		"no log":            {changed("DROP TABLE envelopes"), "no such table", storage.ErrCorrupt},
		"no tokens":         {changed("DROP TABLE tokens"), "no such table", storage.ErrCorrupt},
		"other columns":     {changed("ALTER TABLE meta RENAME last TO end"), "no such column", storage.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "messages.sqlite")
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

// TestRefusedAfterCrash opens a store with a log of SQLite that nobody copied,
// and in it what makes no sense. The log stays there for whoever finds out why.
func TestRefusedAfterCrash(t *testing.T) {
	s := openNewStore(t, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db := openAsOtherProgram(t, s.path, "rw")
	if _, err := db.Exec("UPDATE meta SET last = 7"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, suffix := range []string{"", walSuffix} {
		data, err := os.ReadFile(s.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "messages.sqlite"+suffix), data)
	}
	before := storefiletest.ListDir(t, dir)
	if _, err := Open(filepath.Join(dir, "messages.sqlite"), Options{}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if err := os.Remove(filepath.Join(dir, "messages.sqlite-shm")); err != nil {
		t.Fatal(err)
	}
	if after := storefiletest.ListDir(t, dir); after != before {
		t.Errorf("Open changed the directory:\n%s\nbefore:\n%s", after, before)
	}
}

// fileNames returns the names in the directory of a store.
func fileNames(t *testing.T, s *Store) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(s.path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestFilesOfOpenAndClosedStore looks at the files of a store that is open, and that is closed.
func TestFilesOfOpenAndClosedStore(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	path := filepath.Join(t.TempDir(), "a", "b c?%41#", "messages.sqlite")
	s := mustOpen(t, path, Options{})
	if _, err := s.Append(t.Context(), storefiletest.RandomRecords(3)); err != nil {
		t.Fatal(err)
	}
	if got, want := fileNames(t, s), []string{"messages.sqlite", "messages.sqlite-shm", "messages.sqlite-wal"}; !slices.Equal(got, want) {
		t.Errorf("the directory has %q, want %q", got, want)
	}
	for path, want := range map[string]os.FileMode{path: fileMode, path + walSuffix: fileMode, path + "-shm": fileMode, filepath.Dir(path): os.ModeDir | 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fileNames(t, s); !slices.Equal(got, []string{"messages.sqlite"}) {
		t.Errorf("a closed store left %q", got)
	}
	goleak.VerifyNone(t, leaks)
}

// TestCommitIsFlushed asks SQLite for its settings of commits.
func TestCommitIsFlushed(t *testing.T) {
	s := openNewStore(t, Options{})
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "fullfsync": "1", "checkpoint_fullfsync": "1",
		"page_size": "4096", "temp_store": "2", "mmap_size": "0", "locking_mode": "normal",
	} {
		var got string
		if err := s.writer.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", pragma, got, want, err)
		}
	}
}
