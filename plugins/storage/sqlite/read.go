package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// reader reads the database on a few connections that cannot write.
type reader struct {
	db                           *sql.DB
	state, page, find, spendings *sql.Stmt
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
		{&r.page, "SELECT seq, id, born, checksum, signature, ciphertext FROM envelopes WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"},
		{&r.find, "SELECT seq FROM envelopes WHERE signature = ? ORDER BY seq LIMIT 1"},
		{&r.spendings, "SELECT token, id FROM tokens WHERE token > ? ORDER BY token LIMIT ?"},
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

// Log implements [storage.Store].
func (s *Store) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	from, entries, bytes, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("read %s: %w", s.path, err)
	}
	err = s.withReader(ctx, "read", func() (err error) {
		page, err = s.reader.readLog(from, entries, bytes)
		return err
	})
	if err != nil {
		return storage.Page{}, err
	}
	return page, nil
}

// readLog reads a page. It needs no transaction: entries stay in the log, so the rows up to
// the end that the first query found are complete.
func (r *reader) readLog(from storage.Seq, entries, bytes int) (page storage.Page, err error) {
	m, err := r.readMeta()
	if err != nil {
		return storage.Page{}, err
	}
	page.Last = m.last
	if from > m.last {
		return page, nil
	}
	rows, err := r.page.QueryContext(uncanceled, int64(from), int64(m.last), entries)
	if err != nil {
		return storage.Page{}, err
	}
	defer rows.Close() //nolint:errcheck // reads only
	size := 0
	for seq := from; rows.Next(); seq++ {
		var r row
		if err := explainScanError(rows.Scan(&r.seq, &r.id, &r.born, &r.checksum, &r.signature, &r.ciphertext)); err != nil {
			return storage.Page{}, err
		}
		size += len(r.signature) + len(r.ciphertext)
		if size > bytes && len(page.Entries) > 0 {
			return page, nil
		}
		e, err := r.toEntry(seq)
		if err != nil {
			return storage.Page{}, err
		}
		page.Entries = append(page.Entries, e)
	}
	if err := rows.Err(); err != nil {
		return storage.Page{}, err
	}
	if want := min(uint64(entries), uint64(m.last-from)+1); uint64(len(page.Entries)) < want {
		return storage.Page{}, storefile.CorruptError("an entry of the log is missing")
	}
	return page, nil
}

// Find implements [storage.Store].
func (s *Store) Find(ctx context.Context, signature []byte) (seq storage.Seq, err error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("search %s for a signature of %d bytes: %w", s.path, len(signature), storage.ErrTooLarge)
	}
	err = s.withReader(ctx, "search", func() error {
		err := explainScanError(s.reader.find.QueryRowContext(uncanceled, emptyIfNil(signature)).Scan(&seq))
		if err == sql.ErrNoRows {
			return storage.ErrNotFound
		}
		return err
	})
	return seq, err
}
