package profile

import (
	"context"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/filelock"
)

// lockWait bounds the wait for an update of another process, which takes
// milliseconds.
const lockWait = 10 * time.Second

// lockFile takes a lock file, waiting for others. The lock ends with the process.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	f, err := filelock.OpenWait(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("lock profile: %w", err)
	}
	return func() { f.Close() }, nil
}

// tryLock takes a lock file, or returns an error that is [filelock.ErrLocked].
func tryLock(path string) (unlock func(), err error) {
	f, err := filelock.Open(path)
	if err != nil {
		return nil, fmt.Errorf("lock profile: %w", err)
	}
	return func() { f.Close() }, nil
}
