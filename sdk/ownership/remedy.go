//go:build unix

package ownership

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// WrongOwner says what to do about a file or directory that belongs to another user,
// owner. It takes nothing from anybody that others use: a directory changes its owner
// only if root has made it for the relay, which one of the names in it shows.
func WrongOwner(path string, owner int, names ...string) string {
	me := os.Geteuid()
	switch {
	case owner != 0:
		return fmt.Sprintf("run it as its owner: %s; or choose another directory", RunAs(owner))
	case containsAny(path, names):
		return fmt.Sprintf("root has run cwtch-relay on it; give what root has made there to this user: %s",
			pathname.Command("sudo", "chown", "-R", "--from=root", UserName(me), path))
	default:
		return fmt.Sprintf("choose a directory that belongs to this user (%s)", UserName(me))
	}
}

// WrongMode says how to close a directory of this user to others. It leaves one alone
// that is neither empty nor has one of the names in it: others may need what is there.
func WrongMode(dir string, names ...string) string {
	if isEmpty(dir) || containsAny(dir, names) {
		return "close it to others: " + pathname.Command("chmod", "0700", dir)
	}
	return fmt.Sprintf("choose a directory for nothing else, such as %s", pathname.Quote(filepath.Join(dir, "cwtch")))
}

// closeFile is the command that takes the denied bits from a file. What others must not read is
// a secret, and is left to its owner alone.
func closeFile(path string, mode, denied fs.FileMode) string {
	left := 0o666 &^ denied
	if denied&0o004 != 0 {
		left = mode&0o600 | 0o400
	}
	return pathname.Command("chmod", fmt.Sprintf("%o", left), path)
}

const chooseAnother = "choose another directory"

// NotWritable says what to do about a directory that this process cannot make, enter or
// write to. It names the directory on the way there that is the cause.
func NotWritable(dir string) string {
	at, err := dir, error(nil)
	info, statErr := os.Stat(at)
	for ; statErr != nil && at != filepath.Dir(at); info, statErr = os.Stat(at) {
		at, err = filepath.Dir(at), statErr
	}
	me := UserName(os.Geteuid())
	switch {
	case statErr != nil || !info.IsDir():
		return chooseAnother
	case UID(info) == os.Geteuid() && info.Mode().Perm()&0o700 != 0o700:
		return fmt.Sprintf("%s has mode %04o; open it to its owner: %s", pathname.Quote(at), info.Mode().Perm(), pathname.Command("chmod", "u+rwx", at))
	case unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == unix.EROFS:
		return fmt.Sprintf("the file system of %s is mounted for reading only; choose another directory", pathname.Quote(at))
	case errors.Is(err, fs.ErrNotExist) && UID(info) != os.Geteuid():
		return "make it, for the user that runs the relay: " + pathname.Command("sudo", "install", "-d", "-m", "0700", "-o", me, dir)
	case UID(info) == os.Geteuid():
		return chooseAnother
	default:
		return fmt.Sprintf("%s belongs to %s; choose a directory that belongs to this user (%s)", pathname.Quote(at), UserName(UID(info)), me)
	}
}

// RunAs returns the command that runs this process again as another user.
func RunAs(uid int) string {
	return pathname.Command(append([]string{"sudo", "-u", sudoName(uid)}, os.Args...)...)
}

// UserName returns the name of a user, or the number of one without a name.
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

func containsAny(dir string, names []string) bool {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

func isEmpty(dir string) bool {
	files, err := os.ReadDir(dir)
	return err == nil && len(files) == 0
}
