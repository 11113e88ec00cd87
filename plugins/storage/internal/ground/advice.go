//go:build unix

package ground

import (
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// What is said of a file that cannot be used begins with a copy of it: nobody can
// tell yet what may still be got out of it, and an empty store in its place loses
// what was acknowledged.
var (
	// ErrForeign is said of a file that does not begin as a store does.
	ErrForeign = errors.New("the file is not a store of this relay, or its beginning is damaged; if its path is wrong, correct that, and if not, keep a copy of the file and restore a backup")
	// ErrEmptyFile is said of a file without a byte.
	ErrEmptyFile = errors.New("the file is empty; restore a backup, or look whether the disk is the right one")
)

// Damaged is the error of a file that contradicts itself.
func Damaged(how string) error {
	return fmt.Errorf("%w (%s); keep a copy of the file and restore a backup", storage.ErrCorrupt, how)
}
