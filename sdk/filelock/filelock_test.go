//go:build unix

package filelock

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOpenTakesTheLockOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := first.Stat(); err != nil || info.Mode().Perm()&0o177 != 0 {
		t.Errorf("the lock file has mode %v, %v", info.Mode(), err)
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time: %v", err)
	}
	first.Close()
	second, err := Open(path)
	if err != nil {
		t.Fatalf("after it was released: %v", err)
	}
	second.Close()
}

func TestOpenRefusesLinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.Symlink("elsewhere", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a symbolic link: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(path), "elsewhere")); err == nil {
		t.Error("the target of the link was made")
	}
}

func TestOpenWaitGetsTheLockWhenItIsReleased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		f, err := OpenWait(t.Context(), path)
		if err == nil {
			f.Close()
		}
		got <- err
	}()
	first.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestLockWaitsNoLongerThanItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := os.Open(path) // one that is only read can be locked too
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Lock(ctx, second); !errors.Is(err, ErrLocked) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	first.Close()
	if err := Lock(ctx, second); err != nil {
		t.Errorf("a free lock: %v", err)
	}
}

// TestLockEndsWithItsProcess kills the process that holds the lock.
func TestLockEndsWithItsProcess(t *testing.T) {
	if path := os.Getenv("FILELOCK_HOLD"); path != "" {
		if _, err := Open(path); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	path := filepath.Join(t.TempDir(), "lock")
	holder := exec.Command("/proc/self/exe", "-test.run=^TestLockEndsWithItsProcess$")
	holder.Env = append(os.Environ(), "FILELOCK_HOLD="+path)
	if _, err := holder.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Errorf("the other process said %q, %v", line, err)
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("while it holds the lock: %v", err)
	}
	holder.Process.Kill()
	holder.Wait()
	f, err := OpenWait(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
