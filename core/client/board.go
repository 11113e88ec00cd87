package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// Errors of a board, beside those of the network. After any of them but
// ErrRefused, ErrReplaying and ErrNotSynced the connection is closed.
var (
	// ErrRefused means that the server refused a post: the token was spent before or
	// is of another server, or the server cannot store now. The token counts as spent.
	ErrRefused = errors.New("board refused the post")
	// ErrProtocol means that the server sent what no server sends.
	ErrProtocol = errors.New("board broke the protocol")
	// ErrReplaying means that a replay is still under way.
	ErrReplaying = errors.New("a replay is under way")
	// ErrNotSynced means that a post would not be echoed, because the connection has
	// not asked for a replay yet.
	ErrNotSynced = errors.New("not synced with the board")
)

// Board is a connection to a board. One goroutine at a time may read, that is, call
// Next, Events, Sync or Post; any number may call Submit at the same time. A context
// that ends during a call closes the connection, because a packet may be half read.
type Board struct {
	conn *tapir.Conn
	name identity.Onion

	send sync.Mutex // held while a request is numbered and sent, so that both orders agree

	mu    sync.Mutex
	state state // guarded by mu, and so is the read deadline, which follows from it
}

// Open connects to a board under a fresh identity.
func Open(ctx context.Context, d Dialer, board identity.Onion) (*Board, error) {
	nc, err := d.Dial(ctx, board, Port)
	if err != nil {
		return nil, fmt.Errorf("connect to board: %w", err)
	}
	conn, err := tapir.Client(ctx, nc, identity.NewKey(), board)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("authenticate board: %w", err)
	}
	return &Board{conn: conn, name: board, state: newState()}, nil
}

// Close closes the connection and ends all calls.
func (b *Board) Close() error { return b.conn.Close() }

// Replay asks for the envelopes from the one with the signature last on, which comes
// again as a [Replayed] with Repeat set. A nil last, or one that the server does not
// know, asks for everything. Only one replay can be under way.
func (b *Board) Replay(last []byte) error {
	b.send.Lock()
	defer b.send.Unlock()
	err := b.recordOwed(func(s *state) error { return s.beginReplay(last) })
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if err := b.sendRequest(wire.Request{Replay: &wire.Replay{LastCommit: last}}); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}

// Submit posts an envelope and does not wait for the result, which comes as a [Posted]
// event with the returned number. Numbers count up from 1 in the order of the results.
// The token is spent whatever Submit returns.
//
// A goroutine must read events meanwhile: a server stops reading from a connection that
// does not read its results.
func (b *Board) Submit(e wire.Envelope, t token.Token) (post uint64, err error) {
	spent := t.Spend(e.AppendJSON(nil), []byte(b.name))
	b.send.Lock()
	defer b.send.Unlock()
	b.recordOwed(func(s *state) error { post = s.recordPost(); return nil }) //nolint:errcheck // a broken connection fails at its next use
	request := wire.Post{Token: wire.Token{T: spent.T[:], MAC: spent.MAC[:]}, EGM: e}
	if err := b.sendRequest(wire.Request{Post: &request}); err != nil {
		return 0, fmt.Errorf("post: %w", err)
	}
	return post, nil
}

func (b *Board) sendRequest(r wire.Request) error {
	if err := b.conn.SetWriteDeadline(time.Now().Add(Timeout)); err != nil {
		return err
	}
	return b.conn.Send(wire.AppendRequest(nil, r))
}

// recordOwed records what the server will owe. It starts the server's time, unless that
// runs already.
func (b *Board) recordOwed(record func(*state) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.state.isOwed()
	if err := record(&b.state); err != nil || before {
		return err
	}
	return b.conn.SetReadDeadline(time.Now().Add(Timeout))
}

// Next waits for the next event. It waits without limit while the server owes
// nothing. After an error the connection is closed; [io.EOF] is among the errors
// when the server closed it.
func (b *Board) Next(ctx context.Context) (Event, error) {
	stop := context.AfterFunc(ctx, func() { b.conn.Close() })
	defer stop()
	for {
		e, ok, err := b.receiveEvent()
		if err != nil {
			b.conn.Close()
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return Event{}, fmt.Errorf("read board: %w", err)
		}
		if ok {
			return e, nil
		}
	}
}

