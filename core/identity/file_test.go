package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

func TestCreateThenLoad(t *testing.T) {
	path := filepath.Join(privateDir(t), "keys.json")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load without a file: %v", err)
	}
	created, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	before := listTree(t, filepath.Dir(path))
	for name, load := range map[string]func(string) (*Server, error){"Load": Load, "LoadOrCreate": LoadOrCreate} {
		s, err := load(path)
		if err != nil {
			t.Fatal(err)
		}
		if !sameServer(s, created) {
			t.Errorf("%s returns other keys", name)
		}
	}
	if after := listTree(t, filepath.Dir(path)); after != before {
		t.Errorf("loading changed the directory from\n%s to\n%s", before, after)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files instead of one", len(entries))
	}
}

func TestConcurrentCreatesGetTheSameKeys(t *testing.T) {
	path := filepath.Join(privateDir(t), "keys.json")
	servers := make([]*Server, 16)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range servers {
		wg.Go(func() {
			<-start
			var err error
			if servers[i], err = LoadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, s := range servers[1:] {
		if !sameServer(s, servers[0]) {
			t.Fatal("two callers have different keys")
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files instead of one", len(entries))
	}
}

// A faster process may create the file between our look and our writing.
func TestCreateNeverReplaces(t *testing.T) {
	path := filepath.Join(privateDir(t), "keys.json")
	first := newServer()
	if err := createFile(path, encodeServer(first)); err != nil {
		t.Fatal(err)
	}
	if err := createFile(path, encodeServer(newServer())); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v", err)
	}
	if s, err := Load(path); err != nil || !sameServer(s, first) {
		t.Errorf("the keys changed, %v", err)
	}
}

// A key file, or its directory, is damaged in every way that an operator may meet. Each error
// has the path and what to do, and nothing on disk changes.
func TestBadKeyFilesAreRefused(t *testing.T) {
	goodServer := newServer()
	good := string(encodeServer(goodServer))
	zero := *goodServer
	zero.Scalar = [32]byte{}
	order := *goodServer
	if err := scalar.BASEPOINT_ORDER.ToBytes(order.Scalar[:]); err != nil {
		t.Fatal(err)
	}
	seed := goodServer.Board.Seed()
	otherSeed := NewKey().Seed()
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the file", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	write := func(text string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			check(t, os.WriteFile(path, []byte(text), 0o600))
			check(t, os.Chmod(path, mode))
		}
	}
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, path string)
		says    string
	}{
		"empty":            {write("", 0o600), "is damaged: restore"},
		"zeros":            {write(strings.Repeat("\x00", len(good)), 0o600), "is damaged: restore"},
		"cut":              {write(good[:len(good)/2], 0o600), "is damaged: restore"},
		"trailing":         {write(good+"{}", 0o600), "is damaged: restore"},
		"huge":             {write(good+strings.Repeat(" ", maxFileSize), 0o600), "is damaged: restore"},
		"unknown field":    {write(replace(`"format"`, `"x": 1, "format"`), 0o600), "is damaged: restore"},
		"another seed":     {write(replace(base64Of(seed[:]), base64Of(otherSeed[:])), 0o600), "is damaged: restore"},
		"short seed":       {write(replace(base64Of(seed[:]), base64Of(seed[:31])), 0o600), "is damaged: restore"},
		"no format":        {write(replace(`"format": 1`, `"format": 0`), 0o600), "is damaged: restore"},
		"newer format":     {write(`{"format": 3, "keys": []}`, 0o600), "has format 3 but this program knows only up to 2: use the newer"},
		"zero scalar":      {write(string(encodeServer(&zero)), 0o600), "is damaged: restore"},
		"scalar too great": {write(string(encodeServer(&order)), 0o600), "is damaged: restore"},
		"group may read":   {write(good, 0o640), "(mode 0640): run chmod 600"},
		"others may write": {write(good, 0o602), "(mode 0602): run chmod 600"},
		"symbolic link": {func(t *testing.T, path string) {
			write(good, 0o600)(t, path+".real")
			check(t, os.Symlink(path+".real", path))
		}, "is a symbolic link: put the file itself"},
		"dangling link": {func(t *testing.T, path string) {
			check(t, os.Symlink(path+".real", path))
		}, "is a symbolic link: put the file itself"},
		"directory": {func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o700)) }, "is not a regular file: restore"},
		"pipe":      {func(t *testing.T, path string) { check(t, syscall.Mkfifo(path, 0o600)) }, "is not a regular file: restore"},
		"no directory": {func(t *testing.T, path string) {
			check(t, os.Remove(filepath.Dir(path)))
		}, "does not exist: create it"},
		"open directory": {func(t *testing.T, path string) {
			check(t, os.Chmod(filepath.Dir(path), 0o777))
		}, "can be written by other users (mode 0777): close it to others: chmod 0700"},
		"file of another user": {func(t *testing.T, path string) {
			write(good, 0o600)(t, path)
			chown(t, path)
		}, "belongs to user 12345, and this is user root: run it as its owner: sudo -u '#12345' "},
		"directory of another user": {func(t *testing.T, path string) {
			write(good, 0o600)(t, path)
			chown(t, filepath.Dir(path))
		}, "belongs to user 12345, and this is user root: run it as its owner: sudo -u '#12345' "},
		"empty directory of another user": {func(t *testing.T, path string) {
			chown(t, filepath.Dir(path))
		}, "belongs to user 12345, and this is user root: run it as its owner: sudo -u '#12345' "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(privateDir(t), "board", "keys.json")
			check(t, os.Mkdir(filepath.Dir(path), 0o700))
			tc.prepare(t, path)
			expectRefusal(t, path, tc.says)
		})
	}
}

