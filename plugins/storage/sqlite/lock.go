//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lock opens the file at path and locks it, waiting for a process that has it
// locked for as long as wait. Closing the file unlocks it.
func lock(path string, wait time.Duration) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	const pause = 20 * time.Millisecond
	for deadline := time.Now().Add(wait); ; time.Sleep(pause) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case err == syscall.EINTR:
			continue
		case err == syscall.EWOULDBLOCK && time.Now().Add(pause).Before(deadline):
			continue
		case err == syscall.EWOULDBLOCK:
			err = errors.New("another process has the store open; end it first")
		default:
			err = fmt.Errorf("lock: %w", err)
		}
		file.Close()
		return nil, err
	}
}
