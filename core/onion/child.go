package onion

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
)

// stopGrace is how long tor may take to end before it is killed. A client ends
// within 50 ms, but some versions hang while they end.
const stopGrace = 2 * time.Second

// childSource runs a tor of our own.
type childSource struct {
	path     string
	dir      *dataDir
	extra    []string
	log      *slog.Logger  // of what tor prints
	wait     time.Duration // for an answer
	services atomic.Int64  // counts services, to number their sockets
}

// startSession starts tor and authenticates to it. Bine could start one as well, but
// connects to it through a TCP port.
func (s *childSource) startSession(ctx context.Context, handle func(*session, control.Event)) (*session, error) {
	torrc, defaults, err := s.dir.writeTorrc(ownTorrc(s.dir.sockets, s.extra))
	if err != nil {
		return nil, err
	}
	policy, err := s.sandboxPolicy()
	if err != nil {
		return nil, startError(err)
	}
	c := &child{control: s.dir.sockets.controlPath(), wait: s.wait, log: &torLog{log: s.log}}
	args := []string{
		"--DataDirectory", s.dir.path, "--CookieAuthentication", "1", "--CookieAuthFile", s.dir.cookiePath(),
		"--hush", "-f", torrc, "--defaults-torrc", defaults,
	}
	if c.process, err = torproc.Start(s.path, args, policy, c.log); err != nil {
		return nil, startError(err)
	}
	session, err := s.connectChild(ctx, c, handle)
	if err != nil {
		c.stopProcess()
		return nil, startError(fmt.Errorf("%w%s", err, c.log.lastWarning()))
	}
	return session, nil
}

// connectChild makes a session with a tor that was started.
func (s *childSource) connectChild(ctx context.Context, c *child, handle func(*session, control.Event)) (*session, error) {
	unix, err := c.dialControl(ctx)
	if err != nil {
		return nil, err
	}
	nc := newControlConn(unix)
	authenticated := boundAuthentication(ctx, nc, s.wait)
	conn := control.NewConn(textproto.NewConn(nc))
	trust, err := newTrust("")
	if err == nil {
		err = s.authenticateChild(nc, conn, trust)
	}
	if err = errors.Join(err, authenticated()); err != nil {
		nc.Close()
		return nil, err
	}
	info := torInfo{pid: c.process.Pid(), socksNetwork: "unix", socksAddress: s.dir.sockets.socksPath(), trust: trust}
	session, err := newSession(nc, conn, info, s.wait, handle, c.stopProcess)
	if err != nil {
		nc.Close()
	}
	return session, err
}

func (s *childSource) authenticateChild(nc *controlConn, conn *control.Conn, trust trust) error {
	if err := trust.checkPeer(nc.Conn); err != nil {
		return err
	}
	// Tor writes the cookie after it listens and before it answers.
	if _, _, err := authMethods(conn); err != nil {
		return err
	}
	cookie, err := os.ReadFile(s.dir.cookiePath())
	if err != nil {
		return err
	}
	if err := authenticateByCookie(conn, cookie); err != nil {
		return err
	}
	nc.unproven = -1
	return conn.TakeOwnership()
}

func (s *childSource) listenService() (net.Listener, string, error) {
	path := s.dir.sockets.servicePath(int(s.services.Add(1)))
	ln, err := net.Listen("unix", path)
	return ln, "unix:" + path, err
}

func (s *childSource) closeSource() error { return s.dir.unlockDir() }

// child is a tor process of ours.
type child struct {
	control string        // path of the control socket
	wait    time.Duration // for the control socket to open
	log     *torLog
	process *torproc.Process
}

// dialControl waits for tor to open its control socket.
func (c *child) dialControl(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", c.control)
		if err == nil {
			return conn, nil
		}
		select {
		case <-tick.C:
		case <-c.process.Done():
			return nil, errors.New("tor has ended")
		case <-ctx.Done():
			return nil, fmt.Errorf("tor does not open its control socket: %w", ctx.Err())
		}
	}
}

// stopProcess stops tor, if it still runs, and tells how it ended.
func (c *child) stopProcess() string {
	if err := c.process.Stop(stopGrace); err != nil {
		return "tor did not answer and was killed"
	}
	err := c.process.Err()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.Exited() {
		return fmt.Sprintf("tor has ended (%v)%s", err, c.log.lastWarning())
	}
	if err != nil {
		return fmt.Sprintf("tor has ended (%v)", err)
	}
	return "tor has ended (exit status 0)"
}

// startError wraps an error of a start, and says what to do if there is no tor.
func startError(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start tor: %w: install tor (apt-get install tor) or set its path; it need not run as a service", err)
	}
	return fmt.Errorf("start tor: %w", err)
}
