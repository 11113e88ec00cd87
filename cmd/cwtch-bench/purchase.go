package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// purchases measures the token service, and what a purchase costs a client.
func (b *bench) purchases(ctx context.Context, r *relay) error {
	if err := b.buy(ctx, r); err != nil {
		return err
	}
	for _, size := range []int{token.DefaultBatch, token.MaxBatch} {
		request, err := r.record(ctx, size)
		if err != nil {
			return err
		}
		// Nothing for the relay to do but purchases: its rate is that of one
		// processor, whatever the buyers reach.
		took, err := r.measure(func() error {
			for range b.plan.Purchases {
				if err := r.repeat(ctx, request); err != nil {
					return fmt.Errorf("repeat a purchase of %d tokens: %w", size, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		cpu := took.cpuOf(b.plan.Purchases * size)
		b.sheet.set(fmt.Sprintf("tokens.%d.cpu", size), cpu)
		b.sheet.set(fmt.Sprintf("tokens.%d.rate", size), 1e6/cpu)
	}
	return nil
}

// averageTries is how many the proof of work takes on average: two bytes of a
// hash have to be zero.
const averageTries = 1 << 16

// buy buys tokens as a client does. Since that is a lottery, it goes on until
// enough was tried, and says what the average purchase takes.
func (b *bench) buy(ctx context.Context, r *relay) error {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	start := time.Now()
	tries := 0
	for tries < b.plan.Tries {
		last := 0
		if _, err := client.Buy(ctx, r.network, r.bundle, token.DefaultBatch, func(n int) { last = n }); err != nil {
			return err
		}
		tries += last
	}
	elapsed := time.Since(start)
	after, err := cpuTime(os.Getpid())
	purchases := float64(tries) / averageTries
	b.sheet.set("buy.time", elapsed.Seconds()/purchases)
	b.sheet.set("buy.cpu", (after-before).Seconds()/purchases)
	return err
}

// recorder keeps what is written to the last connection that was dialled.
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

// record buys n tokens and returns the packet with the request. It can be sent
// again: a service does not tell blinded points from others.
func (r *relay) record(ctx context.Context, n int) ([]byte, error) {
	rec := &recorder{Dialer: r.network}
	if _, err := client.Buy(ctx, rec, r.bundle, n, nil); err != nil {
		return nil, err
	}
	sent := rec.sent.Bytes()
	if len(sent) != 2*tapir.PacketSize {
		return nil, fmt.Errorf("a purchase is %d bytes, not a solution and a request", len(sent))
	}
	return sent[tapir.PacketSize:], nil
}

// repeat makes a purchase with a request that was made before and an easy proof
// of work, since what a client does for its tokens takes far longer than what
// the service does.
func (r *relay) repeat(ctx context.Context, request []byte) error {
	nc, err := r.network.Dial(ctx, r.bundle.TokenService, client.Port)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // reads and writes fail as well
	c := tapir.Plain(nc)
	var solution []byte
	if err := c.Receive(func(seed []byte) error {
		solution = solve(seed)
		return nil
	}); err != nil {
		return err
	}
	if err := c.Send(solution); err != nil {
		return err
	}
	if _, err := nc.Write(request); err != nil {
		return err
	}
	return c.Receive(func([]byte) error { return nil }) // a service that refuses sends nothing
}

// solve finds a solution of the proof of work by counting, which is quicker than
// the scalars that the protocol has clients try; a service does not ask where
// it comes from. The labels are those of core/token.
func solve(seed []byte) []byte {
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
