package token

import (
	"context"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// stepConn is a connection on which every step of a purchase has a deadline of its
// own.
type stepConn struct {
	conn    *tapir.Conn
	timeout time.Duration
}

func newStepConn(c *tapir.Conn, timeout time.Duration) stepConn {
	if timeout <= 0 {
		timeout = defaultStepTimeout
	}
	return stepConn{conn: c, timeout: timeout}
}

func (s stepConn) sendStep(payloads ...[]byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return s.conn.Send(payloads...)
}

func (s stepConn) receiveStep(use func(payload []byte) error) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return s.conn.Receive(use)
}

// awaitClose waits until the peer closes or sends what it should not.
func (s stepConn) awaitClose() {
	s.timeout = min(s.timeout, lingerTimeout)
	// Whatever comes, the purchase is over.
	_ = s.receiveStep(func([]byte) error { return nil })
}

// endCause returns why ctx ended, or err if it did not: a connection that was closed
// for ctx has an error that says less.
func endCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
