package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
)

func openStore(path string) (storefiletest.Store, error) { return Open(path, Options{}) }

func TestFileOfStore(t *testing.T) { storefiletest.Run(t, openStore, walSuffix) }

// TestFullDiskAtTheStart reads from a full disk, on which SQLite cannot make its files,
// and appends once there is room.
func TestFullDiskAtTheStart(t *testing.T) {
	dir := storefiletest.MountSmallDisk(t)
	path := filepath.Join(dir, "messages.sqlite")
	storefiletest.StoreOne(t, openStore, path)
	filler := storefiletest.FillDisk(t, dir)
	s := mustOpen(t, path, Options{})
	storefiletest.ExpectReadOnly(t, s)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	storefiletest.ExpectWritable(t, s)
}
