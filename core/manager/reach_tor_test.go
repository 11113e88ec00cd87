package manager

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// controlProxy is between the relay and the control socket of a tor. The test can say
// something on the same connection, to which tor then thinks it belongs.
type controlProxy struct {
	path string
	wg   sync.WaitGroup

	mu      sync.Mutex
	tor     net.Conn // the last connection
	swallow bool     // the next reply of tor
	dropped chan string
}

func newControlProxy(t *testing.T, dir, tor string) *controlProxy {
	t.Helper()
	p := &controlProxy{path: filepath.Join(dir, "proxy"), dropped: make(chan string, 1)}
	ln, err := net.Listen("unix", p.path)
	if err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() {
		for {
			relay, err := ln.Accept()
			if err != nil {
				return
			}
			conn, err := net.Dial("unix", tor)
			if err != nil {
				relay.Close()
				continue
			}
			p.mu.Lock()
			p.tor = conn
			p.mu.Unlock()
			p.wg.Go(func() { io.Copy(conn, relay); conn.Close() })
			p.wg.Go(func() { p.passReplies(relay, conn); relay.Close() })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		if p.tor != nil {
			p.tor.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// passReplies passes everything on but the reply to what the test has said.
func (p *controlProxy) passReplies(relay io.Writer, tor io.Reader) {
	for in := bufio.NewReader(tor); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		drop := p.swallow && !strings.HasPrefix(line, "650")
		if drop {
			p.swallow = false
		}
		p.mu.Unlock()
		if drop {
			p.dropped <- strings.TrimSpace(line)
		} else if _, err := io.WriteString(relay, line); err != nil {
			return
		}
	}
}

// say sends a command with a reply of one line.
func (p *controlProxy) say(command string) string {
	p.mu.Lock()
	p.swallow = true
	fmt.Fprintf(p.tor, "%s\r\n", command)
	p.mu.Unlock()
	return <-p.dropped
}

// startSystemTor runs a tor on the private network and returns its control socket.
func startSystemTor(t *testing.T, private *tornet.Network, dir string) (control string) {
	t.Helper()
	control = filepath.Join(dir, "control")
	cookie := filepath.Join(dir, "cookie")
	private.ClientForTest(t, "ControlSocket "+control, "CookieAuthentication 1", "CookieAuthFile "+cookie, "SocksPort 127.0.0.1:auto")
	for deadline := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		if _, err := os.Stat(cookie); err == nil {
			return control
		}
		if time.Now().After(deadline) {
			t.Fatal("tor does not write its cookie")
		}
	}
}

// Over a private Tor network, a service that tor has lost behind the back of the relay is
// noticed although tor is ready and the directories have the descriptor. It is published
// anew, and a connection that was open goes on.
func TestLostServiceIsMendedOverTor(t *testing.T) {
	private := tornet.ForTest(t)
	dir, err := os.MkdirTemp("", "") // short, for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	proxy := newControlProxy(t, dir, startSystemTor(t, private, dir))

	h := newTestRelay(t, "main")
	h.cfg.reachEvery = 15 * time.Second
	h.cfg.Limits.IdleTimeout = 10 * time.Minute
	h.cfg.Network.Open = func(ctx context.Context) (onion.Network, error) {
		return onion.StartTor(ctx, onion.TorConfig{Control: "unix:" + proxy.path, Logger: h.cfg.Logger})
	}
	m := h.start()
	h.awaitReach(m, "main", "reached", func(r doctor.Reachability) bool { return r.OK })
	b := m.Servers()[0].Bundle
	before := openPatiently(t, m.openedNetwork(), b.Board)
	stopPosts := startPosts(t, m.openedNetwork(), b, before)

	if reply := proxy.say("DEL_ONION " + string(b.Board)); reply != "250 OK" {
		t.Fatalf("tor says %q", reply)
	}
	begun := time.Now()
	r := h.awaitReach(m, "main", "noticed", func(r doctor.Reachability) bool { return !r.Board })
	t.Logf("noticed after %v: %s", time.Since(begun), r.Problem)
	if st := m.Status(t.Context()).Network; st.State != onion.Ready || !r.Token {
		t.Errorf("tor is %s, and the token onion is reached: %t", st.State, r.Token)
	}
	r = h.awaitReach(m, "main", "mended", func(r doctor.Reachability) bool { return r.OK && r.BoardRepublished > 0 })
	t.Logf("mended after %v", time.Since(begun))
	posted := stopPosts()
	if st := m.Status(t.Context()).Servers[0].Relay; posted < 3 || st.Posts.Stored != uint64(posted) {
		t.Errorf("%d posts were acknowledged, and %d stored", posted, st.Posts.Stored)
	}
	t.Logf("%d posts went on meanwhile", posted)
	openPatiently(t, m.openedNetwork(), b.Board)
	checks, err := m.CheckServer(t.Context(), "main")
	if err != nil || !doctor.AllOK(checks) {
		t.Errorf("%+v %v", checks, err)
	}
}

// startPosts posts over one connection until it is told to stop, or has no tokens left, and
// then says how many posts were acknowledged. Each has to be.
func startPosts(t *testing.T, n onion.Network, b bundle.Bundle, board *client.Board) (stopPosts func() int) {
	t.Helper()
	var tokens []token.Token
	for range 4 {
		more, err := client.Buy(t.Context(), n, b, 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, more...)
	}
	stop, ended, posted := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(ended)
		for i, spend := range tokens {
			envelope := wire.Envelope{Ciphertext: fmt.Appendf(nil, "message %d", i), Signature: fmt.Appendf(nil, "signature %d", i)}
			if err := board.Post(t.Context(), envelope, spend, nil); err != nil {
				t.Errorf("post %d: %v", i, err)
				return
			}
			posted++
			select {
			case <-stop:
				return
			case <-time.After(time.Second): // so that the tokens last
			}
		}
	}()
	return func() int {
		close(stop)
		<-ended
		return posted
	}
}

// openPatiently connects to a board that was published a moment ago.
func openPatiently(t *testing.T, n onion.Network, board identity.Onion) *client.Board {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		b, err := client.Open(t.Context(), n, board)
		if err == nil {
			err = b.Sync(t.Context(), nil, nil) // a client that asks for nothing is closed after two minutes
		}
		if err == nil {
			t.Cleanup(func() { b.Close() })
			return b
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
