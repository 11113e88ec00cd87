//go:build unix

package storefile

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The advice in these errors begins with a copy: nobody can tell yet what may still be
// got out of the file, and an empty store in its place loses what was acknowledged.
var (
	// ErrNotStore means that a file does not begin as a store does.
	ErrNotStore = errors.New("the file is not a store of this relay, or its beginning is damaged; if its path is wrong, correct that, and if not, keep a copy of the file and restore a backup")
	// ErrEmptyFile means that a file has no bytes.
	ErrEmptyFile = errors.New("the file is empty; restore a backup, or look whether the disk is the right one")
)

// CorruptError returns the error, which is [storage.ErrCorrupt], of a file that
// contradicts itself.
func CorruptError(how string) error {
	return fmt.Errorf("%w (%s); keep a copy of the file and restore a backup", storage.ErrCorrupt, how)
}

// FullErrnos are the errors by which a system says that a file cannot grow: the disk
// is full, a quota is used up, or the limit of the process is reached.
var FullErrnos = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}

// FullError turns an error that says that there is no room into one that is
// [storage.ErrFull], and returns any other as it is. The error of a sync stays what it
// is: what the sync has lost does not come back with room.
func FullError(err error) error {
	var named *fs.PathError
	if errors.As(err, &named) && named.Op == "sync" {
		return err
	}
	for _, errno := range FullErrnos {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
	}
	return err
}
