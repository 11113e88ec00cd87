package onion

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// prove has the server know a cookie, as a tor with SAFECOOKIE does.
func (c *controlServer) prove(cookie []byte) {
	c.answer("AUTHCHALLENGE", func(line string) string {
		nonce, _ := hex.DecodeString(line[strings.LastIndex(line, " ")+1:])
		torNonce := bytes.Repeat([]byte{7}, 32)
		m := hmac.New(sha256.New, []byte(torProof))
		m.Write(append(append(append([]byte{}, cookie...), nonce...), torNonce...))
		return fmt.Sprintf("250 AUTHCHALLENGE SERVERHASH=%X SERVERNONCE=%X", m.Sum(nil), torNonce)
	})
}

// tcpControl is a control server on a TCP port, and what connects to it.
func tcpControl(t *testing.T) (*controlServer, TorConfig, []byte) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := serveControl(t, ln)
	cookie := bytes.Repeat([]byte{42}, cookieSize)
	file := filepath.Join(openDir(t), "cookie")
	if err := os.WriteFile(file, cookie, 0o640); err != nil {
		t.Fatal(err)
	}
	return c, TorConfig{Control: c.address, ControlCookie: file, Logger: testLogger(t)}, cookie
}

// openDir is a short path to a directory that every user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// impostors play tor as somebody would who is after the keys.
var impostors = map[string]func(c *controlServer, own string){
	"wants nothing": func(c *controlServer, _ string) {
		c.answer("AUTHCHALLENGE", func(string) string { return "513 Cookie authentication is disabled" })
	},
	"names a cookie file of its own": func(c *controlServer, own string) {
		c.answer("PROTOCOLINFO", func(string) string {
			return fmt.Sprintf("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=SAFECOOKIE COOKIEFILE=%q\r\n250 OK", own)
		})
		c.prove(bytes.Repeat([]byte{1}, cookieSize))
	},
	"wants the cookie itself": func(c *controlServer, own string) {
		c.answer("PROTOCOLINFO", func(string) string {
			return fmt.Sprintf("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE COOKIEFILE=%q\r\n250 OK", own)
		})
	},
	"wants a password": func(c *controlServer, _ string) {
		c.answer("PROTOCOLINFO", func(string) string { return "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=HASHEDPASSWORD\r\n250 OK" })
	},
	"proves nothing": func(c *controlServer, _ string) {
		c.answer("AUTHCHALLENGE", func(string) string { return "250 AUTHCHALLENGE" })
	},
	"returns an empty proof": func(c *controlServer, _ string) {
		c.answer("AUTHCHALLENGE", func(string) string { return "250 AUTHCHALLENGE SERVERHASH= SERVERNONCE=" })
	},
	"returns the challenge": func(c *controlServer, _ string) {
		c.answer("AUTHCHALLENGE", func(line string) string {
			nonce := line[strings.LastIndex(line, " ")+1:]
			return fmt.Sprintf("250 AUTHCHALLENGE SERVERHASH=%s SERVERNONCE=%[1]s", nonce)
		})
	},
	"talks without end": func(c *controlServer, _ string) {
		c.answer("AUTHCHALLENGE", func(string) string { return "250 AUTHCHALLENGE " + strings.Repeat("A", maxUnprovenBytes) })
	},
}

// Whoever listens on the port of tor gets no key, at the start and later.
func TestImpostors(t *testing.T) {
	for name, play := range impostors {
		t.Run(name, func(t *testing.T) {
			c, config, _ := tcpControl(t)
			own := filepath.Join(openDir(t), "own")
			if err := os.WriteFile(own, bytes.Repeat([]byte{1}, cookieSize), 0o644); err != nil {
				t.Fatal(err)
			}
			play(c, own)
			_, err := StartTor(within(t, watchdog), config)
			if err == nil {
				t.Fatal("believed")
			}
			for _, hint := range []string{"CookieAuthentication 1", "control_cookie", config.ControlCookie} {
				if !strings.Contains(err.Error(), hint) {
					t.Errorf("the error does not say %q: %v", hint, err)
				}
			}
			if said := c.said("AUTHENTICATE"); len(said) != 0 {
				t.Errorf("said %q", said)
			}
		})
	}
}

