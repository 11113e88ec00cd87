// Package bolt is a storage plugin that keeps the envelopes of one server in one file, a
// database of go.etcd.io/bbolt. It is for operators who want nothing else to run and back
// up. The relay starts [Plugin]; programs and tests use the store by [Open].
//
// # Durability
//
// An Append is one bbolt transaction: bbolt writes and flushes the pages, then a header
// that points to them. Nothing is left to the operating system to write later. The list
// of free pages is in the file, so that opening a large store does not read it all.
//
// # What is in the file
//
// Four buckets; all numbers are big-endian:
//
//	meta    the application, the version of the format, the epoch, counters
//	log     sequence number, number of the piece -> piece of an envelope
//	index   a set of keys: kind, hash of what is looked up, sequence number; and
//	        tokens that came without their envelope
//	hours   hour -> how many envelopes were born in it, their bytes
//
// Strangers cannot make signatures that collide in the index, because the hash of
// signatures is keyed with a secret in the bucket meta. Somebody who has the file can.
//
// The log is written from left to right, which costs next to nothing. The index would
// cost five times as much, because each key is in another place of the tree and takes a
// page of its own to write. So new keys stay in memory, where the log is their journal,
// and move into the tree one neighbourhood at a time. See index.go.
//
// # Pruning
//
// A Prune removes envelopes in the order of the log, hour by hour. What it removed is in free
// pages of the file then. Appends overwrite these first, but nothing says when, and the
// file does not shrink: until the file is compacted, removed bytes can be read from the
// disk. Hashes of removed envelopes, of 8 and 16 bytes, may stay in the index as well.
// The store remembers no envelopes that tokens have paid for and that were removed.
//
// # Compaction
//
// [Store.Compact] copies what the file holds into a new one beside it, NAME.compact, and puts
// that in its place when both have the same content. A start removes a new file that was not
// finished, so a compaction that is killed begins again. What was removed before a compaction
// began is not in the new file, nor are hashes of removed envelopes. What is removed while it
// goes on may be in free pages of the new file, until the next one.
//
// The old file is unlinked and not overwritten. Writing over a file does not reach the old
// blocks of a flash drive, of a file system that copies on write, or of its journal, so it
// would promise too much. Until its blocks are used again, somebody who has the disk may find
// removed ciphertexts there, as with every file that is deleted. An encrypted disk prevents it.
//
// # Inspection
//
// [Inspect] opens a file of any format, however damaged, without bbolt, which trusts its
// pages. See its Check for what is found.
//
// # Limits
//
// One process at a time can use the file, which is locked. The store is not a
// [storage.Watcher].
//
// An envelope has a checksum, a bbolt page has none. Damage to an envelope is found when
// the envelope is read, damage to the tree when a page is used; both end the use of the
// store with [storage.ErrCorrupt]. bbolt trusts its pages, so a page that is damaged in
// just the wrong way, or a file that was made to do harm, can end the process instead.
package bolt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Options are choices of a store. The zero value is what a relay uses.
type Options struct {
	// MaxRecent is how many keys of the index may be in memory alone; 0 means 131,072.
	// Tests want less, so that keys move into the file all the time.
	MaxRecent int
	// Logger is told how far a long upgrade has come; nil means nobody is.
	Logger *slog.Logger
}

