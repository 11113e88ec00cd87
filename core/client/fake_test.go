package client

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeServer is a board and a token service in memory, as simple as the protocol
// allows, on TCP connections of this machine. It is also the network to dial it.
type fakeServer struct {
	t    *testing.T
	keys identity.Server
	key  *token.Key
	addr map[identity.Onion]string

	mu      sync.Mutex
	log     []wire.Envelope
	spent   map[[32]byte]bool
	readers map[*tapir.Conn]bool
	peers   []identity.Onion // of board connections
	bought  int
}

func startFakeServer(t *testing.T) *fakeServer {
	t.Helper()
	s := &fakeServer{
		t:       t,
		keys:    identity.Server{Board: identity.NewKey(), Token: identity.NewKey(), Scalar: [32]byte{7}},
		spent:   make(map[[32]byte]bool),
		readers: make(map[*tapir.Conn]bool),
		addr:    make(map[identity.Onion]string),
	}
	var err error
	if s.key, err = token.NewKey(s.keys.Scalar); err != nil {
		t.Fatal(err)
	}
	s.listen(s.keys.Board.Onion(), s.serveBoard)
	s.listen(s.keys.Token.Onion(), s.serveTokens)
	return s
}

func (s *fakeServer) bundle() bundle.Bundle { return bundle.New(&s.keys, s.key.Public()) }

func (s *fakeServer) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	if port != Port {
		s.t.Errorf("dialled port %d", port)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", s.addr[service])
}

func (s *fakeServer) listen(name identity.Onion, serve func(context.Context, net.Conn)) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr[name] = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer nc.Close()
				stop := context.AfterFunc(ctx, func() { nc.Close() })
				defer stop()
				serve(ctx, nc)
			})
		}
	})
	s.t.Cleanup(func() {
		cancel()
		ln.Close()
		serving.Wait()
	})
}

func (s *fakeServer) serveTokens(ctx context.Context, nc net.Conn) {
	n, err := token.Issue(ctx, tapir.Plain(nc), s.key, token.IssueConfig{})
	if err != nil && ctx.Err() == nil {
		s.t.Errorf("issue: %v", err)
	}
	s.mu.Lock()
	s.bought += n
	s.mu.Unlock()
}

func (s *fakeServer) serveBoard(ctx context.Context, nc net.Conn) {
	c, err := tapir.Server(ctx, nc, s.keys.Board)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.peers = append(s.peers, c.Peer())
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.readers, c)
		s.mu.Unlock()
	}()
	for c.Receive(func(payload []byte) error {
		r, err := wire.DecodeRequest(payload)
		if err != nil {
			s.t.Errorf("client sent %s", payload)
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case r.Replay != nil:
			return s.sendReplay(c, r.Replay.LastCommit)
		case r.Post != nil:
			return s.acceptPost(c, *r.Post)
		}
		return nil
	}) == nil {
	}
}

// sendReplay sends the log from last on and then, as servers do, the last envelope
// once more as a new one.
func (s *fakeServer) sendReplay(c *tapir.Conn, last []byte) error {
	start := max(0, slices.IndexFunc(s.log, func(e wire.Envelope) bool { return string(e.Signature) == string(last) }))
	payloads := [][]byte{wire.AppendCount(nil, uint64(len(s.log)-start))}
	for _, e := range s.log[start:] {
		payloads = append(payloads, e.AppendJSON(nil))
	}
	if len(s.log) > 0 {
		payloads = append(payloads, wire.AppendNew(nil, s.log[len(s.log)-1].AppendJSON(nil)))
	}
	s.readers[c] = true
	return c.Send(payloads...)
}

func (s *fakeServer) acceptPost(c *tapir.Conn, p wire.Post) error {
	egm := p.EGM.AppendJSON(nil)
	spent := token.Spent{T: [32]byte(p.Token.T), MAC: [64]byte(p.Token.MAC)}
	if s.spent[spent.T] || !s.key.Verify(spent, egm, []byte(s.keys.Board.Onion())) {
		return c.Send(wire.AppendPosted(nil, false))
	}
	s.spent[spent.T] = true
	s.log = append(s.log, p.EGM)
	if err := c.Send(wire.AppendPosted(nil, true)); err != nil {
		return err
	}
	for reader := range s.readers {
		reader.Send(wire.AppendNew(nil, egm)) // the error of a reader that is gone does not matter
	}
	return nil
}
