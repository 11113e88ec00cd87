package relay

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// TestLogHasNoAddresses resets connections at every stage. Package net reports this with
// errors that have both addresses.
func TestLogHasNoAddresses(t *testing.T) {
	var log syncBuffer
	r := startServer(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	board, tokens := r.cfg.Keys.Board.Onion(), r.cfg.Keys.Token.Onion()
	resetConnection(t, r, board, nil)
	resetConnection(t, r, tokens, nil)
	resetConnection(t, r, board, func(nc net.Conn) {
		if _, err := tapir.Client(t.Context(), nc, identity.NewKey(), board); err != nil {
			t.Fatal(err)
		}
	})
	for _, g := range r.acceptors {
		g.wg.Wait() // until the server has noticed
	}
	text := log.b.String()
	if strings.Count(text, "reset by peer") != 3 {
		t.Errorf("not all connections were reset:\n%s", text)
	}
	if strings.Contains(text, "127.0.0.1") {
		t.Errorf("addresses are in the log:\n%s", text)
	}
}

// resetConnection connects, and resets the connection while it is served.
func resetConnection(t *testing.T, r *testServer, service identity.Onion, talk func(net.Conn)) {
	t.Helper()
	nc, err := r.net.Dial(t.Context(), service, Port)
	if err != nil {
		t.Fatal(err)
	}
	if talk != nil {
		talk(nc)
	} else if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil { // the server serves us
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	nc.Close()
}
