// Package sqlite is a storage plugin that keeps the envelopes of one server in one SQLite
// database. It uses modernc.org/sqlite, which needs no C. It is for operators who want to
// look into their store, and back it up, with the tools that everybody has. The relay
// starts [Plugin]; programs and tests use the store by [Open].
//
// # Looking into it
//
// The database can be read while the relay runs:
//
//	sqlite3 -readonly messages.sqlite 'SELECT seq, hex(id), datetime(born*3600, "unixepoch"), length(ciphertext) + 667*pieces FROM envelopes LIMIT 10'
//	sqlite3 -readonly messages.sqlite 'SELECT last, count, tokens, floor FROM meta'
//	sqlite3 -readonly messages.sqlite 'SELECT datetime(hour*3600, "unixepoch"), count, bytes FROM hours'
//	sqlite3 -readonly messages.sqlite .schema
//	sqlite3 -readonly messages.sqlite 'VACUUM INTO "copy.db"'
//
// The last one makes a consistent copy. cp does not: recent appends are in
// messages.sqlite-wal. That file grows while a reader keeps a transaction open, because
// SQLite cannot begin it anew. The schema explains itself; see schema.go.
//
// # One writer
//
// One process has the store open: it locks the file with flock(2), which SQLite itself
// does not use. It is also the only one that writes: a transaction that is always open
// holds the write lock of SQLite, so somebody who tries to change something by hand is
// told that the database is locked. Another program could slip in only in the microseconds
// between the commit of a batch and the beginning of the next transaction. What it did
// would be there, as in a file that was changed while no relay ran.
//
// # Durability
//
// An Append is one transaction in WAL mode with synchronous=FULL: SQLite writes the changed
// pages to the end of the log messages.sqlite-wal and flushes it before the commit returns.
// Then "transactions are durable across a power loss"
// (https://www.sqlite.org/pragma.html#pragma_synchronous). When SQLite makes that file it
// flushes the directory too. About every four mebibytes it copies pages from the log into
// the database, and flushes one before it relies on the other. By default SQLite assumes
// that a write which a power failure cuts off leaves alone what is beside it
// (https://www.sqlite.org/psow.html). The store does not assume that: with psow=0 a commit
// fills the last sector that it writes, and the next commit begins in another.
//
// # Size of the file
//
// SQLite leaves the rest of a page empty in which the next row has no place. So the end of a
// ciphertext is cut into pieces, of which six fill a page; see pieces.go. A file is at most 1.3
// times what has to be kept: signatures, ciphertexts and 124 bytes for each envelope (id, hour,
// sequence number, checksum, spent token, and what finds it by id, hour and signature). That
// does not hold for signatures of many hundred bytes, which are not cut, and which Cwtch does
// not have.
//
// # Pruning
//
// What Prune removes leaves the disk in two steps:
//
//   - In the transaction that removes a row of a table or of an index, SQLite overwrites it with
//     zeros (https://www.sqlite.org/pragma.html#pragma_secure_delete). Its log still has the
//     pages as they were before. The Prune that removes the last pruned envelope copies the log
//     and cuts it off before it returns.
//   - SQLite may have left copies of a row in unused bytes of pages, when it moved rows to
//     balance a tree. Compact overwrites all unused bytes of all pages with zeros, and cuts the
//     log off again. When it has said that nothing is left to do, the files have nothing of what
//     was removed before it began: no signature, ciphertext, id or hour, and no hash of a
//     signature. The relay compacts at the latest a day after a removal.
//
// While another program reads the database, the log cannot be cut off; later appends do so when
// that has ended, and so does the next Open. Spent tokens stay. What a file system or a disk
// keeps of blocks that were overwritten or cut off is out of reach.
//
// The pages that become free are used again by later appends. Compact gives them back to the
// disk: it moves pages from the end of the database into their places, in transactions of at
// most 2 MiB, and cuts off the end. Then it reads all pages once, if anything was removed, and
// writes those with something in unused bytes. It needs little room, for one transaction in the
// log.
//
// # Inspection
//
// [Inspect] opens a store to be looked at as it is. It takes pages from the log where they are newer than
// in the database, and has SQLite read the two as one file that cannot be written, so no file is made,
// changed or removed. A check of it finds whatever makes an envelope, a token, an index
// or a counter differ from what was stored, with these exceptions:
//
//   - damage to the last commit in the log, which looks like what a power cut leaves of one
//     that was not acknowledged; the store then shows what was before it;
//   - damage to unused parts of pages and to settings in the header, which changes nothing that is read;
//   - another epoch in the table meta: the relay notices it, and refuses the store;
//   - a file of the same store from an earlier day, which is whole.
//
// Tokens have one checksum together: a check finds that one has changed, but not which.
//
// # Limits
//
// The database must be on a local file system, because the programs that use it share
// memory, messages.sqlite-shm. The store is not a [storage.Watcher].
//
// An envelope has a checksum, a page of the database has none. Damage to an envelope is
// found when the envelope is read, damage to the trees when a page is used; both end the
// use of the store with [storage.ErrCorrupt].
package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Options are choices of a store. The zero value is what a relay uses.
type Options struct {
	// MaxWAL is the size in bytes at which the log of SQLite is made to begin anew; 0
	// means 16,384,000. Tests want less, so that it does so all the time.
	MaxWAL int64
}

