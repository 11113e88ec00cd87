package console

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestKeyOfAnotherUser also shows that a stranger does not use the key up.
func TestKeyOfAnotherUser(t *testing.T) {
	c := startConsole(t)
	key := c.IssueOwnKey()
	server, _ := net.ResolveTCPAddr("tcp", c.addr)
	for range 2 * wrongKeyBurst { // connections that no program of this user has
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(server)), http.MethodGet, "http://"+c.addr+key, nil)
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Not for this user") || w.Header().Get("Set-Cookie") != "" {
			t.Fatalf("a stranger gets %d %s", w.Code, w.Body)
		}
	}
	c.newBrowser().get(key).want(t, http.StatusOK, "Go to your servers")
	log := c.log.String()
	if n := strings.Count(log, "another user of this machine"); n < 1 || n > wrongKeyBurst+1 || strings.Contains(log, strings.TrimPrefix(key, "/open/")) {
		t.Errorf("the log is %s", log)
	}
}

// TestOtherUserTriesTheKey is the same with a process of another user.
func TestOtherUserTriesTheKey(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl to be the browser of another user")
	}
	c := startConsole(t)
	address := "http://" + c.addr + c.IssueOwnKey()
	if text := runAs(t, 65534, curl, "-s", address); !strings.Contains(text, "Not for this user") {
		t.Errorf("another user gets %s", text)
	}
	if text := runAs(t, 0, curl, "-s", address); !strings.Contains(text, "Go to your servers") {
		t.Errorf("the user of the relay gets %s", text)
	}
}

func runAs(t *testing.T, user uint32, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return string(text)
}

// TestSocketsOfBothTables connects from sockets of IPv4 and of IPv6, as browsers do.
func TestSocketsOfBothTables(t *testing.T) {
	for _, test := range []struct {
		listen string
		family int
	}{{"127.0.0.1:0", syscall.AF_INET}, {"127.0.0.1:0", syscall.AF_INET6}, {"[::1]:0", syscall.AF_INET6}} {
		ln, err := net.Listen("tcp", test.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		at := netip.MustParseAddrPort(ln.Addr().String())
		fd, err := syscall.Socket(test.family, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fd)
		var to syscall.Sockaddr = &syscall.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
		if test.family == syscall.AF_INET {
			to = &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
		}
		if err := syscall.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		r, _ := http.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, nc.LocalAddr()), http.MethodGet, "/", nil)
		r.RemoteAddr = nc.RemoteAddr().String()
		if !comesFrom(r, os.Geteuid()) || comesFrom(r, os.Geteuid()+1) {
			t.Errorf("%s, family %d: whose it is stays unknown", test.listen, test.family)
		}
		// Who has sent a request can leave its socket to nobody, which is shown as root's.
		syscall.Shutdown(fd, syscall.SHUT_WR)
		if comesFrom(r, os.Geteuid()) {
			t.Errorf("%s, family %d: a socket that is being closed counts", test.listen, test.family)
		}
	}
}
