//go:build unix

package storefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestFullError(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		cause := &fs.PathError{Op: "truncate", Path: "x.db", Err: errno}
		for _, err := range []error{cause, errno, fmt.Errorf("file resize error: %w", cause)} {
			if !errors.Is(FullError(err), storage.ErrFull) {
				t.Errorf("%q is not ErrFull", err)
			}
		}
	}
	for _, err := range []error{
		syscall.EIO, context.Canceled, errors.New("no space left on device, or so they say"), nil,
		&fs.PathError{Op: "sync", Path: "x.db", Err: syscall.ENOSPC},
	} {
		if FullError(err) != err {
			t.Errorf("%v became %v", err, FullError(err))
		}
	}
}