// Tor ends and somebody else listens on its port before the relay is back.
func TestImpostorAfterTor(t *testing.T) {
	c, config, cookie := tcpControl(t)
	c.prove(cookie)
	key := identity.NewKey()
	c.uploadAll(key.Onion(), func(string) string { return "" })
	tor, err := startTor(within(t, watchdog), config, impatient)
	if err != nil {
		t.Fatal(err)
	}
	defer tor.Close()
	if _, err := tor.Listen(within(t, watchdog), key, port); err != nil {
		t.Fatal(err)
	}
	c.prove([]byte("another cookie"))
	c.drop()
	await(t, tor, "refused", func(s Status) bool {
		return s.State == Backoff && strings.Contains(s.Summary, "does not know the cookie")
	})
	if adds := c.said("ADD_ONION"); len(adds) != 1 {
		t.Errorf("the keys were sent %d times", len(adds))
	}
	c.prove(cookie)
	await(t, tor, "back", func(s Status) bool { return s.State == Ready && s.Services[0].Published })
}

// forwardMain is a process that passes what it accepts on to an address: the one
// in the middle, which gets every proof from the real tor.
func forwardMain(to string) {
	network, address, _ := strings.Cut(os.Getenv("ONION_FORWARD_FROM"), ":")
	ln, err := net.Listen(network, address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(ln.Addr())
	for {
		from, err := ln.Accept()
		if err != nil {
			os.Exit(1)
		}
		network, address, _ := strings.Cut(to, ":")
		onward, err := net.Dial(network, address)
		if err != nil {
			os.Exit(1)
		}
		go pass(onward, from)
		go pass(from, onward)
	}
}

// pass passes on what one end sends, and ends the connection with it.
func pass(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

const nobody = 65534

// forwardAsNobody starts forwardMain as another user and returns where it
// listens.
func forwardAsNobody(t *testing.T, from string, to net.Addr) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	// The test binary is in a directory that nobody else can enter.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = []string{"ONION_FORWARD_FROM=" + from, "ONION_FORWARD_TO=" + to.Network() + ":" + to.String()}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func parseAddr(t *testing.T, address string) net.Addr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Another user's process that passes everything on to the real tor knows every
// answer, and is still not tor.
func TestAnotherUserInBetween(t *testing.T) {
	t.Run("TCP", func(t *testing.T) {
		c, config, cookie := tcpControl(t)
		c.prove(cookie)
		config.Control = forwardAsNobody(t, "tcp4:127.0.0.1:0", parseAddr(t, c.address))
		refusesNobody(t, c, config)
	})
	t.Run("IPv6", func(t *testing.T) {
		c, config, cookie := tcpControl(t)
		c.prove(cookie)
		// Reached over IPv4, it is in the table of IPv6.
		_, at, err := net.SplitHostPort(forwardAsNobody(t, "tcp:[::]:0", parseAddr(t, c.address)))
		if err != nil {
			t.Fatal(err)
		}
		config.Control = "127.0.0.1:" + at
		refusesNobody(t, c, config)
	})
	t.Run("unix", func(t *testing.T) {
		c := newControlServer(t)
		dir := openDir(t)
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
		socket := filepath.Join(dir, "control")
		real := strings.TrimPrefix(c.address, "unix:")
		for _, path := range []string{filepath.Dir(real), real} { // nobody may connect
			if err := os.Chmod(path, 0o777|os.ModeSticky); err != nil {
				t.Fatal(err)
			}
		}
		forwardAsNobody(t, "unix:"+socket, &net.UnixAddr{Net: "unix", Name: real})
		config := TorConfig{Control: "unix:" + socket, Logger: testLogger(t)}
		refusesNobody(t, c, config)
		// Whoever owns the file, the process is another user's.
		if err := os.Chown(socket, 0, 0); err != nil {
			t.Fatal(err)
		}
		refusesNobody(t, c, config)
	})
}

// refusesNobody connects to a tor that is reached through a process of nobody.
// It must be refused unless nobody is trusted.
func refusesNobody(t *testing.T, c *controlServer, config TorConfig) {
	t.Helper()
	_, err := StartTor(within(t, watchdog), config)
	if err == nil || !strings.Contains(err.Error(), "belongs to user nobody (65534)") || !strings.Contains(err.Error(), "control_user") {
		t.Errorf("error: %v", err)
	}
	if said := c.said(""); len(said) != 0 {
		t.Errorf("said %q", said)
	}
	config.ControlUser = "nobody"
	tor, err := StartTor(within(t, watchdog), config)
	if err != nil {
		t.Fatalf("with control_user: %v", err)
	}
	tor.Close()
	c.conns.Wait() // the last question may still be on its way
	c.mu.Lock()
	c.commands = nil
	c.mu.Unlock()
}

// The SOCKS port that tor named may be somebody else's by now, who must not hear
// which service is wanted.
func TestAnotherUserAtSOCKS(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var heard atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, conn)
			heard.Add(n)
			conn.Close()
		}
	}()
	at := forwardAsNobody(t, "tcp4:127.0.0.1:0", ln.Addr())
	c := newControlServer(t)
	others := c.answers["GETINFO"]
	c.answer("GETINFO", func(line string) string {
		if line == "GETINFO net/listeners/socks" {
			return c250(fmt.Sprintf("net/listeners/socks=%q", at))("")
		}
		return others(line)
	})
	tor := torAt(t, c.address, impatient)
	_, err = tor.Dial(within(t, watchdog), identity.NewKey().Onion(), port)
	if err == nil || !strings.Contains(err.Error(), "nobody (65534)") {
		t.Errorf("error: %v", err)
	}
	ln.Close()
	<-done
	if heard.Load() != 0 {
		t.Errorf("%d bytes were sent", heard.Load())
	}
}

