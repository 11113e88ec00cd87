package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// uncanceled is the context of all statements; see [Store.runMethod].
var uncanceled = context.Background()

// writer is the one connection that changes the database. One
// goroutine uses it at a time.
type writer struct {
	db           *sql.DB
	conn         *sql.Conn
	hasWriteLock bool // a transaction is open, and with it the write lock is held

	begin, commit, rollback, checkpoint, logState *sql.Stmt

	meta, advance  *sql.Stmt
	store, seqOf   *sql.Stmt
	spend, spentOn *sql.Stmt
	signed         *sql.Stmt
	prepared       []*sql.Stmt
}

// writerSource opens an existing database. The writer waits for a program that
// slipped in, as the package comment says, and has a page cache of 4 MiB, for the
// inner pages of the trees.
func writerSource(path string, maxWAL int64) string {
	return dataSource(path, url.Values{
		"mode":          {"rw"},
		"psow":          {"0"},
		"_busy_timeout": {"1000"},
	},
		"journal_mode(wal)", // another program may have changed that
		"synchronous(full)",
		"fullfsync(1)", // on macOS
		"checkpoint_fullfsync(1)",
		"wal_autocheckpoint(0)", // which ignores a sync that fails, see [Store.checkpointIfLong]
		fmt.Sprintf("journal_size_limit(%d)", maxWAL),
		"cache_size(-4096)",
	)
}

func openWriter(path string, maxWAL int64) (_ *writer, err error) {
	w := &writer{}
	if w.db, err = sql.Open("sqlite", writerSource(path, maxWAL)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.closeWriter() //nolint:errcheck // says less than err
		}
	}()
	if w.conn, err = w.db.Conn(uncanceled); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.checkpoint, "PRAGMA wal_checkpoint(PASSIVE)"},
		{&w.logState, "PRAGMA wal_checkpoint(NOOP)"},
		{&w.meta, selectMeta},
		{&w.advance, "UPDATE meta SET last = ?, tokens = ? WHERE one = 1"},
		{&w.store, "INSERT INTO envelopes (seq, id, born, checksum, signature, ciphertext) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"},
		{&w.seqOf, "SELECT seq FROM envelopes WHERE id = ?"},
		{&w.spend, "INSERT INTO tokens (token, id) VALUES (?, ?) ON CONFLICT (token) DO NOTHING"},
		{&w.spentOn, "SELECT id FROM tokens WHERE token = ?"},
		{&w.signed, "SELECT 1 FROM envelopes WHERE signature = ? LIMIT 1"},
	} {
		if *s.to, err = w.conn.PrepareContext(uncanceled, s.text); err != nil {
			return nil, err
		}
		w.prepared = append(w.prepared, *s.to)
	}
	return w, nil
}

// takeWriteLock takes the write lock, where it is not held.
func (w *writer) takeWriteLock() error {
	if w.hasWriteLock {
		return nil
	}
	_, err := w.begin.ExecContext(uncanceled)
	w.hasWriteLock = err == nil
	return err
}

// commitAndRelease commits what was written and lets go of the write lock. On an error
// nothing is changed.
func (w *writer) commitAndRelease() error {
	if _, err := w.commit.ExecContext(uncanceled); err != nil {
		return err
	}
	w.hasWriteLock = false
	return nil
}

// rollBack takes back what was written and lets go of the write lock.
func (w *writer) rollBack() {
	w.rollback.ExecContext(uncanceled) //nolint:errcheck // SQLite did so itself after some errors, and then says that it cannot
	w.hasWriteLock = false
}

// checkpointLog copies what the log of SQLite holds into the database, as far as
// nobody reads it. If that is all, the next transaction begins the log anew.
func (w *writer) checkpointLog() error {
	_, err := w.checkpoint.ExecContext(uncanceled)
	return err
}

// truncateLog copies the log of SQLite that a crash has left, and cuts it off. The
// next commit would begin in the last sector of the one before, since a crash may
// have taken what filled it, and on a disk without atomic sectors a power cut then
// would take that commit.
func (w *writer) truncateLog() error {
	_, err := w.conn.ExecContext(uncanceled, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// logPages returns how many pages the log of SQLite holds.
func (w *writer) logPages() (n int64, err error) {
	var busy, copied int64
	err = explainScanError(w.logState.QueryRowContext(uncanceled).Scan(&busy, &n, &copied))
	return n, err
}

// findSeq returns the place of an envelope in the log, or 0.
func (w *writer) findSeq(id storage.ID) (seq storage.Seq, err error) {
	switch err := explainScanError(w.seqOf.QueryRowContext(uncanceled, id[:]).Scan(&seq)); {
	case err == sql.ErrNoRows:
		return 0, nil
	case err != nil:
		return 0, err
	}
	return seq, nil
}

// findPayment returns the envelope that a spent token paid for.
func (w *writer) findPayment(token storage.TokenID) (storage.ID, error) {
	var id []byte
	switch err := explainScanError(w.spentOn.QueryRowContext(uncanceled, token[:]).Scan(&id)); {
	case err == sql.ErrNoRows, err == nil && len(id) != len(storage.ID{}):
		return storage.ID{}, storefile.CorruptError("a token makes no sense")
	case err != nil:
		return storage.ID{}, err
	}
	return storage.ID(id), nil
}

func (w *writer) closeWriter() error {
	if w.hasWriteLock {
		w.rollBack()
	}
	for _, s := range w.prepared {
		s.Close() //nolint:errcheck // nothing is under way
	}
	if w.conn != nil {
		w.conn.Close() //nolint:errcheck // gives it back to db
	}
	return w.db.Close()
}

// rowExists reports whether a SELECT finds a row.
func rowExists(s *sql.Stmt, value []byte) (bool, error) {
	rows, err := s.QueryContext(uncanceled, value)
	if err != nil {
		return false, err
	}
	defer rows.Close() //nolint:errcheck // reads only
	found := rows.Next()
	return found, rows.Err()
}

// insertRow reports whether an INSERT put in its row, which it does not where
// there is one already.
func insertRow(s *sql.Stmt, values ...any) (bool, error) {
	result, err := s.ExecContext(uncanceled, values...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}