// Store is a [storage.Store] in a file.
type Store struct {
	path  string
	epoch storage.Epoch
	files storefile.Identity // what must stay in its place
	// readOnly means that the disk is mounted for reading only, and db is open so.
	readOnly atomic.Bool
	broken   atomic.Pointer[error] // what ended the use of the store, if anything

	log       *slog.Logger // may be nil
	upgrade   upgradeSizes
	committed func() // called after each transaction, nil outside of tests

	// dbMu is held for reading to use db, and for writing to exchange it.
	dbMu sync.RWMutex
	db   *bbolt.DB
	file *os.File // that db has open

	appendMu  sync.Mutex // held by Append, Spend and Prune for their whole length
	recordBuf []byte     // room for the records of a batch, reused
	unpruned  unpruned

	compactMu  sync.Mutex    // held by Compact for its whole length; locked before appendMu
	compaction *compaction   // under way, or nil
	newBytes   atomic.Uint64 // size of its new file

	// viewMu is held for reading while a view of the file begins, and for writing from a
	// commit that rewrites what readers have been shown until mu shows it. It is locked
	// before mu.
	viewMu sync.RWMutex

	// mu guards what readers see. The holder of appendMu changes index, hours and shown
	// together, once a commit is durable. The file itself shows a commit earlier, before
	// bbolt has flushed its header.
	mu    sync.RWMutex
	index index
	hours hourTable
	shown state

	lowest atomic.Uint64 // readers are shown nothing below it; it may be too low
}

var (
	_ storage.Store  = (*Store)(nil)
	_ storage.Ledger = (*Store)(nil)
	_ storage.Pruner = (*Store)(nil)
	_ storage.Index  = (*Store)(nil)

	_ storage.Compactor = (*Store)(nil)
)

