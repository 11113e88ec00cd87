package onion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cretz/bine/control"
	"golang.org/x/net/proxy"
	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// watchdog ends a test that hangs.
const watchdog = time.Minute

// impatient lets tests see a restart soon.
var impatient = timing{answer: 5 * time.Second, look: time.Second, turn: 2 * time.Second, minDelay: 50 * time.Millisecond, maxDelay: time.Second, stable: time.Minute}

// torOn starts a tor of our own on a private network.
func torOn(t *testing.T, n *tornet.Network, edit ...func(*TorConfig)) *Tor {
	t.Helper()
	config := TorConfig{DataDir: filepath.Join(t.TempDir(), "tor"), Torrc: n.ClientTorrc(), Logger: testLogger(t)}
	if err := n.Seed(config.DataDir); err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(&config)
	}
	tor, err := startTor(within(t, watchdog), config, impatient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tor.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tor
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// testLogger logs to the test, at all levels.
func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// served publishes a service that echoes.
func served(t *testing.T, n Network) identity.Onion {
	t.Helper()
	key := identity.NewKey()
	ln, err := n.Listen(within(t, watchdog), key, port)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ln)
	return key.Onion()
}

// reach makes round trips until one succeeds. A service that was published a
// moment ago is not at all directories yet.
func reach(t *testing.T, n Network, service identity.Onion) {
	t.Helper()
	ctx := within(t, watchdog)
	for {
		once, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := roundTrip(once, n, service)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("no round trip: %v", err)
		}
		t.Logf("round trip: %v", err)
	}
}

// await waits for a state of tor.
func await(t *testing.T, tor *Tor, what string, cond func(Status) bool) Status {
	t.Helper()
	ctx := within(t, watchdog)
	for {
		tor.mu.Lock()
		changed := tor.changed
		tor.mu.Unlock()
		s := tor.Status()
		if cond(s) {
			return s
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: not seen, status %+v", what, s)
		}
	}
}

func TestTor(t *testing.T) {
	n := tornet.ForTest(t)
	t.Run("RoundTrip", func(t *testing.T) { testRoundTrip(t, n) })
	t.Run("Restart", func(t *testing.T) { testRestart(t, n) })
	t.Run("Hang", func(t *testing.T) { testHang(t, n) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, n) })
	t.Run("Many", func(t *testing.T) { testMany(t, n) })
	t.Run("Withdraw", func(t *testing.T) { testWithdraw(t, n) })
	t.Run("Running", func(t *testing.T) { testRunning(t, n) })
	t.Run("SystemTor", func(t *testing.T) { testSystemTor(t, n) })
	t.Run("MaxStreams", func(t *testing.T) { testMaxStreams(t, n) })
	t.Run("Dial", func(t *testing.T) { testDial(t, n) })
	t.Run("Configuration", func(t *testing.T) { testConfiguration(t, n) })
	t.Run("Inspect", func(t *testing.T) { testInspect(t, n) })
	t.Run("Clients", func(t *testing.T) { testClients(t, n) })
	t.Run("ParentKilled", func(t *testing.T) { testParentKilled(t, n) })
}

func testRoundTrip(t *testing.T, n *tornet.Network) {
	var mu sync.Mutex
	var steps []int
	var log lockedBuffer
	start := time.Now()
	server := torOn(t, n, func(c *TorConfig) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Progress = func(percent int, summary string) {
			mu.Lock()
			defer mu.Unlock()
			steps = append(steps, percent)
			if summary == "" {
				t.Errorf("no summary at %d %%", percent)
			}
		}
	})
	client := torOn(t, n)
	service := served(t, server)
	published := time.Since(start)
	reach(t, client, service)
	t.Logf("published after %v, first round trip after %v", published, time.Since(start))

	s := server.Status()
	if up := s.Services[0].Uploaded; up == nil || up.Before(start) || s.Services[0].Directories < 1 {
		t.Errorf("the upload is not in the status: %+v", s.Services[0])
	}
	s.Services[0].Uploaded, s.Services[0].Directories = nil, 0
	want := Service{Onion: service, Port: port, Published: true}
	if s.State != Ready || s.Progress != 100 || s.Version == "" || s.Pid == 0 || s.Restarts != 0 || len(s.Services) != 1 || s.Services[0] != want {
		t.Errorf("status: %+v", s)
	}
	if strings.Contains(log.String(), "no proof-of-work defence") {
		t.Error("tor does not know the proof-of-work defence")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(steps) == 0 || steps[len(steps)-1] != 100 {
		t.Errorf("progress: %v", steps)
	}
}

