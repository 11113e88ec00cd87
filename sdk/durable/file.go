//go:build unix

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// PrivateUmask makes new files and directories of this process and its children accessible
// to their user alone, unless they are given another mode. Programs call it first.
func PrivateUmask() { syscall.Umask(0o077) }

// WriteFile writes a file, durably. Its name leads to the old content, or to none, until all
// of the new content is on disk, so a full disk or a crash leaves no part of it. The mode is
// exact, whatever the umask is.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return writeTemporary(path, data, mode, os.Rename)
}

// CreateFile is WriteFile for a file that must not exist yet; otherwise it returns an error
// that matches [fs.ErrExist].
func CreateFile(path string, data []byte, mode fs.FileMode) error {
	return writeTemporary(path, data, mode, os.Link) // rename would replace the file of a faster process
}

// WriteOutput writes the output of a command to a path that a person gave. It follows
// links, keeps the mode of a file that exists, and writes as WriteFile does; but directly to
// what is not a file, such as a pipe or a terminal.
func WriteOutput(path string, data []byte, mode fs.FileMode) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return writeDirectly(path, data)
	}
	if err == nil {
		mode = info.Mode().Perm()
	}
	return WriteFile(path, data, mode)
}

// ReplaceFile writes a file that exists and that belongs to a person. It follows links, keeps the
// mode, the owner and the group, and writes as WriteFile does.
func ReplaceFile(path string, data []byte) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return writeTemporary(target, data, info.Mode().Perm(), func(temporary, path string) error {
		if err := setOwner(temporary, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
		return os.Rename(temporary, path)
	})
}

// setOwner changes the owner and the group of a file durably, if it has to.
func setOwner(path string, uid, gid int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if is := info.Sys().(*syscall.Stat_t); int(is.Uid) == uid && int(is.Gid) == gid {
		return nil
	}
	if err := f.Chown(uid, gid); err != nil {
		return err
	}
	return f.Sync()
}

func writeDirectly(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// writeTemporary writes a temporary file and has publish give it its name.
func writeTemporary(path string, data []byte, mode fs.FileMode, publish func(temporary, path string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // short: the name of the file may be as long as a name can be
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // a name that it no longer has after a rename
	_, err = f.Write(data)
	if err := errors.Join(err, setMode(f, mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := publish(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// setMode changes the mode of a file if it has to: the sandbox of a plugin does not allow it.
func setMode(f *os.File, mode fs.FileMode) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() == mode {
		return err
	}
	return f.Chmod(mode)
}
