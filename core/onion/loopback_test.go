package onion

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

const port = 9878

func newLoopback(t *testing.T, registry string) Network {
	t.Helper()
	n, err := Loopback(registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

// echo answers every connection with what it sends, until the listener ends.
func echo(t *testing.T, ln net.Listener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
}

// roundTrip dials and expects an echo.
func roundTrip(ctx context.Context, n Network, service identity.Onion) error {
	c, err := n.Dial(ctx, service, port)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != "hello" {
		return errors.New("echo is " + string(got))
	}
	return nil
}

func TestLoopbackRoundTrip(t *testing.T) {
	registry := filepath.Join(t.TempDir(), "made", "by", "us")
	server, client := newLoopback(t, registry), newLoopback(t, registry)
	key := identity.NewKey()
	ln, err := server.Listen(t.Context(), key, port)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ln)
	if got, want := ln.Addr().String(), string(key.Onion())+".onion:9878"; got != want {
		t.Errorf("Addr = %s, want %s", got, want)
	}
	if err := roundTrip(t.Context(), client, key.Onion()); err != nil {
		t.Fatal(err)
	}
	s := server.Status()
	if s.State != Ready || len(s.Services) != 1 || s.Services[0].Uploaded == nil {
		t.Fatalf("status = %+v", s)
	}
	want := Service{Onion: key.Onion(), Port: port, Published: true, Directories: 1, Uploaded: s.Services[0].Uploaded}
	if s.Services[0] != want {
		t.Errorf("status = %+v", s)
	}
}

func TestLoopbackRegistry(t *testing.T) {
	registry := t.TempDir()
	n := newLoopback(t, registry)
	key := identity.NewKey()
	ln, err := n.Listen(t.Context(), key, port)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(registry, string(key.Onion()))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "127.0.0.1:") {
		t.Errorf("entry is %q", text)
	}
	if _, err := n.Listen(t.Context(), key, port); err == nil {
		t.Error("the same key was served twice")
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	files, err := os.ReadDir(registry)
	if err != nil || len(files) != 0 {
		t.Errorf("left in the registry: %v %v", files, err)
	}
	if _, err := n.Dial(t.Context(), key.Onion(), port); !errors.Is(err, ErrNotPublished) {
		t.Errorf("dial after close: %v", err)
	}
	if _, err = n.Listen(t.Context(), key, port); err != nil {
		t.Fatalf("listen again: %v", err)
	}
}

// A process that closes late must not withdraw what another has published.
func TestLoopbackTakeOver(t *testing.T) {
	registry := t.TempDir()
	key := identity.NewKey()
	old, err := newLoopback(t, registry).Listen(t.Context(), key, port)
	if err != nil {
		t.Fatal(err)
	}
	n := newLoopback(t, registry)
	ln, err := n.Listen(t.Context(), key, port)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ln)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(t.Context(), n, key.Onion()); err != nil {
		t.Error(err)
	}
}

func TestLoopbackRefuses(t *testing.T) {
	registry := t.TempDir()
	n := newLoopback(t, registry)
	key := identity.NewKey()
	service := key.Onion()
	for _, entry := range []string{
		"", "\n", "127.0.0.1", "127.0.0.1:0", "127.0.0.2:80", "0.0.0.0:80", "[::1]:80", "[::ffff:127.0.0.1]:80",
		"localhost:80", "192.0.2.1:80", "127.0.0.1:80 ", "127.0.0.1:80\n\n", "127.0.0.1:65536", strings.Repeat("1", 1000),
	} {
		if err := os.WriteFile(filepath.Join(registry, string(service)), []byte(entry), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := n.Dial(t.Context(), service, port)
		if err == nil {
			c.Close()
			t.Errorf("entry %q: dialled", entry)
			continue
		}
		if !strings.Contains(err.Error(), "127.0.0.1:PORT") || strings.Contains(err.Error(), string(service)) {
			t.Errorf("entry %q: %v", entry, err)
		}
	}
	for _, bad := range []identity.Onion{"", "../secret", identity.Onion(strings.ToUpper(string(service))), service + ".onion"} {
		if _, err := n.Dial(t.Context(), bad, port); err == nil || errors.Is(err, ErrNotPublished) {
			t.Errorf("dial %q: %v", bad, err)
		}
	}
	for _, p := range []int{-1, 0, 65536} {
		if _, err := n.Dial(t.Context(), service, p); err == nil {
			t.Errorf("dial port %d: no error", p)
		}
		if _, err := n.Listen(t.Context(), key, p); err == nil {
			t.Errorf("listen port %d: no error", p)
		}
	}
}

func TestLoopbackClose(t *testing.T) {
	n := newLoopback(t, t.TempDir())
	ln, err := n.Listen(t.Context(), identity.NewKey(), port)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error)
	go func() {
		_, err := ln.Accept()
		accepted <- err
	}()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := n.Listen(t.Context(), identity.NewKey(), port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listen: %v", err)
	}
	if _, err := n.Dial(t.Context(), identity.NewKey().Onion(), port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if s := n.Status(); s.State != Closed || len(s.Services) != 0 {
		t.Errorf("status: %+v", s)
	}
}
