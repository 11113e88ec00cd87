package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"modernc.org/sqlite"
	"modernc.org/sqlite/vfs"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Inspection is a [storage.Store] that is open for inspection, see [storage.Checker]. It reads
// an image of the database, so that SQLite makes, changes and removes no file.
type Inspection struct {
	path   string
	format int64
	lock   *os.File
	image  *image
	vfs    *vfs.FS
	reader *reader
	meta   meta
	faults []storage.Fault // found by Open

	mu    sync.Mutex // held by Check
	check *check     // under way, or nil
}

// inspectionOfKeys is an Inspection of a store that has keys and hours, as all have from
// format 2 on.
type inspectionOfKeys struct{ *Inspection }

var (
	_ storage.Store   = (*Inspection)(nil)
	_ storage.Ledger  = (*Inspection)(nil)
	_ storage.Checker = (*Inspection)(nil)
	_ storage.Pruner  = inspectionOfKeys{}
	_ storage.Index   = inspectionOfKeys{}
)

// Inspect opens the store at path for inspection, a file of this format or of an earlier one.
// The result is also a [storage.Ledger] and a [storage.Checker], and if the file has hours and
// keys, a [storage.Pruner] and a [storage.Index]. It locks the file and changes nothing in its
// directory.
func Inspect(path string) (storage.Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("inspect the store: %w", err)
	}
	x := &Inspection{path: path}
	if err := x.openImage(); err != nil {
		x.Close() //nolint:errcheck // says less than err
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	if x.format == 1 {
		return x, nil
	}
	return inspectionOfKeys{x}, nil
}

func (x *Inspection) openImage() (err error) {
	if info, err := os.Lstat(x.path); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return errors.New("there is something else than a file; correct the path of the store")
	}
	if x.lock, err = os.Open(x.path); err != nil {
		return err
	}
	if err := storefile.Lock(x.lock); err != nil {
		return err
	}
	image, faults, err := openImage(x.path)
	if err != nil {
		return err
	}
	x.image = image
	for _, text := range faults {
		x.addFault(filepath.Base(x.path)+walSuffix, text)
	}
	if fileSize(x.path+journalSuffix) > 0 {
		x.addFault(filepath.Base(x.path)+journalSuffix, "another program has begun to change the database and was interrupted; SQLite would take that back, and this does not")
	}
	if err := x.openReader(); err != nil {
		return explainImageError(err)
	}
	return x.readMeta()
}

func (x *Inspection) addFault(place, text string) {
	x.faults = append(x.faults, storage.Fault{Place: place, Text: text})
}

// explainImageError is explainError for an image, of which no error says that a disk is full.
func explainImageError(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && !errors.Is(err, storage.ErrCorrupt) {
		return storefile.CorruptError(err.Error())
	}
	return err
}

// openReader opens a reader of the image. Where the first page is damaged, which has the names
// of all tables, it takes that of a new store.
func (x *Inspection) openReader() (err error) {
	name, files, err := vfs.New(x.image)
	if err != nil {
		return err
	}
	x.vfs = files
	source := dataSource(imageName, url.Values{"mode": {"ro"}, "immutable": {"1"}, "vfs": {name}}, "cache_size(-4096)")
	err = explainImageError(x.checkSchema(source))
	if errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storefile.ErrNotStore) {
		x.addFault(x.pageName(1), fmt.Sprintf("it is damaged or does not fit the file, and that of a new store stands in for it: %s", withoutAdvice(err)))
		if x.image.first, err = makeFirstPage(); err == nil && x.checkSchema(source) != nil {
			err = storefile.ErrNotStore
		}
	}
	if err != nil {
		return err
	}
	setup, find := "", selectSeqBySignature
	if x.format == 1 {
		setup, find = setup1, selectSeqBySignature1
	}
	x.reader, err = openReaderOn(source, setup, find)
	return err
}

func (x *Inspection) pageName(n int) string {
	return fmt.Sprintf("%s, page %d", filepath.Base(x.path), n)
}

