//go:build unix

package storefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Identity tells which files a store has open. If one of them is deleted, moved or
// replaced, all that is written from then on is lost, and no write fails.
type Identity []fileIdentity

type fileIdentity struct {
	path string
	info fs.FileInfo
}

// Identify remembers the file at path and those beside it that end in the suffixes.
// They have to be open, and stay so.
func Identify(path string, suffixes ...string) (Identity, error) {
	var files Identity
	for _, suffix := range append([]string{""}, suffixes...) {
		info, err := os.Lstat(path + suffix)
		if err != nil {
			return nil, err
		}
		files = append(files, fileIdentity{path + suffix, info})
	}
	return files, nil
}

// Check returns an error that is [storage.ErrCorrupt] when one of the files is not
// at its path any more. Call it after every commit, before that is acknowledged: it
// takes about a microsecond for each file.
func (files Identity) Check() error {
	for _, f := range files {
		info, err := os.Lstat(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return missingError(f.path, "was deleted or moved")
		case err != nil:
			return missingError(f.path, err.Error())
		case !os.SameFile(info, f.info):
			return missingError(f.path, "was replaced")
		}
	}
	return nil
}

func missingError(path, how string) error {
	return fmt.Errorf("%w (%s %s while it was open); put it back. What was deleted is whole as long as the relay runs: copy it from /proc/PID/fd first",
		storage.ErrCorrupt, filepath.Base(path), how)
}

// CheckWritable returns an error that is [storage.ErrFull] for a file on a file
// system that is mounted for reading only. The relay has to be restarted after that has
// changed: a confined plugin has mounts of its own and does not see it.
func CheckWritable(path string) error {
	if err := unix.Access(path, unix.W_OK); errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: its file system is mounted for reading only; mount it for writing, and restart the relay", storage.ErrFull)
	}
	return nil
}
