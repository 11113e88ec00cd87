//go:build linux

package unixsocket

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPeerOfBothEnds(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for name, conn := range map[string]net.Conn{"client": client, "server": server} {
		pid, uid, err := Peer(conn.(*net.UnixConn))
		if err != nil || pid != os.Getpid() || uid != os.Geteuid() {
			t.Errorf("at the %s, process %d of user %d, %v", name, pid, uid, err)
		}
	}
	client.Close()
	if _, _, err := Peer(client.(*net.UnixConn)); err == nil {
		t.Error("a closed connection has a peer")
	}
}

func TestMaxPath(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	longest := filepath.Join(dir, strings.Repeat("x", MaxPath-len(dir)-1))
	listener, err := net.Listen("unix", longest)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if listener, err := net.Listen("unix", longest+"x"); err == nil {
		listener.Close()
		t.Error("a longer path is taken")
	}
}
