//go:build unix

// Package filelock locks files against other processes with flock(2). A lock belongs to
// an open file: closing the file releases it, and so does the end of the process,
// however it comes. It works on local file systems.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ErrLocked means that another process, or another open file of this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// retryEvery is how often Lock asks again. flock(2) can wait by itself, but not end
// its wait with a context.
const retryEvery = 5 * time.Millisecond

// Open opens a lock file and locks it, or returns an error that is [ErrLocked]. It makes
// the file with mode 0600, and refuses a symbolic link. Leave the file where it is when
// you release it: if it were removed, two processes could lock two files of one name.
func Open(path string) (*os.File, error) {
	return open(path, tryLock)
}

// OpenWait is Open, but waits for the lock until ctx ends.
func OpenWait(ctx context.Context, path string) (*os.File, error) {
	return open(path, func(f *os.File) error { return Lock(ctx, f) })
}

// Lock locks an open file. It waits for the lock until ctx ends, and then returns an
// error that is [ErrLocked].
func Lock(ctx context.Context, f *os.File) error {
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		err := tryLock(f)
		if !errors.Is(err, ErrLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		case <-retry.C:
		}
	}
}

func open(path string, lock func(*os.File) error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func tryLock(f *os.File) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
		case nil:
			return nil
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			return fmt.Errorf("%s: %w", f.Name(), ErrLocked)
		default:
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}
