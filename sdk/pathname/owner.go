//go:build unix

package pathname

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// WrongOwner says what to do about a file or directory of user owner that this
// process, of another user, was told to use. None of its commands takes from anybody
// what others use: a directory changes its owner only if root has made it for the relay,
// which shows by a file in it with one of the names.
func WrongOwner(path string, owner int, names ...string) string {
	me := os.Geteuid()
	switch {
	case owner != 0:
		return fmt.Sprintf("run it as its owner: %s; or choose another directory", RunAs(owner))
	case holds(path, names):
		return fmt.Sprintf("root has run cwtch-relay on it; give what root has made there to this user: %s",
			Command("sudo", "chown", "-R", "--from=root", UserName(me), path))
	default:
		return fmt.Sprintf("choose a directory that belongs to this user (%s)", UserName(me))
	}
}

// WrongMode says how to close a directory of this user to others. Unless it is empty or
// has a file with one of the names in it, others may need what is there, and it stays
// as it is.
func WrongMode(dir string, names ...string) string {
	if empty(dir) || holds(dir, names) {
		return "close it to others: " + Command("chmod", "0700", dir)
	}
	return fmt.Sprintf("choose a directory for nothing else, such as %s", Quote(filepath.Join(dir, "cwtch")))
}

const elsewhere = "choose another directory"

// NotWritable says what to do about a directory that this process cannot make, enter or
// write in. It names the directory on the way there that is the cause.
func NotWritable(dir string) string {
	at, err := dir, error(nil)
	info, statErr := os.Stat(at)
	for ; statErr != nil && at != filepath.Dir(at); info, statErr = os.Stat(at) {
		at, err = filepath.Dir(at), statErr
	}
	me := UserName(os.Geteuid())
	switch {
	case statErr != nil || !info.IsDir():
		return elsewhere
	case OwnerOf(info) == os.Geteuid() && info.Mode().Perm()&0o700 != 0o700:
		return fmt.Sprintf("%s has mode %04o; open it to its owner: %s", Quote(at), info.Mode().Perm(), Command("chmod", "u+rwx", at))
	case unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == unix.EROFS:
		return fmt.Sprintf("the file system of %s is mounted for reading only; choose another directory", Quote(at))
	case errors.Is(err, fs.ErrNotExist) && OwnerOf(info) != os.Geteuid():
		return "make it, for the user that runs the relay: " + Command("sudo", "install", "-d", "-m", "0700", "-o", me, dir)
	case OwnerOf(info) == os.Geteuid():
		return elsewhere
	default:
		return fmt.Sprintf("%s belongs to %s; choose a directory that belongs to this user (%s)", Quote(at), UserName(OwnerOf(info)), me)
	}
}

// RunAs is the command line of this process for another user.
func RunAs(uid int) string {
	return Command(append([]string{"sudo", "-u", sudoName(uid)}, os.Args...)...)
}

// UserName is the name of a user, or the number of one without a name.
func UserName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func sudoName(uid int) string {
	if name := UserName(uid); name != strconv.Itoa(uid) {
		return name
	}
	return fmt.Sprintf("#%d", uid)
}

// OwnerOf is the number of the user to whom a file belongs.
func OwnerOf(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

func holds(dir string, names []string) bool {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

func empty(dir string) bool {
	files, err := os.ReadDir(dir)
	return err == nil && len(files) == 0
}
