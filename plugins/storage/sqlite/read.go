package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// reader reads the database on a few connections that cannot write.
type reader struct {
	db                          *sql.DB
	state, pages                *sql.Stmt
	page, find, get, keys, rest *sql.Stmt
	hours, spendings            *sql.Stmt
}

// readers bounds the connections, each with a page cache of half a mebibyte. Further calls
// wait for their turn.
const readers = 4

func readerSource(path string) string {
	return dataSource(path, url.Values{"mode": {"ro"}, "_busy_timeout": {"5000"}}, "cache_size(-512)")
}

func openReader(path string) (*reader, error) { return openReaderOn(readerSource(path)) }

// openImmutable opens a database that nobody writes, by its one file.
func openImmutable(path string) (*reader, error) {
	return openReaderOn(dataSource(path, url.Values{"mode": {"ro"}, "immutable": {"1"}}, "cache_size(-512)"))
}

// What of the log was found by its id or signature. There are few candidates: nobody can
// make many ids or hashes of signatures that begin with the same 8 bytes.
const (
	selectByID           = " FROM envelopes WHERE substr(id, 1, 8) = substr(?1, 1, 8) AND id = ?1 AND born >= ?2"
	selectSeqBySignature = `SELECT s.seq FROM signatures s JOIN envelopes e ON e.seq = s.seq
		WHERE s.hash = ?1 AND e.signature = ?2 AND e.born >= ?3 ORDER BY s.seq LIMIT 1`
)

func openReaderOn(source string) (_ *reader, err error) {
	r := &reader{}
	if r.db, err = sql.Open("sqlite", source); err != nil {
		return nil, err
	}
	r.db.SetMaxOpenConns(readers)
	r.db.SetMaxIdleConns(readers)
	for _, s := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&r.state, selectMeta},
		{&r.pages, "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count"},
		{&r.page, "SELECT " + entryColumns + " FROM envelopes WHERE seq BETWEEN ? AND ? AND born >= ? ORDER BY seq LIMIT ?"},
		{&r.find, selectSeqBySignature},
		{&r.get, "SELECT " + entryColumns + selectByID},
		{&r.keys, "SELECT born, id FROM envelopes WHERE (born, id) >= (?, ?) AND (born, id) < (?, ?) ORDER BY born, id LIMIT ?"},
		{&r.rest, "SELECT born, id FROM envelopes WHERE (born, id) >= (?, ?) ORDER BY born, id LIMIT ?"},
		{&r.hours, "SELECT hour, count, bytes FROM hours WHERE hour >= ? ORDER BY hour LIMIT ?"},
		{&r.spendings, "SELECT t.token, t.paid, e.id FROM tokens t LEFT JOIN envelopes e ON e.seq = t.paid WHERE t.token > ? ORDER BY t.token LIMIT ?"},
	} {
		if *s.to, err = r.db.PrepareContext(uncanceled, s.text); err != nil {
			r.db.Close() //nolint:errcheck // says less than err
			return nil, err
		}
	}
	return r, nil
}

func (r *reader) readMeta() (meta, error) { return scanMeta(r.state.QueryRowContext(uncanceled)) }

func (r *reader) closeReader() error { return r.db.Close() }

// snapshot is a transaction that reads. All that it reads is of one moment.
type snapshot struct {
	*sql.Tx
	meta meta
}

// readSnapshot calls f with a snapshot.
func (r *reader) readSnapshot(f func(snapshot) error) error {
	tx, err := r.db.BeginTx(uncanceled, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // reads only
	m, err := scanMeta(tx.Stmt(r.state).QueryRowContext(uncanceled))
	if err != nil {
		return err
	}
	return f(snapshot{tx, m})
}

// readRows calls f for each row that a query finds, until f returns an error. It returns
// that, unless it is errEnough.
func (x snapshot) readRows(query *sql.Stmt, values []any, f func(*sql.Rows) error) error {
	rows, err := x.Stmt(query).QueryContext(uncanceled, values...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // reads only
	for rows.Next() {
		if err := f(rows); err == errEnough {
			return nil
		} else if err != nil {
			return explainScanError(err)
		}
	}
	return rows.Err()
}

// errEnough ends the rows that are read.
var errEnough = errors.New("enough")

// Log implements [storage.Store].
func (s *Store) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	from, entries, bytes, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("read %s: %w", s.path, err)
	}
	err = s.withSnapshot(ctx, "read", func(r *reader, x snapshot) (err error) {
		page, err = r.readLog(x, from, entries, bytes)
		return err
	})
	if err != nil {
		return storage.Page{}, err
	}
	return page, nil
}

func (r *reader) readLog(x snapshot, from storage.Seq, entries, bytes int) (storage.Page, error) {
	page := storage.Page{Last: x.meta.last}
	from = max(from, x.meta.first)
	if x.meta.count == 0 || from > page.Last {
		return page, nil
	}
	size := 0
	err := x.readRows(r.page, []any{int64(from), int64(page.Last), int64(x.meta.floor), entries}, func(rows *sql.Rows) error {
		var r row
		if err := rows.Scan(r.columns()...); err != nil {
			return err
		}
		if size += len(r.signature) + len(r.ciphertext); size > bytes && len(page.Entries) > 0 {
			return errEnough
		}
		if want := from + storage.Seq(len(page.Entries)); x.meta.floor == 0 && r.seq != int64(want) {
			return errMissingEntry
		}
		e, err := r.toEntry()
		if err != nil {
			return err
		}
		page.Entries = append(page.Entries, e)
		return nil
	})
	if err != nil {
		return storage.Page{}, err
	}
	// In a store that was never pruned there is no gap, and none has a gap at its ends.
	n := uint64(len(page.Entries))
	want := min(uint64(entries), uint64(page.Last-from)+1)
	if size <= bytes && (x.meta.floor == 0 && n < want || from == x.meta.first && n == 0) {
		return storage.Page{}, errMissingEntry
	}
	return page, nil
}

// Find implements [storage.Store].
func (s *Store) Find(ctx context.Context, signature []byte) (seq storage.Seq, err error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("search %s for a signature of %d bytes: %w", s.path, len(signature), storage.ErrTooLarge)
	}
	err = s.withSnapshot(ctx, "search", func(r *reader, x snapshot) error {
		values := []any{hashOf(signature), emptyIfNil(signature), int64(x.meta.floor)}
		err := explainScanError(x.Stmt(r.find).QueryRowContext(uncanceled, values...).Scan(&seq))
		if err == sql.ErrNoRows {
			return storage.ErrNotFound
		}
		return err
	})
	return seq, err
}
