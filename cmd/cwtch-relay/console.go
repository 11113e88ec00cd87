package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/urfave/cli/v3"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/autostart"
	"github.com/cwtch-relay/cwtch-relay/core/console"
	"github.com/cwtch-relay/cwtch-relay/core/logring"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

const (
	unixPrefix = "unix:"
	// tunnelAddress is where the console of a socket is, with the tunnel of tunnelHint.
	tunnelAddress = "127.0.0.1:7480"
)

// consoleServer serves the console of a relay.
type consoleServer struct {
	ln    net.Listener
	onion *consoleOnion // nil: it has none
	ring  *logring.Ring
	// atLogin starts the relay when its user logs in; nil for another relay than that of
	// the desktop.
	atLogin *autostart.Switch
	pages   atomic.Pointer[console.Console] // nil until the relay has started
}

// openConsole listens for the console of a configuration; nil if it has none.
func openConsole(cfg *config.Console, path string, level slog.Leveler) (*consoleServer, error) {
	if cfg == nil {
		return nil, nil
	}
	ln, err := listenConsole(cfg.Listen)
	if err != nil {
		return nil, command.WithHint(fmt.Errorf("%s: open the console: %w", cfg.Range, err), "choose another address with listen in the block console")
	}
	s := &consoleServer{ln: ln, ring: logring.New(level), atLogin: switchAtLogin(path)}
	if cfg.Onion {
		s.onion = newConsoleOnion(cfg)
	}
	return s, nil
}

// switchAtLogin returns what starts the relay of a configuration when its user logs in; nil if
// it is not the configuration of the desktop.
func switchAtLogin(path string) *autostart.Switch {
	of, err := config.UserPath()
	if err != nil {
		return nil
	}
	if path, err = filepath.Abs(path); err != nil || path != of {
		return nil
	}
	s, err := autostart.New(path)
	if err != nil {
		return nil
	}
	return s
}

// listenConsole listens on a loopback address, or on a socket for this user only.
func listenConsole(address string) (net.Listener, error) {
	path, isSocket := strings.CutPrefix(address, unixPrefix)
	if !isSocket {
		return net.Listen("tcp", address)
	}
	if err := removeDeadSocket(path); err != nil {
		return nil, err
	}
	// The mode is set before the socket gets its name, so that it is never open to others.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	return lc.Listen(context.Background(), "unix", path)
}

// removeDeadSocket removes the socket of a relay that has ended without doing so.
func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil // to listen says what is there
	}
	if err != nil {
		return err
	}
	nc, err := net.Dial("unix", path)
	if err == nil {
		nc.Close()
		return fmt.Errorf("another program uses the socket %s", pathname.Quote(path))
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return err
}

// address returns an address that opens the console once, with ownUser only for programs of this
// user.
func (s *consoleServer) address(ownUser bool) (string, error) {
	pages := s.pages.Load()
	if pages == nil {
		return "", errors.New("the relay is starting: try again in a moment")
	}
	at := tunnelAddress
	if tcp, ok := s.ln.Addr().(*net.TCPAddr); ok {
		at = tcp.String()
	}
	if ownUser {
		return "http://" + at + pages.IssueOwnKey(), nil
	}
	return "http://" + at + pages.IssueKey(), nil
}

// serve shows the pages of a relay until end is called. A console that fails does not end the relay,
// and goes on without its onion service if that cannot be had.
func (s *consoleServer) serve(ctx context.Context, m *manager.Manager, dataDir string, log *slog.Logger) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	cfg := console.Config{Relay: m, Log: s.ring, Doctor: m.Doctor, Logger: log}
	if s.atLogin != nil {
		cfg.AtLogin = s.atLogin
	}
	listeners := []net.Listener{s.ln}
	if s.onion != nil {
		if err := s.onion.start(dataDir, log); err != nil {
			log.Error("the console is no onion service, because of its key", "error", err)
		} else {
			name, _ := s.onion.describe()
			cfg.Hosts = append(cfg.Hosts, string(name)+".onion")
			listeners = append(listeners, netutil.LimitListener(s.onion, maxOnionConnections))
		}
	}
	pages := console.New(cfg)
	s.pages.Store(pages)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := pages.Serve(ctx, listeners...); err != nil {
			log.Error("the console has ended; the servers go on, and a restart brings it back", "error", err)
		}
	}()
	log.Info("the console is open", "listen", s.ln.Addr().String())
	return func() {
		cancel()
		<-ended
	}
}

