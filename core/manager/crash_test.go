package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// envCrash makes of this binary a command that changes a server and kills itself before a step:
// "CHANGE STEP DATA_DIR FILES_DIR".
const envCrash = "CWTCH_RELAY_TEST_CRASH"

// crashAsChild makes a change, and kills this process before the given step.
func crashAsChild(args string) {
	var change, data, files string
	var at int
	if _, err := fmt.Sscan(args, &change, &at, &data, &files); err != nil {
		panic(err)
	}
	steps := 0
	faultPoint = func(string) {
		if steps++; steps == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	o := Offline{Config{DataDir: data, Files: testFiles{files}, Servers: []ServerConfig{{Name: "old", Dir: filepath.Join(serversDir(data), "old")}}}}
	o.Config.Load = func(context.Context) (Config, error) { return o.Config, nil }
	var err error
	switch change {
	case "edit":
		_, err = o.EditServer(context.Background(), "old", ServerChange{Description: new("new"), Storage: new("other")})
	case "add":
		err = o.AddServer(NewServer{Name: "new", Autostart: true})
	case "delete":
		err = o.DeleteServer("old", nil)
	case "passwd":
		err = o.ChangePassphrase("old", nil, right)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runCrashing runs a change in a process of its own. It reports whether that was killed.
func runCrashing(t *testing.T, change string, at int, data string, f testFiles, after time.Duration) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", envCrash, change, at, data, f.dir))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		defer time.AfterFunc(after, func() { cmd.Process.Kill() }).Stop()
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return false
}

// newCrashDir returns a data directory with the server "old", which has run, and its file.
func newCrashDir(t *testing.T) (data string, f testFiles, dir string, address identity.Onion) {
	t.Helper()
	data, f = filepath.Join(t.TempDir(), "data"), testFiles{t.TempDir()}
	dir = filepath.Join(serversDir(data), "old")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadOrCreateKeys(data, dir)
	if err == nil {
		err = errors.Join(os.MkdirAll(StorageDir(dir), 0o700), os.WriteFile(filepath.Join(StorageDir(dir), "messages.db"), []byte("x"), 0o600),
			f.Add(NewServer{Name: "old"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return data, f, dir, keys.Board.Onion()
}

// recoverServers does what the next start does, and returns the servers of the configuration.
func recoverServers(data string, f testFiles, servers ...string) []string {
	m := &Manager{log: slog.New(slog.DiscardHandler), cfg: Config{DataDir: data, Files: f}}
	for _, name := range servers {
		if _, err := os.Stat(f.pathOf(name)); err == nil {
			m.cfg.Servers = append(m.cfg.Servers, ServerConfig{Name: name, Dir: filepath.Join(serversDir(data), name)})
		}
	}
	m.finishInterrupted()
	var left []string
	for _, c := range m.cfg.Servers {
		left = append(left, c.Name)
	}
	return left
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// A process that adds a server is killed before each of its steps. Afterwards there is all of
// the server, or nothing, and it can be added again.
func TestKillWhileAServerIsAdded(t *testing.T) {
	killed := true
	for at := 1; killed; at++ {
		data, f, _, _ := newCrashDir(t)
		killed = runCrashing(t, "add", at, data, f, 0)
		dir := filepath.Join(serversDir(data), "new")
		left := recoverServers(data, f, "old", "new")
		switch keys, err := identity.Load(keysPath(dir)); {
		case len(left) == 2 && err == nil && !isThere(filepath.Join(dir, addingName)):
			if again, err := LoadOrCreateKeys(data, dir); err != nil || again.Board.Onion() != keys.Board.Onion() {
				t.Errorf("killed before step %d: its keys are not used: %v", at, err)
			}
		case len(left) == 1 && !holdsFiles(dir) && !isThere(f.pathOf("new")) && !isThere(recordPath(data, dir)):
			if !killed {
				t.Error("it was not added")
			}
			o := Offline{Config{DataDir: data, Files: f}}
			if err := o.AddServer(NewServer{Name: "new"}); err != nil {
				t.Errorf("killed before step %d: it cannot be added again: %v", at, err)
			}
		default:
			t.Errorf("killed before step %d: half of the server is there: %v, %v", at, left, err)
		}
		if !killed && at < 5 {
			t.Errorf("only %d steps", at-1)
		}
	}
}

// Without a start in between, another attempt removes what is left of the first.
func TestServerIsAddedAgainAfterAKill(t *testing.T) {
	for at := 1; at <= 4; at++ {
		data, f, _, _ := newCrashDir(t)
		if !runCrashing(t, "add", at, data, f, 0) {
			t.Fatal("it was not killed")
		}
		if runCrashing(t, "add", 100, data, f, 0) {
			t.Fatal("it was killed")
		}
		if left := recoverServers(data, f, "new"); len(left) != 1 {
			t.Errorf("killed before step %d: %v", at, left)
		}
	}
}

// A process that deletes a server is killed before each of its steps. Afterwards there is all of
// the server, or nothing.
func TestKillWhileAServerIsDeleted(t *testing.T) {
	killed := true
	for at := 1; killed; at++ {
		data, f, dir, address := newCrashDir(t)
		killed = runCrashing(t, "delete", at, data, f, 0)
		if at > 2 { // after the keys were cut
			if text, err := os.ReadFile(filepath.Join(dir, deletedName)); err == nil && len(text) > 0 {
				t.Errorf("killed before step %d: its keys are still there", at)
			}
		}
		left := recoverServers(data, f, "old")
		keys, err := identity.Load(keysPath(dir))
		switch {
		case len(left) == 1 && err == nil && keys.Board.Onion() == address && isThere(filepath.Join(StorageDir(dir), "messages.db")) && isThere(recordPath(data, dir)):
			if !killed || at > 1 {
				t.Errorf("killed before step %d: it was not deleted", at)
			}
		case len(left) == 0 && !isThere(dir) && !isThere(f.pathOf("old")) && !isThere(recordPath(data, dir)):
		default:
			t.Errorf("killed before step %d: half of the server is there: %v, %v", at, left, err)
		}
		if !killed && at < 7 {
			t.Errorf("only %d steps", at-1)
		}
	}
}

// A process that protects a server is killed at some moments. Afterwards the keys have the
// passphrase, or none.
func TestKillWhileAPassphraseIsChanged(t *testing.T) {
	for i := range 8 {
		data, f, dir, address := newCrashDir(t)
		runCrashing(t, "passwd", 0, data, f, time.Duration(i)*200*time.Millisecond+time.Millisecond)
		keys, err := identity.Load(keysPath(dir))
		if errors.Is(err, identity.ErrLocked) {
			keys, err = identity.Unlock(keysPath(dir), right)
		}
		if err != nil || keys.Board.Onion() != address {
			t.Errorf("killed at moment %d: %v", i, err)
		}
	}
}

// A process that edits a server is killed before each of its steps. Afterwards the file is as
// before or as asked, and the server has its keys.
func TestKillWhileAServerIsEdited(t *testing.T) {
	killed, seen := true, make(map[string]int)
	for at := 1; killed; at++ {
		data, f, dir, address := newCrashDir(t)
		killed = runCrashing(t, "edit", at, data, f, 0)
		n, _, err := f.read("old")
		if err != nil || n.Description+n.Storage != "" && n.Description+n.Storage != "newother" {
			t.Errorf("killed before step %d: half of the edit is there: %+v, %v", at, n, err)
		}
		seen[n.Description]++
		if keys, err := LoadOrCreateKeys(data, dir); err != nil || keys.Board.Onion() != address {
			t.Errorf("killed before step %d: %v", at, err)
		}
	}
	if seen[""] != 1 || seen["new"] != 2 {
		t.Errorf("it was as before or as asked so often: %v", seen)
	}
}

// Keys that a person has put there before the configuration names their server stay.
func TestKeysOfNoServerStay(t *testing.T) {
	data, f, dir, _ := newCrashDir(t)
	if err := f.Remove("old"); err != nil {
		t.Fatal(err)
	}
	recoverServers(data, f)
	if !isThere(keysPath(dir)) {
		t.Error("they were removed")
	}
}

// The disk fills up at another place each time. Afterwards there is all of the server, or nothing.
func TestFullDiskWhileAServerIsAdded(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0700,size=64k"); err != nil {
		t.Skipf("this needs a small file system, which only root can mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, 0) })
	data, f := filepath.Join(disk, "data"), testFiles{filepath.Join(disk, "files")}
	if err := errors.Join(os.MkdirAll(serversDir(data), 0o700), os.Mkdir(f.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for pages := range 12 {
		filler := filepath.Join(disk, "filler")
		fillDisk(t, filler, pages)
		o := Offline{Config{DataDir: data, Files: f}}
		name := fmt.Sprintf("s%d", pages)
		err := o.AddServer(NewServer{Name: name, Description: "some"})
		os.Remove(filler)
		dir := filepath.Join(serversDir(data), name)
		if err == nil {
			if _, err := LoadOrCreateKeys(data, dir); err != nil || !isThere(f.pathOf(name)) {
				t.Errorf("with %d free pages: %v", pages, err)
			}
			o.Config.Servers = []ServerConfig{{Name: name, Dir: dir}}
			if err := o.DeleteServer(name, nil); err != nil {
				t.Error(err)
			}
			continue
		}
		failed++
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("with %d free pages: %v", pages, err)
		}
		if isThere(dir) || isThere(f.pathOf(name)) {
			t.Errorf("with %d free pages: half of the server is there", pages)
		}
	}
	if failed == 0 || failed == 12 {
		t.Errorf("%d of 12 failed", failed)
	}
}

// fillDisk leaves so many pages of the disk of a file.
func fillDisk(t *testing.T, path string, pages int) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size := int64(0)
	page := make([]byte, os.Getpagesize())
	for err == nil {
		_, err = file.Write(page)
		size += int64(len(page))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := file.Truncate(max(0, size-int64(len(page))*int64(pages+1))); err != nil {
		t.Fatal(err)
	}
}
