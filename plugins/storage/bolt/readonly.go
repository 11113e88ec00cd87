package bolt

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A store on a disk that is mounted for reading only serves reads, and refuses
// appends as if the disk were full. It goes over to writing when an append, or
// Health, finds that the disk is.

// openForWriting does that. Whoever reads waits meanwhile. The caller holds
// appending.
func (s *Store) openForWriting() error {
	if !s.readOnly.Load() {
		return nil
	}
	if err := storefile.CheckWritable(s.path); err != nil {
		return err
	}
	s.opened.Lock()
	defer s.opened.Unlock()
	s.db.Close() // which has the file locked
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

// checkCurrent refuses a file that would have to be upgraded first, on a disk that
// does not let us.
func (s *Store) checkCurrent() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		if v := formatOf(tx); v != version {
			return fmt.Errorf("%w; the file has the earlier format %d and has to be upgraded before it can be read: mount it for writing", storefile.CheckWritable(s.path), v)
		}
		return nil
	})
}

// Health implements [plugin.HealthReporter].
func (s *Store) Health(context.Context) string {
	err := s.held.Check()
	if err == nil && s.readOnly.Load() && s.appending.TryLock() { // not only the next post finds out
		err = s.openForWriting()
		s.appending.Unlock()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
