package tornet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TORNET_CHILD_DIR"); dir != "" {
		runNetworkUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// Two clients join: one downloads the directory from the relays and checks all of
// it, the other was seeded.
func TestClientBootstraps(t *testing.T) {
	n := ForTest(t)
	if err := torproc.CheckLoopback(n.ClientTorrc()); err != nil {
		t.Fatal(err)
	}
	t.Run("plain", func(t *testing.T) { testBootstrap(t, n, filepath.Join(t.TempDir(), "data")) })
	t.Run("seeded", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		if err := n.Seed(dir); err != nil {
			t.Fatal(err)
		}
		testBootstrap(t, n, dir)
	})
}

// testBootstrap runs a client until it says that it has bootstrapped.
func testBootstrap(t *testing.T, n *Network, dataDir string) {
	t.Helper()
	dir := t.TempDir()
	torrc, empty := filepath.Join(dir, "torrc"), filepath.Join(dir, "empty")
	lines := append(n.ClientTorrc(), "DataDirectory "+dataDir, "SocksPort 0", "Log notice stdout")
	if err := errors.Join(os.WriteFile(torrc, []byte(strings.Join(lines, "\n")), 0o600), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := torproc.Start("tor", []string{"-f", torrc, "--defaults-torrc", empty}, nil, w)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	timer := time.AfterFunc(time.Minute, p.Kill) // ends the output
	defer timer.Stop()
	var log []string
	for s := bufio.NewScanner(r); s.Scan(); {
		if log = append(log, s.Text()); strings.Contains(s.Text(), "Bootstrapped 100%") {
			return
		}
	}
	t.Errorf("client did not bootstrap:\n%s", strings.Join(log, "\n"))
}

func TestCloseLeavesNothing(t *testing.T) {
	n := ForTest(t)
	pids := n.relayPids()
	if len(pids) != 5 {
		t.Fatalf("pids %v", pids)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("tor %d after Close: %v", pid, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestStartFails(t *testing.T) {
	// Programs that are not tor: one is not there, one ends at once.
	for tor, want := range map[string]string{"/nonexistent/tor": "no such file", "/bin/false": "exit status 1"} {
		_, err := startNetwork(t.Context(), t.TempDir(), tor)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", tor, err, want)
		}
	}
	// A relay that never publishes.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := startNetwork(ctx, t.TempDir(), "/bin/cat"); err == nil {
		t.Error("started in a context that has ended")
	}
}

// Relays must not outlive a process that is killed.
func TestRelaysDieWithParent(t *testing.T) {
	if _, err := exec.LookPath("tor"); err != nil {
		ForTest(t) // skips or fails
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TORNET_CHILD_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var ended []unix.PollFd // a process can wait for children of its child only by descriptor
	for _, field := range strings.Fields(line) {
		pid, _ := strconv.Atoi(field)
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Errorf("open process %q: %v", field, err)
			continue
		}
		defer unix.Close(fd)
		ended = append(ended, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil || len(ended) != 5 {
		t.Fatalf("child said %q, %v", line, err)
	}
	for i := range ended {
		if n, err := unix.Poll(ended[i:i+1], 3000); n != 1 || err != nil {
			t.Errorf("relay %d outlived its parent (%v)", i, err)
		}
	}
}

// runNetworkUntilKilled is the process that TestRelaysDieWithParent kills.
func runNetworkUntilKilled(dir string) {
	n, err := Start(context.Background(), dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.Trim(fmt.Sprint(n.relayPids()), "[]"))
	io.Copy(io.Discard, os.Stdin)
	select {}
}
