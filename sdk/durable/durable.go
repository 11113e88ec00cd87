//go:build unix

// Package durable makes files, and the names of files and directories, survive
// a power cut. It is for the relay, and for authors of plugins who keep files.
//
// A name is durable once its directory was synced after the name was made. A file is
// durable once it was synced after its last write. A process that is killed in between
// leaves a name that everybody sees, and that a power cut takes away. So sync a file that
// you find before you rely on it, as the process that wrote it should have.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MakeDir makes a directory and missing ones above it, with the mode whatever the umask is,
// and makes their names durable. It does so too for directories that exist: an earlier
// process may have been killed between making and syncing them.
func MakeDir(path string, mode fs.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := makeMissing(path, mode); err != nil {
		return err
	}
	return syncNames(path)
}

func makeMissing(path string, mode fs.FileMode) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := makeMissing(parent, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, mode); err != nil {
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			return nil // another process was faster
		}
		return err
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() == mode {
		return err // the sandbox of a plugin allows no change of modes
	}
	return os.Chmod(path, mode) // the umask was in the way
}

// syncNames makes the name of a directory durable, and the names of those above it that
// this user may have made. It ends at a directory of another user, at the top of a file
// system, and below a directory that it may not read, as in a sandbox.
func syncNames(path string) error {
	for {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		parent := filepath.Dir(path)
		above, err := os.Stat(parent)
		if err != nil || parent == path || !mayHaveMade(info, above) {
			return ignorePermission(err)
		}
		if err := SyncDir(parent); err != nil {
			return ignorePermission(err)
		}
		path = parent
	}
}

// mayHaveMade reports whether this user may have made a directory in the one above.
func mayHaveMade(info, above fs.FileInfo) bool {
	i, ok := info.Sys().(*syscall.Stat_t)
	a, okAbove := above.Sys().(*syscall.Stat_t)
	return ok && okAbove && int(i.Uid) == os.Geteuid() && i.Dev == a.Dev
}

// ignorePermission returns nil for an error of missing permission, and any other as it is.
func ignorePermission(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Confirm makes an open file and its name durable. Call it on a file that you find, before
// you rely on what is in it.
func Confirm(f *os.File) error {
	return errors.Join(f.Sync(), SyncDir(filepath.Dir(f.Name())))
}