// Root may read every file.
func TestUnreadableKeyFileIsRefused(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every file")
	}
	path := filepath.Join(privateDir(t), "keys.json")
	check(t, os.WriteFile(path, encodeServer(newServer()), 0))
	expectRefusal(t, path, "chmod 600")
}

// The user of the relay is not told to become root, whatever root has made in its directory.
func TestUnreadableKeyFileOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	dir, err := os.MkdirTemp("", "identity-") // others can reach it
	check(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys")
	check(t, os.WriteFile(path, encodeServer(newServer()), 0o600))
	const user = 1234
	check(t, os.Chown(dir, user, -1))
	for owner, says := range map[int]string{0: "sudo chown -R --from=root 1234 ", 4321: "run it as its owner: sudo -u '#4321' "} {
		check(t, os.Chown(path, owner, -1))
		check(t, syscall.Setresuid(-1, user, -1)) // no other test runs
		_, err := Load(path)
		check(t, syscall.Setresuid(-1, 0, -1))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the file belongs to %d: %v does not say %q", owner, err, says)
		}
	}
}

func expectRefusal(t *testing.T, path, says string) {
	t.Helper()
	root := filepath.Dir(filepath.Dir(path))
	before := listTree(t, root)
	for name, load := range map[string]func(string) (*Server, error){"Load": Load, "LoadOrCreate": LoadOrCreate} {
		s, err := load(path)
		if err == nil {
			t.Fatalf("%s accepts it: %v", name, s)
		}
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s takes it for a missing file: %v", name, err)
		}
		if text := err.Error(); !strings.Contains(text, says) || !strings.Contains(text, filepath.Dir(path)) || strings.ContainsAny(text, "\n") {
			t.Errorf("%s says %q, it should name the path and contain %q", name, text, says)
		}
	}
	if after := listTree(t, root); after != before {
		t.Errorf("the directory changed from\n%s to\n%s", before, after)
	}
}

// LoadOrCreate runs in a process that may not write files, which looks like a full disk.
func TestFullDiskKeepsNothing(t *testing.T) {
	const variable = "IDENTITY_TEST_NO_ROOM"
	if path := os.Getenv(variable); path != "" {
		check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 10, Max: 10}))
		_, err := LoadOrCreate(path)
		fmt.Printf("error: %v\n", err)
		os.Exit(0) // at once: the coverage report could not be written
	}
	path := filepath.Join(privateDir(t), "keys.json")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDiskKeepsNothing$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "error: create key file "+path+": nothing was kept, make room") {
		t.Errorf("%v, %s", err, out)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 0 {
		t.Errorf("%d files are left", len(entries))
	}
}

func FuzzDecodeServer(f *testing.F) {
	f.Add(encodeServer(newServer()))
	f.Add([]byte(`{"format": 2}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decodeServer(text)
		if err != nil {
			return
		}
		again, err := decodeServer(encodeServer(s))
		if err != nil || !sameServer(s, again) {
			t.Errorf("does not come back: %v", err)
		}
	})
}

// privateDir is a directory that only we may use, whatever the umask.
func privateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.Chmod(dir, 0o700))
	return dir
}

func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	check(t, os.Chown(path, 12345, -1))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func sameServer(a, b *Server) bool {
	return a.Board.Seed() == b.Board.Seed() && a.Token.Seed() == b.Token.Seed() && a.Scalar == b.Scalar
}

// listTree describes everything below root: modes, owners, times, contents.
func listTree(t *testing.T, root string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&s, "%s %v uid %d %v", path, info.Mode(), ownership.UID(info), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			fmt.Fprintf(&s, " %q", text)
		}
		s.WriteString("\n")
		return nil
	})
	check(t, err)
	return s.String()
}
