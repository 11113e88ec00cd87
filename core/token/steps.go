package token

import (
	"context"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// steps is a conversation in which every step has a deadline of its own.
type steps struct {
	conn    *tapir.Conn
	timeout time.Duration
}

func newSteps(c *tapir.Conn, timeout time.Duration) steps {
	if timeout <= 0 {
		timeout = DefaultStepTimeout
	}
	return steps{conn: c, timeout: timeout}
}

func (s steps) send(payloads ...[]byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return s.conn.Send(payloads...)
}

func (s steps) receive(use func(payload []byte) error) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return s.conn.Receive(use)
}

// linger waits until the peer closes or sends what it should not.
func (s steps) linger() {
	s.timeout = min(s.timeout, lingerTimeout)
	// Whatever comes, the conversation is over.
	_ = s.receive(func([]byte) error { return nil })
}

// cause prefers the reason why ctx ended over the error of a connection that
// was closed for it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
