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

// TestPromise5Bounded attacks a relay with hostile clients and checks what that
// costs.
func TestPromise5Bounded(t *testing.T) {
	const connections = 32
	h := newHarness(t, fmt.Sprintf(`
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
	stored := h.newPosts("main", 1500, 5700)
	h.mustStore("main", stored)

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
		newcomer := h.connect("main") // replaces an idle connection
		if err := newcomer.Sync(h.ctx, last, func(client.Event) error { return nil }); err != nil {
			t.Error(err)
		}
		h.awaitCounts("an evicted connection", func(c relay.ConnectionCounts) bool { return c.Evicted == 1 && c.Open == connections })
		newcomer.Close()
		for _, b := range held {
			b.Close()
		}
		h.awaitCounts("no connections", func(c relay.ConnectionCounts) bool { return c.Open == 0 })
	})

	t.Run("silence and garbage", func(t *testing.T) {
		random := make([]byte, 3*tapir.PacketSize)
		rand.Read(random)
		for _, text := range [][]byte{nil, []byte("x"), random, bytes.Repeat([]byte{0xff}, tapir.PacketSize), make([]byte, tapir.PacketSize)} {
			c := h.dialBoard()
			c.Write(text)
			defer c.awaitEnd(t)
		}
		for _, text := range []string{"{", "[]", `{"MessageType":2}`, `{"MessageType":0,"ReplayRequest":{"LastCommit":7}}`} {
			c := h.authenticate(h.dialBoard())
			if err := c.Send([]byte(text)); err != nil {
				t.Error(err)
			}
			for c.Receive(func([]byte) error { return nil }) == nil {
			}
		}
		h.awaitCounts("no connections", func(c relay.ConnectionCounts) bool { return c.Open == 0 })
	})

	// The rest would take some 300 MB if the relay buffered everything for readers that
	// do not read, and unlimited memory if it kept unread results. The bound is generous
	// because Go returns memory late and the race detector multiplies it.
	t.Run("stuck readers and floods", func(t *testing.T) {
		const readers, flooders = 24, 8
		const bound = 160 << 20
		relayBefore, pluginBefore := peakMemory(t, h.relay.pid()), peakMemory(t, h.storagePlugin().pid)
		var flooding sync.WaitGroup
		for range readers {
			b := h.connectBy(smallBufferDialer{h.net}, "main")
			if err := b.Replay(nil); err != nil {
				t.Fatal(err)
			}
		}
		request := wire.AppendRequest(nil, wire.Request{Post: &wire.Post{
			Token: wire.Token{T: make([]byte, 32), MAC: make([]byte, 64)}, EGM: stored[0].Envelope,
		}})
		for range flooders {
			c := h.authenticate(h.dialBoard())
			flooding.Go(func() {
				for c.Send(request, request, request, request) == nil { // and reads no results
				}
			})
		}
		flooding.Wait() // the relay has closed them all
		h.awaitCounts("no connections", func(c relay.ConnectionCounts) bool { return c.Open == 0 })
		if stuck := h.status().Servers[0].Relay.BoardConnections.Stuck; stuck != readers+flooders {
			t.Errorf("%d connections were closed for being stuck, %d were", stuck, readers+flooders)
		}
		relayAfter, pluginAfter := peakMemory(t, h.relay.pid()), peakMemory(t, h.storagePlugin().pid)
		t.Logf("memory at most: relay %d MiB before and %d MiB after, plugin %d and %d",
			relayBefore>>20, relayAfter>>20, pluginBefore>>20, pluginAfter>>20)
		if relayAfter-relayBefore > bound || pluginAfter-pluginBefore > bound {
			t.Errorf("more than %d MiB were taken", bound>>20)
		}
	})

	// After all that the relay serves as before.
	if log := h.readBoard("main"); len(log) != len(stored) {
		t.Errorf("the board has %d envelopes of %d", len(log), len(stored))
	}
	h.mustStore("main", h.newPosts("main", 10, 100))
	h.stop()
}

// rawConn is a connection to a board before any message.
type rawConn struct{ net.Conn }

func (h *harness) dialBoard() rawConn {
	h.Helper()
	nc, err := smallBufferDialer{h.net}.Dial(h.ctx, h.loadKeys("main").Board.Onion(), client.Port)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { nc.Close() })
	deadline, _ := h.ctx.Deadline()
	nc.SetDeadline(deadline)
	return rawConn{nc}
}

// awaitEnd waits until the relay closes the connection.
func (c rawConn) awaitEnd(t *testing.T) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the relay does not hang up")
	}
}

// smallBufferDialer connects with small buffers, so that the relay soon notices a
// reader that does not read.
type smallBufferDialer struct{ client.Dialer }

func (d smallBufferDialer) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	nc, err := d.Dialer.Dial(ctx, service, port)
	if err != nil {
		return nil, err
	}
	if c, ok := nc.(interface{ SetReadBuffer(int) error }); ok {
		return nc, c.SetReadBuffer(16 << 10)
	}
	return nc, nil
}

func (h *harness) authenticate(nc net.Conn) *tapir.Conn {
	h.Helper()
	c, err := tapir.Client(h.ctx, nc, identity.NewKey(), h.loadKeys("main").Board.Onion())
	if err != nil {
		h.Fatal(err)
	}
	deadline, _ := h.ctx.Deadline()
	c.SetReadDeadline(deadline)
	c.SetWriteDeadline(deadline)
	return c
}

func (h *harness) awaitCounts(what string, wanted func(relay.ConnectionCounts) bool) {
	h.Helper()
	h.awaitStatus(what, func(st manager.Status) bool { return wanted(st.Servers[0].Relay.BoardConnections) })
}

var peakPattern = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory returns the greatest resident memory that a process ever had, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
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
