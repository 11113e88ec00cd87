//go:build unix

package ownership

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ExposedError is a file, directory or link that a user who is not trusted owns or can
// replace.
type ExposedError struct {
	Path     string
	Owner    int
	Writable bool // a directory that its group or everybody can write; else the owner is the reason
}

func (e *ExposedError) Error() string {
	if e.Writable {
		return e.Path + " can be written by its group or by everybody"
	}
	return fmt.Sprintf("%s belongs to user %s", e.Path, UserName(e.Owner))
}

// CheckTrusted returns an [*ExposedError] unless one of the trusted users owns path.
func CheckTrusted(path string, info fs.FileInfo, trusted []int) error {
	if owner := UID(info); !slices.Contains(trusted, owner) {
		return &ExposedError{Path: path, Owner: owner}
	}
	return nil
}

// maxLinks bounds the symbolic links on the way to a file, as the kernel does.
const maxLinks = 40

// ResolveTrusted follows an absolute path to its end, and returns an [*ExposedError]
// if a user who is not trusted could lead it elsewhere: trusted users must own all
// directories, links and what is at the end, and nobody else may be able to replace
// one. The path that it returns has no links in it.
func ResolveTrusted(path string, trusted []int) (string, fs.FileInfo, error) {
	at, rest, links := "/", splitPath(path), 0
	for {
		info, err := os.Lstat(at)
		if err != nil {
			return "", nil, err
		}
		if err := CheckTrusted(at, info, trusted); err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if links++; links > maxLinks {
				return "", nil, fmt.Errorf("%s: more than %d symbolic links", path, maxLinks)
			}
			target, err := os.Readlink(at)
			if err != nil {
				return "", nil, err
			}
			at, rest = filepath.Dir(at), slices.Concat(splitPath(target), rest)
			if filepath.IsAbs(target) {
				at = "/"
			}
			continue
		}
		if len(rest) == 0 {
			return at, info, nil
		}
		if !info.IsDir() {
			return "", nil, fmt.Errorf("%s is not a directory", at)
		}
		// With the sticky bit, as in /tmp, users can replace only what they own.
		if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return "", nil, &ExposedError{Path: at, Writable: true}
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:]
	}
}

func splitPath(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}
