package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSignalEndsBlockedCommand signals "cwtch-group read" while its output blocks.
// One signal is enough: scripts send no second one.
func TestSignalEndsBlockedCommand(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	h.start()
	bundle, err := h.runRelay("bundle")
	if err != nil {
		t.Fatal(err)
	}
	member := func(args ...string) *exec.Cmd {
		return exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-group"), append([]string{"-profile", h.path("alice"), "-network", "loopback:" + h.path("net")}, args...)...)
	}
	for _, args := range [][]string{{"init"}, {"import-server", strings.TrimSpace(bundle)}, {"create", "club"}, {"post", "club", strings.Repeat("y", 20_000)}} {
		if out, err := member(args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	from, to := newPipe(t)
	if _, err := unix.FcntlInt(to.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	cmd := member("read", "club")
	cmd.Stdout = to
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	to.Close()
	awaitBytes(t, from, 3000) // a third message finds no room
	cmd.Process.Signal(syscall.SIGTERM)
	if status := awaitExitStatus(t, cmd); status != 143 {
		t.Errorf("exit status %d", status)
	}
	h.stop()
}

// awaitBytes waits until a pipe holds n bytes.
func awaitBytes(t *testing.T, pipe *os.File, n int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if held, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ); err != nil {
			t.Fatal(err)
		} else if held >= n {
			return
		}
	}
	t.Fatal("the command does not print")
}
