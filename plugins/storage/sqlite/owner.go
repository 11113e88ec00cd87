//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// checkFile returns why path is no file of this user's, or fs.ErrNotExist. A
// symbolic link is none: the files that go with a database are beside it.
func checkFile(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("there is something else than a file; give the store another path")
	}
	if err := checkOwner(info); err != nil {
		return fmt.Errorf("the file %w", err)
	}
	return nil
}

// checkDir returns why dir is no directory of this user's, or fs.ErrNotExist.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory; give the store another path", dir)
	}
	if err := checkOwner(info); err != nil {
		return fmt.Errorf("the directory %s %w", dir, err)
	}
	return nil
}

// checkOwner returns an error for what belongs to another user. It is not ours
// to change, even where we could.
func checkOwner(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d and the relay runs as user %d; change its owner or run the relay as that user", stat.Uid, os.Geteuid())
	}
	return nil
}

// lock opens the file at path and locks it, waiting for a process that has it
// locked for as long as wait. Closing the file unlocks it.
func lock(path string, wait time.Duration) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	const pause = 20 * time.Millisecond
	for deadline := time.Now().Add(wait); ; time.Sleep(pause) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case err == syscall.EINTR:
			continue
		case err == syscall.EWOULDBLOCK && time.Now().Add(pause).Before(deadline):
			continue
		case err == syscall.EWOULDBLOCK:
			err = errors.New("another process has the store open; end it first")
		default:
			err = fmt.Errorf("lock: %w", err)
		}
		file.Close()
		return nil, err
	}
}
