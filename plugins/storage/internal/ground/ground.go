//go:build unix

// Package ground looks after the file and the directory that a store stands on:
// that they are this user's, that they are durable before they are read, and that
// a lack of room and a failed sync are told from other faults. It is for the storage plugins of this
// repository that keep a file.
package ground

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const dirMode = 0o700

// CheckFile returns why path is no file of this user's, or [fs.ErrNotExist]. A
// symbolic link is none: what goes with a store is beside its file, and a
// sandbox ends at the directory.
func CheckFile(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("there is something else than a file; put the file itself there, or correct the path of the store")
	}
	if err := checkOwner(info); err != nil {
		return fmt.Errorf("the file %w", err)
	}
	return nil
}

// MakeDir makes the directory of a store, durably, or checks that of an existing
// one.
func MakeDir(dir string) error {
	if err := checkDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return Full(durable.MakeDir(dir, dirMode))
}

// Full makes an error that is [storage.ErrFull] of one that says that there is
// no room, and returns any other as it is. That of a sync is never one: what it
// has lost does not come back with room.
func Full(err error) error {
	var named *fs.PathError
	if errors.As(err, &named) && named.Op == "sync" {
		return err
	}
	for _, errno := range NoRoom {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
	}
	return err
}

// NoRoom are the numbers by which a system says that a file cannot grow: the
// disk, a quota, or the limit of a process.
var NoRoom = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}

// checkDir returns why dir is no directory of this user's, or fs.ErrNotExist.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory; correct the path of the store", dir)
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
		return fmt.Errorf("belongs to user %d and the relay runs as user %d: run the relay as that user", stat.Uid, os.Geteuid())
	}
	return nil
}
