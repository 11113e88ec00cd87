package e2e_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// Script commands that look at processes of plugins.

// startByHand starts a plugin in debug mode and sets the variable that it prints for
// relays to attach to.
func startByHand(ts *testscript.TestScript, args []string) {
	cmd := exec.Command(filepath.Join(bin, args[0]), "debug")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
	ts.Setenv(name, strings.Trim(value, "'"))
}

func storePID(ts *testscript.TestScript, dir string) int {
	st, err := manager.AskStatus(context.Background(), ts.MkAbs(dir))
	ts.Check(err)
	return st.Servers[0].Storage.PID
}

func signalPlugin(ts *testscript.TestScript, args []string) {
	pid := storePID(ts, args[0])
	ts.Check(syscall.Kill(pid, signalNamed(ts, args[1])))
	if args[1] == "STOP" {
		ts.Check(awaitStopped(pid))
	}
}

func findPlugin(ts *testscript.TestScript, args []string) {
	pid := strconv.Itoa(storePID(ts, args[0]))
	ts.Setenv("PID", pid)
	dir := environmentOf(ts, pid, "PLUGIN_UNIX_SOCKET_DIR")
	sockets, err := filepath.Glob(filepath.Join(dir, "plugin*"))
	ts.Check(err)
	if len(sockets) != 1 {
		ts.Fatalf("the plugin has %d sockets", len(sockets))
	}
	ts.Setenv("SOCKETS", dir)
	ts.Setenv("SOCKET", sockets[0])
}

// environmentOf returns a variable from the environment of a process.
func environmentOf(ts *testscript.TestScript, pid, name string) string {
	environment, err := os.ReadFile("/proc/" + pid + "/environ")
	ts.Check(err)
	for v := range strings.SplitSeq(string(environment), "\x00") {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	ts.Fatalf("process %s has no variable %s", pid, name)
	return ""
}

// rememberFamily remembers a process and its descendants.
func rememberFamily(ts *testscript.TestScript, args []string) {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		pid = relayNamed(ts, args[0]).pid()
	}
	members, err := descendants(pid)
	ts.Check(err)
	self, err := openProcess(pid)
	ts.Check(err)
	for _, o := range append(members, self) {
		fmt.Fprintf(ts.Stdout(), "%d %s\n", o.pid, o.name)
		ts.Defer(o.close)
	}
	families := ts.Value(familiesKey{}).(map[string][]*foreignProcess)
	families[args[0]] = append(members, self)
}

func awaitExtinct(ts *testscript.TestScript, args []string) {
	members, ok := ts.Value(familiesKey{}).(map[string][]*foreignProcess)[args[0]]
	if !ok {
		ts.Fatalf("there is no family of %s", args[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, o := range members {
		ts.Check(o.awaitExit(ctx))
	}
}

type familiesKey struct{}

// expectHangUpWithoutTLS speaks HTTP/2 (RFC 9113, section 3.4) to a plugin without
// TLS. A plugin that answered would send settings first.
func expectHangUpWithoutTLS(ts *testscript.TestScript, args []string) {
	conn, err := net.Dial("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	ts.Check(err)
	const frameHeader, settings = 9, 4
	answer, err := io.ReadAll(conn)
	if len(answer) >= frameHeader && answer[3] == settings {
		ts.Fatalf("the plugin speaks to anybody: %x", answer)
	}
	if os.IsTimeout(err) {
		ts.Fatalf("the plugin does not hang up")
	}
}

func showCurve(ts *testscript.TestScript, args []string) {
	block, _ := pem.Decode([]byte(environmentOf(ts, args[0], "PLUGIN_CLIENT_CERT")))
	if block == nil {
		ts.Fatalf("the relay gave process %s no certificate", args[0])
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	ts.Check(err)
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		ts.Fatalf("the key is a %T", certificate.PublicKey)
	}
	fmt.Fprintln(ts.Stdout(), key.Params().Name)
}