// Store is a [storage.Store] in a database.
type Store struct {
	path   string
	epoch  storage.Epoch
	maxWAL int64
	lock   *os.File
	broken atomic.Pointer[error] // what ended the use of the store, if anything

	appendMu sync.Mutex // held by Append and Spend for their whole length
	writer   *writer    // nil while there is no room for its files
	triedAt  time.Time  // to open it
	cutsLog  bool       // whether the log of SQLite has removed envelopes and must be cut off
	cutAt    time.Time  // when that was tried
	wiped    bool       // whether nothing was removed since the last wipe
	wipe     *wipe      // under way, or nil

	writeError atomic.Pointer[error] // why there is no writer

	// checkpointMu is held for reading to read, and for writing to begin the log of SQLite
	// anew, which readers prevent.
	checkpointMu sync.RWMutex
	reader       *reader                            // replaced by the holder of checkpointMu and appendMu
	files        atomic.Pointer[storefile.Identity] // must stay in their places
}

var (
	_ storage.Store  = (*Store)(nil)
	_ storage.Ledger = (*Store)(nil)
	_ storage.Pruner = (*Store)(nil)
	_ storage.Index  = (*Store)(nil)

	_ storage.Compactor = (*Store)(nil)
)

// Open opens the store at path. If there is none it makes one, and its directory. It
// refuses, and does not change, a file that is not a store, is damaged or locked, has
// another format, or belongs to another user. An error is one sentence with the path and
// what to do; it is [storage.ErrCorrupt] for damage and [storage.ErrFull] for a full disk.
// It may leave a file messages.sqlite-shm, without content that matters, beside a store
// that was not closed.
//
// The first call has SQLite lock files, in the whole process, with locks of Linux that
// another descriptor of the file does not release when it is closed.
func Open(path string, opts Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := &Store{path: path, maxWAL: cmp.Or(opts.MaxWAL, maxWAL)}
	if err := s.openFile(); err != nil {
		if p, ok := err.(*fs.PathError); ok && p.Path == path {
			err = p.Err // without the path, which is added below
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) openFile() (err error) {
	sqlite.OFDLocking(true) //nolint:errcheck // where there is none, no other descriptor is closed while the database is open
	if err := ensureFile(s.path); err != nil {
		return err
	}
	if s.lock, err = os.Open(s.path); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.releaseAll() //nolint:errcheck // says less than err
		}
	}()
	if err := storefile.Lock(s.lock); err != nil {
		return err
	}
	if err := s.checkLocked(); err != nil {
		return err
	}
	if err := storefile.SyncBeforeRead(s.path, walSuffix, journalSuffix); err != nil {
		return err
	}
	format, err := inspectFile(s.path, s.lock)
	if err != nil {
		return err
	}
	if format < version {
		if err := s.upgradeFile(); err != nil {
			return fmt.Errorf("upgrade the file from format %d to format %d: %w", format, version, err)
		}
	}
	err = s.openForWriting()
	if errors.Is(err, storage.ErrFull) {
		err = s.openForReading(err)
	}
	if err != nil {
		return err
	}
	m, err := s.reader.readMeta()
	s.epoch = m.epoch
	return s.explainStoreError(err)
}

// checkLocked returns an error if the locked file is not the one at the path: another process
// has upgraded it.
func (s *Store) checkLocked() error {
	locked, err := s.lock.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(s.path); err != nil || !os.SameFile(now, locked) {
		return storefile.ErrLocked
	}
	return nil
}

// Info implements [storage.Store]. Bytes counts the database and the log of SQLite.
func (s *Store) Info(ctx context.Context) (info storage.Info, err error) {
	err = s.withSnapshot(ctx, "describe", func(x snapshot) error {
		var pages, free int64
		if err := x.pagesInFile.QueryRowContext(uncanceled).Scan(&pages, &free); err != nil {
			return err
		}
		bytes := uint64(fileSize(s.path) + fileSize(s.path+walSuffix))
		info = storage.Info{
			Epoch:  s.epoch,
			First:  x.meta.first,
			Last:   x.meta.last,
			Count:  x.meta.count,
			Bytes:  bytes,
			InUse:  min(bytes, uint64(pages-free)*pageSize),
			Tokens: x.meta.tokens,
			Floor:  x.meta.floor,
		}
		return nil
	})
	return info, err
}

// Close implements [storage.Store]. SQLite copies its log into the database and removes
// it, if no other program reads it and the disk has room; else the next program that opens
// the database does.
func (s *Store) Close() error {
	if err := s.releaseAll(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// releaseAll closes all that is open, the lock last: nobody may open a database that is
// still being closed.
func (s *Store) releaseAll() error {
	var errs []error
	if s.reader != nil {
		errs = append(errs, s.reader.closeReader())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.closeWriter())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// withSnapshot calls f, which reads, while the log of SQLite is kept as it is.
func (s *Store) withSnapshot(ctx context.Context, op string, f func(snapshot) error) error {
	return s.runMethod(ctx, op, func() error {
		s.checkpointMu.RLock()
		defer s.checkpointMu.RUnlock()
		return s.reader.readSnapshot(f)
	})
}

// runMethod calls f, the body of a method, unless ctx has ended or the store is broken.
// Damage that f meets ends the use of the store. f does not end with ctx: it is short, and
// SQLite would roll back a transaction half way.
func (s *Store) runMethod(ctx context.Context, op string, f func() error) error {
	err := ctx.Err()
	if broken := s.broken.Load(); broken != nil {
		err = *broken
	} else if err == nil {
		err = s.explainStoreError(f())
	}
	if held := s.files.Load(); err == nil && held != nil {
		err = held.Check()
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, storage.ErrCorrupt) {
		s.broken.CompareAndSwap(nil, &err)
	}
	return fmt.Errorf("%s %s: %w", op, s.path, err)
}

// explainStoreError is explainError for the files of the store, which a failed sync marks.
func (s *Store) explainStoreError(err error) error {
	if isSyncError(err) && !errors.Is(err, storage.ErrCorrupt) {
		return storefile.MarkSyncFailed(s.path, err)
	}
	return explainError(s.path, err)
}

// fileSize returns the size of a file, or 0.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
