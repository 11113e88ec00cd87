package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var errBusy = fmt.Errorf("%w: another program is writing to the database; end it", storage.ErrUnavailable)

// explainError turns an error of SQLite into one of the contract, in words for an operator.
// Other errors stay as they are.
func explainError(path string, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) || errors.Is(err, storage.ErrCorrupt) {
		return storefile.FullError(err)
	}
	if isSyncError(err) {
		return err // never ErrFull: the pages are lost, and room does not bring them back
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_FULL:
		return fmt.Errorf("%w: %w", storage.ErrFull, err)
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
		return errBusy
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB,
		codes.SQLITE_ERROR,      // a table is missing: no statement of ours is wrong otherwise
		codes.SQLITE_CONSTRAINT, // the log goes on where the table meta says that it ends
		codes.SQLITE_MISMATCH, codes.SQLITE_TOOBIG:
		return storefile.CorruptError(err.Error())
	case codes.SQLITE_IOERR:
		switch e.Code() {
		case codes.SQLITE_IOERR_SHORT_READ, codes.SQLITE_IOERR_CORRUPTFS:
			return storefile.CorruptError(err.Error())
		}
	case codes.SQLITE_CANTOPEN:
	default:
		return err
	}
	// SQLite recognizes a full disk in some places only, and never a quota or the limit of
	// a file.
	if cause := probeRoom(path); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// isSyncError reports whether SQLite could not sync a file or a directory.
func isSyncError(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == codes.SQLITE_IOERR_FSYNC || e.Code() == codes.SQLITE_IOERR_DIR_FSYNC)
}

// probeRoom returns an error that is [storage.ErrFull] if there is no room beside the
// database, or if a file there may not be longer than the database is.
func probeRoom(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".probe-*")
	if err == nil {
		defer os.Remove(f.Name())
		defer f.Close()
		_, err = f.WriteAt(make([]byte, storage.MaxBatchBytes), max(fileSize(path), fileSize(path+walSuffix)))
	}
	if err = storefile.FullError(err); errors.Is(err, storage.ErrFull) {
		return err
	}
	return nil
}
