package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// SQLite makes two files when a database is opened for writing. Where the disk has
// no room for them, or is mounted for reading only, the store serves reads and
// refuses appends, until one of them, or Health, finds that there is room.

// openEvery is how often an append tries to open the database for writing.
const openEvery = time.Second

// openForWriting opens what writes, and what reads beside it, and exchanges the
// reader that was there. An error that is [storage.ErrFull] leaves all as it was.
func (s *Store) openForWriting() (err error) {
	if err := storefile.CheckWritable(s.path); err != nil {
		return err
	}
	var w *writer
	var r *reader
	defer func() {
		if err == nil {
			return
		}
		if r != nil {
			r.closeReader() //nolint:errcheck // says less than err
		}
		if w != nil {
			w.closeWriter() //nolint:errcheck // says less than err
		}
	}()
	if w, err = openWriter(s.path, s.maxWAL); err != nil {
		return s.explainStoreError(err)
	}
	if r, err = openReader(s.path); err != nil {
		return s.explainStoreError(err)
	}
	if err := s.explainStoreError(w.emptyLog()); err != nil && !errors.Is(err, storage.ErrFull) && !errors.Is(err, errBusy) {
		return err
	}
	if err := w.holdLock(); err != nil {
		return s.explainStoreError(err)
	}
	// SQLite has made its log by now. It syncs the directory for that later, and
	// takes no notice if it cannot.
	if err := durable.SyncDir(filepath.Dir(s.path)); err != nil {
		return storefile.MarkSyncFailed(s.path, err)
	}
	held, err := storefile.Identify(s.path, walSuffix)
	if err != nil {
		return err
	}
	s.exchange(w, r)
	s.held.Store(&held)
	return nil
}

// exchange takes a writer and a reader into use.
func (s *Store) exchange(w *writer, r *reader) {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	if s.reader != nil {
		s.reader.closeReader() //nolint:errcheck // nobody reads
	}
	s.writer, s.reader = w, r
	s.refusal.Store(nil)
}

// openForReading opens what can be read although the database cannot be written,
// because of cause. That is not so when a crash has left a log of SQLite.
func (s *Store) openForReading(cause error) error {
	openFile := openReader
	if alone(s.path) {
		openFile = openAlone
	}
	r, err := openFile(s.path)
	if err == nil {
		_, err = r.readMeta()
	}
	if err != nil {
		if r != nil {
			r.closeReader() //nolint:errcheck // says less than cause
		}
		return fmt.Errorf("%w; nor can it be read as it is, since a crash has left %s beside it (%w): make room, or mount the disk for writing",
			cause, filepath.Base(s.path)+walSuffix, err)
	}
	held, err := storefile.Identify(s.path)
	if err != nil {
		r.closeReader() //nolint:errcheck // says less than err
		return err
	}
	s.reader, s.tried = r, time.Now()
	s.held.Store(&held)
	s.refusal.Store(&cause)
	return nil
}

// ready tries to open the database for writing, where that was not possible so far.
// The caller holds appending.
func (s *Store) ready() error {
	refusal := s.refusal.Load()
	if refusal == nil {
		return nil
	}
	if time.Since(s.tried) < openEvery {
		return *refusal
	}
	err := s.openForWriting()
	s.tried = time.Now()
	if errors.Is(err, storage.ErrFull) {
		s.refusal.Store(&err)
	}
	return err
}

// Health implements [plugin.HealthReporter].
func (s *Store) Health(context.Context) string {
	if held := s.held.Load(); held != nil {
		if err := held.Check(); err != nil {
			return err.Error()
		}
	}
	if s.refusal.Load() != nil && s.appending.TryLock() { // not only the next post finds out
		s.ready() //nolint:errcheck // is in refusal
		s.appending.Unlock()
	}
	if refusal := s.refusal.Load(); refusal != nil {
		return "posts are refused: " + (*refusal).Error()
	}
	return ""
}
