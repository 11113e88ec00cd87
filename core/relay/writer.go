package relay

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// takeFinished removes and returns the posts that can be answered now: the finished
// ones up to the first that is not.
func (s *session) takeFinished() []*pendingPost {
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

// writeReplies sends whatever there is to send until the connection ends.
func (s *session) writeReplies(ctx context.Context) error {
	var cursor *board.Cursor // nil until the first replay
	for {
		// The end of the log is taken before the results. All posts up to there are
		// finished, so no envelope overtakes the result of its post.
		end := s.server.board.End()
		if err := s.sendResults(ctx, cursor); err != nil {
			return err
		}
		if cursor != nil && !cursor.Passed(end.Seq) {
			if err := s.sendNew(ctx, cursor, end.Seq); err != nil {
				return err
			}
			continue
		}
		changed := end.Changed
		if cursor == nil {
			changed = nil // a client that has not asked for a replay gets no envelopes
		}
		select {
		case <-changed:
		case <-s.wake:
		case req := <-s.replays:
			var err error
			if cursor, err = s.sendReplay(ctx, req); err != nil {
				return err
			}
		case <-ctx.Done():
			s.sendResults(ctx, nil) //nolint:errcheck // what a closing board has committed; the connection ends anyway
			return context.Cause(ctx)
		}
	}
}

// sendResults answers finished posts. The envelope of a duplicate follows its result
// if the cursor has passed it; otherwise the cursor will yield it. If several posts of
// one envelope are answered at once, it follows the last of them. It is read when it
// is sent, so a client that does not read cannot make the relay keep many of them.
func (s *session) sendResults(ctx context.Context, cursor *board.Cursor) error {
	var payloads [][]byte
	done := s.takeFinished()
	for i, p := range done {
		payloads = append(payloads, wire.AppendPosted(nil, p.result.Success))
		at := p.result.Earlier
		again := func(later *pendingPost) bool { return later.result.Earlier == at }
		if at > 0 && cursor != nil && cursor.Passed(at) && !slices.ContainsFunc(done[i+1:], again) {
			page, err := s.server.board.CursorAt(at).Next(ctx, at, 1)
			if err != nil {
				return err
			}
			for _, json := range page {
				payloads = append(payloads, wire.AppendNew(nil, json))
			}
		}
		if len(payloads) >= tapir.MaxBurst {
			if err := s.sendPayloads(ctx, payloads); err != nil {
				return err
			}
			payloads = payloads[:0]
		}
		<-s.slots
	}
	return s.sendPayloads(ctx, payloads)
}

// sendNew sends a page of new envelopes.
func (s *session) sendNew(ctx context.Context, cursor *board.Cursor, end storage.Seq) error {
	page, err := cursor.Next(ctx, end, int(s.limits.ReaderBuffer))
	if err != nil {
		return err
	}
	return s.announceEnvelopes(ctx, page)
}

// announceEnvelopes sends envelopes, given as their JSON, as new ones.
func (s *session) announceEnvelopes(ctx context.Context, page [][]byte) error {
	buf := bufPool.Get().(*[]byte)
	defer bufPool.Put(buf)
	for group := range slices.Chunk(page, tapir.MaxBurst) {
		if err := s.sendPayloads(ctx, wrapNew(buf, group)); err != nil {
			return err
		}
	}
	return nil
}

// bufPool has buffers for a burst of announcements. New memory for each connection
// that is sent an envelope would be a tenth of the time of a fan-out.
var bufPool = sync.Pool{New: func() any { return new([]byte) }}

// wrapNew wraps envelopes as announcements. They lie in buf, which grows if need be.
func wrapNew(buf *[]byte, page [][]byte) [][]byte {
	size := 0
	for _, json := range page {
		size += len(json) + wire.NewOverhead
	}
	b := slices.Grow((*buf)[:0], size) // grown once, because payloads point into it
	payloads := make([][]byte, len(page))
	for i, json := range page {
		start := len(b)
		b = wire.AppendNew(b, json)
		payloads[i] = b[start:len(b):len(b)]
	}
	*buf = b
	return payloads
}

// sendReplay answers a replay request: the number of envelopes, then as many of
// them, bare and with nothing in between. It returns the cursor behind them.
//
// A client counts bare envelopes. While it has fewer than it was told, it takes
// whatever follows for one of them, and so would lose new envelopes and results. So
// when entries are pruned after they were counted, the last envelope is sent again in
// their place, which does no harm to clients. The store decides how many entries it
// prunes; if they are more than maxReplayPadding the connection ends, and the client asks
// again from the last envelope that it has.
func (s *session) sendReplay(ctx context.Context, req *wire.Replay) (*board.Cursor, error) {
	from, err := s.server.board.Find(ctx, req.LastCommit)
	if err != nil {
		return nil, err
	}
	cursor := s.server.board.CursorAt(from)
	end := s.server.board.End().Seq
	if err := s.sendResults(ctx, cursor); err != nil { // of posts that the replay shows
		return nil, err
	}
	left, err := cursor.Count(ctx, end, int(s.limits.ReaderBuffer))
	if err != nil {
		return nil, err
	}
	page, err := cursor.Next(ctx, end, int(s.limits.ReaderBuffer))
	if err != nil {
		return nil, err
	}
	if len(page) == 0 { // all was pruned since
		left = 0
	}
	if err := s.sendPayloads(ctx, [][]byte{wire.AppendCount(nil, left)}); err != nil {
		return nil, err
	}
	s.server.counts.replays.Add(1)
	var last []byte
	for len(page) > 0 {
		bare := page[:min(left, uint64(len(page)))]
		if err := s.sendPayloads(ctx, bare); err != nil {
			return nil, err
		}
		if err := s.announceEnvelopes(ctx, page[len(bare):]); err != nil { // more than was counted
			return nil, err
		}
		s.server.counts.replayed.Add(uint64(len(bare)))
		s.noteActivity()
		if left -= uint64(len(bare)); left == 0 {
			return cursor, nil
		}
		last = append(last[:0], page[len(page)-1]...)
		if page, err = cursor.Next(ctx, end, int(s.limits.ReaderBuffer)); err != nil {
			return nil, err
		}
	}
	if left > maxReplayPadding {
		return nil, errPruned
	}
	return cursor, s.sendPayloads(ctx, slices.Repeat([][]byte{last}, int(left)))
}

// maxReplayPadding is how many pruned envelopes a replay makes up for: 8 MiB on the wire.
const maxReplayPadding = 1024

var errPruned = errors.New("the store pruned too many envelopes during a replay")

// sendPayloads sends messages, and waits for a slow reader as long as it makes
// progress: each burst has to be written within Limits.StuckReader. Sending counts as
// activity of the connection.
func (s *session) sendPayloads(ctx context.Context, payloads [][]byte) error {
	for group := range slices.Chunk(payloads, tapir.MaxBurst) {
		s.conn.SetWriteDeadline(time.Now().Add(s.limits.StuckReader))
		if ctx.Err() != nil { // shortenDeadline ran before the line above, or will run after it
			s.shortenDeadline()
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

// shortenDeadline leaves a last second for sending, when the connection ends.
func (s *session) shortenDeadline() { s.conn.SetWriteDeadline(s.finalDeadline()) }

var errStuck = errors.New("the client does not read")
