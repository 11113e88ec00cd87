package onion

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// controlServer plays the control port of a tor, as far as a session uses it.
// It answers every command with the function for its first word.
type controlServer struct {
	t       *testing.T
	address string
	conns   sync.WaitGroup // that are served

	mu       sync.Mutex
	conn     net.Conn // the last one
	commands []string
	answers  map[string]func(line string) string
}

// newControlServer serves until the test ends. The tor it plays is ready, on a
// private network, and accepts every service.
func newControlServer(t *testing.T) *controlServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // short, for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	return serveControl(t, ln)
}

// serveControl serves on a listener.
func serveControl(t *testing.T, ln net.Listener) *controlServer {
	t.Helper()
	address := ln.Addr().String()
	if ln.Addr().Network() == "unix" {
		address = "unix:" + address
	}
	say := func(lines ...string) func(string) string {
		return func(string) string { return strings.Join(lines, "\r\n") }
	}
	c := &controlServer{t: t, address: address, answers: map[string]func(string) string{
		"PROTOCOLINFO": say("250-PROTOCOLINFO 1", "250-AUTH METHODS=NULL", `250-VERSION Tor="0.4.7.16"`, "250 OK"),
		"AUTHENTICATE": say("250 OK"),
		"SETEVENTS":    say("250 OK"),
		"DEL_ONION":    say("250 OK"),
		"GETCONF":      say("250-TestingTorNetwork=1", "250-DirAuthority=x 127.0.0.1:1 00", "250 FallbackDir"),
		"ADD_ONION":    c250("ServiceID=x"),
		"GETINFO": func(line string) string {
			switch line {
			case "GETINFO version":
				return c250("version=0.4.7.16")("")
			case "GETINFO net/listeners/socks":
				return c250(`net/listeners/socks="unix:/nonexistent/socks" "127.0.0.1:9"`)("")
			default:
				return c250(`status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"`, "status/circuit-established=1")("")
			}
		},
	}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conn = conn
			c.mu.Unlock()
			c.conns.Go(func() { c.serve(conn) })
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-served
		c.drop()
		c.conns.Wait()
	})
	return c
}

// c250 answers with lines and OK.
func c250(lines ...string) func(string) string {
	return func(string) string { return "250-" + strings.Join(lines, "\r\n250-") + "\r\n250 OK" }
}

func (c *controlServer) serve(conn net.Conn) {
	defer conn.Close()
	for s := bufio.NewScanner(conn); s.Scan(); {
		word, _, _ := strings.Cut(s.Text(), " ")
		c.mu.Lock()
		c.commands = append(c.commands, s.Text())
		answer := c.answers[word]
		c.mu.Unlock()
		if answer == nil {
			answer = func(string) string { return "510 Unrecognized command" }
		}
		if text := answer(s.Text()); text != "" {
			fmt.Fprintf(conn, "%s\r\n", text)
		}
	}
}

// answer replaces what is said to a command; an empty text is silence.
func (c *controlServer) answer(word string, f func(line string) string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[word] = f
}

// event sends an event on the present connection.
func (c *controlServer) event(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.conn, "650 %s\r\n", text)
}

// drop ends the present connection.
func (c *controlServer) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
	}
}

// said returns the commands that began with word.
func (c *controlServer) said(word string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var commands []string
	for _, line := range c.commands {
		if strings.HasPrefix(line, word) {
			commands = append(commands, line)
		}
	}
	return commands
}

