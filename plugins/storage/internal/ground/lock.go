//go:build unix

package ground

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Lock locks a file for this process alone, waiting for a process that has it
// locked for as long as wait. Closing the file unlocks it.
func Lock(file *os.File, wait time.Duration) error {
	const pause = 20 * time.Millisecond
	for deadline := time.Now().Add(wait); ; time.Sleep(pause) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err == syscall.EINTR:
			continue
		case err == syscall.EWOULDBLOCK && time.Now().Add(pause).Before(deadline):
			continue
		case err == syscall.EWOULDBLOCK:
			return errors.New("another process has the store open; end it first")
		default:
			return fmt.Errorf("lock: %w", err)
		}
	}
}
