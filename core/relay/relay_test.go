package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testServer is a server on the loopback network, and what a test needs to be its
// client.
type testServer struct {
	*Server
	t   *testing.T
	net onion.Network

	mu     sync.Mutex
	tokens []token.Token
}

func startServer(t *testing.T, change func(*Config)) *testServer {
	t.Helper()
	network, err := onion.Loopback(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.LoadOrCreate(t.TempDir() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Network: network,
		Keys:    keys,
		Store:   storagetest.NewMemory(),
		Logger:  slog.New(slog.DiscardHandler),
		Limits: limits.Limits{
			Connections: 100, ConnectionsPerSecond: 1000,
			HandshakeTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			OutstandingPosts: 8, QueueRecords: 1000, QueueBytes: 1 << 20, PostTimeout: 5 * time.Second,
			TokenBatchesPerSecond: 100, TokenBatch: 150,
			ReaderBuffer: 64 << 10, StuckReader: 10 * time.Second,
		},
	}
	if change != nil {
		change(&cfg)
	}
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close(context.Background())
		network.Close()
	})
	return &testServer{Server: s, t: t, net: network}
}

// token returns an unspent token. It buys them by the batch.
func (r *testServer) token() token.Token {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tokens) == 0 {
		var err error
		if r.tokens, err = client.Buy(r.t.Context(), r.net, r.Bundle(), 150, nil); err != nil {
			r.t.Fatal(err)
		}
	}
	t := r.tokens[0]
	r.tokens = r.tokens[1:]
	return t
}

// boardConn is a bare connection to the board.
type boardConn struct {
	*tapir.Conn
	r *testServer
}

func (r *testServer) connect() *boardConn {
	r.t.Helper()
	nc, err := r.net.Dial(r.t.Context(), r.cfg.Keys.Board.Onion(), Port)
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := tapir.Client(r.t.Context(), nc, identity.NewKey(), r.cfg.Keys.Board.Onion())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &boardConn{conn, r}
}

func (p *boardConn) raw(payload string) {
	p.r.t.Helper()
	if err := p.Send([]byte(payload)); err != nil {
		p.r.t.Fatal(err)
	}
}

// next receives a reply and describes it in a word.
func (p *boardConn) next() string {
	p.r.t.Helper()
	p.SetReadDeadline(time.Now().Add(20 * time.Second))
	var reply wire.Reply
	err := p.Receive(func(b []byte) (err error) {
		reply, err = wire.DecodeReply(b)
		return err
	})
	switch {
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case err != nil:
		return err.Error()
	case reply.Count != nil:
		return fmt.Sprintf("count %d", *reply.Count)
	case reply.Posted != nil:
		return fmt.Sprintf("posted %t", *reply.Posted)
	case reply.New != nil:
		return "new " + string(reply.New.Signature)
	case reply.Replay != nil:
		return "old " + string(reply.Replay.Signature)
	}
	return "unknown"
}

func (p *boardConn) expect(want ...string) {
	p.r.t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			p.r.t.Fatalf("got %q, want %q (of %q)", got, w, want)
		}
	}
}

func (p *boardConn) replay(last string) {
	p.r.t.Helper()
	p.raw(string(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{LastCommit: []byte(last)}})))
}

func signedPost(env wire.Envelope, t token.Token, board identity.Onion) string {
	spent := t.Spend(env.AppendJSON(nil), []byte(board))
	return string(wire.AppendRequest(nil, wire.Request{Post: &wire.Post{
		Token: wire.Token{T: spent.T[:], MAC: spent.MAC[:]}, EGM: env,
	}}))
}

func envelopeOf(name string) wire.Envelope {
	return wire.Envelope{Ciphertext: []byte("ciphertext of " + name), Signature: []byte(name)}
}

func (p *boardConn) post(name string, t token.Token) {
	p.r.t.Helper()
	p.raw(signedPost(envelopeOf(name), t, p.r.cfg.Keys.Board.Onion()))
}

func TestConversation(t *testing.T) {
	r := startServer(t, nil)
	alice, bob, mute := r.connect(), r.connect(), r.connect()
	alice.replay("")
	alice.expect("count 0")
	bob.replay("")
	bob.expect("count 0")

	alice.post("m1", r.token())
	alice.expect("posted true", "new m1")
	bob.expect("new m1")
	bob.post("m2", r.token())
	bob.expect("posted true", "new m2")
	alice.expect("new m2")

	// A client that has not asked for a replay gets the results of its posts only.
	mute.post("m3", r.token())
	mute.expect("posted true")
	alice.expect("new m3")

	late := r.connect()
	late.replay("")
	late.expect("count 3", "old m1", "old m2", "old m3")
	late.replay("m2") // the last one known is included
	late.expect("count 2", "old m2", "old m3")
	late.replay("never posted")
	late.expect("count 3", "old m1", "old m2", "old m3")
	late.post("m4", r.token())
	late.expect("posted true", "new m4")
}

