package manager

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The directory of a server is moved away, and the keys of two servers are swapped.
func TestRecordRefusesOtherKeys(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(data, "servers", "one"), filepath.Join(data, "servers", "two")
	keys := func(dir string) string {
		t.Helper()
		s, err := LoadOrCreateKeys(data, dir)
		if err != nil {
			t.Fatal(err)
		}
		return string(s.Board.Onion())
	}
	refused := func(dir, want string) {
		t.Helper()
		if _, err := LoadOrCreateKeys(data, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	first := keys(one)
	keys(two)

	move(one, one+".away")
	refused(one, "is missing, but the server has run, at "+first)
	if _, err := os.Lstat(one); err == nil {
		t.Error("its directory was made again")
	}
	if err := os.Mkdir(one, 0o700); err != nil { // the mount point of its disk
		t.Fatal(err)
	}
	refused(one, "is missing, but the server has run, at "+first)
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	move(one+".away", one)
	if keys(one) != first {
		t.Error("it has other keys")
	}

	move(filepath.Join(one, "keys"), filepath.Join(data, "keys"))
	move(filepath.Join(two, "keys"), filepath.Join(one, "keys"))
	move(filepath.Join(data, "keys"), filepath.Join(two, "keys"))
	refused(one, "the server had those of "+first)
	refused(two, "the keys are those of "+first)

	for _, name := range []string{"one", "two"} {
		if err := os.Remove(filepath.Join(data, recordDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if keys(two) != first {
		t.Error("it has other keys")
	}
}
