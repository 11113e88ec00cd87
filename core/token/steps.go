package token

import (
	"context"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// conversation is a conversation in which every step has a deadline of its own.
type conversation struct {
	conn    *tapir.Conn
	timeout time.Duration
}

func newConversation(c *tapir.Conn, timeout time.Duration) conversation {
	if timeout <= 0 {
		timeout = DefaultStepTimeout
	}
	return conversation{conn: c, timeout: timeout}
}

func (s conversation) sendStep(payloads ...[]byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return s.conn.Send(payloads...)
}

func (s conversation) receiveStep(use func(payload []byte) error) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return s.conn.Receive(use)
}

// awaitClose waits until the peer closes or sends what it should not.
func (s conversation) awaitClose() {
	s.timeout = min(s.timeout, lingerTimeout)
	// Whatever comes, the conversation is over.
	_ = s.receiveStep(func([]byte) error { return nil })
}

// endCause prefers the reason why ctx ended over the error of a connection that
// was closed for it.
func endCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
