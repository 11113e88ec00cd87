//go:build unix

// Package durable makes files, and the names of files and directories, survive
// a power cut. It is for the relay, and for authors of plugins who keep files.
//
// A name is durable when its directory was synced after the name was made, and
// a file is durable when it was synced after its last write. A process that is
// killed in between leaves a name that everybody sees and that a power cut takes
// away. So whoever finds a file, and is about to rely on it, syncs it as well as
// whoever wrote it.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MakeDir makes a directory and those above it, and makes their names durable.
// Those that it makes have the mode whatever the umask is. The names of directories
// that exist are made durable as well: an earlier process may have been killed
// between making and syncing them.
func MakeDir(path string, mode fs.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := makeAll(path, mode); err != nil {
		return err
	}
	return syncNames(path)
}

func makeAll(path string, mode fs.FileMode) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := makeAll(parent, mode); err != nil {
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

// syncNames makes the name of a directory durable, and the names of those above
// it. It ends where this user cannot have made the next one: at a directory of
// another user, at the top of a file system, and below a directory that it may
// not read, as in a sandbox.
func syncNames(path string) error {
	for {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		parent := filepath.Dir(path)
		above, err := os.Stat(parent)
		if err != nil || parent == path || !madeHere(info, above) {
			return ignorePermission(err)
		}
		if err := SyncDir(parent); err != nil {
			return ignorePermission(err)
		}
		path = parent
	}
}

// madeHere reports whether this user may have made a directory in the one above.
func madeHere(info, above fs.FileInfo) bool {
	i, ok := info.Sys().(*syscall.Stat_t)
	a, okAbove := above.Sys().(*syscall.Stat_t)
	return ok && okAbove && int(i.Uid) == os.Geteuid() && i.Dev == a.Dev
}

// ignorePermission returns nil for the error of somebody who may not look.
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

// Confirm makes an open file and its name durable. Call it on a file that was
// found, before you rely on what is in it.
func Confirm(f *os.File) error {
	return errors.Join(f.Sync(), SyncDir(filepath.Dir(f.Name())))
}
