package pluginproc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

func TestListen(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := plugin.ListenAddress{Path: []string{"http", "listen"}, Address: free.Addr().String()}
	var faults plugin.Diagnostics
	if _, err := Listen(t.Context(), at, false); !errors.As(err, &faults) || !strings.Contains(err.Error(), "Another program") || faults[0].Path[1] != "listen" {
		t.Errorf("at a port that is taken: %v", err)
	}
	free.Close()
	l, err := Listen(t.Context(), at, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fd := int(l.File.Fd())
	if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_TCP {
		t.Errorf("the protocol is %d, %v; a listener of multipath TCP passes by Landlock", protocol, err)
	}
	if conn, err := net.Dial("tcp", at.Address); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	if !l.IsOpen() {
		t.Error("it does not listen")
	}
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if l.IsOpen() {
		t.Error("a listener that was shut down passes for one that listens")
	}
}

// TestListenForStrangers: without a grant nothing is opened that another machine
// may reach.
func TestListenForStrangers(t *testing.T) {
	for _, address := range []string{"0.0.0.0:9464", "[::]:9464", "10.1.2.3:9464", "[::ffff:0.0.0.0]:9464", "localhost:9464", ":9464", ""} {
		l, err := Listen(t.Context(), plugin.ListenAddress{Path: []string{"listen"}, Address: address}, false)
		if err == nil {
			l.Close()
			t.Errorf("listens at %q", address)
		} else if !strings.Contains(err.Error(), "other machines") {
			t.Errorf("%q: %v", address, err)
		}
	}
	l, err := Listen(t.Context(), plugin.ListenAddress{Address: "0.0.0.0:0"}, true)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestListenVariables: an operator's would tell the launcher and the plugin of
// descriptors that are others.
func TestListenVariables(t *testing.T) {
	p, err := Start(t.Context(), StartConfig{
		Command: Command{Path: "/proc/self/exe", Args: []string{"debug"}, Env: []string{"TEST_PLUGIN=seqs", "LISTEN_FDS=9", "LISTEN_FDNAMES=x"}},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID()))
	if err != nil || strings.Contains(string(env), "LISTEN_") {
		t.Errorf("%v: %q", err, env)
	}
}
