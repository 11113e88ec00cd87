package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// maxLinks is the greatest number of symbolic links on the way to a file, as for
// the kernel.
const maxLinks = 40

// resolveTrusted follows the path, which is absolute, to the file that it leads to. It
// makes sure that nobody but root and the user of the relay can lead it
// elsewhere: every directory that is passed, and every link, belongs to one of
// them, and nobody else can put anything in its place.
func resolveTrusted(path string) (string, error) {
	at, rest, links := "/", pathSteps(path), 0
	if err := checkDir(at); err != nil {
		return "", err
	}
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0]) // ".." is where it was before
		rest = rest[1:]
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", fmt.Errorf("%s: more than %d symbolic links", path, maxLinks)
			}
			if err := checkOwner(info, next); err != nil {
				return "", err
			}
			target, err := os.Readlink(next)
			if err != nil {
				return "", err
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = slices.Concat(pathSteps(target), rest)
		case len(rest) == 0:
			return next, nil
		default:
			if err := checkDir(next); err != nil {
				return "", err
			}
			at = next
		}
	}
	return at, nil
}

func pathSteps(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// checkDir makes sure that only root and the user of the relay can replace what
// is in a directory. In one with the sticky bit, such as /tmp, everybody can
// add names, but replace only what is his.
func checkDir(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	if err := checkOwner(info, path); err != nil {
		return err
	}
	if info.Mode()&os.ModeSticky != 0 {
		return nil
	}
	if info.Mode().Perm()&0o022 != 0 {
		return &unsafeError{path + " can be written by its group or by everybody, who could replace the plugin"}
	}
	return nil
}

// unsafeError is a way to a plugin that another user could change.
type unsafeError struct{ text string }

func (e *unsafeError) Error() string { return e.text }

// checkOwner makes sure that a file belongs to root or to the user of the relay.
func checkOwner(info os.FileInfo, path string) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the owner of files cannot be read on this system")
	}
	if uid := os.Geteuid(); stat.Uid != 0 && int(stat.Uid) != uid {
		return &unsafeError{fmt.Sprintf("%s belongs to user %s, who could replace the plugin and is neither root nor the user of the relay (%s)",
			path, pathname.UserName(int(stat.Uid)), pathname.UserName(uid))}
	}
	return nil
}