// checkSchema returns an error if the tables are not those of a store. Others could make SQLite
// do anything.
func (x *Inspection) checkSchema(source string) error {
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // reads only
	if x.format, err = checkFormat(db); err != nil {
		return err
	}
	rows, err := db.QueryContext(uncanceled, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL LIMIT 100")
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // reads only
	var got []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return explainScanError(err)
		}
		got = append(got, text)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	want := schema
	if x.format == 1 {
		want = schema1
	}
	slices.Sort(got)
	if !slices.Equal(got, splitSchema(want)) {
		return storefile.CorruptError("its tables are not those of a store")
	}
	return nil
}

// splitSchema returns the statements of a schema as SQLite keeps them, in order.
func splitSchema(schema string) (list []string) {
	for s := range strings.SplitSeq(schema, ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

// makeFirstPage returns the first page of an empty store. Each table of a store begins at the
// same page as those of any other: they are made in one order, and never moved.
func makeFirstPage() ([]byte, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close() //nolint:errcheck // it is in memory
	db.SetMaxOpenConns(1)
	for _, statement := range []string{fmt.Sprintf("PRAGMA page_size = %d", pageSize), "PRAGMA auto_vacuum = incremental", schema,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID), fmt.Sprintf("PRAGMA user_version = %d", version)} {
		if _, err := db.ExecContext(uncanceled, statement); err != nil {
			return nil, err
		}
	}
	conn, err := db.Conn(uncanceled)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // it is in memory
	var data []byte
	err = conn.Raw(func(c any) (err error) {
		data, err = c.(interface{ Serialize() ([]byte, error) }).Serialize()
		return err
	})
	if err != nil || len(data) < pageSize {
		return nil, errors.Join(err, errors.New("SQLite made no database in memory"))
	}
	const sizeInHeader = 28
	binary.BigEndian.PutUint32(data[sizeInHeader:], 0) // SQLite goes by the size of the file
	return data[:pageSize], nil
}

// readMeta reads the table meta, or puts something in the place of what is damaged.
func (x *Inspection) readMeta() error {
	m, err := x.reader.readMeta()
	if err == nil {
		x.meta = m
		return nil
	}
	x.addFault("table meta", fmt.Sprintf("the epoch and the floor are lost, so that the log may have pruned envelopes that were not removed yet: %s", withoutAdvice(explainImageError(err))))
	last := int64(0)
	switch err := x.reader.db.QueryRowContext(uncanceled, "SELECT coalesce(max(seq), 0) FROM envelopes").Scan(&last); {
	case err != nil && x.image.first != nil:
		return storefile.ErrNotStore
	case err != nil:
		last = 1 << 40
	}
	x.meta = meta{last: storage.Seq(min(max(last, 0), maxSeq)), first: 1, count: uint64(max(last, 0))}
	return nil
}

// errInspected refuses what changes a store.
var errInspected = errors.New("the store is open for inspection only")

// Append implements [storage.Store].
func (x *Inspection) Append(context.Context, []storage.Record) ([]storage.Outcome, error) {
	return nil, fmt.Errorf("append to %s: %w", x.path, errInspected)
}

// Spend implements [storage.Ledger].
func (x *Inspection) Spend(context.Context, []storage.SpentToken) error {
	return fmt.Errorf("spend tokens in %s: %w", x.path, errInspected)
}

// Prune implements [storage.Pruner].
func (x inspectionOfKeys) Prune(context.Context, storage.PruneRequest) (storage.Pruned, error) {
	return storage.Pruned{}, fmt.Errorf("prune %s: %w", x.path, errInspected)
}

// Info implements [storage.Store].
func (x *Inspection) Info(ctx context.Context) (info storage.Info, err error) {
	err = x.read(ctx, func(s snapshot) error {
		var pages, free int64
		if err := s.pagesInFile.QueryRowContext(uncanceled).Scan(&pages, &free); err != nil {
			pages, free = 0, 0 // it cannot tell
		}
		bytes := uint64(fileSize(x.path) + fileSize(x.path+walSuffix))
		info = storage.Info{
			Epoch: x.meta.epoch, First: x.meta.first, Last: x.meta.last, Count: x.meta.count, Bytes: bytes,
			InUse: min(bytes, uint64(max(pages-free, 0))*pageSize), Tokens: x.meta.tokens, Floor: x.meta.floor,
		}
		return nil
	})
	return info, err
}

// Close implements [storage.Store].
func (x *Inspection) Close() error {
	if x.check != nil {
		x.check.stopCheck()
	}
	var errs []error
	if x.reader != nil {
		errs = append(errs, x.reader.closeReader())
	}
	if x.vfs != nil {
		errs = append(errs, x.vfs.Close())
	}
	if x.image != nil {
		x.image.closeImage()
	}
	if x.lock != nil {
		errs = append(errs, x.lock.Close())
	}
	return errors.Join(errs...)
}

// read calls f with a connection. The image does not change, so that all is of one moment.
func (x *Inspection) read(ctx context.Context, f func(snapshot) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := x.reader.takeConn()
	if err != nil {
		return fmt.Errorf("read %s: %w", x.path, explainImageError(err))
	}
	defer x.reader.giveBack(c)
	if err := f(snapshot{c, x.meta}); err != nil {
		return fmt.Errorf("read %s: %w", x.path, explainImageError(err))
	}
	return nil
}

// Log implements [storage.Store].
func (x *Inspection) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	from, entries, bytes, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("read %s: %w", x.path, err)
	}
	page.Last = x.meta.last
	err = x.read(ctx, func(s snapshot) (err error) {
		page.Entries, err = s.salvageLog(ctx, from, x.meta.floor, entries, bytes, func(storage.Seq, storage.Seq, error) {})
		return err
	})
	return page, err
}

