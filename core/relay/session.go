package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// session is one connection to the board. Its reader takes requests and queues posts
// (session.go). Its writer sends everything: results in the order of the posts, a
// replay as one unbroken sequence, and new envelopes from a cursor (writer.go).
type session struct {
	server *Server
	conn   *tapir.Conn
	limits *limits.Limits

	slots         chan struct{}     // holds an element for each post that is not answered
	replays       chan *wire.Replay // to the writer
	wake          chan struct{}     // to the writer: a post is finished
	finalDeadline func() time.Time  // the end of the last second, which the first call begins
	noteActivity  func()            // called when the client asks for something, and while it is served
	usage         *usage            // of the budget
	asked         bool              // whether the client has asked for something; the reader's

	mu    sync.Mutex
	posts []*pendingPost // in the order in which they came; answered ones are removed
}

// pendingPost is a post of this connection. It does not change once finished is set.
type pendingPost struct {
	finished bool
	result   board.Result
}

// serveBoard authenticates a connection to the board and serves it to its end.
func (s *Server) serveBoard(ctx context.Context, nc net.Conn, p *place) {
	conn, err := s.authenticate(ctx, nc)
	if err != nil {
		s.countUnauthenticated(err)
		s.log.Debug("connection did not authenticate", "error", dropAddresses(err))
		return
	}
	if serve := s.findPeer(conn.Peer()); serve != nil {
		if p.leaveToLink() {
			serve(ctx, conn)
		}
		return
	}
	ses := newSession(s, conn)
	ses.noteActivity = p.noteActivity
	err = ses.runSession(ctx)
	s.countEnd(err)
	s.log.Debug("connection ended", "reason", dropAddresses(err))
}

// findPeer returns what serves the connections of a peer, or nil if nobody is a peer by that name.
func (s *Server) findPeer(name identity.Onion) func(context.Context, *tapir.Conn) {
	if s.cfg.Peer == nil {
		return nil
	}
	return s.cfg.Peer(name)
}

// authenticate authenticates a connection, on a goroutine of its own. Cryptography
// makes a stack grow, and a connection keeps its stack; this halves the memory of an
// idle one.
func (s *Server) authenticate(ctx context.Context, nc net.Conn) (conn *tapir.Conn, err error) {
	auth := tapir.Config{
		StepTimeout: s.limits.Load().HandshakeTimeout,
		Admit:       func() error { return s.admitHandshake(ctx, nc) },
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		err = s.counts.board.guardCall(s.log, func() (err error) {
			conn, err = auth.Server(ctx, nc, s.cfg.Keys.Board)
			return err
		})
	})
	wg.Wait()
	return conn, err
}

const (
	// maxHandshakes is how many clients may wait for their handshake. Each holds a
	// packet.
	maxHandshakes = 256
	// handshakeWait is how long a client may wait for its handshake. Clients wait
	// longer.
	handshakeWait = 5 * time.Second
	// firstRequestTimeout is how long a client may take until it asks for something.
	firstRequestTimeout = 2 * time.Minute
)

// admitHandshake waits until the handshake of a client may begin.
func (s *Server) admitHandshake(ctx context.Context, nc net.Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeWait, errTooMany)
	defer cancel()
	return s.handshakes.waitTurn(ctx, 1, func() bool { return isGone(nc) })
}

func newSession(s *Server, conn *tapir.Conn) *session {
	limits := s.limits.Load()
	return &session{
		server:        s,
		conn:          conn,
		limits:        limits,
		slots:         make(chan struct{}, limits.OutstandingPosts),
		replays:       make(chan *wire.Replay),
		wake:          make(chan struct{}, 1),
		usage:         s.budget.newUsage(),
		finalDeadline: sync.OnceValue(func() time.Time { return time.Now().Add(time.Second) }),
	}
}

// runSession serves the connection, and returns why it ended, never nil.
func (s *session) runSession(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, s.shortenDeadline)()
	// Each half, however it ends, ends the other.
	half := func(f func(context.Context) error) error {
		err := s.server.counts.board.guardCall(s.server.log, func() error { return f(ctx) })
		cancel(err)
		return err
	}
	var read, written error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer s.conn.Close() // ends the reader
		written = half(s.writeReplies)
	})
	read = half(s.readRequests)
	wg.Wait()
	for _, err := range []error{context.Cause(ctx), read, written} {
		if !errors.Is(err, net.ErrClosed) { // otherwise another half closed it and knows why
			return err
		}
	}
	return net.ErrClosed
}

var errDefect = errors.New("a defect of the relay")

