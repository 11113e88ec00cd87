//go:build unix

package storefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// SyncBeforeRead makes the files of a store durable. Call it with the lock held, before
// the first read: a process that was killed between a write and its sync leaves the
// write in the page cache, and what is acknowledged because of such a write is lost
// with the next power cut. Suffixes are the ends of the names of files beside path that
// belong to the store; one that is missing is left out.
//
// It also has the kernel drop the pages, so that what is read comes from the disk:
// after a failed sync Linux may keep, as clean, pages that never reached the disk
// (https://lwn.net/Articles/752063/). That works for pages that nobody has mapped and
// that are clean, as the sync has just made them.
//
// If a sync fails, it marks the store; see [MarkSyncFailed].
func SyncBeforeRead(path string, suffixes ...string) error {
	if err := checkMark(path); err != nil {
		return err
	}
	for _, suffix := range append([]string{""}, suffixes...) {
		if err := syncFile(path, suffix); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return MarkSyncFailed(path, err)
	}
	return nil
}

func syncFile(path, suffix string) error {
	file, err := os.Open(path + suffix)
	if errors.Is(err, fs.ErrNotExist) && suffix != "" {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return MarkSyncFailed(path, err)
	}
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("read %s from the disk: %w", filepath.Base(file.Name()), err)
	}
	return nil
}

// markSuffix ends the name of the mark of a store.
const markSuffix = ".sync-failed"

// MarkSyncFailed marks the store at path because a sync failed, and returns the error
// to refuse every call with. A person has to look at a disk that has lost what it was
// given, and the process that is started a second later would not know; so
// [SyncBeforeRead] refuses the store as long as the mark is there. The mark is an empty
// file beside the store, which needs no room.
//
// The error is [storage.ErrCorrupt], at which the relay stops using the store until it
// is restarted: the disk may not have taken the mark either.
func MarkSyncFailed(path string, cause error) error {
	mark, err := os.OpenFile(path+markSuffix, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(mark.Sync(), mark.Close(), durable.SyncDir(filepath.Dir(path)))
	}
	marked := syncFailedError(path, fmt.Sprintf(": %v", cause))
	if err != nil {
		return fmt.Errorf("%w (that file could not be made durable: %w)", marked, err)
	}
	return marked
}

// checkMark returns an error for a store that is marked.
func checkMark(path string) error {
	switch _, err := os.Lstat(path + markSuffix); {
	case err == nil:
		return syncFailedError(path, " in an earlier run")
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

func syncFailedError(path, how string) error {
	return fmt.Errorf("%w (a sync to its disk failed%s; check the disk, for which dmesg has the cause, then remove %s beside the file and start the relay anew)",
		storage.ErrCorrupt, how, filepath.Base(path)+markSuffix)
}
