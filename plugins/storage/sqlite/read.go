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
	db    *sql.DB
	setup string         // what a new connection does first
	find  string         // selects by signature
	conns chan *readConn // nil stands for one that is not open
}

// readConn is a connection with its statements.
type readConn struct {
	conn                *sql.Conn
	meta, pagesInFile   *sql.Stmt
	page, pieces, find  *sql.Stmt
	get, keys, keysFrom *sql.Stmt
	hours, tokens       *sql.Stmt
	bySignature         *sql.Stmt // for a check
	prepared            []*sql.Stmt
}

// readers bounds the connections, each with a page cache of half a mebibyte. Further calls
// wait for their turn.
const readers = 4

func readerSource(path string) string {
	return dataSource(path, url.Values{"mode": {"ro"}, "_busy_timeout": {"5000"}}, "cache_size(-512)")
}

func openReader(path string) (*reader, error) {
	return openReaderOn(readerSource(path), "", selectSeqBySignature)
}

// openImmutable opens a database that nobody writes, by its one file.
func openImmutable(path string) (*reader, error) {
	return openReaderOn(dataSource(path, url.Values{"mode": {"ro"}, "immutable": {"1"}}, "cache_size(-512)"), "", selectSeqBySignature)
}

// What of the log was found by its id or signature. There are few candidates: nobody can
// make many ids or hashes of signatures that begin with the same 8 bytes.
const (
	selectByID           = " FROM envelopes WHERE substr(id, 1, 8) = substr(?1, 1, 8) AND id = ?1 AND born >= ?2"
	selectSeqBySignature = `SELECT s.seq FROM signatures s JOIN envelopes e ON e.seq = s.seq
		WHERE s.hash = ?1 AND e.signature = ?2 AND e.born >= ?3 ORDER BY s.seq LIMIT 1`
)

func openReaderOn(source, setup, find string) (*reader, error) {
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return nil, err
	}
	r := &reader{db: db, setup: setup, find: find, conns: make(chan *readConn, readers)}
	for range readers - 1 {
		r.conns <- nil
	}
	c, err := r.openConn()
	if err != nil {
		db.Close() //nolint:errcheck // says less than err
		return nil, err
	}
	r.conns <- c
	return r, nil
}

func (r *reader) openConn() (_ *readConn, err error) {
	c := &readConn{}
	if c.conn, err = r.db.Conn(uncanceled); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.closeConn()
		}
	}()
	if _, err := c.conn.ExecContext(uncanceled, r.setup); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&c.meta, selectMeta},
		{&c.pagesInFile, "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count"},
		{&c.page, "SELECT " + entryColumns + " FROM envelopes WHERE seq BETWEEN ? AND ? AND born >= ? ORDER BY seq LIMIT ?"},
		{&c.pieces, selectPieces},
		{&c.find, r.find},
		{&c.get, "SELECT " + entryColumns + selectByID},
		{&c.keys, "SELECT born, id FROM envelopes WHERE (born, id) >= (?, ?) AND (born, id) < (?, ?) ORDER BY born, id LIMIT ?"},
		{&c.keysFrom, "SELECT born, id FROM envelopes WHERE (born, id) >= (?, ?) ORDER BY born, id LIMIT ?"},
		{&c.hours, "SELECT hour, count, bytes FROM hours WHERE hour >= ? ORDER BY hour LIMIT ?"},
		{&c.bySignature, "SELECT coalesce(max(seq = ?2), 0), count(*) FROM signatures WHERE hash = ?1 AND seq <= ?2"},
		{&c.tokens, "SELECT t.token, t.paid, e.id FROM tokens t LEFT JOIN envelopes e ON e.seq = t.paid WHERE t.token > ? ORDER BY t.token LIMIT ?"},
	} {
		if *s.to, err = c.conn.PrepareContext(uncanceled, s.text); err != nil {
			return nil, err
		}
		c.prepared = append(c.prepared, *s.to)
	}
	return c, nil
}

// takeConn returns a connection that nobody uses, when there is one, for giveBack.
func (r *reader) takeConn() (*readConn, error) {
	c := <-r.conns
	if c != nil {
		return c, nil
	}
	c, err := r.openConn()
	if err != nil {
		r.conns <- nil
	}
	return c, err
}

func (r *reader) giveBack(c *readConn) { r.conns <- c }

func (r *reader) readMeta() (m meta, err error) {
	err = r.readSnapshot(func(x snapshot) error {
		m = x.meta
		return nil
	})
	return m, err
}

