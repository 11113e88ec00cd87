// Package sdnotify tells a service manager such as systemd the state of this process, by
// the protocol of sd_notify(3). Without a service manager that asks it does nothing.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Manager is the service manager of this process; the zero value notifies nobody. Its methods may
// be called from several goroutines at the same time.
type Manager struct {
	socket   string
	watchdog time.Duration
	journal  string

	mu   sync.Mutex
	conn net.Conn // stays open: a sign of life must not take a descriptor
}

// FromEnvironment returns the service manager that the environment names, and removes it
// from the environment, because it is not for the processes that this one starts.
func FromEnvironment() *Manager {
	m := &Manager{socket: os.Getenv("NOTIFY_SOCKET"), journal: os.Getenv("JOURNAL_STREAM")}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 32+16); err == nil {
			m.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"} {
		os.Unsetenv(name) //nolint:errcheck // the names are valid
	}
	return m
}

// Watchdog returns how long the service manager waits for a sign of life before it ends
// the process; 0 means forever.
func (m *Manager) Watchdog() time.Duration { return m.watchdog }

// Journal reports whether the file leads to the journal. The journal notes the time of
// each line itself, and reads its priority from the front of it; see sd-daemon(3).
func (m *Manager) Journal(file *os.File) bool {
	var stat unix.Stat_t
	if m.journal == "" || unix.Fstat(int(file.Fd()), &stat) != nil {
		return false
	}
	return m.journal == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// Notify sends assignments such as "READY=1".
func (m *Manager) Notify(assignments ...string) error {
	if m.socket == "" {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.sendMessage([]byte(strings.Join(assignments, "\n")))
	if err != nil && m.conn != nil {
		m.conn.Close()
		m.conn = nil // the next time may go better
	}
	return err
}

func (m *Manager) sendMessage(message []byte) error {
	if m.conn == nil {
		conn, err := net.Dial("unixgram", m.socket) // a name that begins with @ is an abstract one
		if err != nil {
			return fmt.Errorf("notify the service manager: %w", err)
		}
		m.conn = conn
	}
	m.conn.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // the write fails as well
	if _, err := m.conn.Write(message); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}

// Status returns the assignment of a line of text for people.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Extend returns the assignment that asks for more time to start or stop.
func Extend(d time.Duration) string { return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()) }

// Reloading returns the assignments that begin a reload, which "READY=1" ends.
func Reloading() []string {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) //nolint:errcheck // it cannot fail
	return []string{"RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000)}
}