func TestDuplicateIsEchoedToItsPosterOnly(t *testing.T) {
	r := startServer(t, nil)
	alice, bob := r.connect(), r.connect()
	for _, p := range []*boardConn{alice, bob} {
		p.replay("")
		p.expect("count 0")
	}
	alice.post("m1", r.token())
	alice.expect("posted true", "new m1")
	bob.expect("new m1")
	bob.post("m1", r.token())
	bob.expect("posted true", "new m1")
	bob.post("m2", r.token())
	bob.expect("posted true", "new m2")
	alice.expect("new m2")
}

func TestRefusedPosts(t *testing.T) {
	r := startServer(t, nil)
	p := r.connect()
	board := r.cfg.Keys.Board.Onion()
	p.replay("")
	p.expect("count 0")

	used := r.token()
	p.post("m1", used)
	p.expect("posted true", "new m1")
	p.post("m2", used)
	p.expect("posted false")
	p.post("m1", used) // the very same post
	p.expect("posted false")

	// A wrong MAC does not burn the token.
	fresh := r.token()
	p.raw(signedPost(envelopeOf("m3"), fresh, r.cfg.Keys.Token.Onion()))
	p.expect("posted false")
	p.post("m3", fresh)
	p.expect("posted true", "new m3")

	noSignature := envelopeOf("")
	noSignature.Signature = []byte{}
	p.raw(signedPost(noSignature, r.token(), board))
	p.expect("posted false")
	p.raw(`{"MessageType":2,"PostRequest":{"Token":{"T":null,"MAC":"AAAA"},"EGM":{"Ciphertext":"AAAA","Signature":"AAAA"}}}`)
	p.expect("posted false")
	p.post("m4", r.token())
	p.expect("posted true", "new m4")

	// Another envelope under a signature that was seen costs no token.
	another := envelopeOf("m4")
	another.Ciphertext = append(another.Ciphertext, '!')
	unspent := r.token()
	p.raw(signedPost(another, unspent, board))
	p.expect("posted false")
	p.post("m5", unspent)
	p.expect("posted true", "new m5")

	late := r.connect()
	late.replay("")
	late.expect("count 4", "old m1", "old m3", "old m4", "old m5")
	if st := r.Status(t.Context()).Posts; st.Stored != 4 || st.Conflict != 1 || st.SpentToken != 2 || st.InvalidToken != 2 || st.InvalidEnvelope != 1 {
		t.Errorf("counts %+v", st)
	}
}

// TestBrokenProtocolCloses shows that a malformed message ends its connection and
// nothing else.
func TestBrokenProtocolCloses(t *testing.T) {
	r := startServer(t, nil)
	watcher := r.connect()
	watcher.replay("")
	watcher.expect("count 0")
	for _, bad := range []string{"x", "{", `{"MessageType":0}`, `{"MessageType":2}`, `{"MessageType":0,"ReplayRequest":{"LastCommit":"*"}}`} {
		p := r.connect()
		p.raw(bad)
		p.expect("closed")
	}
	for r.Status(t.Context()).BoardConnections.Malformed < 5 {
		time.Sleep(time.Millisecond)
	}
	p := r.connect()
	p.raw(`{"MessageType":99}`) // unknown, so ignored
	p.post("m1", r.token())
	p.expect("posted true")
	watcher.expect("new m1")
}

// heldFind is a store whose Find waits until it may go on.
type heldFind struct {
	storage.Store
	goOn chan struct{}
}

func (s *heldFind) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	<-s.goOn
	return s.Store.Find(ctx, signature)
}

func TestResultComesBeforeTheReplayOfItsEnvelope(t *testing.T) {
	store := &heldFind{storagetest.NewMemory(), make(chan struct{})}
	r := startServer(t, func(c *Config) { c.Store = store })
	p := r.connect()
	end := r.board.End()
	p.replay("unknown")
	p.post("m1", r.token())
	<-end.Changed
	close(store.goOn)
	p.expect("posted true", "count 1", "old m1")
}

// TestResultsKeepTheirOrder has more posts under way than the connection may, good and
// bad ones mixed.
func TestResultsKeepTheirOrder(t *testing.T) {
	r := startServer(t, nil)
	p := r.connect()
	const n = 100
	tokens := make([]token.Token, n)
	for i := range tokens {
		tokens[i] = r.token()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			if i%3 == 1 {
				p.post("spent", tokens[0])
			} else {
				p.post(fmt.Sprint("m", i), tokens[i])
			}
		}
	})
	for i := range n {
		p.expect(fmt.Sprint("posted ", i%3 != 1))
	}
	wg.Wait()
}

