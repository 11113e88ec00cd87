package bolt

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A store on a disk that is mounted for reading only serves reads, and refuses appends as
// if the disk were full. It opens its file for writing when an append, or Health, finds
// that the disk can be written.

// openForWriting opens the file for writing if it is not open so. Readers wait meanwhile.
// The caller holds appendMu.
func (s *Store) openForWriting() error {
	if !s.readOnly.Load() {
		return nil
	}
	if err := storefile.CheckWritable(s.path); err != nil {
		return err
	}
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	s.db.Close() // releases the lock on the file
	err := s.openFile(false)
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) error {
			if st, err := readState(tx); err != nil || st != s.shown {
				return storefile.CorruptError("it was changed while it was mounted for reading")
			}
			return nil
		})
	}
	if err != nil {
		err = fmt.Errorf("%w until the file is opened anew: %w", storage.ErrUnavailable, err)
		s.broken.Store(&err)
		return err
	}
	s.readOnly.Store(false)
	return nil
}

// checkFormatIsCurrent refuses a file that has to be upgraded, which a disk that cannot be
// written does not allow.
func (s *Store) checkFormatIsCurrent() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		if v := formatOf(tx); v != formatVersion {
			return fmt.Errorf("%w; the file has the earlier format %d and has to be upgraded before it can be read: mount it for writing", storefile.CheckWritable(s.path), v)
		}
		return nil
	})
}

// Health implements [plugin.HealthReporter].
func (s *Store) Health(context.Context) string {
	s.dbMu.RLock()
	err := s.files.Check()
	s.dbMu.RUnlock()
	if err == nil && s.readOnly.Load() && s.appendMu.TryLock() { // not only the next post finds out
		err = s.openForWriting()
		s.appendMu.Unlock()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
