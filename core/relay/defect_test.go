package relay

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// panickingFind is a store that stands for a defect anywhere on the way of a replay.
type panickingFind struct{ storage.Store }

func (panickingFind) Find(context.Context, []byte) (storage.Seq, error) { panic("a defect") }

// TestDefectEndsOneConnection shows that a panic on a goroutine of a connection closes that
// connection, is counted, and does not end the relay.
func TestDefectEndsOneConnection(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Store = panickingFind{storagetest.NewMemory()} })
	other, unlucky := r.connect(), r.connect()
	other.replay("")
	other.expect("count 0")
	unlucky.replay("any signature")
	unlucky.expect("closed")
	other.post("m1", r.token())
	other.expect("posted true", "new m1")
	if n := r.Status(t.Context()).BoardConnections.Panics; n != 1 {
		t.Errorf("%d panics counted, want 1", n)
	}
}

// panickingNetwork is a network whose connections panic when the relay reads from them
// or writes to them, if told to.
type panickingNetwork struct {
	onion.Network
	read, write atomic.Bool
}

func (m *panickingNetwork) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	ln, err := m.Network.Listen(ctx, key, port)
	return panickingListener{ln, m}, err
}

type panickingListener struct {
	net.Listener
	m *panickingNetwork
}

func (l panickingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return panickingConn{nc, l.m}, nil
}

type panickingConn struct {
	net.Conn
	m *panickingNetwork
}

func (c panickingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.m.read.Load() {
		panic("a defect of what reads")
	}
	return n, err
}

func (c panickingConn) Write(b []byte) (int, error) {
	if c.m.write.Load() {
		panic("a defect of what writes")
	}
	return c.Conn.Write(b)
}

// TestEveryEndOfAHalfEndsBoth injects a defect into each goroutine of a connection,
// while the other goroutine waits for its client or for the defective one. Nothing may
// remain, so that places cannot be used up.
func TestEveryEndOfAHalfEndsBoth(t *testing.T) {
	for name, provoke := range map[string]func(*testServer, *panickingNetwork){
		"writer, the reader receives": func(r *testServer, m *panickingNetwork) {
			p := r.connect()
			m.write.Store(true)
			p.replay("")
			p.next() // closed or reset
		},
		"writer, the reader hands over a replay": func(r *testServer, m *panickingNetwork) {
			p := r.connect()
			m.write.Store(true)
			for range 3 { // the writer takes one
				p.Send(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{}}))
			}
		},
		"writer, the reader has no slot for a post": func(r *testServer, m *panickingNetwork) {
			p := r.connect()
			m.write.Store(true)
			for range 3 * r.cfg.Limits.OutstandingPosts {
				p.Send([]byte(`{"MessageType":2,"PostRequest":{"Token":{"T":null,"MAC":"AAAA"},"EGM":{"Ciphertext":"AAAA","Signature":"AAAA"}}}`))
			}
		},
		"reader": func(r *testServer, m *panickingNetwork) {
			p := r.connect()
			p.replay("")
			p.expect("count 0")
			m.read.Store(true)
			p.replay("")
			p.next() // closed or reset
		},
		"authenticate, at a read": func(r *testServer, m *panickingNetwork) {
			m.read.Store(true)
			r.dialHalfway(1)
		},
		"authenticate, at a write": func(r *testServer, m *panickingNetwork) {
			m.write.Store(true)
			r.dialSilent(1, r.cfg.Keys.Board.Onion())
		},
		"serveTokens": func(r *testServer, m *panickingNetwork) {
			m.write.Store(true)
			io.Copy(io.Discard, r.dialSilent(1, r.cfg.Keys.Token.Onion())[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &panickingNetwork{}
			r := startServer(t, func(c *Config) { m.Network, c.Network = c.Network, m })
			open := func() (n int64, panics uint64) {
				st := r.Status(t.Context())
				return st.BoardConnections.Open + st.TokenConnections.Open, st.BoardConnections.Panics + st.TokenConnections.Panics
			}
			for range 3 {
				_, before := open()
				provoke(r, m)
				for begin := time.Now(); ; time.Sleep(time.Millisecond) {
					n, panics := open()
					if n == 0 && panics > before {
						break
					}
					if time.Since(begin) > 10*time.Second {
						t.Fatalf("%d connections are open after %d defects", n, panics)
					}
				}
				m.read.Store(false)
				m.write.Store(false)
			}
		})
	}
}
