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

// SQLite makes two files when it opens a database for writing. If the disk has no room for
// them, or is mounted for reading only, the store serves reads and refuses appends, until
// an append, or Health, finds that there is room.

// openEvery is how often an append tries to open the database for writing.
const openEvery = time.Second

// openForWriting opens a writer and a reader, and replaces the reader that there was. An
// error that is [storage.ErrFull] leaves all as it was.
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
	if err := s.explainStoreError(w.truncateLog()); err != nil && !errors.Is(err, storage.ErrFull) && !errors.Is(err, errBusy) {
		return err
	}
	if err := w.takeWriteLock(); err != nil {
		return s.explainStoreError(err)
	}
	// SQLite has made its log by now. It would sync the directory later, and ignore an error.
	if err := durable.SyncDir(filepath.Dir(s.path)); err != nil {
		return storefile.MarkSyncFailed(s.path, err)
	}
	held, err := storefile.Identify(s.path, walSuffix)
	if err != nil {
		return err
	}
	s.replaceHandles(w, r)
	s.files.Store(&held)
	return nil
}

// replaceHandles puts a writer and a reader into use.
func (s *Store) replaceHandles(w *writer, r *reader) {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	if s.reader != nil {
		s.reader.closeReader() //nolint:errcheck // nobody reads
	}
	s.writer, s.reader = w, r
	s.writeError.Store(nil)
}

// openForReading opens a reader of a database that cannot be written because of cause. It
// cannot if a crash has left a log of SQLite.
func (s *Store) openForReading(cause error) error {
	openFile := openReader
	if isSelfContained(s.path) {
		openFile = openImmutable
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
	s.reader, s.triedAt = r, time.Now()
	s.files.Store(&held)
	s.writeError.Store(&cause)
	return nil
}

// ensureWriter opens the database for writing if it is not open so. The caller holds
// appendMu.
func (s *Store) ensureWriter() error {
	refusal := s.writeError.Load()
	if refusal == nil {
		return nil
	}
	if time.Since(s.triedAt) < openEvery {
		return *refusal
	}
	err := s.openForWriting()
	s.triedAt = time.Now()
	if errors.Is(err, storage.ErrFull) {
		s.writeError.Store(&err)
	}
	return err
}

// Health implements [plugin.HealthReporter].
func (s *Store) Health(context.Context) string {
	if held := s.files.Load(); held != nil {
		if err := held.Check(); err != nil {
			return err.Error()
		}
	}
	if s.writeError.Load() != nil && s.appendMu.TryLock() { // not only the next post finds out
		s.ensureWriter() //nolint:errcheck // is in refusal
		s.appendMu.Unlock()
	}
	if refusal := s.writeError.Load(); refusal != nil {
		return "posts are refused: " + (*refusal).Error()
	}
	return ""
}
