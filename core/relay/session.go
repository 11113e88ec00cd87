package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// session is one connection to the board. Its reader takes requests and queues
// posts; its writer sends everything: results in the order of the posts, a
// replay as one unbroken sequence, and new envelopes from a cursor.
type session struct {
	server *Server
	conn   *tapir.Conn
	limits *Limits

	slots   chan struct{}     // holds one for each post that is not answered
	replays chan *wire.Replay // to the writer
	wake    chan struct{}     // to the writer: a post is finished

	mu    sync.Mutex
	posts []*pending // in the order they came; those sent are removed
}

// pending is a post of this connection. After finished is set it is not changed.
type pending struct {
	finished bool
	result   board.Result
	echo     []byte // JSON of the envelope, sent after the result of a duplicate
}

// serveBoard authenticates a connection of the board and serves it to its end.
func (s *Server) serveBoard(ctx context.Context, nc net.Conn) {
	auth := tapir.Config{StepTimeout: s.cfg.Limits.HandshakeTimeout}
	conn, err := auth.Server(ctx, nc, s.cfg.Keys.Board)
	if err != nil {
		s.counts.unauthenticated.Add(1)
		s.log.Debug("connection did not authenticate", "error", err)
		return
	}
	ses := &session{
		server:  s,
		conn:    conn,
		limits:  &s.cfg.Limits,
		slots:   make(chan struct{}, s.cfg.Limits.OutstandingPosts),
		replays: make(chan *wire.Replay),
		wake:    make(chan struct{}, 1),
	}
	err = ses.run(ctx)
	s.countEnd(err)
	s.log.Debug("connection ended", "reason", err)
}

// run returns why the connection ended, never nil.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, s.hurry)()
	var wg sync.WaitGroup
	wg.Go(func() {
		cancel(s.write(ctx))
		s.conn.Close() // ends the reader
	})
	cancel(s.read(ctx))
	wg.Wait()
	return context.Cause(ctx)
}

