package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// replacing is held while a new file is beside the one that it replaces.
var replacing sync.Mutex

// atStep is called after each step of replaceFile. Tests end the process there.
var atStep = func() {}

// replaceFile replaces a key file. It writes the new one under a fixed name, so that what a
// crash leaves is found and removed: it may be the keys in plain form. Two processes must not
// call it for one path at the same time.
func replaceFile(path string, text []byte) error {
	replacing.Lock()
	defer replacing.Unlock()
	old, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("change key file: %w", err)
	}
	defer old.Close()
	err = writeNew(unfinishedPath(path), text)
	if err == nil {
		err = os.Rename(unfinishedPath(path), path)
		atStep()
	}
	if err != nil {
		os.Remove(unfinishedPath(path))
		return fmt.Errorf("change key file %s: it is as it was, make room or permit writing to %s and try again: %w", path, filepath.Dir(path), err)
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("make key file %s durable: %w: it was changed, and a power cut may undo that; check its disk", path, err)
	}
	atStep()
	overwriteUnlinked(old)
	atStep()
	return nil
}

// writeNew writes a file that does not exist, durably but for its name.
func writeNew(path string, text []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	atStep()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	atStep()
	_, err = f.Write(text)
	atStep()
	err = errors.Join(err, f.Chmod(0o600), f.Sync()) // the umask may have closed it to everybody
	atStep()
	return err
}

// overwriteUnlinked overwrites what was in a file, as far as the file system does so in place. It
// leaves a file alone that still has a name, such as a backup by a hard link. Best effort: the
// new file is in force already.
func overwriteUnlinked(f *os.File) {
	info, err := f.Stat()
	if err != nil || info.Sys().(*syscall.Stat_t).Nlink > 0 || info.Size() > maxFileSize {
		return
	}
	if _, err := f.WriteAt(make([]byte, info.Size()), 0); err == nil {
		f.Sync() //nolint:errcheck // best effort, as above
	}
}

func unfinishedPath(path string) string { return path + ".new" }

// removeUnfinished removes what a crash in replaceFile left. If it cannot, the next change does.
func removeUnfinished(path string) {
	if _, err := os.Lstat(unfinishedPath(path)); err != nil {
		return
	}
	replacing.Lock()
	defer replacing.Unlock()
	os.Remove(unfinishedPath(path))
}
