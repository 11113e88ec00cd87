package relay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func constantPlaces(n int) func(limits.Limits) int { return func(limits.Limits) int { return n } }

// dialSilent opens connections and sends nothing on them.
func (r *testServer) dialSilent(n int, service identity.Onion) (opened []net.Conn) {
	r.t.Helper()
	for range n {
		nc, err := r.net.Dial(r.t.Context(), service, Port)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { nc.Close() })
		opened = append(opened, nc)
	}
	return opened
}

// dialHalfway opens connections and sends the keys of a client on each, and no more.
func (r *testServer) dialHalfway(n int) {
	r.t.Helper()
	for _, nc := range r.dialSilent(n, r.cfg.Keys.Board.Onion()) {
		sendKeys(r.t, nc)
	}
}

func sendKeys(t *testing.T, nc net.Conn) {
	t.Helper()
	key, ephemeral := identity.NewKey(), identity.NewKey()
	text := fmt.Appendf(nil, `{"LongTermPublicKey":%q,"EphemeralPublicKey":%q}`, base64Of(key), base64Of(ephemeral))
	if err := tapir.Plain(nc).Send(text); err != nil {
		t.Fatal(err)
	}
}

func base64Of(k identity.Key) string { return base64.StdEncoding.EncodeToString(k.Public()) }

func (r *testServer) awaitConnections(what string, wanted func(ConnectionCounts) bool) {
	r.t.Helper()
	for begin := time.Now(); !wanted(r.Status(r.t.Context()).BoardConnections); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			r.t.Fatalf("waited for %s: %+v", what, r.Status(r.t.Context()).BoardConnections)
		}
	}
}

// TestNewcomerIsLetIn fills all places but one with connections that want nothing, in
// every state that they can be in. The other place is that of a reader, who keeps it.
func TestNewcomerIsLetIn(t *testing.T) {
	const places = 8
	for name, fill := range map[string]func(*testServer){
		"silent": func(r *testServer) { r.dialSilent(4*places, r.cfg.Keys.Board.Onion()) },
		"half":   func(r *testServer) { r.dialHalfway(4 * places) },
		"never asked": func(r *testServer) {
			for range 4 * places {
				r.connect()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startServer(t, func(c *Config) { c.Limits.Connections = places })
			reader := r.connect()
			reader.replay("")
			reader.expect("count 0")
			fill(r)
			r.awaitConnections("all to come in", func(c ConnectionCounts) bool { return c.Accepted+c.Refused == 1+4*places })
			newcomer := r.connect()
			newcomer.post("m", r.token())
			newcomer.expect("posted true")
			reader.expect("new m")
			r.awaitConnections("the others to end", func(c ConnectionCounts) bool { return c.Open == places })
			c := r.Status(t.Context()).BoardConnections
			if c.Evicted != 3*places+2 || c.Refused != 0 || c.Unauthenticated != 0 {
				t.Errorf("counted %+v", c)
			}
		})
	}
}

// TestLongestIdleGoes shows that when all clients have asked for something, a new one
// takes the place of the one that has asked for nothing for the longest time.
func TestLongestIdleGoes(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.Connections = 3 })
	var readers []*boardConn
	for range 3 {
		p := r.connect()
		p.replay("")
		p.expect("count 0")
		readers = append(readers, p)
	}
	readers[0].replay("")
	readers[0].expect("count 0")
	newcomer := r.connect()
	newcomer.post("m", r.token())
	newcomer.expect("posted true")
	readers[0].expect("new m")
	readers[2].expect("new m")
	readers[1].expect("closed")
	if c := r.Status(t.Context()).BoardConnections; c.Refused != 0 || c.Evicted != 1 {
		t.Errorf("counted %+v", c)
	}
}

// newFullAcceptor returns an acceptor whose 8 places are taken, the first ones by
// idlers.
func newFullAcceptor(idlers int) (g *acceptor, places []*place) {
	g = newAcceptor(nil, constantPlaces(8), limits.Limits{}, &connectionCounts{}, slog.New(slog.DiscardHandler))
	for i := range 8 {
		places = append(places, g.takePlace(func(error) {}))
		if i < idlers {
			places[i].noteActivity()
		}
	}
	return g, places
}

