//go:build unix

package ground

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

// Settle makes durable what the caller is about to read, so that nothing is
// acknowledged because of what a power cut would take back: a process that was
// killed between a write and its sync leaves that write in the page cache. Call it
// with the lock held and before the first read. Suffixes name the files beside
// path that belong to the store; one that is missing is left out.
//
// It also has the kernel forget the pages, so that what is read comes from the
// disk: after a failed sync Linux may keep, as clean, pages that never reached the
// disk (https://lwn.net/Articles/752063/). That works for pages which nobody has
// mapped and which are clean, as the sync has just made them.
//
// If a sync fails, the store is marked; see [Distrust].
func Settle(path string, suffixes ...string) error {
	if err := checkMark(path); err != nil {
		return err
	}
	for _, suffix := range append([]string{""}, suffixes...) {
		if err := settleFile(path, suffix); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return Distrust(path, err)
	}
	return nil
}

func settleFile(path, suffix string) error {
	file, err := os.Open(path + suffix)
	if errors.Is(err, fs.ErrNotExist) && suffix != "" {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return Distrust(path, err)
	}
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("read %s from the disk: %w", filepath.Base(file.Name()), err)
	}
	return nil
}

// markSuffix ends the name of the mark of a store.
const markSuffix = ".sync-failed"

// Distrust marks the store at path because a sync failed, and returns the error
// to refuse every call with. The mark is an empty file beside the store, so that
// it needs no room, and [Settle] refuses the store for as long as it is there: a
// disk that has lost what it was given is for a person to look at, and the next
// process, a second later, would not know.
//
// A disk that does not take the mark either is the reason why the error is
// [storage.ErrCorrupt]: the relay stops using the store until it is restarted.
func Distrust(path string, cause error) error {
	mark, err := os.OpenFile(path+markSuffix, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(mark.Sync(), mark.Close(), durable.SyncDir(filepath.Dir(path)))
	}
	said := distrusted(path, fmt.Sprintf(": %v", cause))
	if err != nil {
		return fmt.Errorf("%w (that file could not be made durable: %w)", said, err)
	}
	return said
}

// checkMark returns an error for a store that is marked.
func checkMark(path string) error {
	switch _, err := os.Lstat(path + markSuffix); {
	case err == nil:
		return distrusted(path, " in an earlier run")
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

func distrusted(path, how string) error {
	return fmt.Errorf("%w (a sync to its disk failed%s; check the disk, for which dmesg has the cause, then remove %s beside the file and start the relay anew)",
		storage.ErrCorrupt, how, filepath.Base(path)+markSuffix)
}
