package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// uncanceled is the context of all statements; see [Store.runMethod].
var uncanceled = context.Background()

// writer is the one connection that changes the database. One
// goroutine uses it at a time.
type writer struct {
	db           *sql.DB
	conn         *sql.Conn
	hasWriteLock bool  // a transaction is open, and with it the write lock is held
	logged       int64 // pages that the log of SQLite held last

	begin, commit, rollback, checkpoint, logState *sql.Stmt

	meta, advance             *sql.Stmt
	store, byID, bySeq, age   *sql.Stmt
	storePieces, pieces       *sql.Stmt
	sign, bySignature, forget *sql.Stmt
	spend, spentOn            *sql.Stmt
	addToHour, emptyHour      *sql.Stmt
	older, remove, next, sum  *sql.Stmt
	removePieces              *sql.Stmt
	getPage, getPages         *sql.Stmt
	free, putPage             *sql.Stmt
	prepared                  []*sql.Stmt
}

// writerSource opens an existing database. The writer waits for a program that
// slipped in, as the package comment says, and has a page cache of 4 MiB, for the
// inner pages of the trees.
func writerSource(path string, maxWAL int64) string {
	return dataSource(path, url.Values{
		"mode":          {"rw"},
		"psow":          {"0"},
		"_defensive":    {"0"}, // pages are wiped, see wipe.go
		"_busy_timeout": {"1000"},
	},
		"journal_mode(wal)", // another program may have changed that
		"synchronous(full)",
		"fullfsync(1)", // on macOS
		"checkpoint_fullfsync(1)",
		"wal_autocheckpoint(0)", // which ignores a sync that fails, see [Store.checkpointIfLong]
		fmt.Sprintf("journal_size_limit(%d)", maxWAL),
		"cache_size(-4096)",
		"secure_delete(on)",
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
		{&w.advance, "UPDATE meta SET last = ?, tokens = ?, sum = ?, floor = ?, first = ?, count = ? WHERE one = 1"},
		{&w.store, "INSERT INTO envelopes (" + entryColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
		{&w.storePieces, insertPieces},
		{&w.pieces, selectPieces},
		{&w.byID, "SELECT seq, born, lowered" + selectByID},
		{&w.bySeq, "SELECT " + entryColumns + " FROM envelopes WHERE seq = ?"},
		{&w.age, "UPDATE envelopes SET born = ?, lowered = ?, checksum = ? WHERE seq = ?"},
		{&w.sign, "INSERT INTO signatures (hash, seq) VALUES (?, ?)"},
		{&w.bySignature, selectSeqBySignature},
		{&w.forget, "DELETE FROM signatures WHERE hash = ? AND seq = ?"},
		{&w.spend, "INSERT INTO tokens (token, paid) VALUES (?, ?) ON CONFLICT (token) DO NOTHING"},
		{&w.spentOn, "SELECT t.paid, e.id, e.born FROM tokens t LEFT JOIN envelopes e ON e.seq = t.paid WHERE t.token = ?"},
		{&w.addToHour, "INSERT INTO hours (hour, count, bytes) VALUES (?, ?, ?) ON CONFLICT (hour) DO UPDATE SET count = count + excluded.count, bytes = bytes + excluded.bytes"},
		{&w.emptyHour, "DELETE FROM hours WHERE hour = ? AND count = 0"},
		{&w.older, "SELECT seq, born, pieces, length(ciphertext), signature FROM envelopes WHERE born < ? ORDER BY born, id LIMIT ?"},
		{&w.remove, "DELETE FROM envelopes WHERE seq BETWEEN ? AND ?"},
		{&w.removePieces, "DELETE FROM pieces WHERE n BETWEEN ? AND ?"},
		{&w.next, "SELECT coalesce(min(seq), 0) FROM (SELECT seq FROM envelopes WHERE seq >= ? AND born >= ? ORDER BY seq LIMIT 1)"},
		{&w.sum, "SELECT coalesce(sum(count), 0) FROM hours WHERE hour >= ? AND hour < ?"},
		{&w.free, "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count"},
		{&w.getPage, "SELECT data FROM sqlite_dbpage WHERE pgno = ?"},
		{&w.getPages, "WITH RECURSIVE range(n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM range WHERE n < ?2) SELECT n, data FROM range JOIN sqlite_dbpage ON pgno = n"},
		{&w.putPage, "UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?"},
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

// truncateLogNow is truncateLog that does not wait for other programs. It reports whether one
// was in the way.
func (w *writer) truncateLogNow() (busy bool, err error) {
	if _, err := w.conn.ExecContext(uncanceled, "PRAGMA busy_timeout(0)"); err != nil {
		return false, err
	}
	var copied int64
	err = w.conn.QueryRowContext(uncanceled, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &w.logged, &copied)
	_, restored := w.conn.ExecContext(uncanceled, "PRAGMA busy_timeout(1000)")
	return busy, errors.Join(explainScanError(err), restored)
}

// logPages returns how many pages the log of SQLite holds.
func (w *writer) logPages() (n int64, err error) {
	var busy, copied int64
	err = explainScanError(w.logState.QueryRowContext(uncanceled).Scan(&busy, &n, &copied))
	w.logged = n
	return n, err
}

// envelope is what an Append needs to know of one in the log; seq is 0 if there is none.
type envelope struct {
	seq           storage.Seq
	born, lowered storage.Hour
}

// findEnvelope finds an envelope of the log by its id.
func (b *batch) findEnvelope(id storage.ID) (e envelope, err error) {
	err = b.byID.QueryRowContext(uncanceled, id[:], int64(b.meta.floor)).Scan(&e.seq, &e.born, &e.lowered)
	if err == sql.ErrNoRows {
		return envelope{}, nil
	}
	return e, explainScanError(err)
}

// hasSignature reports whether Find finds a signature.
func (b *batch) hasSignature(signature []byte) (bool, error) {
	var seq int64
	err := b.bySignature.QueryRowContext(uncanceled, hashOf(signature), emptyIfNil(signature), int64(b.meta.floor)).Scan(&seq)
	if err == sql.ErrNoRows {
		return false, nil
	}
	return err == nil, explainScanError(err)
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
