package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

var buyAttack = attack{
	name: "buyers of 150 tokens", act: "buy 10 tokens", bound: 5 * time.Second,
	prepare: func(ctx context.Context, _ options, r *relay) error {
		rec := &recorder{Dialer: r}
		_, err := client.Buy(ctx, rec, r.bundle, token.MaxBatch, nil)
		r.request = rec.sent.Bytes()[tapir.PacketSize:]
		return err
	},
	storm: func(ctx context.Context, o options, r *relay) {
		// A buyer pauses between purchases, so that those who are refused do not
		// take more processor time than those who are served.
		runAttackers(ctx, o.buyers, 10*time.Second, &r.strikes, func(ctx context.Context) { r.buyAll(ctx) })
	},
	honest: func(ctx context.Context, r *relay) error {
		_, err := client.Buy(ctx, r, r.bundle, token.DefaultBatch, nil)
		return err
	},
}

// buyAll buys as much as one proof of work gives, with the least effort: a
// solution by counting, and a request that was made before.
func (r *relay) buyAll(ctx context.Context) {
	nc, err := r.dialLocal(ctx, r.bundle.TokenService)
	if err != nil {
		return
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c := tapir.Plain(nc)
	var seed []byte
	err = c.Receive(func(payload []byte) error {
		seed = bytes.Clone(payload)
		return nil
	})
	if err != nil || c.Send(solvePuzzle(seed)) != nil {
		return
	}
	if _, err := nc.Write(r.request); err != nil {
		return
	}
	c.Receive(func([]byte) error { return nil }) //nolint:errcheck // may be refused
}

// solvePuzzle finds a solution of the proof of work by counting; a service does not ask
// where it comes from. The labels are those of core/token.
func solvePuzzle(seed []byte) []byte {
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

// recorder keeps what is written to the connections that it dials.
type recorder struct {
	client.Dialer
	sent bytes.Buffer
}

type recorded struct {
	net.Conn
	to *bytes.Buffer
}

func (r *recorder) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	nc, err := r.Dialer.Dial(ctx, service, port)
	return recorded{nc, &r.sent}, err
}

func (c recorded) Write(p []byte) (int, error) {
	c.to.Write(p)
	return c.Conn.Write(p)
}