// salvageLog reads the entries from a sequence number on that are whole, and calls damaged for
// those that are not.
func (s snapshot) salvageLog(ctx context.Context, from storage.Seq, floor storage.Hour, entries, bytes int, damaged func(first, last storage.Seq, err error)) (list []storage.Entry, err error) {
	size := 0
	for len(list) < entries && from <= s.meta.last {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, full, err := s.readPartials(from, floor, entries-len(list), max(bytes-size, 1))
		for i := range found {
			if found[i].entry.Seq < from {
				err = errOutOfOrder
				break
			}
			from = found[i].entry.Seq + 1
			e, err := s.completeEntry(found[i : i+1])
			if err == nil && !s.isListed(ctx, e) {
				e, err = storage.Entry{Seq: e.Seq}, errForeign
			}
			if err != nil {
				damaged(e.Seq, e.Seq, err)
				continue
			}
			n := len(e.Signature) + len(e.Ciphertext)
			if size+n > bytes && len(list) > 0 {
				return list, nil
			}
			size += n
			list = append(list, e)
		}
		switch {
		case err != nil:
			next := max(s.skipDamage(from, floor), from+1)
			damaged(from, next-1, explainImageError(err))
			from = next
		case !full && len(found) == 0:
			return list, nil
		}
	}
	return list, nil
}

// completeEntry returns an entry that is whole, and the sequence number of one that is not.
func (s snapshot) completeEntry(p []partial) (storage.Entry, error) {
	bad := storage.Entry{Seq: p[0].entry.Seq}
	if err := addPieces(s.pieces, p); err != nil {
		return bad, explainImageError(err)
	}
	e, err := p[0].toEntry()
	if err != nil {
		return bad, err
	}
	if storage.NewID(e.Signature, e.Ciphertext) != e.ID {
		return bad, storefile.CorruptError("it is not the envelope of its id")
	}
	return e, nil
}

// errForeign is damage that brought a whole entry along.
var errForeign = storefile.CorruptError("no index has it, so it is of another file")