// TestNothingIsMissed connects readers while others post. Each must see every envelope
// once and in one order.
func TestNothingIsMissed(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.ReaderBuffer = 1 << 10 })
	const posts = 140
	tokens := make([]token.Token, posts)
	for i := range tokens {
		tokens[i] = r.token()
	}
	var wg sync.WaitGroup
	seen := make([][]string, 10)
	poster := r.connect()
	for i := range seen {
		wg.Go(func() {
			for r.board.End().Seq < storage.Seq(i*posts/len(seen)) {
				<-r.board.End().Changed
			}
			p := r.connect()
			p.replay("")
			for len(seen[i]) < posts {
				var kind, name string
				if fmt.Sscan(p.next(), &kind, &name); kind == "old" || kind == "new" {
					seen[i] = append(seen[i], name)
				} else if kind != "count" {
					t.Errorf("reader got %q", kind)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for i := range posts {
			poster.post(fmt.Sprint("m", i), tokens[i])
			poster.expect("posted true")
		}
	})
	wg.Wait()
	for i := range seen {
		for j, name := range seen[i] {
			if name != fmt.Sprint("m", j) {
				t.Fatalf("reader %d saw %s at position %d", i, name, j)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Run("changed", func(t *testing.T) {
		r := startServer(t, func(c *Config) { c.Limits.Connections = 1 })
		first := r.connect()
		first.post("before", r.token())
		first.expect("posted true")
		l := r.cfg.Limits
		l.Connections, l.TokenBatch, l.ConnectionsPerSecond = 2, 1, 999
		if !r.cfg.Limits.Live(l) {
			t.Error("limits of connections are not live")
		}
		r.SetLimits(l)
		p := r.connect()
		p.post("after", r.token())
		p.expect("posted true")
		first.replay("") // it is not evicted
		first.expect("count 2")
		if handshakes, tokens := r.handshakes.rate.Burst(), r.purchases.rate.Burst(); handshakes != 999 || tokens != 100 {
			t.Errorf("the rates are %d and %d", handshakes, tokens)
		}
		if l.QueueBytes++; r.cfg.Limits.Live(l) {
			t.Error("the limits of the queue are live")
		}
	})
	t.Run("handshake", func(t *testing.T) {
		r := startServer(t, func(c *Config) { c.Limits.HandshakeTimeout = 50 * time.Millisecond })
		for _, service := range []identity.Key{r.cfg.Keys.Board, r.cfg.Keys.Token} {
			nc, err := r.net.Dial(t.Context(), service.Onion(), Port)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.Copy(io.Discard, nc); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Log(err) // a reset is as good as an end
			}
		}
	})
	t.Run("idle", func(t *testing.T) {
		r := startServer(t, func(c *Config) { c.Limits.IdleTimeout = 100 * time.Millisecond })
		p := r.connect()
		p.expect("closed")
		for r.Status(t.Context()).BoardConnections.Idle != 1 {
			time.Sleep(time.Millisecond)
		}
	})
	t.Run("stuck reader", func(t *testing.T) {
		r := startServer(t, func(c *Config) { c.Limits.StuckReader = 100 * time.Millisecond })
		p, other := r.connect(), r.connect()
		tokens := make([]token.Token, 140)
		for i := range tokens {
			tokens[i] = r.token()
		}
		for i, tok := range tokens {
			other.post(fmt.Sprint("m", i), tok)
			other.expect("posted true")
		}
		for r.Status(t.Context()).BoardConnections.Stuck == 0 { // asks for more and more, and reads nothing
			if p.Send(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{}})) != nil {
				break
			}
		}
		for r.Status(t.Context()).BoardConnections.Stuck == 0 {
			time.Sleep(time.Millisecond)
		}
		other.replay("m139")
		other.expect("count 1", "old m139")
	})
}

// heldAppend is a store whose appends wait until they may go on.
type heldAppend struct {
	storage.Store
	goOn chan struct{}
}

func (h *heldAppend) Append(ctx context.Context, rs []storage.Record) ([]storage.Outcome, error) {
	<-h.goOn
	return h.Store.Append(ctx, rs)
}

func TestCloseAnswersPostsUnderWay(t *testing.T) {
	store := &heldAppend{storagetest.NewMemory(), make(chan struct{})}
	r := startServer(t, func(c *Config) { c.Store = store })
	p := r.connect()
	for i := range 8 {
		p.post(fmt.Sprint("m", i), r.token())
	}
	p.replay("")
	p.expect("count 0") // so the posts before it are in the queue
	closed := make(chan error)
	go func() { closed <- r.Close(t.Context()) }()
	close(store.goOn)
	for range 8 {
		for s := p.next(); s != "posted true"; s = p.next() {
			if !strings.HasPrefix(s, "new ") {
				t.Fatalf("got %q from an orderly close, want the results of all posts", s)
			}
		}
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if info, err := store.Info(t.Context()); err != nil || info.Count != 8 {
		t.Errorf("8 posts acknowledged, %d stored", info.Count)
	}
}
