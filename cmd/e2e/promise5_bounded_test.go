package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// TestPromise5Bounded is what hostile clients do, and what it costs.
func TestPromise5Bounded(t *testing.T) {
	const connections = 32
	h := newHouse(t, fmt.Sprintf(`
		limits {
			connections            = %d
			connections_per_second = 1000
			handshake_timeout      = "3s"
			outstanding_posts      = 16
			queue_records          = 256
			queue_bytes            = "1MiB"
			reader_buffer          = "64KiB"
			stuck_reader           = "2s"
		}
		server "main" {}
	`, connections))
	h.start()
	stored := h.posts("main", 1500, 5700)
	h.store("main", stored)

	t.Run("too many connections", func(t *testing.T) {
		var held []*client.Board
		last := stored[len(stored)-1].Envelope.Signature
		for range connections {
			b := h.connect("main")
			if err := b.Sync(h.ctx, last, func(client.Event) error { return nil }); err != nil {
				t.Fatal(err)
			}
			held = append(held, b)
		}
		newcomer := h.connect("main") // in the place of one who has been idle
		if err := newcomer.Sync(h.ctx, last, func(client.Event) error { return nil }); err != nil {
			t.Error(err)
		}
		h.untilCounts("an evicted connection", func(c relay.ConnectionCounts) bool { return c.Evicted == 1 && c.Open == connections })
		newcomer.Close()
		for _, b := range held {
			b.Close()
		}
		h.untilCounts("no connections", func(c relay.ConnectionCounts) bool { return c.Open == 0 })
	})

	t.Run("silence and garbage", func(t *testing.T) {
		random := make([]byte, 3*tapir.PacketSize)
		rand.Read(random)
		for _, text := range [][]byte{nil, []byte("x"), random, bytes.Repeat([]byte{0xff}, tapir.PacketSize), make([]byte, tapir.PacketSize)} {
			c := h.dial()
			c.Write(text)
			defer c.awaitEnd(t)
		}
		for _, text := range []string{"{", "[]", `{"MessageType":2}`, `{"MessageType":0,"ReplayRequest":{"LastCommit":7}}`} {
			c := h.authenticated(h.dial())
			if err := c.Send([]byte(text)); err != nil {
				t.Error(err)
			}
			for c.Receive(func([]byte) error { return nil }) == nil {
			}
		}
		h.untilCounts("no connections", func(c relay.ConnectionCounts) bool { return c.Open == 0 })
	})

	// What follows would take some 300 MB if the relay kept for every reader
	// what it does not read, and no end of memory if it kept the results that a
	// client leaves lying about. The bound is generous, because Go gives memory
	// back late and the race detector takes several times as much.
	t.Run("stuck readers and floods", func(t *testing.T) {
		const readers, flooders = 24, 8
		const bound = 160 << 20
		relayBefore, pluginBefore := memory(t, h.relay.pid()), memory(t, h.plugin().pid)
		var flooding sync.WaitGroup
		for range readers {
			b := h.connectBy(narrow{h.net}, "main")
			if err := b.Replay(nil); err != nil {
				t.Fatal(err)
			}
		}
		request := wire.AppendRequest(nil, wire.Request{Post: &wire.Post{
			Token: wire.Token{T: make([]byte, 32), MAC: make([]byte, 64)}, EGM: stored[0].Envelope,
		}})
		for range flooders {
			c := h.authenticated(h.dial())
			flooding.Go(func() {
				for c.Send(request, request, request, request) == nil { // and reads no results
				}
			})
		}
		flooding.Wait() // the relay has closed them all
		h.untilCounts("no connections", func(c relay.ConnectionCounts) bool { return c.Open == 0 })
		if stuck := h.status().Servers[0].Relay.BoardConnections.Stuck; stuck != readers+flooders {
			t.Errorf("%d connections were closed for being stuck, %d were", stuck, readers+flooders)
		}
		relayAfter, pluginAfter := memory(t, h.relay.pid()), memory(t, h.plugin().pid)
		t.Logf("memory at most: relay %d MiB before and %d MiB after, plugin %d and %d",
			relayBefore>>20, relayAfter>>20, pluginBefore>>20, pluginAfter>>20)
		if relayAfter-relayBefore > bound || pluginAfter-pluginBefore > bound {
			t.Errorf("more than %d MiB were taken", bound>>20)
		}
	})

	// After all that it serves as before.
	if log := h.log("main"); len(log) != len(stored) {
		t.Errorf("the board has %d envelopes of %d", len(log), len(stored))
	}
	h.store("main", h.posts("main", 10, 100))
	h.stop()
}

// rawConn is a connection to a board on which nothing has been said.
type rawConn struct{ net.Conn }

func (h *house) dial() rawConn {
	h.Helper()
	nc, err := narrow{h.net}.Dial(h.ctx, h.keys("main").Board.Onion(), client.Port)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { nc.Close() })
	deadline, _ := h.ctx.Deadline()
	nc.SetDeadline(deadline)
	return rawConn{nc}
}

// awaitEnd waits until the relay hangs up.
func (c rawConn) awaitEnd(t *testing.T) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the relay does not hang up")
	}
}

// narrow connects with small buffers, so that a reader that does not read is
// noticed at the other end soon. One that does read is slow with them.
type narrow struct{ client.Dialer }

func (d narrow) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	nc, err := d.Dialer.Dial(ctx, service, port)
	if err != nil {
		return nil, err
	}
	if c, ok := nc.(interface{ SetReadBuffer(int) error }); ok {
		return nc, c.SetReadBuffer(16 << 10)
	}
	return nc, nil
}

func (h *house) authenticated(nc net.Conn) *tapir.Conn {
	h.Helper()
	c, err := tapir.Client(h.ctx, nc, identity.NewKey(), h.keys("main").Board.Onion())
	if err != nil {
		h.Fatal(err)
	}
	deadline, _ := h.ctx.Deadline()
	c.SetReadDeadline(deadline)
	c.SetWriteDeadline(deadline)
	return c
}

func (h *house) untilCounts(what string, wanted func(relay.ConnectionCounts) bool) {
	h.Helper()
	h.until(what, func(st manager.Status) bool { return wanted(st.Servers[0].Relay.BoardConnections) })
}

var peakPattern = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// memory is the most that a process has ever had resident, in bytes.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := peakPattern.FindSubmatch(text)
	if m == nil {
		t.Fatal("the system does not tell the memory of a process")
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