func testRestart(t *testing.T, n *tornet.Network) {
	var log lockedBuffer
	server := torOn(t, n, func(c *TorConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	client := torOn(t, n)
	service := served(t, server)
	reach(t, client, service)
	pid := server.Status().Pid
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s := await(t, server, "republished", func(s Status) bool { return s.Restarts == 1 && s.State == Ready && s.Services[0].Published })
	if s.Pid == pid || s.Pid == 0 {
		t.Errorf("status: %+v", s)
	}
	if !strings.Contains(log.String(), "tor has ended (signal: killed)") {
		t.Errorf("the log does not mention the death of tor:\n%s", log.String())
	}
	reach(t, client, service) // the listener from before answers
	reach(t, server, service)
}

// A tor that lives but does not answer is ended and started again.
func testHang(t *testing.T, n *tornet.Network) {
	tor := torOn(t, n)
	await(t, tor, "ready", func(s Status) bool { return s.State == Ready })
	if err := syscall.Kill(tor.Status().Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, tor, "restarted", func(s Status) bool { return s.Restarts == 1 && s.State == Ready })
}

// Many users of one control connection must not block one another, see session.
func testConcurrent(t *testing.T, n *tornet.Network) {
	tor := torOn(t, n)
	var services [3]identity.Onion
	var wg sync.WaitGroup
	for i := range services {
		wg.Go(func() { services[i] = served(t, tor) })
	}
	wg.Wait()
	for i := range 24 {
		wg.Go(func() { reach(t, tor, services[i%len(services)]) })
	}
	wg.Wait()
}

// testMany publishes so many services at once that tor would not do it in minutes, and again for
// a tor that was killed.
func testMany(t *testing.T, n *tornet.Network) {
	tor := torOn(t, n)
	const count = 60
	var wg sync.WaitGroup
	for range count {
		wg.Go(func() { served(t, tor) })
	}
	allPublished := func(s Status) bool {
		return len(s.Services) == count && !slices.ContainsFunc(s.Services, func(s Service) bool { return !s.Published })
	}
	wg.Wait()
	first := await(t, tor, "all published", allPublished)
	if err := syscall.Kill(first.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, tor, "all published by another tor", func(s Status) bool { return s.Pid != first.Pid && allPublished(s) })
	tor.mu.Lock()
	defer tor.mu.Unlock()
	if n := len(tor.turns.places); n != 0 {
		t.Errorf("%d turns go on", n)
	}
}

func testWithdraw(t *testing.T, n *tornet.Network) {
	tor := torOn(t, n)
	key := identity.NewKey()
	ln, err := tor.Listen(within(t, watchdog), key, port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tor.Listen(t.Context(), key, port); err == nil || !strings.Contains(err.Error(), "already served") {
		t.Errorf("same key twice: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if s := tor.Status(); len(s.Services) != 0 {
		t.Errorf("status: %+v", s)
	}
	// Tor has forgotten it, or it would speak of a collision.
	again, err := tor.Listen(within(t, watchdog), key, port)
	if err != nil {
		t.Fatalf("listen again: %v", err)
	}
	accepted := make(chan error)
	go func() {
		_, err := again.Accept()
		accepted <- err
	}()
	if err := tor.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := tor.Listen(t.Context(), identity.NewKey(), port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listen after close: %v", err)
	}
	if _, err := tor.Dial(t.Context(), key.Onion(), port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial after close: %v", err)
	}
	if s := tor.Status(); s.State != Closed || s.Pid != 0 {
		t.Errorf("status: %+v", s)
	}
}

// A tor that somebody else runs is used, and used again when it comes back.
func testRunning(t *testing.T, n *tornet.Network) {
	other := torOn(t, n)
	control := "unix:" + other.source.(*childSource).dir.sockets.controlPath()
	server := torAt(t, control, impatient)
	service := served(t, server)
	reach(t, server, service)
	if s := server.Status(); s.Pid != 0 || s.Version == "" || s.State != Ready {
		t.Errorf("status: %+v", s)
	}
	if err := syscall.Kill(other.Status().Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, server, "republished", func(s Status) bool { return s.Restarts > 0 && s.State == Ready && s.Services[0].Published })
	reach(t, server, service)
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if s := other.Status(); s.State != Ready {
		t.Errorf("the tor of others after close: %+v", s)
	}
}

// The tor of a system, as its package sets it up: by its port and by its socket.
func testSystemTor(t *testing.T, n *tornet.Network) {
	dir := openDir(t)
	port, err := net.Listen("tcp4", "127.0.0.1:0") // one that is free
	if err != nil {
		t.Fatal(err)
	}
	address := port.Addr().String()
	port.Close()
	n.ClientForTest(t, "ControlPort "+address, "ControlSocket "+filepath.Join(dir, "control")+" RelaxDirModeCheck",
		"CookieAuthentication 1", "CookieAuthFile "+filepath.Join(dir, "cookie"), "CookieAuthFileGroupReadable 1", "SocksPort 127.0.0.1:auto")
	for _, config := range []TorConfig{
		{Control: "unix:" + filepath.Join(dir, "control")},
		{Control: address, ControlCookie: filepath.Join(dir, "cookie")},
	} {
		t.Run(config.Control[:4], func(t *testing.T) {
			config.Logger = testLogger(t)
			var tor *Tor
			err := errors.New("not tried")
			for ctx := within(t, watchdog); err != nil; { // until tor listens
				if tor, err = startTor(ctx, config, impatient); ctx.Err() != nil {
					t.Fatal(err)
				}
			}
			defer tor.Close()
			reach(t, tor, served(t, tor))
		})
	}
}

// circuitEnds is how long it may take until the connections of a circuit that tor
// closes have ended, which is some 10 s.
const circuitEnds = 30 * time.Second

// A circuit carries maxStreams connections and is closed at the next one.
func testMaxStreams(t *testing.T, n *tornet.Network) {
	client := torOn(t, n)
	service := served(t, torOn(t, n))
	reach(t, client, service)
	info, err := client.awaitReady(within(t, watchdog))
	if err != nil {
		t.Fatal(err)
	}
	// With the same credentials all connections are on one circuit.
	auth := &proxy.Auth{User: "one", Password: "circuit"}
	d, err := proxy.SOCKS5(info.socksNetwork, info.socksAddress, auth, &net.Dialer{})
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (net.Conn, error) {
		return d.(proxy.ContextDialer).DialContext(within(t, watchdog), "tcp", fmt.Sprintf("%s.onion:%d", service, port))
	}
	var open []net.Conn
	for i := range maxStreams {
		c, err := dial()
		if err != nil {
			t.Fatalf("connection %d: %v", i+1, err)
		}
		defer c.Close()
		open = append(open, c)
	}
	begin := time.Now()
	c, err := dial()
	t.Logf("connection %d: %v after %v", maxStreams+1, err, time.Since(begin))
	if err == nil {
		// Tor may report the end after the beginning.
		c.SetDeadline(time.Now().Add(circuitEnds))
		if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a connection too many was accepted, and after %v it is open: %d, %v", circuitEnds, n, err)
		}
		c.Close()
	}
	for i, c := range open {
		c.SetDeadline(time.Now().Add(circuitEnds))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is still open after %v: %v", i+1, circuitEnds, err)
		}
	}
}

func testDial(t *testing.T, n *tornet.Network) {
	var log lockedBuffer
	tor := torOn(t, n, func(c *TorConfig) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	service := served(t, torOn(t, n))
	reach(t, tor, service)

	nobody := identity.NewKey().Onion()
	_, err := tor.Dial(within(t, watchdog), nobody, port)
	if !errors.Is(err, ErrNotPublished) || strings.Contains(err.Error(), string(nobody)) {
		t.Errorf("dial nobody: %v", err)
	}
	if _, err := tor.Dial(within(t, watchdog), service, port+1); err == nil || strings.Contains(err.Error(), string(service)) {
		t.Errorf("dial another port: %v", err)
	}
	if _, err := tor.Dial(t.Context(), "x", port); err == nil {
		t.Error("dialled what is no onion name")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tor.Dial(ctx, service, port); !errors.Is(err, context.Canceled) {
		t.Errorf("dial in a context that has ended: %v", err)
	}

	// Two connections of one client have a circuit each.
	for range 2 {
		c, err := tor.Dial(within(t, watchdog), service, port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	circuits := map[string]bool{}
	streams := 0
	for _, line := range getInfo(t, tor, "stream-status") {
		// "StreamID SUCCEEDED CircuitID Target"
		if f := strings.Fields(line); len(f) > 3 && strings.HasPrefix(f[3], string(service)) {
			streams++
			circuits[f[2]] = true
		}
	}
	if streams < 2 || len(circuits) != streams {
		t.Errorf("%d streams on %d circuits", streams, len(circuits))
	}

	if err := tor.Close(); err != nil {
		t.Error(err)
	}
	for _, secret := range []identity.Onion{service, nobody} {
		if strings.Contains(log.String(), string(secret)) {
			t.Error("the log of a client names a service that it dialled")
		}
	}
	if !strings.Contains(log.String(), "Bootstrapped") {
		t.Error("tor's log is missing")
	}
}

func getInfo(t *testing.T, tor *Tor, key string) []string {
	t.Helper()
	var lines []string
	tor.mu.Lock()
	session := tor.session
	tor.mu.Unlock()
	err := session.runRequest(func(c *control.Conn) error {
		resp, err := c.SendRequest("GETINFO %s", key)
		if err == nil {
			for _, d := range resp.Data {
				lines = append(lines, strings.FieldsFunc(strings.TrimPrefix(d, key+"="), func(r rune) bool { return r == '\r' || r == '\n' })...)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What tor finds wrong comes back in its own words, and leaves nothing.
func testConfiguration(t *testing.T, n *tornet.Network) {
	dir := filepath.Join(t.TempDir(), "tor")
	_, err := StartTor(within(t, watchdog), TorConfig{DataDir: dir, Torrc: append(n.ClientTorrc(), "NoSuchOption 1")})
	if err == nil || !strings.Contains(err.Error(), "Unknown option 'NoSuchOption'") {
		t.Errorf("error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartTor(ctx, TorConfig{DataDir: dir, Torrc: n.ClientTorrc()}); !errors.Is(err, context.Canceled) {
		t.Errorf("started in a context that has ended: %v", err)
	}
	tor, err := StartTor(within(t, watchdog), TorConfig{DataDir: dir, Torrc: n.ClientTorrc()})
	if err != nil {
		t.Fatalf("after failures: %v", err)
	}
	if err := tor.Close(); err != nil {
		t.Error(err)
	}
}

// Tor must not outlive a process that is killed.
func testParentKilled(t *testing.T, n *tornet.Network) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ONION_CHILD_DIR="+filepath.Join(t.TempDir(), "tor"), "ONION_CHILD_TORRC="+strings.Join(n.ClientTorrc(), "\n"))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscanln(out, &pid)
	// A process can wait for a child of its child only by its descriptor.
	fd, pidErr := unix.PidfdOpen(pid, 0)
	cmd.Process.Kill()
	cmd.Wait()
	if err := errors.Join(err, pidErr); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ended, 10_000); n != 1 || err != nil {
		t.Errorf("tor %d outlived its parent (%v)", pid, err)
	}
}

// childMain is the process that is killed.
func childMain(dir string) {
	tor, err := StartTor(context.Background(), TorConfig{DataDir: dir, Torrc: strings.Split(os.Getenv("ONION_CHILD_TORRC"), "\n")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(tor.Status().Pid)
	select {}
}
