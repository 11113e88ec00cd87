//go:build unix

package ownership

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrongOwner(t *testing.T) {
	dir := t.TempDir()
	me := os.Geteuid()
	if hint := WrongOwner(dir, me+4242, "lock"); !strings.HasPrefix(hint, "run it as its owner: sudo -u ") || strings.Contains(hint, "chown") {
		t.Errorf("another user's: %s", hint)
	}
	if hint := WrongOwner(dir, 0, "lock"); strings.Contains(hint, "chown") {
		t.Errorf("root's, with nothing of the relay in it: %s", hint)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if hint := WrongOwner(dir, 0, "lock"); !strings.Contains(hint, "chown -R --from=root "+UserName(me)+" ") {
		t.Errorf("root's, of the relay: %s", hint)
	}
}

// A directory in which other things are, such as /tmp, is not closed.
func TestWrongMode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if hint := WrongMode(dir, "lock"); !strings.Contains(hint, "chmod 0700 '"+filepath.Dir(dir)) {
		t.Errorf("an empty one: %s", hint)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if hint := WrongMode(dir, "lock"); strings.Contains(hint, "chmod") {
		t.Errorf("one with other things: %s", hint)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if hint := WrongMode(dir, "lock"); !strings.Contains(hint, "chmod 0700") {
		t.Errorf("one of the relay: %s", hint)
	}
}

func TestNotWritableByMode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o600); err != nil {
		t.Fatal(err)
	}
	want := "chmod u+rwx " + dir
	if hint := NotWritable(dir); !strings.Contains(hint, want) {
		t.Errorf("the directory itself: %s", hint)
	}
	if hint := NotWritable(filepath.Join(dir, "a", "b")); !strings.Contains(hint, want) {
		t.Errorf("one below it: %s", hint)
	}
}

// A secret is left to its owner alone, who cannot write it if that was so before.
func TestCloseFile(t *testing.T) {
	for _, c := range []struct {
		mode, denied fs.FileMode
		want         string
	}{
		{0o644, 0o006, "600"}, {0o664, 0o006, "600"}, {0o444, 0o006, "400"}, {0o644, 0o077, "600"}, {0o440, 0o077, "400"},
		{0o666, 0o022, "644"},
	} {
		if got := closeFile("/f", c.mode, c.denied); got != "chmod "+c.want+" /f" {
			t.Errorf("mode %o, denied %o: %s", c.mode, c.denied, got)
		}
	}
}