// guardCall calls f and returns its error, or errDefect if it panics.
func (c *connectionCounts) guardCall(log *slog.Logger, f func() error) (err error) {
	err = errDefect
	defer c.recoverDefect(log)
	return f()
}

// readRequests takes requests until the connection ends.
func (s *session) readRequests(ctx context.Context) error {
	for {
		s.conn.SetReadDeadline(time.Now().Add(s.requestTimeout()))
		var req wire.Request
		err := s.conn.Receive(func(payload []byte) (err error) {
			if req, err = wire.DecodeRequest(payload); err != nil {
				return fmt.Errorf("%w: %w", errMalformed, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if req.Post != nil || req.Replay != nil {
			s.noteActivity()
			s.asked = true
		}
		switch {
		case req.Post != nil:
			err = s.queuePost(ctx, req.Post)
		case req.Replay != nil:
			select {
			case s.replays <- req.Replay:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

// requestTimeout returns how long the reader waits for a request.
func (s *session) requestTimeout() time.Duration {
	if s.asked {
		return s.limits.IdleTimeout
	}
	return min(s.limits.IdleTimeout, firstRequestTimeout)
}

// queuePost checks the token of a post, takes the post from the budget and hands it to the
// board. It waits while the connection has as many unanswered posts as it may.
func (s *session) queuePost(ctx context.Context, req *wire.Post) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	json := req.EGM.AppendJSON(make([]byte, 0, wire.EnvelopeSize(len(req.EGM.Ciphertext), len(req.EGM.Signature))))
	p := &pendingPost{}
	s.mu.Lock()
	s.posts = append(s.posts, p)
	s.mu.Unlock()
	spent, ok := s.checkPost(req, json)
	if !ok {
		s.finishPost(p, board.Result{})
		return nil
	}
	budget, size := s.server.budget, len(req.EGM.Signature)+len(req.EGM.Ciphertext)
	switch ok, err := budget.takePost(ctx, s.usage, size, s.limits.PostTimeout); {
	case err != nil:
		return err
	case !ok:
		s.finishPost(p, board.Result{})
		return nil
	}
	s.server.board.Post(ctx, req.EGM, json, storage.Nullifier(spent.T), func(r board.Result) {
		if !r.Success {
			budget.giveBack(s.usage, size)
		}
		s.finishPost(p, r)
	})
	return nil
}

// checkPost checks the form and the token of a post. Only the store knows whether the
// token was spent before.
func (s *session) checkPost(req *wire.Post, json []byte) (spent token.Spent, ok bool) {
	counts := &s.server.counts
	if len(req.Token.T) != len(spent.T) || len(req.Token.MAC) != len(spent.MAC) {
		counts.invalidToken.Add(1)
		return spent, false
	}
	if len(req.EGM.Signature) == 0 || len(json)+wire.NewOverhead > tapir.MaxPayload {
		counts.invalidEnvelope.Add(1)
		return spent, false
	}
	copy(spent.T[:], req.Token.T)
	copy(spent.MAC[:], req.Token.MAC)
	if !s.server.key.Verify(spent, json, []byte(s.server.cfg.Keys.Board.Onion())) {
		counts.invalidToken.Add(1)
		return spent, false
	}
	return spent, true
}

// finishPost notes the result of a post and wakes the writer. The committer calls it,
// so it must not block.
func (s *session) finishPost(p *pendingPost, r board.Result) {
	s.mu.Lock()
	p.finished, p.result = true, r
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

var errMalformed = errors.New("message is malformed")

// countUnauthenticated counts the end of a connection that never was a session.
func (s *Server) countUnauthenticated(err error) {
	switch {
	case errors.Is(err, errTooMany):
		s.counts.board.refused.Add(1)
	case errors.Is(err, errGone):
		s.counts.board.abandoned.Add(1)
	case errors.Is(err, errEvicted), errors.Is(err, errDefect): // counted where they happen
	default:
		s.counts.unauthenticated.Add(1)
	}
}

// countEnd counts the end of a session, if a limit or the store caused it.
func (s *Server) countEnd(err error) {
	switch {
	case errors.Is(err, board.ErrReadTimeout), errors.Is(err, storage.ErrUnavailable), errors.Is(err, errPruned):
		s.counts.unserved.Add(1)
	case errors.Is(err, errStuck):
		s.counts.stuck.Add(1)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.counts.idle.Add(1)
	case errors.Is(err, errMalformed), errors.Is(err, tapir.ErrPacket), errors.Is(err, io.ErrUnexpectedEOF):
		s.counts.malformed.Add(1)
	}
}

// dropAddresses removes the two addresses that package net puts into the error of a
// connection.
func dropAddresses(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}
