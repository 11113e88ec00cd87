package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/filelock"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// Files in the data directory.
const (
	lockName   = "lock"
	socketName = "status.sock"
)

// ErrInUse: another process has the data directory.
var ErrInUse = errors.New("is used by another relay")

// dataDir is a data directory that this process holds alone.
type dataDir struct {
	path   string
	dir    *os.File // to name the socket by, however long the path is
	lock   *os.File
	socket os.FileInfo // the control socket, as it was made
}

// claimDir makes the directory, takes its lock and refuses a directory that others
// could change or that another relay uses.
func claimDir(path string) (*dataDir, error) {
	if err := durable.MakeDir(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	d, err := openDir(path)
	if err != nil {
		return nil, err
	}
	if d.lock, err = filelock.Open(filepath.Join(path, lockName)); err != nil {
		d.releaseDir()
		if errors.Is(err, filelock.ErrLocked) {
			return nil, fmt.Errorf("data directory %s %w: stop that one, or give this one a data_dir of its own", path, ErrInUse)
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return d, nil
}

func openDir(path string) (*dataDir, error) {
	dir, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		if info, statErr := os.Stat(path); statErr == nil && checkOwnerOf(path, info) != nil {
			return nil, checkOwnerOf(path, info)
		}
		return nil, fmt.Errorf("open data directory: %w: %s", err, ownership.NotWritable(path))
	}
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := checkOwner(dir); err != nil {
		dir.Close()
		return nil, err
	}
	return &dataDir{path: path, dir: dir}, nil
}

func checkOwner(dir *os.File) error {
	info, err := dir.Stat()
	if err != nil {
		return fmt.Errorf("examine data directory: %w", err)
	}
	return checkOwnerOf(dir.Name(), info)
}

func checkOwnerOf(path string, info fs.FileInfo) error {
	if !info.IsDir() {
		return fmt.Errorf("data directory %s is not a directory", path)
	}
	if err := ownership.Check(path, info, 0o022, lockName, "servers"); err != nil {
		return fmt.Errorf("data directory %w", err)
	}
	return nil
}

// socketPath names the control socket through the open directory, because the path
// of a socket is bounded; see unixsocket.MaxPath.
func (d *dataDir) socketPath() string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.dir.Fd(), socketName)
}

// listenControl opens the control socket for this user only. The socket of an earlier
// process is removed: the lock is ours, so nobody uses it.
func (d *dataDir) listenControl() (net.Listener, error) {
	if err := os.Remove(d.socketPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the control socket of an earlier run: %w", err)
	}
	// The mode is set before the socket gets its name (bind gives the file the mode
	// of the socket), so that it is never open to others, whatever the umask.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	ln, err := config.Listen(context.Background(), "unix", d.socketPath())
	if err == nil {
		d.socket, err = os.Lstat(d.socketPath())
	}
	if err != nil {
		return nil, fmt.Errorf("open the control socket in %s: %w", d.path, err)
	}
	return ln, nil
}

// socketIsLost reports whether the control socket is no longer the one that
// listenControl made.
func (d *dataDir) socketIsLost() bool {
	info, err := os.Lstat(d.socketPath())
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, d.socket)
}

func (d *dataDir) dialControl(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", d.socketPath())
}

// releaseDir releases the directory. The lock file stays: removing it would let two
// processes lock two files of that name.
func (d *dataDir) releaseDir() {
	if d.lock != nil {
		d.lock.Close()
	}
	d.dir.Close()
}

// ClaimDataDir takes a data directory for a program that uses its stores without being
// a relay. It fails while a relay or another such program has the directory, and no
// relay can start on it until release is called.
func ClaimDataDir(dataDir string) (release func(), err error) {
	d, err := claimDir(dataDir)
	if err != nil {
		return nil, err
	}
	return d.releaseDir, nil
}
