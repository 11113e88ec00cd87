package onion

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// newSockets returns a loopback network with sockets in a directory with a long path.
func newSockets(t *testing.T) (network Network, dir string) {
	t.Helper()
	plain, err := Loopback(filepath.Join(t.TempDir(), "net"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plain.Close() })
	dir = filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return WithSockets(plain, dir), dir
}

// echoAll answers each connection with the bytes that it sends.
func echoAll(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() { defer c.Close(); io.Copy(c, c) }()
	}
}

func expectEcho(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestSocketAndNetworkReachTheSameService(t *testing.T) {
	network, dir := newSockets(t)
	key := identity.NewKey()
	ended := make(chan struct{})
	for range 2 { // the second finds what a killed process would leave
		ln, err := network.Listen(t.Context(), key, 9878)
		if err != nil {
			t.Fatal(err)
		}
		go func() { echoAll(ln); ended <- struct{}{} }()
		info, err := os.Stat(filepath.Join(dir, string(key.Onion())+".sock"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("socket has mode %v, %v", info, err)
		}
		direct, err := DialSocket(t.Context(), dir, key.Onion())
		if err != nil {
			t.Fatal(err)
		}
		expectEcho(t, direct)
		other, err := network.Dial(t.Context(), key.Onion(), 9878)
		if err != nil {
			t.Fatal(err)
		}
		expectEcho(t, other)
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		<-ended
		if _, err := DialSocket(t.Context(), dir, key.Onion()); !errors.Is(err, ErrNotPublished) {
			t.Errorf("after the end: %v", err)
		}
		if err := os.WriteFile(filepath.Join(dir, string(key.Onion())+".sock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// When the network closes, the socket does as well.
func TestSocketEndsWithTheNetwork(t *testing.T) {
	network, dir := newSockets(t)
	key := identity.NewKey()
	ln, err := network.Listen(t.Context(), key, 9878)
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if _, err := DialSocket(t.Context(), dir, key.Onion()); !errors.Is(err, ErrNotPublished) {
		t.Errorf("dial: %v", err)
	}
}

// Others could listen in a directory that they may write to.
func TestSocketsOfOthersAreRefused(t *testing.T) {
	_, dir := newSockets(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	key := identity.NewKey()
	if _, err := DialSocket(t.Context(), dir, key.Onion()); err == nil || !strings.Contains(err.Error(), "can be written by other users") {
		t.Errorf("dial: %v", err)
	}
	if _, err := listenSocket(t.Context(), dir, key.Onion()); err == nil {
		t.Error("listens there")
	}
	if _, err := DialSocket(t.Context(), dir, "../../../etc/passwd"); err == nil {
		t.Error("a path for an onion")
	}
}

// Another user who owns the directory could put a socket of their own there.
func TestSocketDirOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to another user")
	}
	network, dir := newSockets(t)
	key := identity.NewKey()
	ln, err := network.Listen(t.Context(), key, 9878)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := DialSocket(t.Context(), dir, key.Onion()); !errors.As(err, new(*ownership.Error)) {
		t.Errorf("got %v", err)
	}
}
