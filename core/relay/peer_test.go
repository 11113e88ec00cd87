package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// peerOf returns a Config.Peer that knows one peer, and serves it until its connection ends.
func peerOf(peer *atomic.Pointer[identity.Onion], served chan<- identity.Onion) func(identity.Onion) func(context.Context, *tapir.Conn) {
	return func(name identity.Onion) func(context.Context, *tapir.Conn) {
		if p := peer.Load(); p == nil || *p != name {
			return nil
		}
		return func(ctx context.Context, conn *tapir.Conn) {
			served <- conn.Peer()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			io.Copy(io.Discard, conn.NetConn())
		}
	}
}

// tapped counts what comes over a connection.
type tapped struct {
	net.Conn
	in atomic.Int64
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	return n, err
}

// dialAs authenticates as the owner of a key.
func (r *testServer) dialAs(key identity.Key) (*boardConn, *tapped) {
	r.t.Helper()
	nc, err := r.net.Dial(r.t.Context(), r.cfg.Keys.Board.Onion(), Port)
	if err != nil {
		r.t.Fatal(err)
	}
	tap := &tapped{Conn: nc}
	conn, err := tapir.Client(r.t.Context(), tap, key, r.cfg.Keys.Board.Onion())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &boardConn{conn, r}, tap
}

// TestUnlistedPeersSeeWhatClientsSee compares what a caller gets from a server without peers, from
// one that has others, and from one that has removed the caller: every byte that can be told
// apart, whether it behaves as a client, as a peer or badly.
func TestUnlistedPeersSeeWhatClientsSee(t *testing.T) {
	key := identity.NewKey()
	other := identity.NewKey().Onion()
	plain := startServer(t, nil)
	served := make(chan identity.Onion, 10)
	var peer atomic.Pointer[identity.Onion]
	withPeers := startServer(t, func(cfg *Config) { cfg.Peer = peerOf(&peer, served) })
	peer.Store(&other)

	conversations := map[string]func(*boardConn) []string{
		"client": func(p *boardConn) []string {
			p.replay("")
			p.post("m", p.r.token())
			seen := []string{p.next(), p.next(), p.next()}
			p.replay("m") // from the newest, which a board with roaming clients answers with more
			return append(seen, p.next(), p.next())
		},
		"malformed": func(p *boardConn) []string {
			p.raw("x")
			return []string{p.next()}
		},
		"peer": func(p *boardConn) []string {
			link := peerlink.NewConn(p.Conn, key.Onion(), true)
			link.Write(peerlink.AppendFrame(nil, &peerlink.Hello{Proto: peerlink.Proto, Plugin: "mesh"}))
			junk := make([]byte, 20<<10)
			rand.Read(junk)
			link.Write(junk) // until the server has a whole packet
			_, err := link.Read(make([]byte, 1))
			return []string{fmt.Sprint(dropAddresses(err) != nil)}
		},
		"half a packet and then silence": func(p *boardConn) []string {
			p.NetConn().Write(make([]byte, 1000))
			p.NetConn().SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := p.NetConn().Read(make([]byte, 1))
			return []string{fmt.Sprint(n, err != nil)}
		},
	}
	for name, talk := range conversations {
		var seen [][]string
		for _, r := range []*testServer{plain, withPeers} {
			p, tap := r.dialAs(key)
			seen = append(seen, append(talk(p), fmt.Sprint(tap.in.Load(), " bytes")))
		}
		if !slices.Equal(seen[0], seen[1]) {
			t.Errorf("%s: a server without peers answers %q, one with peers %q", name, seen[0], seen[1])
		}
	}

	own := key.Onion() // is a peer for a while
	peer.Store(&own)
	link, _ := withPeers.dialAs(key)
	if got := <-served; got != own {
		t.Errorf("%s was served", got)
	}
	link.Close()
	peer.Store(nil)
	p, _ := withPeers.dialAs(key)
	p.replay("")
	p.expect("count 1", "old m")
	if len(served) > 0 {
		t.Error("a peer that was removed is served")
	}
}

// TestPeersTakeNoPlace fills all places with clients while a peer is connected, and closes the
// server while its connection stands.
func TestPeersTakeNoPlace(t *testing.T) {
	key := identity.NewKey()
	name := key.Onion()
	served := make(chan identity.Onion, 10)
	var peer atomic.Pointer[identity.Onion]
	peer.Store(&name)
	r := startServer(t, func(cfg *Config) {
		cfg.Limits.Connections = 2
		cfg.Peer = peerOf(&peer, served)
	})
	link, _ := r.dialAs(key)
	<-served
	var clients []*boardConn
	for range 6 {
		p := r.connect()
		p.replay("")
		p.expect("count 0")
		clients = append(clients, p)
	}
	clients[3].expect("closed") // evicted by the last two
	r.awaitConnections("two clients without the link", func(c ConnectionCounts) bool { return c.Open == 2 })
	clients[5].post("m", r.token())
	clients[5].expect("posted true", "new m")
	link.NetConn().SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := link.NetConn().Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the link was evicted: %v", err)
	}
	link.NetConn().SetReadDeadline(time.Time{})
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := link.NetConn().Read(make([]byte, 1)); err == nil {
		t.Error("the link outlives the server")
	}
}
