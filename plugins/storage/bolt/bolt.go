// Package bolt is a storage plugin that keeps the envelopes of one server in
// one file, a database of go.etcd.io/bbolt. It is for operators who want
// nothing else to run and back up. [Plugin] is what the relay starts; [Open] is
// the store itself, for programs and tests.
//
// # Durability
//
// An Append is one bbolt transaction: the pages are written and flushed, then a
// header that points to them is written and flushed. Nothing is left to the
// operating system to write later, and the list of free pages is kept in the
// file, so that opening a large store does not read it all.
//
// # What is in the file
//
// Three buckets; all numbers are big-endian:
//
//	meta    the application, the version of the format, the epoch, counters
//	log     sequence number, number of the piece -> piece of an envelope
//	index   a set of keys: kind, hash of what is looked up, sequence number; and
//	        tokens that came without their envelope
//
// Whoever has the file can make signatures that collide in its index; strangers
// cannot, since the hash of signatures is keyed with a secret in the bucket meta.
//
// The log is written from left to right, which costs next to nothing. The
// index would cost five times as much, since each key is in another place of
// the tree and takes a page of its own to write. So new keys stay in memory,
// where the log is their journal, and move into the tree one neighbourhood at
// a time. See index.go.
//
// # Limits
//
// One process at a time: the file is locked. The store is not a
// [storage.Watcher]. A bbolt page has no checksum, an envelope has one: damage
// to an envelope is found when it is read, damage to the tree when it is met,
// and both end the use of the store with [storage.ErrCorrupt]. bbolt believes
// what a page says of itself, so that one which was damaged in just the wrong
// way, or a file made to do harm, can end the process instead.
package bolt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
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
	// MaxRecent is how many keys of the index may be in memory alone; 0 means 65,536.
	// Tests want less, so that keys move into the file all the time.
	MaxRecent int
}

// Store is a [storage.Store] in a file.
type Store struct {
	path  string
	epoch storage.Epoch
	held  storefile.Identity // what must stay in its place
	// readOnly: the disk is mounted for reading, and db open for that.
	readOnly atomic.Bool
	broken   atomic.Pointer[error] // what ended the use of the store, if anything

	// opened is held for reading by whoever uses db, and for writing to exchange it.
	opened sync.RWMutex
	db     *bbolt.DB
	file   *os.File // that db has open

	appending sync.Mutex // held by Append for its whole length
	arena     []byte     // room for the records of a batch, reused

	// What readers are told of, the index and the state. The holder of appending
	// changes both in one moment, when a commit is durable. The file itself shows a
	// commit earlier, before bbolt has flushed its header.
	mu    sync.RWMutex
	index index
	shown state
}

var (
	_ storage.Store  = (*Store)(nil)
	_ storage.Ledger = (*Store)(nil)
)

// Open opens the store at path, or makes one, and its directory, where there is
// none. It changes nothing when it returns an error: not a file that is no
// store, nor one that is damaged, locked, of another user or of a newer format.
// Errors are one sentence with the path and what to do; of damage they are
// [storage.ErrCorrupt], of a full disk [storage.ErrFull].
func Open(path string, opts Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := &Store{path: path, index: index{hash: sha256.Sum256, max: cmp.Or(opts.MaxRecent, maxRecent)}}
	if err := s.openOrCreate(); err != nil {
		if p, ok := err.(*fs.PathError); ok && p.Path == path {
			err = p.Err // which names neither again
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
			if err := s.checkCurrent(); err != nil {
				return err
			}
			return s.db.View(s.loadState)
		}
		if err := s.cutWhole(); err != nil {
			return err
		}
		if err := s.db.View(s.loadState); err != nil {
			return err
		}
		return s.upgradeFile()
	})
	if err == nil {
		s.held, err = storefile.Identify(s.path)
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

// loadState reads what the store keeps in memory.
func (s *Store) loadState(tx *bbolt.Tx) error {
	st, err := readState(tx)
	if err != nil {
		return err
	}
	s.epoch, s.shown = st.epoch, st
	return s.index.loadRecent(tx, &st)
}

// shownState returns what readers are told of.
func (s *Store) shownState() state {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.shown
}

// Info implements [storage.Store].
func (s *Store) Info(ctx context.Context) (info storage.Info, err error) {
	st := s.shownState()
	err = s.viewFile(ctx, "describe", func(tx *bbolt.Tx) error {
		if _, err := readState(tx); err != nil {
			return err
		}
		info = storage.Info{
			Epoch:  s.epoch,
			First:  min(1, st.last),
			Last:   st.last,
			Count:  st.count,
			Bytes:  uint64(tx.Size()),
			Tokens: st.tokens,
		}
		return nil
	})
	return info, err
}

// Close implements [storage.Store]. A transaction that panicked half way may
// hold locks for which bbolt would wait; of a damaged store only the file is
// closed, which unlocks it.
func (s *Store) Close() error {
	s.opened.RLock()
	defer s.opened.RUnlock()
	release := s.db.Close
	if broken := s.broken.Load(); broken != nil && errors.Is(*broken, storage.ErrCorrupt) {
		release = s.file.Close
	}
	if err := release(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// viewFile calls f with a view of the file as of now.
func (s *Store) viewFile(ctx context.Context, op string, f func(*bbolt.Tx) error) error {
	s.opened.RLock()
	defer s.opened.RUnlock()
	return s.runMethod(ctx, op, func() error { return s.db.View(f) })
}

// runMethod calls f, the body of a method, unless there is a reason not to. Damage
// that f meets ends the use of the store.
func (s *Store) runMethod(ctx context.Context, op string, f func() error) error {
	err := ctx.Err()
	if broken := s.broken.Load(); broken != nil {
		err = *broken
	} else if err == nil {
		err = recoverFault(f)
	}
	if err == nil {
		err = s.held.Check()
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, storage.ErrCorrupt) {
		s.broken.CompareAndSwap(nil, &err)
	}
	return fmt.Errorf("%s %s: %w", op, s.path, err)
}