// isListed reports whether an index has an entry. A page of another store of this form brings
// whole entries along, which neither index knows; if the page of an index is damaged, the other
// index still knows its entries. A file of the first format, and an index that cannot be read,
// tell nothing.
func (s snapshot) isListed(ctx context.Context, e storage.Entry) bool {
	for _, look := range []struct {
		query string
		args  []any
	}{
		{"SELECT seq FROM envelopes INDEXED BY envelopes_by_id WHERE substr(id, 1, 8) = ? AND seq = ?", []any{e.ID[:8], int64(e.Seq)}},
		{"SELECT seq FROM envelopes INDEXED BY envelopes_by_key WHERE born = ? AND id = ? AND seq = ?", []any{int64(e.Born), e.ID[:], int64(e.Seq)}},
	} {
		var seq int64
		if err := s.conn.QueryRowContext(ctx, look.query, look.args...).Scan(&seq); !errors.Is(err, sql.ErrNoRows) {
			return true
		}
	}
	return false
}

// errOutOfOrder is damage that would lead readers back to where they were.
var errOutOfOrder = storefile.CorruptError("rows are out of order")

// skipDamage returns the sequence number of the next row that can be read, or the one after the
// last.
func (s snapshot) skipDamage(from storage.Seq, floor storage.Hour) storage.Seq {
	next, ok := findReadable(uint64(from), uint64(s.meta.last), 1, func(at uint64) bool {
		found, _, err := s.readPartials(storage.Seq(at), floor, 1, storage.MaxEnvelope)
		return err == nil && (len(found) == 0 || found[0].entry.Seq >= storage.Seq(at))
	})
	if !ok {
		return s.meta.last + 1
	}
	return storage.Seq(next)
}

// carefulTries is how many steps findReadable takes before they become longer.
const carefulTries = 10_000

// findReadable returns the first place from which on something can be read, and false if there
// is none up to the last. It goes forward in steps, so it may miss a readable place between two
// that are not; after many steps they become longer, since a damaged file may claim any size.
func findReadable(from, last, step uint64, readable func(uint64) bool) (uint64, bool) {
	before := from // the place before, which is not readable
	for n, at := 0, from; ; n++ {
		if readable(at) {
			for at-before > 1 {
				if middle := before + (at-before)/2; readable(middle) {
					at = middle
				} else {
					before = middle
				}
			}
			return at, true
		}
		if at >= last {
			return 0, false
		}
		if n > carefulTries && step < math.MaxUint64/4 {
			step *= 2
		}
		before, at = at, at+min(step, last-at)
	}
}

// Find implements [storage.Store].
func (x *Inspection) Find(ctx context.Context, signature []byte) (seq storage.Seq, err error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("search %s for a signature of %d bytes: %w", x.path, len(signature), storage.ErrTooLarge)
	}
	err = x.read(ctx, func(s snapshot) error {
		if s.find.QueryRowContext(uncanceled, hashOf(signature), emptyIfNil(signature), int64(x.meta.floor)).Scan(&seq) != nil {
			return storage.ErrNotFound // where the index is damaged as well
		}
		return nil
	})
	return seq, err
}

// SpentTokens implements [storage.Ledger].
func (x *Inspection) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) (page []storage.SpentToken, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the tokens of %s: %w", x.path, err)
	}
	after := []byte{}
	if req.After != nil {
		after = req.After[:]
	}
	err = x.read(ctx, func(s snapshot) (err error) {
		page, err = s.salvageTokens(ctx, after, limit, func(error) {})
		return err
	})
	return page, err
}