// Open opens the store at path. If there is none it makes one, and its directory. It
// refuses, and does not change, a file that is not a store, is damaged or locked, has a
// newer format, or belongs to another user. An error is one sentence with the path and
// what to do; it is [storage.ErrCorrupt] for damage and [storage.ErrFull] for a full disk.
func Open(path string, opts Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := &Store{path: path, log: opts.Logger, upgrade: defaultUpgrade, index: index{hash: sha256.Sum256, max: cmp.Or(opts.MaxRecent, maxRecent)}}
	if err := s.openOrCreate(); err != nil {
		if p, ok := err.(*fs.PathError); ok && p.Path == path {
			err = p.Err // without the path, which is added below
		}
		if errors.Is(err, storage.ErrFull) {
			return nil, fmt.Errorf("open %s: %w; make room on its disk, or give the relay a data_dir on a larger one", path, err)
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) openOrCreate() error {
	if err := ensureFile(s.path); err != nil {
		return err
	}
	if err := inspectFile(s.path); err != nil {
		return err
	}
	readOnly := storefile.CheckWritable(s.path) != nil
	s.readOnly.Store(readOnly)
	err := recoverFault(func() error {
		if err := s.openFile(readOnly); err != nil {
			return err
		}
		if readOnly {
			if err := s.checkFormatIsCurrent(); err != nil {
				return err
			}
			return s.db.View(s.loadState)
		}
		if err := removeNewFile(s.path + compactSuffix); err != nil {
			return err
		}
		if err := s.upgradeFile(); err != nil {
			return err
		}
		return s.db.View(s.loadState)
	})
	if err == nil {
		s.files, err = storefile.Identify(s.path)
	}
	switch {
	case err == nil:
		return nil
	case s.db != nil:
		s.db.Close()
	case s.file != nil:
		s.file.Close() // bbolt has closed it, or panicked and left it locked
	}
	return err
}

// openFile opens the file of the store, which is there.
func (s *Store) openFile(readOnly bool) error {
	options := boltOptions()
	options.ReadOnly = readOnly
	options.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		s.file, err = openLocked(name, flag, mode)
		return s.file, err
	}
	db, err := bbolt.Open(s.path, fileMode, options)
	if err != nil {
		return explainOpenError(err)
	}
	s.db = db
	return nil
}

// loadState reads the state, the hours and the recent keys into memory.
func (s *Store) loadState(tx *bbolt.Tx) error {
	st, err := readState(tx)
	if err != nil {
		return err
	}
	s.epoch, s.shown = st.epoch, st
	if err := s.hours.load(tx.Bucket(hoursBucket)); err != nil {
		return err
	}
	if err := s.index.loadRecent(tx, &st, &s.hours); err != nil {
		return err
	}
	if s.hours.countOf(0) != st.count {
		return storefile.CorruptError("the sizes of hours do not add up")
	}
	return nil
}

// Info implements [storage.Store].
func (s *Store) Info(ctx context.Context) (info storage.Info, err error) {
	var count uint64
	look := func(st *state) { count = s.hours.countOf(st.floor) }
	err = s.viewHours(ctx, "describe", look, func(tx *bbolt.Tx, st *state) error {
		if _, err := readState(tx); err != nil {
			return err
		}
		info = storage.Info{
			Epoch:  s.epoch,
			Last:   st.last,
			Count:  count,
			Bytes:  uint64(tx.Size()) + s.newBytes.Load(),
			InUse:  usedBytes(tx, s.file),
			Tokens: st.tokens,
			Floor:  st.floor,
		}
		if info.Count > 0 {
			info.First = s.firstKept(tx.Bucket(logBucket), st)
		}
		return nil
	})
	return info, err
}

// firstKept returns the first entry of a log that is not empty. It steps over each pruned
// entry once.
func (s *Store) firstKept(log *bbolt.Bucket, st *state) storage.Seq {
	for seq := max(st.lowest, 1); seq <= st.last; seq++ {
		if first := log.Get(pieceKey(seq, 0)); len(first) >= 8 && bornOf(first) >= st.floor {
			s.lowest.Store(uint64(seq))
			return seq
		}
	}
	return 0
}

// Close implements [storage.Store]. If the store is damaged it closes only the file, which
// unlocks it: bbolt would wait for locks of a transaction that panicked.
func (s *Store) Close() error {
	s.compactMu.Lock()
	s.dropCompaction()
	s.compactMu.Unlock()
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	release := s.db.Close
	if broken := s.broken.Load(); broken != nil && errors.Is(*broken, storage.ErrCorrupt) {
		release = s.file.Close
	}
	if err := release(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// viewShown calls f with what readers are shown now.
func (s *Store) viewShown(ctx context.Context, op string, f func(*bbolt.Tx, *state) error) error {
	return s.viewLocked(ctx, op, false, func(*state) {}, f)
}

// viewHours calls look with mu locked, when the hours are those that readers are shown now, and
// then f with the rest of what they are shown.
func (s *Store) viewHours(ctx context.Context, op string, look func(*state), f func(*bbolt.Tx, *state) error) error {
	return s.viewLocked(ctx, op, false, look, f)
}

// viewIndex calls f with what readers are shown now, the index included.
func (s *Store) viewIndex(ctx context.Context, op string, f func(*bbolt.Tx, *state) error) error {
	return s.viewLocked(ctx, op, true, func(*state) {}, f)
}

func (s *Store) viewLocked(ctx context.Context, op string, keepLock bool, look func(*state), f func(*bbolt.Tx, *state) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	return s.runMethod(ctx, op, func() error {
		s.viewMu.RLock()
		begun := sync.OnceFunc(s.viewMu.RUnlock)
		defer begun()
		s.mu.RLock() // before the view begins: a key is never in neither place
		unlock := sync.OnceFunc(s.mu.RUnlock)
		defer unlock()
		st := s.shown
		st.lowest = max(st.lowest, storage.Seq(s.lowest.Load()))
		tx, err := s.db.Begin(false)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // which only ends the view
		begun()
		look(&st)
		if !keepLock {
			unlock()
		}
		return f(tx, &st)
	})
}

// viewFile calls f with a view of the file as of now.
func (s *Store) viewFile(ctx context.Context, op string, f func(*bbolt.Tx) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	return s.runMethod(ctx, op, func() error { return s.db.View(f) })
}

// runMethod calls f, the body of a method, unless ctx has ended or the store is broken.
// Damage that f meets ends the use of the store.
func (s *Store) runMethod(ctx context.Context, op string, f func() error) error {
	err := ctx.Err()
	if broken := s.broken.Load(); broken != nil {
		err = *broken
	} else if err == nil {
		err = recoverFault(f)
	}
	if err == nil {
		err = s.files.Check()
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, storage.ErrCorrupt) {
		s.broken.CompareAndSwap(nil, &err)
	}
	return fmt.Errorf("%s %s: %w", op, s.path, err)
}
