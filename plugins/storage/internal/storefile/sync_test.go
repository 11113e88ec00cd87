//go:build unix

package storefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestMarkedStoreIsRefused refuses a store until somebody removes the mark that the
// error names, whatever the cause of the failed sync was.
func TestMarkedStoreIsRefused(t *testing.T) {
	for _, cause := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		path := filepath.Join(t.TempDir(), "messages.db")
		if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := SyncBeforeRead(path, "-wal"); err != nil {
			t.Fatal(err)
		}
		mark := "messages.db.sync-failed"
		for what, err := range map[string]error{"the error": MarkSyncFailed(path, cause), "the next start": SyncBeforeRead(path, "-wal")} {
			if !errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), mark) {
				t.Errorf("%s is %v, want ErrCorrupt and the name of the mark", what, err)
			}
		}
		if err := os.Remove(filepath.Join(filepath.Dir(path), mark)); err != nil {
			t.Fatal(err)
		}
		if err := SyncBeforeRead(path, "-wal"); err != nil {
			t.Errorf("after the mark was removed: %v", err)
		}
	}
}

// TestMarkSyncFailedWithoutRoom has no place for the mark.
func TestMarkSyncFailedWithoutRoom(t *testing.T) {
	err := MarkSyncFailed(filepath.Join(t.TempDir(), "gone", "messages.db"), syscall.EIO)
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "could not be made durable") {
		t.Errorf("got %v", err)
	}
}
