//go:build unix

package bolt

import (
	"fmt"
	"os"
	"syscall"
)

// checkOwner returns an error when path, a file or a directory, is of another
// user or neither of the two; it is fs.ErrNotExist when there is no path. What
// another user owns is not ours to change, even where we could.
func checkOwner(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("%s is neither a file nor a directory; give the store another path", path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d and the relay runs as user %d; change the owner or run as that user", path, stat.Uid, os.Geteuid())
	}
	return nil
}
