// Package interop checks core/tapir against a third party's implementation.
//
// The peer is the program in driver, on top of tapir-cwtch, a Rust library by the
// author of Cwtch. run.sh builds it and runs the tests with INTEROP_DRIVER set to
// its path; without that they are skipped.
package interop

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// rounds is the number of authentications in each role.
const rounds = 20

// start runs the driver and returns the lines it prints.
func start(t *testing.T, args ...string) *bufio.Scanner {
	t.Helper()
	path := os.Getenv("INTEROP_DRIVER")
	if path == "" {
		t.Skip("INTEROP_DRIVER is not set: run core/tapir/interop/run.sh")
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		if t.Failed() {
			cmd.Process.Kill() // it may wait for connections that do not come
		}
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("driver: %v", err)
		}
	})
	return bufio.NewScanner(out)
}

// next returns the words of the driver's next line.
func next(t *testing.T, lines *bufio.Scanner) []string {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("the driver ended: %v", lines.Err())
	}
	return strings.Fields(lines.Text())
}

// wantOK fails unless the driver authenticated as peer with own.
func wantOK(t *testing.T, lines *bufio.Scanner, peer, own identity.Onion) {
	t.Helper()
	got := strings.Join(next(t, lines), " ")
	if want := "ok " + string(peer) + " " + string(own); got != want {
		t.Fatalf("the driver says %q, want %q", got, want)
	}
}

// echo returns one message to its sender.
func echo(t *testing.T, c *tapir.Conn) {
	t.Helper()
	check(t, c.Receive(func(payload []byte) error {
		if want := strconv.Quote(string(c.Peer())); string(payload) != want {
			t.Errorf("the driver sends %q, want %q", payload, want)
		}
		return c.Send(bytes.Clone(payload))
	}))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheirClientAtOurServer(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(t, err)
	defer l.Close()
	check(t, l.SetDeadline(time.Now().Add(time.Minute))) // the driver may die
	key := identity.NewKey()
	lines := start(t, "dial", l.Addr().String(), string(key.Onion()), strconv.Itoa(rounds))
	for range rounds {
		nc, err := l.Accept()
		check(t, err)
		c, err := tapir.Server(t.Context(), nc, key)
		check(t, err)
		echo(t, c)
		wantOK(t, lines, c.Peer(), key.Onion())
		c.Close()
	}
}

func TestOurClientAtTheirServer(t *testing.T) {
	lines := start(t, "listen", strconv.Itoa(rounds))
	words := next(t, lines)
	if len(words) != 3 || words[0] != "listening" {
		t.Fatalf("the driver says %q", words)
	}
	server, err := identity.ParseOnion(words[2])
	check(t, err)
	for range rounds {
		nc, err := net.Dial("tcp", words[1])
		check(t, err)
		key := identity.NewKey()
		c, err := tapir.Client(t.Context(), nc, key, server)
		check(t, err)
		echo(t, c)
		wantOK(t, lines, server, key.Onion())
		c.Close()
	}
}

// The tests above can fail: here the wrong server answers.
func TestTheirServerUnderAnotherName(t *testing.T) {
	lines := start(t, "listen", "1")
	address := next(t, lines)[1]
	nc, err := net.Dial("tcp", address)
	check(t, err)
	_, err = tapir.Client(t.Context(), nc, identity.NewKey(), identity.NewKey().Onion())
	if !errors.Is(err, tapir.ErrAuthentication) {
		t.Errorf("we say %v", err)
	}
	if words := next(t, lines); words[0] != "failed" {
		t.Errorf("the driver says %q", words)
	}
}
