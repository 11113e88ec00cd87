package sqlite

import (
	"errors"
	"path/filepath"
	"testing"

	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestReadByOtherProgram looks into the store of a plugin from another process while it is
// in use: reading works, writing does not, and neither disturbs the plugin.
func TestReadByOtherProgram(t *testing.T) {
	dir := t.TempDir()
	opened, err := plugintest.Transports(t, smallPlugin)[2].Open(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := openAsOtherProgram(t, filepath.Join(dir, "messages.sqlite"), "rw")
	for round := range 20 {
		records := storefiletest.RandomRecords(10)
		if _, err := opened.Store.Append(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		var count, last, tokens int
		var id []byte
		err := db.QueryRow(`SELECT (SELECT count(*) FROM envelopes), last, (SELECT count(*) FROM tokens),
			(SELECT id FROM envelopes ORDER BY seq DESC LIMIT 1) FROM meta`).Scan(&count, &last, &tokens, &id)
		if want := 10 * (round + 1); err != nil || count != want || last != want || tokens != want || storage.ID(id) != records[9].ID {
			t.Fatalf("after %d envelopes another program sees %d, the end at %d, %d tokens, %v", want, count, last, tokens, err)
		}
		for _, statement := range []string{
			"DELETE FROM envelopes", "CREATE TABLE notes (text TEXT)", "BEGIN IMMEDIATE", "PRAGMA journal_mode = delete", "VACUUM",
		} {
			_, err := db.Exec(statement)
			if e := (*sqlite.Error)(nil); !errors.As(err, &e) || e.Code()&0xff != codes.SQLITE_BUSY {
				t.Fatalf("%s of another program: %v, want that the database is locked", statement, err)
			}
		}
	}
	if _, err := db.Exec("VACUUM INTO '" + filepath.Join(t.TempDir(), "copy.db") + "'"); err != nil {
		t.Errorf("copy the database: %v", err)
	}
}

// TestLogIsShortAfterLongReader has another program read for long, which keeps the
// log of SQLite, and makes sure that it is short again afterwards.
func TestLogIsShortAfterLongReader(t *testing.T) {
	const limit, batch = 64 << 10, 16
	s := openNewStore(t, Options{MaxWAL: limit})
	appendSome := func(n int) {
		for range n {
			if _, err := s.Append(t.Context(), storefiletest.RandomRecords(batch)); err != nil {
				t.Fatal(err)
			}
		}
	}
	appendSome(1)
	tx, err := openAsOtherProgram(t, s.path, "ro").Begin()
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if err := tx.QueryRow("SELECT count(*) FROM envelopes").Scan(&count); err != nil {
		t.Fatal(err)
	}
	appendSome(20)
	if n := fileSize(s.path + walSuffix); n < 20*batch*storefiletest.EnvelopeSize {
		t.Errorf("the log of SQLite has %d bytes, and another program reads it", n)
	}
	if err := tx.QueryRow("SELECT count(*) FROM envelopes").Scan(&count); err != nil || count != batch {
		t.Errorf("the other program sees %d envelopes, of a moment at which there were %d: %v", count, batch, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	appendSome(2) // one that finds the reader gone, one that begins anew
	if n := fileSize(s.path + walSuffix); n > 5*limit {
		t.Errorf("the log of SQLite has %d bytes, limit %d, and nobody reads it any more", n, limit)
	}
}

// TestLogStaysShortWithReaders reads all the time while it appends, with more readers than
// there are connections, and looks at the log of SQLite.
func TestLogStaysShortWithReaders(t *testing.T) {
	const limit = 512 << 10
	s := openNewStore(t, Options{MaxWAL: limit})
	done := make(chan struct{})
	results := make(chan error)
	const n = 2 * readers
	for range n {
		go func() {
			var err error
			for err == nil {
				select {
				case <-done:
					results <- nil
					return
				default:
					_, err = s.Log(t.Context(), storage.LogRequest{})
				}
			}
			results <- err
		}()
	}
	longest := int64(0)
	for range 100 {
		if _, err := s.Append(t.Context(), storefiletest.RandomRecords(16)); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, fileSize(s.path+walSuffix))
	}
	close(done)
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if longest > 2*limit {
		t.Errorf("the log of SQLite grew to %d bytes, limit %d", longest, limit)
	}
}
