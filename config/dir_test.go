package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExamineDirectory(t *testing.T) {
	root := t.TempDir()
	dir := func(name string, mode os.FileMode) string {
		path := filepath.Join(root, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o700) }) // so that it can be removed
		return path
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path         string
		shared, want string // in the summary; empty is usable
		asUser       bool   // root may do it all
	}{
		"ours":             {path: dir("ours", 0o700)},
		"readable":         {path: dir("readable", 0o755)},
		"new":              {path: filepath.Join(root, "new", "and", "deep")},
		"group can write":  {path: dir("group", 0o770), want: "can be written by other users"},
		"others can write": {path: dir("others", 0o707), want: "can be written by other users"},
		"file":             {path: file, want: "not a directory", shared: "not a directory"},
		"below a file":     {path: filepath.Join(file, "x"), want: "not a directory", shared: "not a directory"},
		"read only":        {path: dir("readonly", 0o500), want: "cannot write", shared: "cannot write", asUser: true},
		"in read only": {path: filepath.Join(dir("readonly2", 0o500), "x"), want: "cannot make",
			shared: "cannot make", asUser: true},
		"closed": {path: filepath.Join(dir("closed", 0), "x"), want: "permission denied", shared: "permission denied", asUser: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.asUser && os.Geteuid() == 0 {
				t.Skip("nothing is closed to root")
			}
			for private, want := range map[bool]string{true: c.want, false: c.shared} {
				summary, hint := examineDirectory(c.path, private)
				if want == "" && summary != "" || !strings.Contains(summary, want) || (summary == "") != (hint == "") {
					t.Errorf("private %v: %q, %q, want %q", private, summary, hint, want)
				}
			}
			if entries, _ := os.ReadDir(root); len(entries) != 8 {
				t.Errorf("the directory was changed: %v", entries)
			}
		})
	}
}

func TestDirectoryOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if summary, _ := examineDirectory(dir, true); !strings.Contains(summary, "belongs to user 12345, and this is user root") {
		t.Errorf("got %q", summary)
	}
}