// torAt uses the tor behind a control port.
func torAt(t *testing.T, address string, timing timing) *Tor {
	t.Helper()
	tor, err := startTor(within(t, watchdog), TorConfig{Control: address, Logger: testLogger(t)}, timing)
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

// uploadAll answers ADD_ONION and then reports the service as uploaded, as tor
// may do before the answer is read.
func (c *controlServer) uploadAll(onion identity.Onion, refuse func(line string) string) {
	c.answer("ADD_ONION", func(line string) string {
		if text := refuse(line); text != "" {
			return text
		}
		return c250("ServiceID="+string(onion))("") + fmt.Sprintf("\r\n650 HS_DESC UPLOADED %s UNKNOWN $0123~x", onion)
	})
}

func TestDefences(t *testing.T) {
	for name, test := range map[string]struct {
		refusal string
		adds    int
	}{
		"known":                 {"", 1},
		"unknown argument":      {"513 Unrecognized command argument", 2},
		"unknown argument, 512": {"512 Unrecognized argument", 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := newControlServer(t)
			key := identity.NewKey()
			c.uploadAll(key.Onion(), func(line string) string {
				if strings.Contains(line, "PoWDefensesEnabled=1") {
					return test.refusal
				}
				return ""
			})
			tor := torAt(t, c.address, impatient)
			ln, err := tor.Listen(within(t, watchdog), key, port)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			adds := c.said("ADD_ONION")
			if len(adds) != test.adds || !strings.Contains(adds[0], " Flags=DiscardPK,MaxStreamsCloseCircuit PoWDefensesEnabled=1 MaxStreams=16 Port=9878,127.0.0.1:") {
				t.Errorf("commands: %d", len(adds))
			}
		})
	}
}

// What tor refuses for another reason is an error at once, and without the key.
func TestListenRefused(t *testing.T) {
	c := newControlServer(t)
	c.answer("ADD_ONION", func(string) string { return "550 Onion address collision" })
	tor := torAt(t, c.address, impatient)
	_, err := tor.Listen(within(t, watchdog), identity.NewKey(), port)
	if err == nil || !strings.Contains(err.Error(), "Onion address collision") || strings.Contains(err.Error(), "ED25519") {
		t.Errorf("error: %v", err)
	}
	if s := tor.Status(); len(s.Services) != 0 {
		t.Errorf("status: %+v", s)
	}
}

// A service that tor does not take back after a reconnect is tried again.
func TestReconnect(t *testing.T) {
	c := newControlServer(t)
	key := identity.NewKey()
	refusals := 0
	c.uploadAll(key.Onion(), func(string) string {
		if n := len(c.said("ADD_ONION")); n == 2 || n == 3 {
			refusals++
			return "550 Onion address collision"
		}
		return ""
	})
	tor := torAt(t, c.address, impatient)
	ln, err := tor.Listen(within(t, watchdog), key, port)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c.drop()
	await(t, tor, "reconnected", func(s Status) bool { return s.Restarts == 1 && s.Services[0].Published })
	if refusals != 2 {
		t.Errorf("%d refusals", refusals)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if dels := c.said("DEL_ONION"); len(dels) != 1 || dels[0] != "DEL_ONION "+string(key.Onion()) {
		t.Errorf("said %q", dels)
	}
}

// Requests of many goroutines, with events in between. Without the lock of the
// session bine deadlocks.
func TestRequestsAtOnce(t *testing.T) {
	c := newControlServer(t)
	tor := torAt(t, c.address, impatient)
	session := tor.session
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if err := session.requestStatus(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for range 500 {
			c.event("STATUS_CLIENT NOTICE CIRCUIT_ESTABLISHED")
		}
	})
	wg.Wait()
	if s := tor.Status(); s.State != Ready || s.Restarts != 0 {
		t.Errorf("status: %+v", s)
	}
}

