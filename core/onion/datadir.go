package onion

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/filelock"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/unixsocket"
)

// dataDir is the directory of a tor of ours, locked from openDataDir to unlockDir.
type dataDir struct {
	path    string
	lock    *os.File
	sockets sockets
}

// openDataDir creates and locks the directory. It refuses one that other users could
// read or that another process uses: it holds the cookie that gives control of tor.
func openDataDir(path string) (*dataDir, error) {
	if path == "" {
		return nil, errors.New("tor data directory: none is set")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("tor data directory: %w", err)
	}
	if err := durable.MakeDir(path, 0o700); err != nil {
		return nil, fmt.Errorf("tor data directory: %w", err)
	}
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	d := &dataDir{path: path}
	if d.lock, err = filelock.Open(filepath.Join(path, "relay.lock")); errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("tor data directory %s is used by another process: stop that one, or choose another directory", path)
	} else if err != nil {
		return nil, fmt.Errorf("tor data directory: %w", err)
	}
	if d.sockets, err = openSockets(filepath.Join(path, "sockets")); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

func checkPrivate(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("tor data directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("tor data directory %s is not a directory (a link to one will not do)", path)
	}
	if err := ownership.Check(path, info, 0o077, "relay.lock", "cached-certs", "state"); err != nil {
		return fmt.Errorf("tor data directory %w", err)
	}
	if info.Mode().Perm()&0o700 != 0o700 {
		return fmt.Errorf("tor data directory %s cannot be used: %s", path, ownership.NotWritable(path))
	}
	return nil
}

// writeTorrc writes the configuration of tor, and an empty file in place of the
// system's defaults.
func (d *dataDir) writeTorrc(lines []string) (torrc, defaults string, err error) {
	torrc, defaults = filepath.Join(d.path, "torrc"), filepath.Join(d.path, "torrc-defaults")
	err = errors.Join(
		os.WriteFile(torrc, []byte(strings.Join(lines, "\n")+"\n"), 0o600),
		os.WriteFile(defaults, nil, 0o600),
	)
	if err != nil {
		err = fmt.Errorf("tor data directory: %w", err)
	}
	return torrc, defaults, err
}

// cookiePath is the file with the secret that gives control of tor.
func (d *dataDir) cookiePath() string { return filepath.Join(d.path, "control_auth_cookie") }

func (d *dataDir) unlockDir() error {
	return errors.Join(os.RemoveAll(string(d.sockets)), d.lock.Close())
}

// sockets is a directory for sockets, of mode 0700: only this user can connect to
// them.
type sockets string

// plainPath matches paths of sockets that can go into torrc and control commands as
// they are.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

func (s sockets) controlPath() string { return filepath.Join(string(s), "control.sock") }
func (s sockets) socksPath() string   { return filepath.Join(string(s), "socks.sock") }
func (s sockets) servicePath(n int) string {
	return filepath.Join(string(s), fmt.Sprintf("service%d.sock", n))
}
func (s sockets) areUsable() bool {
	return len(s.servicePath(99_999_999)) <= unixsocket.MaxPath && plainPath.MatchString(string(s))
}

// openSockets makes a new directory: at path, or below the directory for temporary
// files if path is too long or has special characters.
func openSockets(path string) (sockets, error) {
	if sockets(path).areUsable() {
		if err := errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)); err != nil {
			return "", fmt.Errorf("tor data directory: %w", err)
		}
		return sockets(path), nil
	}
	temp := os.TempDir()
	if !sockets(filepath.Join(temp, "cwtch-relay-0123456789")).areUsable() { // as in a home with an accent in its name
		temp = "/tmp"
	}
	short, err := os.MkdirTemp(temp, "cwtch-relay-") // of mode 0700
	if err != nil {
		return "", fmt.Errorf("directory for sockets, as the path %s is too long for them (%d bytes at most) or has special characters: %w; set TMPDIR to a directory with a short plain path", path, unixsocket.MaxPath, err)
	}
	return sockets(short), nil
}