// closeReader closes the reader, which nobody uses. It may be called again.
func (r *reader) closeReader() error {
	for range readers {
		select {
		case c := <-r.conns:
			c.closeConn()
		default:
		}
	}
	return r.db.Close()
}

// closeConn closes the statements of a connection, if it is open, and gives it back to db.
func (c *readConn) closeConn() {
	if c == nil {
		return
	}
	for _, s := range c.prepared {
		s.Close() //nolint:errcheck // nothing is under way
	}
	c.conn.Close() //nolint:errcheck // gives it back to db
}

// snapshot is a connection that reads. All that it reads is of one moment.
type snapshot struct {
	*readConn
	meta meta
}

// readSnapshot calls f with a snapshot. The statement that has read the table meta stays open
// meanwhile, which keeps SQLite at its moment for less than a transaction costs.
func (r *reader) readSnapshot(f func(snapshot) error) error {
	c, err := r.takeConn()
	if err != nil {
		return err
	}
	defer r.giveBack(c)
	rows, err := c.meta.QueryContext(uncanceled)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // reads only
	m, err := scanMetaRows(rows)
	if err != nil {
		return err
	}
	return f(snapshot{c, m})
}

// readRows calls f for each row that a query finds, until f returns an error. It returns
// that, unless it is errEnough.
func readRows(query *sql.Stmt, values []any, f func(*sql.Rows) error) error {
	rows, err := query.QueryContext(uncanceled, values...)
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
	err = s.withSnapshot(ctx, "read", func(x snapshot) (err error) {
		page, err = x.readLog(from, entries, bytes)
		return err
	})
	if err != nil {
		return storage.Page{}, err
	}
	return page, nil
}

func (x snapshot) readLog(from storage.Seq, entries, bytes int) (storage.Page, error) {
	page := storage.Page{Last: x.meta.last}
	from = max(from, x.meta.first)
	if x.meta.count == 0 || from > page.Last {
		return page, nil
	}
	found, full, err := x.readPartials(from, x.meta.floor, entries, bytes)
	if err == nil {
		err = addPieces(x.pieces, found)
	}
	if err != nil {
		return storage.Page{}, err
	}
	page.Entries = make([]storage.Entry, 0, len(found))
	for i := range found {
		if x.meta.floor == 0 && found[i].entry.Seq != from+storage.Seq(i) {
			return storage.Page{}, errMissingEntry
		}
		e, err := found[i].toEntry()
		if err != nil {
			return storage.Page{}, err
		}
		page.Entries = append(page.Entries, e)
	}
	// In a store that was never pruned there is no gap, and none has a gap at its ends.
	n := uint64(len(page.Entries))
	want := min(uint64(entries), uint64(page.Last-from)+1)
	if !full && (x.meta.floor == 0 && n < want || from == x.meta.first && n == 0) {
		return storage.Page{}, errMissingEntry
	}
	return page, nil
}

// readPartials reads rows of the log from a sequence number on, those that were not born before
// the floor. It reports whether the next one would exceed the bytes. With an error it returns
// what it has read before.
func (x snapshot) readPartials(from storage.Seq, floor storage.Hour, entries, bytes int) (found []partial, full bool, err error) {
	size := 0
	var r row
	columns := r.columns()
	values := []any{int64(from), int64(x.meta.last), int64(floor), entries}
	err = readRows(x.page, values, func(rows *sql.Rows) error {
		if err := rows.Scan(columns...); err != nil {
			return err
		}
		p, err := r.toPartial()
		if err != nil {
			return err
		}
		if size += r.size(); size > bytes && len(found) > 0 {
			full = true
			return errEnough
		}
		found = append(found, p)
		return nil
	})
	return found, full, err
}

// Find implements [storage.Store].
func (s *Store) Find(ctx context.Context, signature []byte) (seq storage.Seq, err error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("search %s for a signature of %d bytes: %w", s.path, len(signature), storage.ErrTooLarge)
	}
	err = s.withSnapshot(ctx, "search", func(x snapshot) error {
		values := []any{hashOf(signature), emptyIfNil(signature), int64(x.meta.floor)}
		err := explainScanError(x.find.QueryRowContext(uncanceled, values...).Scan(&seq))
		if err == sql.ErrNoRows {
			return storage.ErrNotFound
		}
		return err
	})
	return seq, err
}
