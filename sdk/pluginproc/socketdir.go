package pluginproc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// maxSocketDir bounds the path of the directory for sockets, in bytes: with the names
// that go-plugin makes below it, 38 bytes, a socket must not exceed unixsocket.MaxPath.
const maxSocketDir = 64

// socketDir returns dir if it suits, and otherwise a new directory that Kill removes.
func (p *Process) socketDir(dir string) (string, error) {
	if dir != "" {
		abs, err := filepath.Abs(dir)
		if err == nil && len(abs) <= maxSocketDir && fitsHandshakeLine(abs) {
			return abs, nil
		}
	}
	temp := os.TempDir()
	if len(temp) > maxSocketDir-len("/cwtch-relay-4194304-4294967295") || !fitsHandshakeLine(temp) {
		temp = "/tmp"
	}
	removeStale(temp)
	dir, err := os.MkdirTemp(temp, fmt.Sprintf("%s%d-", tempPrefix, os.Getpid()))
	if err != nil {
		return "", markPermanent(fmt.Errorf("make directory for the plugin's socket: %w; TMPDIR has to name a directory", err))
	}
	p.dirs = append(p.dirs, dir)
	if len(dir) > maxSocketDir {
		return "", &PermanentError{fmt.Errorf("the path of a socket below %s would be too long: set TMPDIR to a short path, such as /tmp, or use a shorter data directory", dir)}
	}
	return dir, nil
}

// fitsHandshakeLine reports whether a plugin can write the path of a socket in dir into its
// handshake line, whose fields are separated by "|".
func fitsHandshakeLine(dir string) bool { return !strings.ContainsAny(dir, "|\n") }

// tempPrefix begins the name of a temporary directory. The number of the process that made
// it follows.
const tempPrefix = "cwtch-relay-"

// removeStale removes the directories that killed processes of this user left behind. Directories
// of other users are left alone.
func removeStale(temp string) {
	entries, _ := os.ReadDir(temp)
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), tempPrefix+"%d-", &pid); err != nil || pid <= 0 {
			continue
		}
		dir := filepath.Join(temp, e.Name())
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || ownership.UID(info) != os.Geteuid() {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}
