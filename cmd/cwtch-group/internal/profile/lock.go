package profile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked means that another process holds the lock, or another goroutine.
var errLocked = errors.New("locked")

// lockWait bounds the wait for an update of another process, which takes
// milliseconds; lockRetry is how often to look.
const (
	lockWait  = 10 * time.Second
	lockRetry = 5 * time.Millisecond
)

// lockFile takes a lock file, waiting for others. The lock ends with the process.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		unlock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock profile: another command holds %s: %w", path, ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

// tryLock takes a lock file or returns errLocked.
func tryLock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock profile: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock profile: %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
