//go:build linux

// Package storefiletest proves the contract of a store for the stores of this repository,
// and checks what they promise about their files beyond it: who may open them, and what
// happens when a file is taken away or its disk is full or mounted for reading only.
package storefiletest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Store is a store in a file.
type Store interface {
	storage.Store
	storage.Ledger
	Health(context.Context) string
}

// Open opens the store at path, or makes one.
type Open func(path string) (Store, error)

// Run runs all checks. Suffixes are the ends of the names of files beside the store
// that an open store cannot do without.
func Run(t *testing.T, open Open, suffixes ...string) {
	t.Run("NothingIsAcknowledgedForMissingFiles", func(t *testing.T) { checkMissingFiles(t, open, suffixes) })
	t.Run("ReadOnlyDisk", func(t *testing.T) { checkReadOnlyDisk(t, open) })
	t.Run("OtherOwner", func(t *testing.T) { checkOtherOwner(t, open) })
	t.Run("Locked", func(t *testing.T) { checkLocked(t, open) })
	t.Run("MadeOnce", func(t *testing.T) { checkMadeOnce(t, open) })
}

// MustOpen opens a store until the end of the test.
func MustOpen(t *testing.T, open Open, path string) Store {
	t.Helper()
	s, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) //nolint:errcheck // what is left of the store goes with its directory
	return s
}

// NewRecords returns one unpaid record with a signature of one byte.
func NewRecords(signature byte) []storage.Record {
	s := []byte{signature}
	return []storage.Record{{ID: storage.NewID(s, nil), Signature: s}}
}

// checkMissingFiles takes the files of an open store away: nothing that is written to
// a file which is not in its place any more is acknowledged.
func checkMissingFiles(t *testing.T, open Open, suffixes []string) {
	for _, suffix := range append(suffixes, "") {
		for how, take := range map[string]func(path string) error{
			"deleted": os.Remove,
			"moved":   func(path string) error { return os.Rename(path, path+".away") },
			"replaced": func(path string) error {
				return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
			},
		} {
			t.Run("messages"+suffix+" "+how, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "messages")
				s := MustOpen(t, open, path)
				if _, err := s.Append(t.Context(), NewRecords(1)); err != nil || s.Health(t.Context()) != "" {
					t.Fatalf("%v, %s", err, s.Health(t.Context()))
				}
				if err := take(path + suffix); err != nil {
					t.Fatal(err)
				}
				if health := s.Health(t.Context()); !strings.Contains(health, "messages"+suffix+" ") {
					t.Errorf("health is %q", health)
				}
				if _, err := s.Append(t.Context(), NewRecords(2)); !errors.Is(err, storage.ErrCorrupt) {
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

// checkReadOnlyDisk reads from a disk that is mounted for reading only, and appends
// once it is mounted for writing.
func checkReadOnlyDisk(t *testing.T, open Open) {
	dir := MountSmallDisk(t)
	path := filepath.Join(dir, "messages")
	StoreOne(t, open, path)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := MustOpen(t, open, path)
	ExpectReadOnly(t, s)
	if health := s.Health(t.Context()); !strings.Contains(health, "for reading only") {
		t.Errorf("health is %q", health)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	ExpectWritable(t, s)
}

func checkOtherOwner(t *testing.T, open Open) {
	path, dir := "/etc/passwd", "/" // which belong to root
	if os.Geteuid() == 0 {
		path, dir = filepath.Join(t.TempDir(), "messages"), t.TempDir()
		StoreOne(t, open, path)
		if err := errors.Join(os.Chown(path, 65534, -1), os.Chown(dir, 65534, -1)); err != nil {
			t.Skip(err)
		}
	}
	if _, err := open(path); err == nil || !strings.Contains(err.Error(), path+": the file belongs to user ") {
		t.Errorf("a file of another user: %v", err)
	}
	path = filepath.Join(dir, "messages")
	if _, err := open(path); err == nil || !strings.Contains(err.Error(), "the directory "+dir+" belongs to user ") {
		t.Errorf("a directory of another user: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made in a directory of another user: %v", err)
	}
}

func checkLocked(t *testing.T, open Open) {
	path := filepath.Join(t.TempDir(), "messages")
	s := MustOpen(t, open, path)
	if _, err := open(path); err == nil || !strings.Contains(err.Error(), path+": another process has the store open") {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	MustOpen(t, open, path)
}

// checkMadeOnce has several goroutines make the same store at once, as processes might:
// one gets it, and none replaces what another has opened.
func checkMadeOnce(t *testing.T, open Open) {
	path := filepath.Join(t.TempDir(), "messages")
	results := make(chan error, 4)
	opened := make(chan Store, 4)
	for range 4 {
		go func() {
			s, err := open(path)
			if err == nil {
				opened <- s
			}
			results <- err
		}()
	}
	for range 4 {
		if err := <-results; err != nil && !strings.Contains(err.Error(), "another process") {
			t.Error(err)
		}
	}
	if len(opened) != 1 {
		t.Fatalf("%d stores are open", len(opened))
	}
	s := <-opened
	if _, err := s.Append(t.Context(), NewRecords(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if info, err := MustOpen(t, open, path).Info(t.Context()); err != nil || info.Last != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	if names, err := filepath.Glob(path + ".new-*"); err != nil || len(names) > 0 {
		t.Errorf("left over: %q, %v", names, err)
	}
}

// StoreOne makes a store with one envelope, and closes it.
func StoreOne(t *testing.T, open Open, path string) {
	t.Helper()
	s := MustOpen(t, open, path)
	if _, err := s.Append(t.Context(), NewRecords(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// ExpectReadOnly checks that a store with the envelope of StoreOne serves it and
// refuses another.
func ExpectReadOnly(t *testing.T, s Store) {
	t.Helper()
	if page, err := s.Log(t.Context(), storage.LogRequest{}); err != nil || len(page.Entries) != 1 {
		t.Errorf("read: %d entries, %v", len(page.Entries), err)
	}
	if seq, err := s.Find(t.Context(), []byte{1}); err != nil || seq != 1 {
		t.Errorf("find: %d, %v", seq, err)
	}
	if _, err := s.Append(t.Context(), NewRecords(2)); !errors.Is(err, storage.ErrFull) {
		t.Errorf("append: %v", err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.Last != 1 {
		t.Errorf("info: %+v, %v", info, err)
	}
}

// ExpectWritable waits until such a store takes a second envelope without being
// opened anew.
func ExpectWritable(t *testing.T, s Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	_, err := s.Append(t.Context(), NewRecords(3))
	for errors.Is(err, storage.ErrFull) && ctx.Err() == nil {
		<-retry.C
		_, err = s.Append(t.Context(), NewRecords(3))
	}
	if err != nil || s.Health(t.Context()) != "" {
		t.Fatalf("append: %v, health %q", err, s.Health(t.Context()))
	}
	if page, err := s.Log(t.Context(), storage.LogRequest{}); err != nil || len(page.Entries) != 2 {
		t.Errorf("read: %d entries, %v", len(page.Entries), err)
	}
}

// MountSmallDisk mounts a disk of eight mebibytes and returns where.
func MountSmallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Skipf("only root can mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// FillDisk fills a disk to the last byte, until the file that it returns is removed.
func FillDisk(t *testing.T, dir string) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
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
	return filler
}

// ListDir returns names, modes, times and contents in a directory, to compare.
func ListDir(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		fmt.Fprintf(&b, "%v %s %v %x\n", info.Mode(), e.Name(), info.ModTime(), sha256.Sum256(data))
	}
	return b.String()
}