// TestNewcomersGetAQuarter shows that any number of clients that never ask take a quarter
// of the places from clients that have, and not more.
func TestNewcomersGetAQuarter(t *testing.T) {
	for idlers := range 9 {
		g, places := newFullAcceptor(idlers)
		for range 100 {
			if g.takePlace(func(error) {}) == nil {
				t.Fatal("a newcomer is refused")
			}
		}
		for i, p := range places {
			if stays := i >= idlers-min(idlers, 6) && i < idlers; p.evicted == stays {
				t.Errorf("%d idlers: number %d evicted: %v", idlers, i, p.evicted)
			}
		}
	}
}

// TestKeptPlacesAreNotTaken shows it however often the client asks for something.
func TestKeptPlacesAreNotTaken(t *testing.T) {
	g, places := newFullAcceptor(4)
	for _, p := range places {
		p.keepForever()
		p.noteActivity()
	}
	if g.takePlace(func(error) {}) != nil || g.count.refused.Load() != 1 || g.count.evicted.Load() != 0 {
		t.Error("a kept place was taken")
	}
	places[0].releasePlace()
	if p := g.takePlace(func(error) {}); p == nil || g.takePlace(func(error) {}) == nil || !p.evicted {
		t.Error("the place of a connection that left is not given on")
	}
}

// TestAcceptDoesNotWait shows that silent connections do not delay the handshakes of
// others.
func TestAcceptDoesNotWait(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.ConnectionsPerSecond = 1 })
	r.dialSilent(50, r.cfg.Keys.Board.Onion())
	begin := time.Now()
	r.connect()
	r.awaitConnections("all to be accepted", func(c ConnectionCounts) bool { return c.Accepted == 51 })
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v behind 50 silent connections", took)
	}
	if c := r.Status(t.Context()).BoardConnections; c.Delayed != 0 {
		t.Errorf("counted %+v", c)
	}
}

// TestHandshakesAreDelayed shows that with one handshake a second, the second client
// waits.
func TestHandshakesAreDelayed(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.ConnectionsPerSecond = 1 })
	first := r.dialSilent(1, r.cfg.Keys.Board.Onion())[0]
	sendKeys(t, first)
	// The server sends its keys at once, and its proof when the handshake has begun.
	if _, err := io.ReadFull(first, make([]byte, 2*tapir.PacketSize)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r.connect()
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("two handshakes in %v, limit 1 a second", took)
	}
	if c := r.Status(t.Context()).BoardConnections; c.Delayed != 1 {
		t.Errorf("counted %+v", c)
	}
}

// TestClosedConnectionsTakeNoPlace shows that connections that were closed before they
// were accepted evict nobody.
func TestClosedConnectionsTakeNoPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() net.Conn {
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	first := dial()
	defer first.Close()
	for range 100 {
		dial().Close()
	}
	last := dial()
	defer last.Close()
	var count connectionCounts
	g := newAcceptor(ln, constantPlaces(2), limits.Limits{}, &count, slog.New(slog.DiscardHandler))
	served := make(chan struct{})
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() {
		g.serveAll(ctx, func(ctx context.Context, _ net.Conn, _ *place) {
			select {
			case served <- struct{}{}:
				<-ctx.Done()
			case <-ctx.Done():
			}
		})
	})
	<-served
	<-served
	if n := count.abandoned.Load(); n != 100 || count.evicted.Load() != 0 || count.accepted.Load() != 2 {
		t.Errorf("%d abandoned, %d evicted, %d accepted", n, count.evicted.Load(), count.accepted.Load())
	}
	g.closeListener()
	cancel()
	running.Wait()
}

// exhaustedListener is a listener of a process that has no file descriptors left.
type exhaustedListener struct {
	net.Listener
	calls  int
	closed context.CancelFunc
}

