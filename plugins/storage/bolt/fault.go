package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// recoverFault calls f and turns a panic into an error that is [storage.ErrCorrupt]. bbolt
// trusts its file and panics at a page that makes no sense. The processor faults where the
// memory map cannot be read, because the file was cut or the disk fails; during this call
// that is a panic too.
func recoverFault(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = storefile.CorruptError(fmt.Sprint(p))
		}
	}()
	return f()
}

// explainOpenError tells an operator why bbolt did not open a file.
func explainOpenError(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return storefile.ErrLocked
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		return storefile.ErrNotStore
	case errors.Is(err, bolterrors.ErrChecksum):
		return storefile.CorruptError("both headers have wrong checksums")
	}
	return fullError(err)
}

// fullError turns an error that says that there is no room into one that is
// [storage.ErrFull], and returns any other as it is.
func fullError(err error) error {
	if err == nil {
		return nil
	}
	for _, errno := range storefile.FullErrnos {
		// bbolt formats the error of growing the file with %s.
		if errors.Is(err, errno) || strings.HasSuffix(err.Error(), ": "+errno.Error()) {
			return fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
	}
	return err
}

// isSyncError reports whether err of a transaction comes from a sync. bbolt returns the
// error of fdatasync(2) as it is; the error of a write names the file.
func isSyncError(err error) bool {
	var named *fs.PathError
	if errors.As(err, &named) {
		return named.Op == "sync"
	}
	var errno syscall.Errno
	return errors.As(err, &errno) || strings.HasPrefix(err.Error(), "file sync error: ")
}
