//go:build unix

package storefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestIdentityNoticesMissingFiles(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(path string) error
		want string
	}{
		"nothing":       {func(string) error { return nil }, ""},
		"written to":    {func(path string) error { return os.WriteFile(path, []byte("more"), 0o600) }, ""},
		"deleted":       {os.Remove, "messages.db was deleted or moved"},
		"moved":         {func(path string) error { return os.Rename(path, path+".old") }, "messages.db was deleted or moved"},
		"its log":       {func(path string) error { return os.Remove(path + "-wal") }, "messages.db-wal was deleted or moved"},
		"its directory": {func(path string) error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+".old") }, "messages.db was deleted"},
		"replaced by a copy": {func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		}, "messages.db was replaced"},
	} {
		path := filepath.Join(t.TempDir(), "storage", "messages.db")
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600), os.WriteFile(path+"-wal", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		files, err := Identify(path, "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.do(path); err != nil {
			t.Fatal(err)
		}
		err = files.Check()
		if (err != nil) != (c.want != "") || err != nil && (!errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func BenchmarkIdentity(b *testing.B) {
	path := filepath.Join(b.TempDir(), "messages.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	files, err := Identify(path)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := files.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
