//go:build unix

package ground

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Held is the files that a store has open. Who deletes, moves or replaces one
// takes away all that is written from then on, and no write fails for that.
type Held []heldFile

type heldFile struct {
	path string
	info fs.FileInfo
}

// Hold remembers the files at path and those beside it that end in the suffixes. They
// have to be open, and stay so.
func Hold(path string, suffixes ...string) (Held, error) {
	var held Held
	for _, suffix := range append([]string{""}, suffixes...) {
		info, err := os.Lstat(path + suffix)
		if err != nil {
			return nil, err
		}
		held = append(held, heldFile{path + suffix, info})
	}
	return held, nil
}

// Check returns an error that is [storage.ErrCorrupt] when one of the files is not
// at its path any more. It costs about a microsecond for each: call it after
// every commit, before that is acknowledged.
func (h Held) Check() error {
	for _, f := range h {
		info, err := os.Lstat(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return gone(f.path, "was deleted or moved")
		case err != nil:
			return gone(f.path, err.Error())
		case !os.SameFile(info, f.info):
			return gone(f.path, "was replaced")
		}
	}
	return nil
}

func gone(path, how string) error {
	return fmt.Errorf("%w (%s %s while it was open); put it back. What was deleted is whole as long as the relay runs: copy it from /proc/PID/fd first",
		storage.ErrCorrupt, filepath.Base(path), how)
}

// CheckWritable returns an error that is [storage.ErrFull] for a file on a file
// system that is mounted for reading only. A process with mounts of its own, as a
// confined plugin has, does not see when an operator mounts it for writing.
func CheckWritable(path string) error {
	if err := unix.Access(path, unix.W_OK); errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: its file system is mounted for reading only; mount it for writing, and restart the relay", storage.ErrFull)
	}
	return nil
}
