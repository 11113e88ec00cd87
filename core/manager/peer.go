package manager

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/unixsocket"
)

// errAskedByPlugin: a plugin with a grant for connections, or without a sandbox, may
// connect to unix sockets. This one has names and addresses of all servers to tell.
var errAskedByPlugin = errors.New("a plugin connected to the control socket, and was not answered")

// checkNotPlugin refuses a plugin of this relay, or a child of one. Both are in a
// process group that was made for the plugin and that they cannot leave, and
// whose first process is a child of the relay. An operator's command never is.
func checkNotPlugin(conn *net.UnixConn) error {
	pid, _, err := unixsocket.Peer(conn)
	if err != nil {
		return fmt.Errorf("look who asks: %w", err)
	}
	if pid == 0 { // in another PID namespace, where no child of ours is
		return nil
	}
	group, err := unix.Getpgid(pid)
	if err != nil {
		return fmt.Errorf("look who asks: %w", err)
	}
	if parentOf(group) == os.Getpid() {
		return errAskedByPlugin
	}
	return nil
}

// parentOf is the parent of a process, or 0 when there is no such process.
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// "pid (name) state ppid …"; the name may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	return parent
}
