package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serviceManager receives the notifications of a relay, as systemd does.
type serviceManager struct {
	testing.TB
	conn *net.UnixConn
	name string
}

func newServiceManager(h *harness) *serviceManager {
	h.Helper()
	name := h.path("notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	return &serviceManager{h.TB, conn, name}
}

// await returns all lines received up to and including the first with the prefix.
func (m *serviceManager) await(prefix string) (received []string) {
	m.Helper()
	m.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4<<10)
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			m.Fatalf("%s is not received: %v, only\n%s", prefix, err, strings.Join(received, "\n"))
		}
		received = append(received, strings.Split(string(buf[:n]), "\n")...)
		for _, line := range received {
			if strings.HasPrefix(line, prefix) {
				return received
			}
		}
	}
}

// environment returns what a service manager puts into the environment.
func (m *serviceManager) environment(watchdog time.Duration) []string {
	return append(os.Environ(), "NOTIFY_SOCKET="+m.name, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()), "JOURNAL_STREAM=1:2")
}

// TestServiceManagerNotifications checks what a relay tells a service manager from
// start to end.
func TestServiceManagerNotifications(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	m := newServiceManager(h)
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Env = m.environment(2 * time.Second)
	relay, err := startRelay(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.kill)

	begun := strings.Join(m.await("READY=1"), "\n")
	if !strings.Contains(begun, "EXTEND_TIMEOUT_USEC=") || !strings.Contains(begun, "STATUS=opening stores") {
		t.Errorf("before it is ready the relay says\n%s", begun)
	}
	m.await("STATUS=loopback is ready, 2 of 2 services published")
	m.await("WATCHDOG=1")

	// A store that does not answer does not stop the watchdog.
	stopStorage(t, storagePID(h))
	for range 3 {
		m.await("WATCHDOG=1")
	}
	if err := syscall.Kill(storagePID(h), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	if text, err := h.runRelay("reload"); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	reloading := m.await("RELOADING=1")
	if reloading = append(reloading, m.await("READY=1")...); !strings.Contains(strings.Join(reloading, "\n"), "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("at a reload the relay says\n%s", strings.Join(reloading, "\n"))
	}

	// No child of the relay can notify in its name.
	family, err := descendants(relay.pid())
	if err != nil || len(family) == 0 {
		t.Fatalf("the relay has started %d processes: %v", len(family), err)
	}
	for _, child := range family {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child.pid))
		if err != nil {
			t.Error(err)
		}
		for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_", "JOURNAL_STREAM"} {
			if strings.Contains(string(env), name) {
				t.Errorf("%s has %s in its environment", child.name, name)
			}
		}
		child.close()
	}

	relay.cmd.Process.Signal(syscall.SIGTERM)
	if ending := strings.Join(m.await("STOPPING=1"), "\n"); !strings.Contains(ending, "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=") {
		t.Errorf("at its end the relay says\n%s", ending)
	}
	if status, err := relay.wait(); err != nil || status != 0 {
		t.Errorf("exit status %d, %v", status, err)
	}
}

func storagePID(h *harness) int {
	h.Helper()
	return h.status().Servers[0].Storage.PID
}

// TestRelayRunsWithoutServiceManager runs a relay whose service manager does not
// listen.
func TestRelayRunsWithoutServiceManager(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	m := newServiceManager(h)
	m.conn.Close()
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Env = m.environment(time.Second)
	relay, err := startRelay(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.kill)
	if _, err := relay.log.await("cannot reach the service manager"); err != nil {
		t.Error(err)
	}
	if err := relay.terminate(); err != nil {
		t.Error(err)
	}
}

// TestBrokenStoreIsNeverReady shows that a relay without a usable store never
// reports READY.
func TestBrokenStoreIsNeverReady(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	m := newServiceManager(h)
	if err := os.MkdirAll(h.path("data", "servers", "main", "storage"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.writeFile("data/servers/main/storage/messages.db", "Dear reader, this is no database.")
	if err := os.Chmod(h.path("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("data", "servers", "main", "keys"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Env = m.environment(time.Minute)
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status != 78 {
		t.Errorf("exit status %d\n%s", status, out)
	}
	m.conn.SetReadDeadline(time.Now().Add(time.Second)) // the relay has ended, so all is there
	buf := make([]byte, 4<<10)
	for n, err := m.conn.Read(buf); err == nil; n, err = m.conn.Read(buf) {
		if strings.Contains(string(buf[:n]), "READY") {
			t.Errorf("it said %q", buf[:n])
		}
	}
}
