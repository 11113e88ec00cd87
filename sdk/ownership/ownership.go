//go:build unix

// Package ownership finds out whether another user of the machine could read a file,
// or replace it, and what an operator types to put that right. It is for the relay
// and its commands, and for authors of plugins.
//
// It checks what a [fs.FileInfo] says, so the caller decides about links: Lstat
// refuses them, Stat follows them. Where a check must hold for what is then read or
// executed, open the file first and check the open file.
package ownership

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// UID returns the number of the user who owns a file.
func UID(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// Error is a file or directory that another user owns, or could read or write.
type Error struct {
	Problem string // begins with the path: "/srv/keys belongs to user ann, and this is user bob"
	Remedy  string // what to do, with the command to type
}

func (e *Error) Error() string { return e.Problem + ": " + e.Remedy }

// Check returns an [*Error] if another user owns path, or if its mode grants others
// any of the denied bits. The names are those of [WrongOwner].
func Check(path string, info fs.FileInfo, denied fs.FileMode, names ...string) error {
	if err := CheckOwner(path, info, names...); err != nil {
		return err
	}
	return CheckMode(path, info, denied, names...)
}

// CheckOwner returns an [*Error] if another user owns path, root included.
func CheckOwner(path string, info fs.FileInfo, names ...string) error {
	owner, me := UID(info), os.Geteuid()
	if owner == me {
		return nil
	}
	dir := path
	if !info.IsDir() {
		dir = filepath.Dir(path)
	}
	return &Error{
		Problem: fmt.Sprintf("%s belongs to user %s, and this is user %s", path, UserName(owner), UserName(me)),
		Remedy:  WrongOwner(dir, owner, names...),
	}
}

// CheckMode returns an [*Error] if the mode of path grants any of the denied bits:
// 0o022 so that no other user can write, 0o077 so that none can read either.
func CheckMode(path string, info fs.FileInfo, denied fs.FileMode, names ...string) error {
	mode := info.Mode().Perm()
	switch granted := mode & denied; {
	case granted == 0:
		return nil
	case !info.IsDir():
		return &Error{
			Problem: fmt.Sprintf("%s is open to other users (mode %04o)", path, mode),
			Remedy:  "run " + closeFile(path, mode, denied),
		}
	case granted&0o022 != 0:
		return &Error{
			Problem: fmt.Sprintf("%s can be written by other users (mode %04o)", path, mode),
			Remedy:  WrongMode(path, names...),
		}
	default:
		return &Error{
			Problem: fmt.Sprintf("%s can be entered by other users (mode %04o)", path, mode),
			Remedy:  WrongMode(path, names...),
		}
	}
}
