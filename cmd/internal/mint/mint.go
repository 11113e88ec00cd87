// Package mint gets write tokens with less work than a client needs, for programs that
// load a relay: otherwise they would measure their own proofs of work.
package mint

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// Mint derives tokens from the secret of a token service, which nobody else can.
type Mint struct{ k *scalar.Scalar }

// New returns the mint of a server.
func New(keys *identity.Server) (*Mint, error) {
	k, err := scalar.NewFromCanonicalBytes(keys.Scalar[:])
	if err != nil {
		return nil, fmt.Errorf("read the scalar of the token service: %w", err)
	}
	return &Mint{k}, nil
}

// Token derives a token: T at random and W = k·H(T), where H is the one-way map of
// RFC 9496 behind SHA3-512. To the relay it is like any other.
func (m *Mint) Token() (t token.Token, err error) {
	rand.Read(t.T[:])
	uniform := sha3.Sum512(t.T[:])
	h, err := curve.NewRistrettoPoint().SetUniformBytes(uniform[:])
	if err != nil {
		return t, err
	}
	var w curve.CompressedRistretto
	w.SetRistrettoPoint(curve.NewRistrettoPoint().Mul(h, m.k))
	t.W = w
	return t, nil
}

// SolvePuzzle finds a solution of the proof of work by counting, which is quicker than
// the scalars that the protocol has clients try; a service does not ask where a
// solution comes from. The labels are those of core/token.
func SolvePuzzle(seed []byte) []byte {
	t := tapir.NewTranscript()
	t.Protocol("pow-app")
	t.Append("pow-seed", seed)
	challenge := t.Commit("pow-challenge")
	input := append(make([]byte, 32), challenge[:]...)
	for n := uint64(0); ; n++ {
		binary.LittleEndian.PutUint64(input, n)
		if sum := sha256.Sum256(input); sum[0] == 0 && sum[1] == 0 {
			return input[:32]
		}
	}
}

// RecordRequest buys n tokens and returns the packet with the request. It can be sent
// again, behind any solution: a service does not tell blinded points from others.
func RecordRequest(ctx context.Context, d client.Dialer, server bundle.Bundle, n int) ([]byte, error) {
	r := &recorder{Dialer: d}
	if _, err := client.Buy(ctx, r, server, n, nil); err != nil {
		return nil, err
	}
	sent := r.sent.Bytes()
	if len(sent) != 2*tapir.PacketSize {
		return nil, fmt.Errorf("a purchase is %d bytes, not a solution and a request", len(sent))
	}
	return sent[tapir.PacketSize:], nil
}

// recorder keeps what is written to the connections that it dials.
type recorder struct {
	client.Dialer
	sent bytes.Buffer
}

func (r *recorder) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	conn, err := r.Dialer.Dial(ctx, service, port)
	return recordedConn{conn, &r.sent}, err
}

type recordedConn struct {
	net.Conn
	sent *bytes.Buffer
}

func (c recordedConn) Write(p []byte) (int, error) {
	c.sent.Write(p)
	return c.Conn.Write(p)
}
