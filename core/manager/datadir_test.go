package manager

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirIsClaimedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := claimDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claimDir(path); err == nil || !strings.Contains(err.Error(), "another relay") {
		t.Errorf("a directory was claimed twice: %v", err)
	}
	d.releaseDir()
	d, err = claimDir(path)
	if err != nil {
		t.Fatalf("not released: %v", err)
	}
	d.releaseDir()
}

func TestClaimRefusesWhatOthersCanWrite(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := claimDir(path); err == nil || !strings.Contains(err.Error(), "chmod 0700 ") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, lockName)); err == nil {
		t.Error("something was written to a directory that was refused")
	}
}

// The path of a unix socket is bounded; that of a data directory is not.
func TestSocketInLongPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	d, err := claimDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.releaseDir()
	for range 2 { // the second finds the socket of the first in its way
		ln, err := d.listenControl()
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(path, socketName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("socket has mode %v, %v", info.Mode(), err)
		}
		nc, err := d.dialControl(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		defer ln.Close()
	}
}

func TestAskWithoutRelay(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	left := t.TempDir()
	if err := os.Chmod(left, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := claimDir(left)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := d.listenControl()
	if err != nil {
		t.Fatal(err)
	}
	// As after a crash: the socket file is there, nobody listens.
	if err := os.Rename(filepath.Join(left, socketName), filepath.Join(left, "moved")); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := os.Rename(filepath.Join(left, "moved"), filepath.Join(left, socketName)); err != nil {
		t.Fatal(err)
	}
	d.releaseDir()
	for _, path := range []string{missing, left} {
		if _, err := AskStatus(context.Background(), path); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLostKeysAreNotReplaced(t *testing.T) {
	data := t.TempDir()
	if err := os.Chmod(data, 0o700); err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(data, "servers", "main")
	if _, err := LoadOrCreateKeys(data, server); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(StorageDir(server), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(StorageDir(server), "messages.db"), []byte("envelopes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(server, "keys")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(data, recordDir, "main")); err != nil { // as of an earlier release
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKeys(data, server); err == nil || !strings.Contains(err.Error(), "restore the key file") {
		t.Errorf("new keys beside old envelopes: %v", err)
	}
}