// openedConsole is what the command console prints.
type openedConsole struct {
	Address string `json:"address"`
	Tunnel  string `json:"tunnel,omitempty"` // what reaches the socket from another machine
	// Onion is the same address through the onion service, and OnionProblem why that does not
	// work now.
	Onion        string `json:"onion,omitempty"`
	OnionProblem string `json:"onion_problem,omitempty"`
}

func consoleCommand() *cli.Command {
	return &cli.Command{
		Name: "console", Category: categoryRunning, Usage: "print an address that opens the console in a browser, once",
		Description: "The address is that of the running relay. Whoever opens it controls the relay.",
		Flags:       withConfig(), Action: command.Action(printConsole),
		Commands: []*cli.Command{{
			Name: "new-client", Usage: "draw the key of a client of the onion service of the console",
			Description: "The public half is for onion_clients in the configuration, the private one for Tor Browser.",
			Flags:       []cli.Flag{command.JSONFlag()}, Action: command.Action(newConsoleClient),
		}},
	}
}

// printConsole prints an address that opens the console of the running relay once.
func printConsole(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	cfg, err := loadTolerant(ctx, f.config)
	if err != nil {
		return err
	}
	opened := openedConsole{}
	if opened.Address, err = manager.AskConsole(ctx, cfg.DataDir); err != nil {
		if errors.Is(err, manager.ErrNotRunning) {
			return command.WithHint(err, "start it with: "+f.nextCommand())
		}
		return err
	}
	if cfg.Console != nil && strings.HasPrefix(cfg.Console.Listen, unixPrefix) {
		_, port, _ := net.SplitHostPort(tunnelAddress)
		opened.Tunnel = pathname.Command("ssh", "-N", "-L", port+":"+strings.TrimPrefix(cfg.Console.Listen, unixPrefix), "HOST")
	}
	if cfg.Console != nil && cfg.Console.Onion {
		opened.addOnion(ctx, cfg.DataDir)
	}
	if f.JSON {
		return command.PrintJSON(stdout, opened)
	}
	fmt.Fprintln(stdout, opened.Address)
	if opened.Onion != "" {
		fmt.Fprintln(stdout, opened.Onion)
	}
	if opened.OnionProblem != "" {
		fmt.Fprintln(stderr, "The onion service of the console: "+opened.OnionProblem)
	}
	fmt.Fprintln(stderr, opened.describeUse())
	if opened.Tunnel != "" {
		fmt.Fprintln(stderr, "Reach the socket of the console first: "+opened.Tunnel)
	}
	return nil
}

// describeUse says how often and how long the addresses work.
func (o *openedConsole) describeUse() string {
	if o.Onion == "" {
		return "The address works once, in the next five minutes. Whoever opens it controls the relay."
	}
	return "One of the addresses works once, in the next five minutes. Whoever opens it controls the relay.\n" +
		"That of the onion service is for Tor Browser, which asks for the private key of a client."
}

// addOnion adds the address through the onion service of the console.
func (o *openedConsole) addOnion(ctx context.Context, dataDir string) {
	st, err := manager.AskStatus(ctx, dataDir)
	switch {
	case err != nil:
		o.OnionProblem = err.Error()
		return
	case st.Console == nil:
		o.OnionProblem = "the relay was started without it, restart the relay"
		return
	case !st.Console.Published:
		o.OnionProblem = cmp.Or(st.Console.Problem, "it is not published yet, try it in a minute")
	}
	if _, key, found := strings.Cut(o.Address, "/open/"); found && st.Console.Onion != "" {
		o.Onion = "http://" + string(st.Console.Onion) + ".onion/open/" + key
	}
}
