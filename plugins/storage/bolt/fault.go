package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/ground"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// recoverFault calls f and makes of a panic an error that is [storage.ErrCorrupt].
// bbolt trusts its file: it panics about a page that makes no sense, and where
// the memory map cannot be read (the file was cut, the disk fails) the
// processor faults, which is a panic too for the length of this call.
func recoverFault(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damagedError(fmt.Sprint(p))
		}
	}()
	return f()
}

// damagedError is the error of a file that contradicts itself.
func damagedError(how string) error {
	return ground.Damaged(how)
}

// explainOpenError says in an operator's words why bbolt did not open a file.
func explainOpenError(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return errors.New("another process has the store open; end it first")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		return errForeign
	case errors.Is(err, bolterrors.ErrChecksum):
		return damagedError("both headers have wrong checksums")
	}
	return fullError(err)
}

var errForeign = ground.ErrForeign

// fullError makes an error that is [storage.ErrFull] of one that says that there is
// no room, and returns any other as it is.
func fullError(err error) error {
	if err == nil {
		return nil
	}
	for _, errno := range ground.NoRoom {
		// bbolt formats the error of growing the file with %s.
		if errors.Is(err, errno) || strings.HasSuffix(err.Error(), ": "+errno.Error()) {
			return fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
	}
	return err
}

// isSyncError reports whether err, of a transaction, is that of a sync. bbolt
// returns what fdatasync(2) says as it is; the error of a write names the file.
func isSyncError(err error) bool {
	var named *fs.PathError
	if errors.As(err, &named) {
		return named.Op == "sync"
	}
	var errno syscall.Errno
	return errors.As(err, &errno) || strings.HasPrefix(err.Error(), "file sync error: ")
}
