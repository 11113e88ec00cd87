//go:build unix

package durable

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// withUmask sets the umask of the process, so tests with it do not run in parallel.
func withUmask(t *testing.T, mask int) {
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func TestModesAreExactWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o077, 0o177, 0o777} {
		dir := t.TempDir()
		withUmask(t, mask)
		deep := filepath.Join(dir, "a", "b")
		file, public := filepath.Join(deep, "file"), filepath.Join(deep, "public")
		if err := errors.Join(MakeDir(deep, 0o700), WriteFile(file, []byte("x"), 0o600), CreateFile(public, []byte("x"), 0o644)); err != nil {
			t.Fatalf("umask %04o: %v", mask, err)
		}
		for path, want := range map[string]fs.FileMode{filepath.Dir(deep): 0o700, deep: 0o700, file: 0o600, public: 0o644} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("umask %04o: %s has mode %v, want %v (%v)", mask, path, info.Mode(), want, err)
			}
		}
	}
}

func TestPrivateUmask(t *testing.T) {
	withUmask(t, 0o777)
	PrivateUmask()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 255))
	for _, text := range []string{"first, which is longer", "second"} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("read %q, %v", got, err)
		}
	}
	checkOnlyFile(t, path)
}

func TestCreateFileKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := CreateFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CreateFile(path, []byte("other"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that exists: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
		t.Errorf("read %q, %v", got, err)
	}
	checkOnlyFile(t, path)
}

// TestFailedWriteLeavesNothing writes more than RLIMIT_FSIZE allows, which stands for a full
// disk. It runs in a process of its own, because the limit also applies to the files of go test.
func TestFailedWriteLeavesNothing(t *testing.T) {
	if os.Getenv("DURABLE_LIMITED") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFailedWriteLeavesNothing$")
		cmd.Env = append(os.Environ(), "DURABLE_LIMITED=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "file")
	limitFileSize(t, 1000)
	for _, write := range []func(string, []byte, fs.FileMode) error{WriteFile, CreateFile, WriteOutput} {
		if err := write(path, make([]byte, 2000), 0o600); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("error %v", err)
		}
		if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) > 0 {
			t.Errorf("left %v, %v", files, err)
		}
		if err := write(path, make([]byte, 500), 0o600); err != nil { // fits
			t.Errorf("tried again: %v", err)
		}
		os.Remove(path)
	}
}

func TestWriteOutput(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(WriteFile(file, []byte("old"), 0o644), os.Symlink("file", link), WriteOutput(link, []byte("new"), 0o600)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if got, readErr := os.ReadFile(file); err != nil || readErr != nil || string(got) != "new" || info.Mode().Perm() != 0o644 {
		t.Errorf("through a link: %q of mode %v, %v", got, info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := WriteOutput(pipe, []byte("through"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := reader.Read(got); err != nil || string(got) != "through" {
		t.Errorf("through a pipe: %q, %v", got, err)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		t.Errorf("the pipe is gone: %v", err)
	}
}

// checkOnlyFile checks that a file is the only one in its directory.
func checkOnlyFile(t *testing.T, path string) {
	t.Helper()
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("found %v, %v", files, err)
	}
}

func limitFileSize(t *testing.T, size uint64) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) })
}

// TestReplaceFile keeps the mode and, as root, the owner of a file that is reached by a link.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(WriteFile(file, []byte("old"), 0o640), os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 1234, 2345
		if err := os.Chown(file, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := ReplaceFile(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if int(owner.Uid) != uid || int(owner.Gid) != gid || info.Mode().Perm() != 0o640 {
		t.Errorf("it has mode %v and belongs to %d:%d", info.Mode(), owner.Uid, owner.Gid)
	}
	if got, err := os.ReadFile(link); err != nil || string(got) != "new" {
		t.Errorf("read %q, %v", got, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if err := ReplaceFile(filepath.Join(dir, "missing"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	checkOnlyFile(t, file)
}
