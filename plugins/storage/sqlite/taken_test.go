package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func fresh(n byte) []storage.Record {
	signature := []byte{n}
	return []storage.Record{{ID: storage.NewID(signature, nil), Signature: signature}}
}

// TestTakenAway acknowledges nothing that is written to a file which is not in its
// place any more.
func TestTakenAway(t *testing.T) {
	for _, name := range []string{"messages.db", "messages.db-wal"} {
		for how, take := range map[string]func(path string) error{
			"deleted": os.Remove,
			"moved":   func(path string) error { return os.Rename(path, path+".away") },
			"replaced": func(path string) error {
				return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "messages.db")
				s, err := Open(path, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if _, err := s.Append(t.Context(), fresh(1)); err != nil || s.Health(t.Context()) != "" {
					t.Fatalf("%v, %s", err, s.Health(t.Context()))
				}
				if err := take(filepath.Join(filepath.Dir(path), name)); err != nil {
					t.Fatal(err)
				}
				if health := s.Health(t.Context()); !strings.Contains(health, name) {
					t.Errorf("health is %q", health)
				}
				if _, err := s.Append(t.Context(), fresh(2)); !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("append: %v", err)
				}
				if err := s.Spend(t.Context(), []storage.SpentToken{{}}); !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("spend: %v", err)
				}
				if _, err := s.Info(t.Context()); !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("info: %v", err)
				}
			})
		}
	}
}

// disk mounts a small one.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Skipf("only root can mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// readsOnly checks that a store which holds one envelope serves it and takes no other.
func readsOnly(t *testing.T, s *Store) {
	t.Helper()
	if page, err := s.Log(t.Context(), storage.LogRequest{}); err != nil || len(page.Entries) != 1 {
		t.Errorf("read: %d entries, %v", len(page.Entries), err)
	}
	if seq, err := s.Find(t.Context(), []byte{1}); err != nil || seq != 1 {
		t.Errorf("find: %d, %v", seq, err)
	}
	if _, err := s.Append(t.Context(), fresh(2)); !errors.Is(err, storage.ErrFull) {
		t.Errorf("append: %v", err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.Last != 1 {
		t.Errorf("info: %+v, %v", info, err)
	}
}

// writesAgain waits until it takes one more, which it does without being opened anew.
func writesAgain(t *testing.T, s *Store) {
	t.Helper()
	var err error
	for range 1000 { // ten seconds
		if _, err = s.Append(t.Context(), fresh(3)); !errors.Is(err, storage.ErrFull) {
			break
		}
		unix.Poll(nil, 10)
	}
	if err != nil || s.Health(t.Context()) != "" {
		t.Fatalf("append: %v, health %q", err, s.Health(t.Context()))
	}
	if page, err := s.Log(t.Context(), storage.LogRequest{}); err != nil || len(page.Entries) != 2 {
		t.Errorf("read: %d entries, %v", len(page.Entries), err)
	}
}

// storeOn makes a store with one envelope on a disk, and closes it.
func storeOn(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "messages.db")
	s := reopen(t, path, Options{})
	if _, err := s.Append(t.Context(), fresh(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReadOnlyDisk serves reads, and appends once the disk is mounted for writing.
func TestReadOnlyDisk(t *testing.T) {
	dir := disk(t, "8m")
	path := storeOn(t, dir)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	readsOnly(t, s)
	if health := s.Health(t.Context()); !strings.Contains(health, "for reading only") {
		t.Errorf("health is %q", health)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	writesAgain(t, s)
}

// TestFullDiskAtTheStart serves reads, and appends once there is room.
func TestFullDiskAtTheStart(t *testing.T) {
	dir := disk(t, "8m")
	path := storeOn(t, dir)
	filler := filepath.Join(dir, "filler")
	file, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	readsOnly(t, s)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	writesAgain(t, s)
}