func TestStates(t *testing.T) {
	c := newControlServer(t)
	quick := impatient
	quick.answer, quick.look = 300*time.Millisecond, 100*time.Millisecond
	tor := torAt(t, c.address, quick)
	is := func(state State) func(Status) bool { return func(s Status) bool { return s.State == state } }
	await(t, tor, "ready", is(Ready))
	c.answer("GETINFO", func(string) string {
		return c250(`status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"`, "status/circuit-established=0")("")
	})
	c.event("STATUS_CLIENT NOTICE CIRCUIT_NOT_ESTABLISHED REASON=CLOCK_JUMPED")
	await(t, tor, "offline", is(Offline))
	c.event(`STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=45 TAG=x SUMMARY="Asking for relay descriptors"`)
	s := await(t, tor, "bootstrapping", is(Bootstrapping))
	if s.Progress != 45 || s.Summary != "Asking for relay descriptors" {
		t.Errorf("status: %+v", s)
	}
	// A tor that is silent hangs.
	c.answer("GETINFO", func(string) string { return "" })
	await(t, tor, "backoff", is(Backoff))
	if s := tor.Status(); s.Version != "0.4.7.16" {
		t.Errorf("status: %+v", s)
	}
}

// A tor that hangs does not hold up Close.
func TestCloseWhileSilent(t *testing.T) {
	c := newControlServer(t)
	patient := impatient
	patient.answer, patient.look = time.Hour, 10*time.Millisecond
	tor := torAt(t, c.address, patient)
	await(t, tor, "ready", func(s Status) bool { return s.State == Ready })
	asked := make(chan struct{}, 1)
	c.answer("GETINFO", func(string) string {
		select {
		case asked <- struct{}{}:
		default:
		}
		return ""
	})
	<-asked
	if err := tor.Close(); err != nil {
		t.Error(err)
	}
}

// Under go test a running tor is held to the rule for private networks.
func TestRunningTorIsPublic(t *testing.T) {
	for _, conf := range []string{
		"250-TestingTorNetwork=0\r\n250-DirAuthority\r\n250 FallbackDir",
		"250-TestingTorNetwork=1\r\n250-DirAuthority=x 192.0.2.1:1 00\r\n250 FallbackDir",
	} {
		c := newControlServer(t)
		c.answer("GETCONF", func(string) string { return conf })
		_, err := StartTor(t.Context(), TorConfig{Control: c.address})
		if err == nil || !strings.Contains(err.Error(), "private networks") {
			t.Errorf("%q: error %v", conf, err)
		}
	}
}

func TestControlAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:9051": true, "[::1]:9051": true, "unix:/run/tor/control": true,
		"": false, "9051": false, "192.0.2.1:9051": false, "example.com:9051": false, "127.0.0.1:0": false,
		"unix:": false, "unix:run/tor": false, "unix:/a\x00b": false,
	} {
		if _, _, err := localAddress(address); (err == nil) != ok {
			t.Errorf("%q: error %v", address, err)
		}
	}
	dead := newControlServer(t)
	dead.answer("AUTHENTICATE", func(string) string { return "515 Bad authentication" })
	for address, want := range map[string]string{
		"192.0.2.1:9051":            "write it as",
		"127.0.0.1:9051":            "name the cookie file",
		"unix:/nonexistent/control": "is it running",
		dead.address:                "Bad authentication",
	} {
		if _, err := StartTor(t.Context(), TorConfig{Control: address}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", address, err, want)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add(`NOTICE BOOTSTRAP PROGRESS=45 TAG=x SUMMARY="Asking for relay descriptors"`)
	f.Add(`"127.0.0.1:9050" "unix:/run/tor/socks"`)
	f.Add("Nov 22 15:54:01.000 [notice] Bootstrapped 0% (starting): Starting")
	f.Fuzz(func(t *testing.T, text string) {
		if percent, _, ok := parseBootstrap(text); ok && (percent < 0 || percent > 100) {
			t.Errorf("%d per cent of %q", percent, text)
		}
		for field := range quotedFields(text) {
			if network, address, err := localAddress(field); err == nil && network == "tcp" {
				if host, _, err := net.SplitHostPort(address); err != nil || !net.ParseIP(host).IsLoopback() {
					t.Errorf("%q was taken for %s", field, address)
				}
			}
		}
		if level, line := parseLogLine(text); level < -4 || len(line) > len(text) {
			t.Errorf("%q: %v %q", text, level, line)
		}
	})
}