// salvageTokens reads the tokens after one that are whole, and calls damaged where some are not.
func (s snapshot) salvageTokens(ctx context.Context, after []byte, limit int, damaged func(error)) (list []storage.SpentToken, err error) {
	for ctx.Err() == nil {
		page, err := s.readTokens(after, limit-len(list))
		for i := range page {
			if bytes.Compare(page[i].Token[:], after) <= 0 {
				page, err = page[:i], errOutOfOrder
				break
			}
			after = page[i].Token[:]
		}
		list = append(list, page...)
		if err == nil {
			return list, nil
		}
		damaged(explainImageError(err))
		// Tokens are hashes. A step is far less than what one page of them spans.
		step := math.MaxUint64 / (16 * (s.meta.tokens + 1))
		from := binary.BigEndian.Uint64(append(slices.Clone(after), make([]byte, 8)...))
		if from == math.MaxUint64 {
			return list, nil
		}
		next, ok := findReadable(from+1, math.MaxUint64, max(step, 1), func(at uint64) bool {
			page, err := s.readTokens(binary.BigEndian.AppendUint64(nil, at), 1)
			return err == nil && (len(page) == 0 || binary.BigEndian.Uint64(page[0].Token[:]) >= at)
		})
		if !ok {
			return list, nil
		}
		after = binary.BigEndian.AppendUint64(nil, next)
	}
	return nil, ctx.Err()
}

// Hours implements [storage.Pruner].
func (x inspectionOfKeys) Hours(ctx context.Context, req storage.HoursRequest) (hours []storage.HourSize, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the hours of %s: %w", x.path, err)
	}
	err = x.read(ctx, func(s snapshot) error {
		from := uint64(max(req.From, x.meta.floor))
		for ok := true; ok && len(hours) < limit; {
			page, err := s.readHours(int64(from), limit-len(hours))
			for _, h := range page {
				if uint64(h.Hour) < from {
					err = errOutOfOrder
					break
				}
				hours = append(hours, h)
				from = uint64(h.Hour) + 1
			}
			if err == nil {
				break
			}
			from, ok = findReadable(from, math.MaxUint32, 1, func(at uint64) bool {
				page, err := s.readHours(int64(at), 1)
				return err == nil && (len(page) == 0 || uint64(page[0].Hour) >= at)
			})
		}
		return nil
	})
	return hours, err
}

// Keys implements [storage.Index].
func (x inspectionOfKeys) Keys(ctx context.Context, req storage.KeysRequest) (keys []storage.Key, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the keys of %s: %w", x.path, err)
	}
	err = x.read(ctx, func(s snapshot) error {
		r := req.Range
		for len(keys) < limit {
			page, err := s.readKeys(r, limit-len(keys))
			for _, k := range page {
				if k.Compare(r.Lo) < 0 {
					err = errOutOfOrder
					break
				}
				keys = append(keys, k)
				r.Lo = k.Next()
			}
			if err == nil {
				break
			}
			// What is whole begins with an hour again.
			from, ok := findReadable(uint64(r.Lo.Born)+1, math.MaxUint32, 1, func(at uint64) bool {
				lo := storage.Key{Born: storage.Hour(at)}
				page, err := s.readKeys(storage.Range{Lo: lo}, 1)
				return err == nil && (len(page) == 0 || page[0].Compare(lo) >= 0)
			})
			r.Lo = storage.Key{Born: storage.Hour(from)}
			if !ok || r.Hi != (storage.Key{}) && r.Lo.Compare(r.Hi) >= 0 {
				break
			}
		}
		return nil
	})
	return keys, err
}

// Get implements [storage.Index].
func (x inspectionOfKeys) Get(ctx context.Context, ids []storage.ID) (entries []storage.Entry, err error) {
	if err := storage.CheckGet(ids); err != nil {
		return nil, fmt.Errorf("read %s: %w", x.path, err)
	}
	err = x.read(ctx, func(s snapshot) error {
		size := 0
		for _, id := range ids {
			e, found, err := s.readByID(id)
			if err != nil || !found || storage.NewID(e.Signature, e.Ciphertext) != id {
				continue
			}
			if size += len(e.Signature) + len(e.Ciphertext); size > storage.PageBytes && len(entries) > 0 {
				return nil
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}
