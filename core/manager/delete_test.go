package manager

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is in the place of the keys of a server that is deleted may be a link to another file, or a
// second name of a backup. Neither is emptied. A pipe holds nothing up.
func TestDeletionEmptiesTheKeysAlone(t *testing.T) {
	for name, test := range map[string]struct {
		place func(other, keys string) error
		kept  bool // the other file
	}{
		"file":      {os.Rename, false},
		"link":      {os.Symlink, true},
		"hard link": {os.Link, true},
		"pipe":      {func(_, keys string) error { return syscall.Mkfifo(keys, 0o600) }, true},
		"directory": {func(_, keys string) error { return os.Mkdir(keys, 0o700) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "main")
			other := filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := test.place(other, keysPath(dir)); err != nil {
				t.Fatal(err)
			}
			if err := markDeleted(dir); err != nil {
				t.Fatal(err)
			}
			if err := cutKeys(filepath.Join(dir, deletedName)); err != nil {
				t.Error(err)
			}
			if test.kept {
				if text, err := os.ReadFile(other); err != nil || string(text) != "precious" {
					t.Errorf("the other file has %q, %v", text, err)
				}
			} else if info, err := os.Stat(filepath.Join(dir, deletedName)); err != nil || info.Size() > 0 {
				t.Errorf("the keys are still there: %v, %v", info, err)
			}
		})
	}
}
