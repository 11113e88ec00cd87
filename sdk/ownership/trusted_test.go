//go:build unix

package ownership

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestResolveTrusted(t *testing.T) {
	asEachUser(t, func(t *testing.T) {
		trusted := []int{0, os.Geteuid()}
		dir := t.TempDir()
		file := filepath.Join(dir, "sub", "file")
		mustNot(t, os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600),
			os.Symlink("sub/../sub", filepath.Join(dir, "relative")), os.Symlink(dir+"/relative/file", filepath.Join(dir, "absolute")),
			os.Symlink("../absolute", filepath.Join(dir, "sub", "up")), os.Symlink("file", filepath.Join(dir, "sub", "beside")))
		for _, path := range []string{
			file, dir + "//sub/./file", dir + "/sub/../sub/file", dir + "/relative/file", dir + "/absolute", dir + "/sub/up", dir + "/relative/beside",
		} {
			if got, info, err := ResolveTrusted(path, trusted); err != nil || got != file || !info.Mode().IsRegular() {
				t.Errorf("%s leads to %s, %v", path, got, err)
			}
		}
		if got, info, err := ResolveTrusted("/", trusted); err != nil || got != "/" || !info.IsDir() {
			t.Errorf("/ leads to %s, %v", got, err)
		}
	})
}

func TestResolveTrustedRefuses(t *testing.T) {
	asEachUser(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			spoil func(t *testing.T, dir, file string)
			want  ExposedError // with the path below the directory of the test
		}{
			"directory writable by its group": {func(t *testing.T, dir, file string) { mustNot(t, os.Chmod(filepath.Dir(file), 0o770)) },
				ExposedError{Path: "sub", Writable: true}},
			"directory on the way writable by all": {func(t *testing.T, dir, file string) { mustNot(t, os.Chmod(dir, 0o702)) },
				ExposedError{Writable: true}},
			"directory of a link": {func(t *testing.T, dir, file string) {
				open := filepath.Join(dir, "open")
				mustNot(t, os.Rename(filepath.Dir(file), filepath.Join(dir, "real")), os.Mkdir(open, 0o700),
					os.Symlink("../real", filepath.Join(open, "link")), os.Symlink("open/link", filepath.Join(dir, "sub")), os.Chmod(open, 0o777))
			}, ExposedError{Path: "open", Writable: true}},
			"owner of a directory": {func(t *testing.T, dir, file string) { giveAway(t, filepath.Dir(file)) }, ExposedError{Path: "sub", Owner: stranger}},
			"owner of a link": {func(t *testing.T, dir, file string) {
				mustNot(t, os.Rename(filepath.Dir(file), filepath.Join(dir, "real")), os.Symlink("real", filepath.Join(dir, "sub")))
				giveAway(t, filepath.Join(dir, "sub"))
			}, ExposedError{Path: "sub", Owner: stranger}},
			"owner of the file": {func(t *testing.T, dir, file string) { giveAway(t, file) }, ExposedError{Path: "sub/file", Owner: stranger}},
		} {
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "sub", "file")
				mustNot(t, os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600))
				c.spoil(t, dir, file)
				c.want.Path = filepath.Join(dir, c.want.Path)
				_, _, err := ResolveTrusted(file, []int{0, os.Geteuid()})
				found, ok := errors.AsType[*ExposedError](err)
				if !ok || found.Path != c.want.Path || found.Writable != c.want.Writable || !found.Writable && found.Owner != c.want.Owner {
					t.Fatalf("got %v, want %v", err, &c.want)
				}
				if c.want.Owner == stranger {
					if _, _, err := ResolveTrusted(file, []int{0, os.Geteuid(), stranger}); err != nil {
						t.Errorf("with that user trusted: %v", err)
					}
				}
			})
		}
	})
}

func giveAway(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	mustNot(t, os.Lchown(path, stranger, -1))
}

// In a directory with the sticky bit others can add names and replace only their own.
func TestResolveTrustedThroughStickyDirectory(t *testing.T) {
	asEachUser(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		mustNot(t, os.WriteFile(file, nil, 0o600), os.Chmod(dir, 0o777|fs.ModeSticky))
		if _, _, err := ResolveTrusted(file, []int{0, os.Geteuid()}); err != nil {
			t.Error(err)
		}
	})
}

func TestResolveTrustedWithoutAnEnd(t *testing.T) {
	asEachUser(t, func(t *testing.T) {
		dir := t.TempDir()
		circle, file := filepath.Join(dir, "circle"), filepath.Join(dir, "file")
		mustNot(t, os.Symlink("./circle", circle), os.WriteFile(file, nil, 0o600))
		if _, _, err := ResolveTrusted(circle, []int{0, os.Geteuid()}); err == nil || err.Error() != circle+": more than 40 symbolic links" {
			t.Errorf("links in a circle: %v", err)
		}
		if _, _, err := ResolveTrusted(filepath.Join(dir, "missing"), []int{0, os.Geteuid()}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("nothing there: %v", err)
		}
		if _, _, err := ResolveTrusted(file+"/below", []int{0, os.Geteuid()}); err == nil || err.Error() != file+" is not a directory" {
			t.Errorf("below a file: %v", err)
		}
	})
}
