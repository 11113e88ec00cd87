package onion

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// WithSockets returns a network whose services programs on this machine reach through
// unix sockets as well, with [DialSocket]. Each service has one in dir, named by its
// onion, which only this user may use. dir is to be closed to others: it is the
// directory with the keys of the services, so whoever gets at a socket could be the
// service as well.
//
// A connection through a socket is like any other to the service. It says that the
// client is on this machine, to the service and to nobody else.
func WithSockets(n Network, dir string) Network { return &socketNetwork{n, dir} }

type socketNetwork struct {
	Network
	dir string
}

// Listen implements [Network].
func (n *socketNetwork) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	socket, err := listenSocket(ctx, n.dir, key.Onion())
	if err != nil {
		return nil, fmt.Errorf("listen for programs on this machine: %w", err)
	}
	ln, err := n.Network.Listen(ctx, key, port)
	if err != nil {
		socket.Close()
		return nil, err
	}
	return joinListeners(ln, socket), nil
}

// DialSocket connects to a service through its socket in dir. It proves nothing about
// who listens there; the protocols of both services do, as over Tor.
func DialSocket(ctx context.Context, dir string, service identity.Onion) (net.Conn, error) {
	if _, err := identity.ParseOnion(string(service)); err != nil {
		return nil, fmt.Errorf("dial socket: %w", err)
	}
	d, err := openSocketDir(dir)
	if err != nil {
		return nil, fmt.Errorf("dial socket: %w", err)
	}
	defer d.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socketPath(d, service))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("dial socket: %w", ErrNotPublished)
	}
	if err != nil {
		return nil, fmt.Errorf("dial socket in %s: %w", dir, errors.Unwrap(err)) // without the onion
	}
	return conn, nil
}

// CheckSocketDir returns why [DialSocket] would not use a directory, or nil. Services need not
// have their sockets there yet.
func CheckSocketDir(dir string) error {
	d, err := openSocketDir(dir)
	if err != nil {
		return err
	}
	return d.Close()
}

// openSocketDir opens a directory, unless others could put their own sockets there. It
// belongs to this user, or to root, who could do so anywhere.
func openSocketDir(path string) (*os.File, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := d.Stat()
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", path)
	}
	if err == nil && ownership.UID(info) != 0 {
		err = ownership.CheckOwner(path, info)
	}
	if err == nil {
		err = ownership.CheckMode(path, info, 0o022)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// socketPath names a socket through the open directory, because the path of a socket is
// bounded; see unixsocket.MaxPath.
func socketPath(dir *os.File, service identity.Onion) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s.sock", dir.Fd(), service)
}

// listenSocket opens the socket of a service for this user only. One that a process left
// that was killed is replaced.
func listenSocket(ctx context.Context, dir string, service identity.Onion) (net.Listener, error) {
	d, err := openSocketDir(dir)
	if err != nil {
		return nil, err
	}
	path := socketPath(d, service)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Close()
		return nil, err
	}
	// The mode is set before the socket gets its name, so that it is never open to
	// others, whatever the umask.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	ln, err := config.Listen(ctx, "unix", path)
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: %w", filepath.Clean(dir), err)
	}
	return &socketListener{ln, d}, nil
}

// socketListener keeps open the directory by which its socket is named.
type socketListener struct {
	net.Listener
	dir *os.File
}

func (l *socketListener) Close() error {
	err := l.Listener.Close() // removes the socket
	return errors.Join(err, l.dir.Close())
}

// joinedListener accepts the connections of two listeners. It has the address of the
// first.
type joinedListener struct {
	net.Listener
	second   net.Listener
	accepted chan acceptedConn
	closed   chan struct{}
	once     sync.Once
	err      error
	wg       sync.WaitGroup
}

type acceptedConn struct {
	conn net.Conn
	err  error
}

func joinListeners(first, second net.Listener) net.Listener {
	l := &joinedListener{Listener: first, second: second, accepted: make(chan acceptedConn), closed: make(chan struct{})}
	l.wg.Go(func() { l.forward(first) })
	l.wg.Go(func() { l.forward(second) })
	return l
}

// forward passes on what a listener accepts. If the first is closed by its network, so
// is the whole.
func (l *joinedListener) forward(from net.Listener) {
	for {
		conn, err := from.Accept()
		if errors.Is(err, net.ErrClosed) {
			go l.Close() //nolint:errcheck // an error is of its other callers
			return
		}
		select {
		case l.accepted <- acceptedConn{conn, err}:
		case <-l.closed:
			if conn != nil {
				conn.Close()
			}
			return
		}
	}
}

func (l *joinedListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	}
}

func (l *joinedListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.err = errors.Join(l.second.Close(), l.Listener.Close())
		l.wg.Wait()
	})
	return l.err
}