func (l *exhaustedListener) Accept() (net.Conn, error) {
	if l.calls++; l.calls > 1000 {
		l.closed()
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}

// TestAcceptErrorsAreLoggedOnce shows that they are counted and logged once a minute,
// and that a connection that wants nothing gives up its descriptor.
func TestAcceptErrorsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		var count connectionCounts
		count.setLogInterval()
		ctx, cancel := context.WithCancel(t.Context())
		g := newAcceptor(&exhaustedListener{closed: cancel}, constantPlaces(2), limits.Limits{}, &count, slog.New(slog.NewTextHandler(&log, nil)))
		var cause error
		g.takePlace(func(err error) { cause = err })
		begin := time.Now()
		g.serveAll(ctx, nil)
		lines, most := strings.Count(log.b.String(), "\n"), 1+int(time.Since(begin)/time.Minute)
		if n := count.acceptErrors.Load(); n != 1000 || lines == 0 || lines > most {
			t.Errorf("%d errors counted, %d lines logged, want 1000 and at most %d", n, lines, most)
		}
		if !errors.Is(cause, errEvicted) {
			t.Errorf("a silent connection was ended by %v", cause)
		}
	})
}

// TestDefectsAreLoggedOnce shows that a stranger who finds a defect cannot fill the log.
func TestDefectsAreLoggedOnce(t *testing.T) {
	var log syncBuffer
	var count connectionCounts
	count.setLogInterval()
	for range 100 {
		err := count.guardCall(slog.New(slog.NewTextHandler(&log, nil)), func() error { panic("a defect") })
		if !errors.Is(err, errDefect) {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.b.String(), "\n"); n != 1 || count.panics.Load() != 100 {
		t.Errorf("%d lines, %d counted", n, count.panics.Load())
	}
}

// newBareServer returns a server without a network and keys.
func newBareServer(t *testing.T, store storage.Store, l limits.Limits) *Server {
	t.Helper()
	b, err := board.Open(t.Context(), board.Config{
		Store: store, QueueRecords: 1, QueueBytes: 1 << 20, PostTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{board: b, log: slog.New(slog.DiscardHandler), budget: newQuietBudget(l)}
	s.limits.Store(&l)
	return s
}

// TestNewcomersAreNotWaitedForLong shows that a client that has asked for nothing is
// closed after minutes, and one that has after hours.
func TestNewcomersAreNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			request string
			want    time.Duration
		}{
			{"", firstRequestTimeout},
			{`{"MessageType":99}`, firstRequestTimeout},
			{`{"MessageType":2,"PostRequest":{"Token":{"T":null,"MAC":"AAAA"},"EGM":{"Ciphertext":"AAAA","Signature":"AAAA"}}}`, 2 * time.Hour},
		} {
			s := newBareServer(t, storagetest.NewMemory(), limits.Limits{IdleTimeout: 2 * time.Hour, StuckReader: time.Minute, OutstandingPosts: 1})
			near, far := net.Pipe()
			ses := newSession(s, tapir.Plain(near))
			ses.noteActivity = func() {}
			var serving sync.WaitGroup
			serving.Go(func() { s.countEnd(ses.runSession(t.Context())) })
			conn := tapir.Plain(far)
			begin := time.Now()
			if c.request != "" {
				if err := conn.Send([]byte(c.request)); err != nil {
					t.Fatal(err)
				}
			}
			for conn.Receive(func([]byte) error { return nil }) == nil {
			}
			serving.Wait()
			if err := s.board.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took != c.want || s.counts.idle.Load() != 1 {
				t.Errorf("after %q closed in %v, want %v", c.request, took, c.want)
			}
		}
	})
}

// TestReplayCountsAsActivity shows that each page of a replay does.
func TestReplayCountsAsActivity(t *testing.T) {
	s := newBareServer(t, filledStore(t, 3), limits.Limits{IdleTimeout: time.Hour, StuckReader: time.Minute, OutstandingPosts: 1, ReaderBuffer: 1})
	near, far := net.Pipe()
	ses := newSession(s, tapir.Plain(near))
	var asked atomic.Int64
	ses.noteActivity = func() { asked.Add(1) }
	var serving sync.WaitGroup
	serving.Go(func() { ses.runSession(t.Context()) })
	conn := tapir.Plain(far)
	if err := conn.Send(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{}})); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the count, and a page for each envelope
		if err := conn.Receive(func([]byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	serving.Wait()
	if err := s.board.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times in a replay of three pages", n)
	}
}
