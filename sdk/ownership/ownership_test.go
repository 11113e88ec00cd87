//go:build unix

package ownership

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

const (
	stranger = 12345
	nobody   = 65534
)

// asEachUser runs the test as this user and, if that is root, once more as nobody in
// a process of its own.
func asEachUser(t *testing.T, test func(t *testing.T)) {
	test(t)
	if os.Geteuid() != 0 {
		return
	}
	self, err := os.Open("/proc/self/exe") // which nobody may not find by its path
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = []string{"TMPDIR=/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func mustNot(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	mustNot(t, err)
	return info
}

// foreign returns a directory and a file that this user does not own.
func foreign(t *testing.T) (dir, file string) {
	if os.Geteuid() != 0 {
		return "/", "/etc/passwd"
	}
	dir = filepath.Join(t.TempDir(), "foreign")
	file = filepath.Join(dir, "file")
	mustNot(t, os.Mkdir(dir, 0o700), os.WriteFile(file, nil, 0o600), os.Chown(file, stranger, -1), os.Chown(dir, stranger, -1))
	return dir, file
}

func TestCheckRefusesOtherOwners(t *testing.T) {
	asEachUser(t, func(t *testing.T) {
		dir, file := foreign(t)
		for _, path := range []string{dir, file} {
			info := stat(t, path)
			for _, err := range []error{CheckOwner(path, info), Check(path, info, 0)} {
				found, ok := errors.AsType[*Error](err)
				if !ok || found.Problem != path+" belongs to user "+UserName(UID(info))+", and this is user "+UserName(os.Geteuid()) || found.Remedy != WrongOwner(dir, UID(info)) && path == dir {
					t.Errorf("%s: %v", path, err)
				}
			}
			if err := CheckMode(path, info, 0); err != nil {
				t.Errorf("its mode alone: %v", err)
			}
		}
	})
}

// A link is its maker's, wherever it leads.
func TestCheckOwnerOfLink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a link away")
	}
	link := filepath.Join(t.TempDir(), "link")
	mustNot(t, os.Symlink("/", link), os.Lchown(link, stranger, -1))
	if err := CheckOwner(link, stat(t, link)); err == nil {
		t.Error("the link of another user is taken")
	}
}

func TestCheckMode(t *testing.T) {
	asEachUser(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "dir")
		file := filepath.Join(t.TempDir(), "file")
		mustNot(t, os.Mkdir(dir, 0o700), os.WriteFile(file, nil, 0o600))
		for _, c := range []struct {
			path         string
			mode, denied fs.FileMode
			want         string // "" if it is accepted
		}{
			{dir, 0o700, 0o077, ""},
			{dir, 0o755, 0o022, ""},
			{dir, 0o720, 0o022, dir + " can be written by other users (mode 0720): close it to others: chmod 0700 " + dir},
			{dir, 0o702, 0o022, dir + " can be written by other users (mode 0702)"},
			{dir, 0o702, 0o077, dir + " can be written by other users (mode 0702)"},
			{dir, 0o750, 0o077, dir + " can be entered by other users (mode 0750): close it to others: chmod 0700 " + dir},
			{dir, 0o701, 0o077, dir + " can be entered by other users (mode 0701)"},
			{file, 0o600, 0o077, ""},
			{file, 0o644, 0o022, ""},
			{file, 0o640, 0o077, file + " is open to other users (mode 0640): run chmod 600 " + file},
			{file, 0o602, 0o022, file + " is open to other users (mode 0602): run chmod 644 " + file},
		} {
			mustNot(t, os.Chmod(c.path, c.mode))
			for _, err := range []error{CheckMode(c.path, stat(t, c.path), c.denied), Check(c.path, stat(t, c.path), c.denied)} {
				if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
					t.Errorf("mode %04o, denied %04o: %v, want %q", c.mode, c.denied, err, c.want)
				}
			}
		}
	})
}
