package sdnotify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listenNotify opens the socket of a service manager.
func listenNotify(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receiveMessage(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4<<10)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// TestNotify sends to both kinds of sockets.
func TestNotify(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@cwtch-relay-test-%d", os.Getpid())} {
		conn := listenNotify(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		m := FromEnvironment()
		if err := m.Notify("READY=1", Status("all\nis well"), Extend(90*time.Second)); err != nil {
			t.Fatal(err)
		}
		if got := receiveMessage(t, conn); got != "READY=1\nSTATUS=all is well\nEXTEND_TIMEOUT_USEC=90000000" {
			t.Errorf("%s: received %q", name, got)
		}
	}
}

// TestNoManager shows that nothing is sent where nobody asks for it, and that an
// unreachable manager is an error and no more.
func TestNoManager(t *testing.T) {
	if err := (&Manager{}).Notify("READY=1"); err != nil {
		t.Error(err)
	}
	if err := (&Manager{socket: filepath.Join(t.TempDir(), "nobody")}).Notify("READY=1"); err == nil {
		t.Error("nobody has received it")
	}
}

// TestEnvironment shows that processes that are started do not see the manager.
func TestEnvironment(t *testing.T) {
	names := []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"}
	for pid, want := range map[string]time.Duration{"": 3 * time.Second, strconv.Itoa(os.Getpid()): 3 * time.Second, "1": 0} {
		for _, name := range names {
			t.Setenv(name, "1:2")
		}
		t.Setenv("WATCHDOG_USEC", "3000000")
		t.Setenv("WATCHDOG_PID", pid)
		if got := FromEnvironment().Watchdog(); got != want {
			t.Errorf("watchdog %v for the process %q, want %v", got, pid, want)
		}
		for _, name := range names {
			if value, ok := os.LookupEnv(name); ok {
				t.Errorf("%s is %q", name, value)
			}
		}
	}
}

// TestJournal shows that only the file that the manager names is the journal's.
func TestJournal(t *testing.T) {
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	defer to.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(to.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", stat.Dev, stat.Ino): true, fmt.Sprintf("%d:%d", stat.Dev, stat.Ino+1): false, "": false, "x": false,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := FromEnvironment().Journal(to); got != want {
			t.Errorf("%q: %v", stream, got)
		}
	}
}

// TestReloading shows that the manager can tell this reload from an earlier one.
func TestReloading(t *testing.T) {
	got := strings.Join(Reloading(), "\n")
	var usec int64
	if _, err := fmt.Sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec <= 0 {
		t.Errorf("%q: %v", got, err)
	}
}
