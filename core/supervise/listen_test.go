package supervise

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

var listeningSchema = plugin.Schema{Attributes: []plugin.Attribute{{Name: "listen", Type: plugin.String, Listener: true}}}

// openListening opens a plugin that writes its process number to each client. With self it
// opens the listener itself, which the sandbox forbids.
func openListening(cfg plugin.Config, self bool) (stats.Exporter, error) {
	var c struct {
		Listen string `cty:"listen"`
	}
	if err := cfg.Decode(&c); err != nil {
		return nil, err
	}
	l, err := func() (net.Listener, error) {
		if self {
			return net.Listen("tcp", c.Listen)
		}
		return cfg.Listener("listen")
	}()
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, os.Getpid())
			conn.Close()
		}
	}()
	return &listeningExporter{listener: l}, nil
}

type listeningExporter struct {
	testExporter
	listener net.Listener
}

func (e *listeningExporter) Close() error { return e.listener.Close() }

// listenValue encodes the configuration of such a plugin.
func listenValue(t *testing.T, address string) []byte {
	t.Helper()
	value, err := listeningSchema.Value(map[string]any{"listen": address})
	if err != nil {
		t.Fatal(err)
	}
	data, err := listeningSchema.Encode(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// freeAddress returns a loopback address at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// readGreeting connects to such a plugin and returns its process number.
func readGreeting(t *testing.T, address string) (pid int) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fscanln(conn, &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestListenerOutlivesItsProcess follows a listener through the death of its process and a
// change of its address, all in a sandbox where no socket can be opened.
func TestListenerOutlivesItsProcess(t *testing.T) {
	first, second := freeAddress(t), freeAddress(t)
	at := func(address string) []plugin.ListenAddress {
		return []plugin.ListenAddress{{Path: []string{"listen"}, Address: address}}
	}
	r := startSupervised(t, func(c *setup) {
		c.Kind, c.Sandbox, c.Value, c.Listen = plugin.KindStats, &sandbox.Policy{}, listenValue(t, first), at(first)
		command := c.Command
		c.Command = func() (pluginproc.Command, error) {
			out, err := command()
			out.Env = append(out.Env, "LISTEN_FDS=9", "LISTEN_PID=1") // of the operator, who is not asked
			return out, err
		}
	}, "listening")
	r.mustBeReady()
	if got := readGreeting(t, first); got != r.Status().PID {
		t.Errorf("process %d answers, want %d", got, r.Status().PID)
	}

	// While there is no process, a client waits for the next.
	syscall.Kill(r.Status().PID, syscall.SIGKILL)
	r.await("ended", func(s Status) bool { return s.State != Ready || s.Incarnation == 2 })
	pid := readGreeting(t, first)
	r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
	if now := r.Status().PID; pid != now {
		t.Errorf("process %d answers, want %d", pid, now)
	}

	// Another address needs another process.
	cfg := r.cfg
	cfg.Value, cfg.Listen = listenValue(t, second), at(second)
	if err := r.Reconfigure(r.ctx(), cfg); err != nil {
		t.Fatal(err)
	}
	if got, now := readGreeting(t, second), r.Status().PID; got != now || now == pid {
		t.Errorf("process %d answers of %d, before it was %d", got, now, pid)
	}
	if conn, err := net.Dial("tcp", first); err == nil {
		conn.Close()
		t.Error("the address that was given up is still open")
	}

	// A taken address is an error of the attribute, and the old one stays.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{taken.Addr().String(): "Another program listens there", "0.0.0.0:1": "other machines"} {
		cfg.Value, cfg.Listen = listenValue(t, address), at(address)
		var faults plugin.Diagnostics
		if err := r.Reconfigure(r.ctx(), cfg); !errors.As(err, &faults) || !strings.Contains(err.Error(), want) || faults[0].Path[0] != "listen" {
			t.Errorf("%s: %v", address, err)
		}
	}
	r.mustBeReady()
	if got, now := readGreeting(t, second), r.Status().PID; got != now {
		t.Errorf("after the failed changes process %d answers, want %d", got, now)
	}
}

func TestPluginThatListensItselfIsToldWhatToDo(t *testing.T) {
	r := startSupervised(t, func(c *setup) {
		c.Kind, c.Sandbox, c.Value = plugin.KindStats, &sandbox.Policy{}, listenValue(t, freeAddress(t))
	}, "self-listening")
	if err := r.WaitReady(r.ctx()); err == nil || !strings.Contains(err.Error(), "declares its address as a listener") {
		t.Errorf("got %v", err)
	}
}

func TestFailedPluginStopsListening(t *testing.T) {
	address := freeAddress(t)
	r := startSupervised(t, func(c *setup) {
		c.Kind, c.Sandbox, c.Value = plugin.KindStats, &sandbox.Policy{}, listenValue(t, address)
		c.Listen = []plugin.ListenAddress{{Path: []string{"listen"}, Address: address}}
		c.timing.maxFailures = 1
	}, "exit")
	if err := r.WaitReady(r.ctx()); err == nil {
		t.Fatal("it is ready")
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a plugin that has failed is still listened for")
	}
}