// Every way to a socket or cookie that another user could have laid is refused.
func TestResolve(t *testing.T) {
	dir := openDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	do := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	cookie := bytes.Repeat([]byte{1}, cookieSize)
	do(os.WriteFile(at("good"), cookie, 0o600), os.WriteFile(at("group"), cookie, 0o640), os.WriteFile(at("short"), cookie[1:], 0o600),
		os.WriteFile(at("long"), append(cookie, 1), 0o600), os.WriteFile(at("everybody"), cookie, 0o600), os.Chmod(at("everybody"), 0o644),
		os.WriteFile(at("written"), cookie, 0o600), os.Chmod(at("written"), 0o620), syscall.Mkfifo(at("pipe"), 0o600),
		os.Symlink("good", at("link")), os.Symlink("loop", at("loop")), os.Mkdir(at("sticky"), 0o700), os.Chmod(at("sticky"), 0o777|os.ModeSticky),
		os.Mkdir(at("writable"), 0o700), os.Chmod(at("writable"), 0o770), os.Symlink("../good", at("sticky/link")),
		os.WriteFile(at("sticky/good"), cookie, 0o600), os.WriteFile(at("writable/good"), cookie, 0o600), os.Symlink("../good", at("writable/link")))
	tests := map[string]string{
		"good": "", "group": "", "link": "", "sticky/good": "", "sticky/link": "", "sticky/../good": "",
		"short": "does not hold the 32 bytes", "long": "does not hold the 32 bytes", "everybody": "not everybody can read", "written": "only its owner can write",
		"pipe": "has mode", "loop": "more than 40 symbolic links", "sticky": "has mode", "good/x": "is not a directory", "none": "no such file",
		"writable/good": "sudo chmod +t " + at("writable"), "writable/link": "sudo chmod +t " + at("writable"),
	}
	if os.Geteuid() == 0 {
		do(os.WriteFile(at("other"), cookie, 0o600), os.Chown(at("other"), nobody, 0), os.Mkdir(at("owned"), 0o700), os.Chown(at("owned"), nobody, 0),
			os.WriteFile(at("owned/good"), cookie, 0o600), os.Symlink("../good", at("sticky/other")), os.Lchown(at("sticky/other"), nobody, 0))
		tests["other"], tests["owned/good"], tests["sticky/other"] = "user nobody", "user nobody", "user nobody"
	}
	trust, err := newTrust("")
	do(err)
	for name, want := range tests {
		got, err := trust.readCookie(dir + "/" + name)
		switch {
		case want == "" && (err != nil || !bytes.Equal(got, cookie)):
			t.Errorf("%s: error %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if _, err := newTrust("no-such-user"); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("unknown user: %v", err)
	}
}

func FuzzParseSocket(f *testing.F) {
	f.Add("   0: 0100007F:2359 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100 0 0 10 0")
	f.Add("   0: 00000000000000000000000001000000:2359 00000000000000000000000000000000:0000 0A 0:0 0:0 0 65534 0 12345 1")
	f.Fuzz(func(t *testing.T, line string) {
		if s, ok := parseSocket(line); ok && (!s.local.IsValid() || !s.remote.IsValid()) {
			t.Errorf("%q: %+v", line, s)
		}
	})
}
