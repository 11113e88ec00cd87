//go:build unix

package ground

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestDistrust refuses a store until somebody has removed the mark that the error
// names, whatever the cause was.
func TestDistrust(t *testing.T) {
	for _, cause := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		path := filepath.Join(t.TempDir(), "messages.db")
		if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Settle(path, "-wal"); err != nil {
			t.Fatal(err)
		}
		mark := "messages.db.sync-failed"
		for what, err := range map[string]error{"the error": Distrust(path, cause), "the next start": Settle(path, "-wal")} {
			if !errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), mark) {
				t.Errorf("%s is %v, want ErrCorrupt and the name of the mark", what, err)
			}
		}
		if err := os.Remove(filepath.Join(filepath.Dir(path), mark)); err != nil {
			t.Fatal(err)
		}
		if err := Settle(path, "-wal"); err != nil {
			t.Errorf("after the mark was removed: %v", err)
		}
	}
}

// TestDistrustWithoutRoom has no place for the mark, and says so.
func TestDistrustWithoutRoom(t *testing.T) {
	err := Distrust(filepath.Join(t.TempDir(), "gone", "messages.db"), syscall.EIO)
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "could not be made durable") {
		t.Errorf("got %v", err)
	}
}