// receiveEvent reads a packet; ok tells whether it was an event.
func (b *Board) receiveEvent() (e Event, ok bool, err error) {
	err = b.conn.Receive(func(payload []byte) error {
		reply, err := wire.DecodeReply(payload)
		if err != nil {
			return ErrProtocol // the cause would quote the server
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		e, ok, err = b.state.acceptReply(reply)
		if err != nil || !ok || e.Kind == New {
			return err // the time for what is owed goes on
		}
		return b.extendDeadline()
	})
	return e, ok, err
}

// extendDeadline gives the server new time for the rest of what it owes. b.mu is held.
func (b *Board) extendDeadline() error {
	var deadline time.Time
	if b.state.isOwed() {
		deadline = time.Now().Add(Timeout)
	}
	return b.conn.SetReadDeadline(deadline)
}

// Events iterates over the events until the connection or ctx ends; the last thing it
// yields is the error. Leaving the loop leaves the connection open.
func (b *Board) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := b.Next(ctx)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Sync replays from last and returns when the replay is complete. It calls use, unless
// nil, with every event. An error of use ends Sync, which returns it as it is.
func (b *Board) Sync(ctx context.Context, last []byte, use func(Event) error) error {
	if err := b.Replay(last); err != nil {
		return err
	}
	return b.receiveUntil(ctx, use, func(e Event) bool {
		return (e.Kind == Count || e.Kind == Replayed) && e.Left == 0
	})
}

// Post posts an envelope and returns when the server has said that it is durable and
// has echoed it. It calls use, unless nil, with every event, the echo included. After
// an error other than [ErrRefused] the envelope may be stored: it is safe to post it
// again with another token, since a server stores an envelope only once.
func (b *Board) Post(ctx context.Context, env wire.Envelope, t token.Token, use func(Event) error) error {
	b.mu.Lock()
	synced := b.state.asked
	b.mu.Unlock()
	if !synced {
		return fmt.Errorf("post: %w", ErrNotSynced)
	}
	post, err := b.Submit(env, t)
	if err != nil {
		return err
	}
	refused, stored, echoed := false, false, false
	err = b.receiveUntil(ctx, use, func(e Event) bool {
		switch {
		case e.Kind == Posted && e.Post == post:
			refused, stored = !e.Success, e.Success
			b.recordOwed(func(s *state) error { s.echo = stored; return nil }) //nolint:errcheck // a broken connection fails at its next use
		case e.Kind == New && sameEnvelope(e.Envelope, env):
			echoed = true
		}
		return refused || stored && echoed
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.echo = false
	if err == nil {
		err = b.extendDeadline()
	}
	if err == nil && refused {
		err = fmt.Errorf("post: %w", ErrRefused)
	}
	return err
}

// Deliver posts an envelope over a connection that does not read the board, and returns
// when the server has said that it is durable. For errors it is like [Board.Post].
func (b *Board) Deliver(ctx context.Context, env wire.Envelope, t token.Token) error {
	post, err := b.Submit(env, t)
	if err != nil {
		return err
	}
	stored := false
	err = b.receiveUntil(ctx, nil, func(e Event) bool {
		stored = e.Success
		return e.Kind == Posted && e.Post == post // other events may come before
	})
	if err == nil && !stored {
		err = fmt.Errorf("post: %w", ErrRefused)
	}
	return err
}

// receiveUntil calls use with each event up to the one for which done is true.
func (b *Board) receiveUntil(ctx context.Context, use func(Event) error, done func(Event) bool) error {
	for e, err := range b.Events(ctx) {
		if err != nil {
			return err
		}
		if use != nil {
			if err := use(e); err != nil {
				return err
			}
		}
		if done(e) {
			break
		}
	}
	return nil
}

func sameEnvelope(a, b wire.Envelope) bool {
	return bytes.Equal(a.Signature, b.Signature) && bytes.Equal(a.Ciphertext, b.Ciphertext)
}
