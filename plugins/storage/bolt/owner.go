//go:build unix

package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkFile returns why path is no file of this user's, or fs.ErrNotExist.
func checkFile(path string) error {
	info, err := os.Stat(path)
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