// read takes requests until the connection ends.
func (s *session) read(ctx context.Context) error {
	for {
		s.conn.SetReadDeadline(time.Now().Add(s.limits.IdleTimeout))
		var req wire.Request
		err := s.conn.Receive(func(payload []byte) (err error) {
			req, err = wire.DecodeRequest(payload)
			return err
		})
		if err != nil {
			return err
		}
		switch {
		case req.Post != nil:
			err = s.post(ctx, req.Post)
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

// post checks the token of a post and queues it, waiting while the connection
// has as many unanswered as it may.
func (s *session) post(ctx context.Context, req *wire.Post) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	json := req.EGM.AppendJSON(make([]byte, 0, wire.EnvelopeSize(len(req.EGM.Ciphertext), len(req.EGM.Signature))))
	p := &pending{}
	s.mu.Lock()
	s.posts = append(s.posts, p)
	s.mu.Unlock()
	spent, ok := s.check(req, json)
	if !ok {
		s.finish(p, board.Result{}, nil)
		return nil
	}
	s.server.board.Post(ctx, req.EGM, json, storage.Nullifier(spent.T), func(r board.Result) {
		s.finish(p, r, json)
	})
	return nil
}

// check decides whether a post may be tried. Only the store knows whether its
// token was spent before.
func (s *session) check(req *wire.Post, json []byte) (spent token.Spent, ok bool) {
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

// finish is called once for each post, by the committer among others, so it
// must not block.
func (s *session) finish(p *pending, r board.Result, json []byte) {
	s.mu.Lock()
	p.finished, p.result = true, r
	if r.Duplicate {
		p.echo = json
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// finished removes and returns the posts that can be answered now: those before
// which no unfinished one is left.
func (s *session) finished() []*pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.posts) && s.posts[n].finished {
		n++
	}
	done := s.posts[:n:n]
	s.posts = s.posts[n:]
	if len(s.posts) == 0 {
		s.posts = nil // lets go of the array
	}
	return done
}

// write sends whatever there is to send until the connection ends.
func (s *session) write(ctx context.Context) error {
	var cursor *board.Cursor // nil until the first replay
	for {
		// The end of the log is taken before the results: all results of posts
		// up to there are finished, so no echo overtakes its result.
		end := s.server.board.End()
		if err := s.sendResults(ctx, cursor != nil); err != nil {
			return err
		}
		if cursor != nil && cursor.Pending(end.Seq) > 0 {
			if err := s.sendNew(ctx, cursor, end.Seq); err != nil {
				return err
			}
			continue
		}
		changed := end.Changed
		if cursor == nil {
			changed = nil // who has not asked for a replay is not told
		}
		select {
		case <-changed:
		case <-s.wake:
		case req := <-s.replays:
			var err error
			if cursor, err = s.replay(ctx, req); err != nil {
				return err
			}
		case <-ctx.Done():
			s.sendResults(ctx, cursor != nil) //nolint:errcheck // the last words, of what a closing board has committed
			return context.Cause(ctx)
		}
	}
}

// sendResults answers finished posts. The envelope of a duplicate, which the
// cursor will not meet again, follows its result.
func (s *session) sendResults(ctx context.Context, echo bool) error {
	done := s.finished()
	if len(done) == 0 {
		return nil
	}
	payloads := make([][]byte, 0, len(done))
	for _, p := range done {
		payloads = append(payloads, wire.AppendPosted(nil, p.result.Success))
		if p.echo != nil && echo {
			payloads = append(payloads, wire.AppendNew(nil, p.echo))
		}
	}
	err := s.send(ctx, payloads)
	for range done {
		<-s.slots
	}
	return err
}

// sendNew sends a page of new envelopes.
func (s *session) sendNew(ctx context.Context, cursor *board.Cursor, end storage.Seq) error {
	page, err := cursor.Next(ctx, end, int(s.limits.ReaderBuffer))
	if err != nil {
		return err
	}
	payloads := make([][]byte, len(page))
	for i, json := range page {
		payloads[i] = wire.AppendNew(make([]byte, 0, len(json)+wire.NewOverhead), json)
	}
	return s.send(ctx, payloads)
}

// replay answers a replay request: the number of envelopes, then as many of
// them, bare and with nothing in between. It returns the cursor behind them.
func (s *session) replay(ctx context.Context, req *wire.Replay) (*board.Cursor, error) {
	from, err := s.server.board.Find(ctx, req.LastCommit)
	if err != nil {
		return nil, err
	}
	end := s.server.board.End().Seq
	cursor := s.server.board.CursorAt(from)
	count := cursor.Pending(end)
	if err := s.send(ctx, [][]byte{wire.AppendCount(nil, count)}); err != nil {
		return nil, err
	}
	s.server.counts.replays.Add(1)
	for cursor.Pending(end) > 0 {
		page, err := cursor.Next(ctx, end, int(s.limits.ReaderBuffer))
		if err != nil {
			return nil, err
		}
		if err := s.send(ctx, page); err != nil {
			return nil, err
		}
		count -= uint64(len(page))
		s.server.counts.replayed.Add(uint64(len(page)))
	}
	if count != 0 {
		return nil, fmt.Errorf("replay: the log lost %d envelopes meanwhile", count)
	}
	return cursor, nil
}

// burst is the number of packets whose write has to succeed within the time for
// stuck readers: 64 KiB on the wire, one write of tapir.
const burst = 8

// send sends messages, waiting for a slow reader as long as it makes progress.
// Sending counts as activity of the connection.
func (s *session) send(ctx context.Context, payloads [][]byte) error {
	for group := range slices.Chunk(payloads, burst) {
		s.conn.SetWriteDeadline(time.Now().Add(s.limits.StuckReader))
		if ctx.Err() != nil { // hurry has set its deadline before ours, or will yet
			s.hurry()
		}
		if err := s.conn.Send(group...); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return errStuck
			}
			return err
		}
		s.conn.SetReadDeadline(time.Now().Add(s.limits.IdleTimeout))
	}
	return nil
}

// hurry gives what is being sent a last second, when the connection ends.
func (s *session) hurry() { s.conn.SetWriteDeadline(time.Now().Add(time.Second)) }

var errStuck = errors.New("the client does not read")

// countEnd sorts the ends of connections that a limit caused.
func (s *Server) countEnd(err error) {
	switch {
	case errors.Is(err, errStuck):
		s.counts.stuck.Add(1)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.counts.idle.Add(1)
	case errors.Is(err, tapir.ErrPacket), errors.Is(err, io.ErrUnexpectedEOF):
		s.counts.malformed.Add(1)
	}
}
