package tapir

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// defaultStepTimeout allows for the latency of Tor.
const defaultStepTimeout = 30 * time.Second

// Config has the settings of an authentication. The zero value is good.
type Config struct {
	// StepTimeout bounds each of the two exchanges of an authentication, keys and
	// proofs. Default: 30 s. A shorter one cuts off peers on slow circuits, a longer
	// one lets a stranger who sends nothing hold a connection.
	StepTimeout time.Duration
	// Admit, unless nil, is called by Server when the client's keys have come, before
	// the shared key is computed, which is the expensive part. It may wait. An error
	// ends the authentication.
	Admit func() error
}

// Client calls [Config.Client] of the zero Config.
func Client(ctx context.Context, nc net.Conn, key identity.Key, server identity.Onion) (*Conn, error) {
	return Config{}.Client(ctx, nc, key, server)
}

// Server calls [Config.Server] of the zero Config.
func Server(ctx context.Context, nc net.Conn, key identity.Key) (*Conn, error) {
	return Config{}.Server(ctx, nc, key)
}

// Client authenticates over nc as the side that dialled. It fails with
// [ErrAuthentication] if the other side is not server. It takes over nc: when it
// fails, also because ctx is done, it closes nc. ctx has no effect on the returned
// connection.
func (cfg Config) Client(ctx context.Context, nc net.Conn, key identity.Key, server identity.Onion) (*Conn, error) {
	h := newHandshake(outbound, key, identity.NewKey())
	h.wantPeer = server
	return cfg.authenticate(ctx, nc, h)
}

// Server authenticates over nc as the side that was dialled. It admits any client
// that proves its own name. It takes over nc as [Config.Client] does.
func (cfg Config) Server(ctx context.Context, nc net.Conn, key identity.Key) (*Conn, error) {
	return cfg.authenticate(ctx, nc, newHandshake(inbound, key, identity.NewKey()))
}

// authenticate runs a handshake over nc and closes nc when it fails or ctx is done.
func (cfg Config) authenticate(ctx context.Context, nc net.Conn, h *handshake) (*Conn, error) {
	c := Plain(nc)
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	err := cfg.runHandshake(c, h)
	if !stop() {
		// nc is closed already, whatever the handshake says.
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("authenticate: %w", c.closeAfter(err))
	}
	return c, nil
}

// runHandshake exchanges keys, switches c to encryption and exchanges proofs. Neither
// side waits for the other before it sends.
func (cfg Config) runHandshake(c *Conn, h *handshake) error {
	err := cfg.exchangeStep(c, h.ownMessage(), func(message []byte) error {
		if cfg.Admit != nil && h.role == inbound {
			if err := cfg.Admit(); err != nil {
				return err
			}
		}
		return h.readMessage(message)
	})
	if err != nil {
		return fmt.Errorf("exchange keys: %w", err)
	}
	keys, err := h.deriveAgreement()
	if err != nil {
		return fmt.Errorf("exchange keys: %w", err)
	}
	c.key = &keys.session
	err = cfg.exchangeStep(c, keys.ownProof, func(proof []byte) error {
		if subtle.ConstantTimeCompare(proof, keys.peerProof) != 1 {
			return ErrAuthentication
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("exchange proofs: %w", err)
	}
	c.peer = keys.peer
	return c.nc.SetDeadline(time.Time{})
}

// exchangeStep sends message and calls read with the answer.
func (cfg Config) exchangeStep(c *Conn, message []byte, read func([]byte) error) error {
	timeout := cfg.StepTimeout
	if timeout <= 0 {
		timeout = defaultStepTimeout
	}
	if err := c.nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if err := c.Send(message); err != nil {
		return err
	}
	return c.Receive(read)
}
