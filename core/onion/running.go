package onion

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
)

// runningSource uses a tor that somebody else runs, through its control port.
type runningSource struct {
	network, address string
	cookie           string // cookie file that the operator names, or ""
	trust            trust
	wait             time.Duration // for an answer
}

// newRunningSource checks a control address: "unix:/path" or an address of this
// machine, because the control connection is not encrypted and carries keys.
func newRunningSource(config TorConfig, wait time.Duration) (*runningSource, error) {
	network, addr, err := localAddress(config.Control)
	if err != nil {
		return nil, fmt.Errorf("tor control address %q: %w", config.Control, err)
	}
	if network == "tcp" && config.ControlCookie == "" {
		return nil, fmt.Errorf("tor control address %s: %w", addr, errNoCookie)
	}
	trust, err := newTrust(config.ControlUser)
	if err != nil {
		return nil, err
	}
	return &runningSource{network, addr, config.ControlCookie, trust, wait}, nil
}

// localAddress reads "unix:/path" or "127.0.0.1:9051".
func localAddress(text string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "\x00") {
			return "", "", errors.New("the path of a unix socket begins with /")
		}
		return "unix", path, nil
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil || !addr.Addr().IsLoopback() || addr.Port() == 0 {
		return "", "", errors.New(`write it as "unix:/path" or as an address and port of this machine, such as "127.0.0.1:9051"`)
	}
	return "tcp", addr.String(), nil
}

func (r *runningSource) startSession(ctx context.Context, handle func(*session, control.Event)) (*session, error) {
	dialCtx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	tcp, err := r.dialControl(dialCtx)
	if err != nil {
		return nil, fmt.Errorf("connect to running tor: %w", err)
	}
	nc := newControlConn(tcp)
	authenticated := boundAuthentication(ctx, nc, r.wait)
	conn := control.NewConn(textproto.NewConn(nc))
	info := torInfo{trust: r.trust}
	if err = r.authenticateRunning(nc, conn); err != nil {
		err = fmt.Errorf("authenticate to running tor: %w", err)
	}
	if err == nil && torproc.TestingOnly() {
		err = checkRunningLoopback(conn)
	}
	if err == nil {
		info.socksNetwork, info.socksAddress, err = socksListener(conn)
	}
	if err = errors.Join(err, authenticated()); err != nil {
		nc.Close()
		return nil, err
	}
	s, err := newSession(nc, conn, info, r.wait, handle, func() string { return "running tor has closed its control connection" })
	if err != nil {
		nc.Close()
		return nil, err
	}
	return s, nil
}

// dialControl connects to a socket that only trusted users can have made.
func (r *runningSource) dialControl(ctx context.Context) (net.Conn, error) {
	address := r.address
	if r.network == "unix" {
		path, info, err := r.trust.resolveTrusted(address)
		if err == nil && info.Mode()&fs.ModeSocket == 0 {
			err = fmt.Errorf("%s is not a socket", path)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil, explainNotThere(err)
		}
		if err != nil {
			return nil, err
		}
		address = path
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, r.network, address)
	if err != nil {
		return nil, explainNotThere(err)
	}
	if err := r.trust.checkPeer(nc); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

func explainNotThere(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: tor lets only its group connect, with Debian's tor debian-tor: add the user of this process to that group (SupplementaryGroups= of systemd)", err)
	}
	return fmt.Errorf("%w: is it running, with ControlPort or ControlSocket set to this address?", err)
}

// authenticateRunning makes sure that only tor gets what follows. Behind a TCP port it
// trusts only a tor that knows the cookie that the operator names: another listener
// would name a cookie file of its own. Behind a unix socket a trusted user listens,
// as the kernel has told.
func (r *runningSource) authenticateRunning(nc *controlConn, conn *control.Conn) error {
	path := r.cookie
	if path == "" {
		none, cookieFile, err := authMethods(conn)
		if err != nil {
			return err
		}
		if none {
			nc.unproven = -1
			_, err = conn.SendRequest("AUTHENTICATE")
			return err
		}
		if path = cookieFile; path == "" {
			return errors.New("it wants a password: write CookieAuthentication 1 in its torrc")
		}
	}
	cookie, err := r.trust.readCookie(path)
	if err != nil {
		return fmt.Errorf("read the cookie of tor: %w", err)
	}
	if err := authenticateByCookie(conn, cookie); err != nil {
		return fmt.Errorf("%w: write CookieAuthentication 1 and CookieAuthFile %s in its torrc, the file that control_cookie names (cwtch-group: -tor-control-cookie), and stop whatever else listens on %s", err, path, r.address)
	}
	nc.unproven = -1
	// By now tor has accepted the connection, so its own socket shows who it is.
	return r.trust.checkPeer(nc.Conn)
}

// checkRunningLoopback refuses a running tor that torproc would not start under go
// test.
func checkRunningLoopback(conn *control.Conn) error {
	values, err := conn.GetConf("TestingTorNetwork", "DirAuthority", "FallbackDir")
	if err != nil {
		return fmt.Errorf("ask running tor for its directories: %w", err)
	}
	var lines []string
	for _, v := range values {
		if v.Val != "" {
			lines = append(lines, v.Key+" "+v.Val)
		}
	}
	return torproc.CheckLoopback(lines)
}

// socksListener asks tor for the address of its SOCKS port.
func socksListener(conn *control.Conn) (network, address string, err error) {
	resp, err := conn.SendRequest("GETINFO net/listeners/socks")
	if err != nil {
		return "", "", fmt.Errorf("ask running tor for its SOCKS port: %w", err)
	}
	for _, line := range resp.Data {
		for listener := range quotedFields(strings.TrimPrefix(line, "net/listeners/socks=")) {
			if network, address, err := localAddress(listener); err == nil {
				return network, address, nil
			}
		}
	}
	return "", "", errors.New("running tor has no SOCKS port on this machine: set SocksPort in its configuration")
}

// quotedFields yields the strings of a list like "127.0.0.1:9050" "unix:/run/x", up
// to the first field that is not quoted.
func quotedFields(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			list = strings.TrimLeft(list, " ")
			field, rest, err := unquote(list)
			if err != nil || !yield(field) {
				return
			}
			list = rest
		}
	}
}

// listenService opens a TCP port, because tor may run as a user who cannot connect to
// a socket of ours. Other users of this machine can connect to it too: they get what
// any client on the network gets, and learn nothing of other clients.
func (r *runningSource) listenService() (net.Listener, string, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	return ln, ln.Addr().String(), nil
}

func (r *runningSource) closeSource() error { return nil }
