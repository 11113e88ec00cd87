package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func openStore(path string) (storefiletest.Store, error) { return Open(path, Options{}) }

func TestFileOfStore(t *testing.T) { storefiletest.Run(t, openStore) }

// TestFullDiskAtTheStart reads from a full disk, appends as long as there is room in
// the file, and goes on once there is room on the disk.
func TestFullDiskAtTheStart(t *testing.T) {
	dir := storefiletest.MountSmallDisk(t)
	path := filepath.Join(dir, "messages.db")
	storefiletest.StoreOne(t, openStore, path)
	filler := storefiletest.FillDisk(t, dir)
	s := mustOpen(t, path, Options{})
	stored, err := storage.Seq(1), error(nil)
	for ; err == nil && stored < 1000; stored++ {
		signature := []byte{2, byte(stored), byte(stored >> 8)}
		body := make([]byte, 8<<10)
		_, err = s.Append(t.Context(), []storage.Record{{ID: storage.NewID(signature, body), Signature: signature, Ciphertext: body}})
	}
	stored-- // the last one was refused
	if !errors.Is(err, storage.ErrFull) {
		t.Fatalf("append: %v", err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.Last != stored {
		t.Errorf("info: %+v, %v, want %d envelopes", info, err, stored)
	}
	if seq, err := s.Find(t.Context(), []byte{1}); err != nil || seq != 1 {
		t.Errorf("find: %d, %v", seq, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), storefiletest.NewRecords(3)); err != nil {
		t.Error(err)
	}
}
