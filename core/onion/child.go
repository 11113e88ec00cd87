package onion

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/cretz/bine/control"
	"github.com/cretz/bine/process"
	"github.com/cretz/bine/tor"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
)

// stopGrace is how long tor may take to end before it is killed. As a client it
// ends within 50 ms; versions were seen that hang while ending.
const stopGrace = 2 * time.Second

// childSource runs a tor of our own.
type childSource struct {
	path     string
	dir      *dataDir
	extra    []string
	log      *slog.Logger
	wait     time.Duration // for an answer
	services atomic.Int64  // numbers the sockets of services
}

// connect starts tor through bine. Bine can reach a control socket only when it
// takes tor for one linked into the program: it then asks the process for the
// connection, see child.
func (s *childSource) connect(ctx context.Context, handle func(*session, control.Event)) (*session, error) {
	torrc, defaults, err := s.dir.writeTorrc(ownTorrc(s.dir.sockets, s.extra))
	if err != nil {
		return nil, err
	}
	c := &child{ctx: ctx, wait: s.wait, path: s.path, control: s.dir.sockets.control(), log: &torLog{log: s.log}}
	started, err := tor.Start(ctx, &tor.StartConf{
		ProcessCreator:         c,
		UseEmbeddedControlConn: true,
		DataDir:                s.dir.path,
		TorrcFile:              torrc,
		ExtraArgs:              []string{"--defaults-torrc", defaults},
		NoAutoSocksPort:        true,
		EnableNetwork:          true,
	})
	if err == nil {
		started.ProcessCancelFunc() // of a context that child has no use for
		err = errors.Join(started.Control.TakeOwnership(), c.authenticated())
	}
	if err != nil {
		return nil, c.failed(err)
	}
	info := torInfo{pid: c.process.Pid(), socksNetwork: "unix", socksAddress: s.dir.sockets.socks()}
	session, err := newSession(c.conn, started.Control, info, s.wait, handle, c.stop)
	if err != nil {
		return nil, c.failed(err)
	}
	return session, nil
}

func (s *childSource) listen() (net.Listener, string, error) {
	path := s.dir.sockets.service(int(s.services.Add(1)))
	ln, err := net.Listen("unix", path)
	return ln, "unix:" + path, err
}

func (s *childSource) close() error { return s.dir.close() }

// child is a tor process as bine wants to see one.
type child struct {
	ctx     context.Context // of the start; not of the process
	path    string
	args    []string
	control string // path of the control socket
	wait    time.Duration
	log     *torLog

	process       *torproc.Process
	conn          net.Conn
	err           error // of EmbeddedControlConn; bine wraps it without %w
	authenticated func() error
}

// New is called by bine with the command line.
func (c *child) New(_ context.Context, args ...string) (process.Process, error) {
	c.args = args
	return c, nil
}

// EmbeddedControlConn starts tor and connects to its control socket. Bine calls
// it once, before Start.
func (c *child) EmbeddedControlConn() (net.Conn, error) {
	if c.process, c.err = torproc.Start(c.path, c.args, c.log); c.err != nil {
		return nil, c.err
	}
	if c.conn, c.err = c.dial(); c.err != nil {
		return nil, c.err
	}
	c.authenticated = authenticating(c.ctx, c.conn, c.wait)
	return c.conn, nil
}

// dial waits for tor to open its control socket.
func (c *child) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.wait)
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

// Start does nothing, as EmbeddedControlConn has started tor.
func (c *child) Start() error { return nil }

// Wait is called by bine when its own Start fails.
func (c *child) Wait() error {
	c.stop()
	return nil
}

// stop ends tor, if it has not ended yet, and tells how it did.
func (c *child) stop() string {
	if err := c.process.Stop(stopGrace); err != nil {
		return "tor did not answer and was killed"
	}
	err := c.process.Err()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.Exited() {
		return fmt.Sprintf("tor has ended (%v)%s", err, c.log.trouble())
	}
	if err != nil {
		return fmt.Sprintf("tor has ended (%v)", err)
	}
	return "tor has ended (exit status 0)"
}

// failed ends a tor that did start and says why the start failed.
func (c *child) failed(err error) error {
	if c.err != nil {
		err = c.err
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start tor: %w: install it (apt-get install tor) or set its path; the service that the package may set up is not needed", err)
	}
	if c.process == nil {
		return fmt.Errorf("start tor: %w", err)
	}
	c.stop()
	return fmt.Errorf("start tor: %w%s", err, c.log.trouble())
}
