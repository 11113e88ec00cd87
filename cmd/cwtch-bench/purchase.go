package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// measurePurchases measures the token service, and what a purchase costs a client.
func (b *bench) measurePurchases(ctx context.Context, r *relay) error {
	if err := b.measureClient(ctx, r); err != nil {
		return err
	}
	for _, size := range []int{token.DefaultBatch, token.MaxBatch} {
		if err := b.measureSales(ctx, r, size); err != nil {
			return fmt.Errorf("purchases of %d tokens: %w", size, err)
		}
	}
	return nil
}

// measureSales has many clients buy size tokens each. What they need for their proofs
// of work, while the relay waits, is left out.
func (b *bench) measureSales(ctx context.Context, r *relay, size int) error {
	request, err := r.recordRequest(ctx, size)
	if err != nil {
		return err
	}
	buyers := make([]*buyer, b.plan.Purchases)
	defer func() {
		for _, buyer := range buyers {
			if buyer != nil {
				buyer.Close()
			}
		}
	}()
	connecting, err := r.measureCPU(func() error {
		return inParallel(buyers, 8, func(i int) (err error) {
			buyers[i], err = r.openPurchase(ctx)
			return err
		})
	})
	if err != nil {
		return err
	}
	err = inParallel(buyers, runtime.GOMAXPROCS(0), func(i int) error {
		buyers[i].solution = solvePuzzle(buyers[i].seed)
		return nil
	})
	if err != nil {
		return err
	}
	buying, err := r.measureCPU(func() error {
		return inParallel(buyers, len(buyers), func(i int) error { return buyers[i].payRequest(request) })
	})
	if err != nil {
		return err
	}
	cpu := connecting.cpuOf(size*len(buyers)) + buying.cpuOf(size*len(buyers))
	b.sheet.setFigure(fmt.Sprintf("tokens.%d.cpu", size), cpu)
	b.sheet.setFigure(fmt.Sprintf("tokens.%d.rate", size), 1e6/cpu)
	return nil
}

// inParallel calls f with the index of every element, so many at a time.
func inParallel[T any](all []T, limit int, f func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(limit)
	for i := range all {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}

// averageTries is how many the proof of work takes on average: two bytes of a
// hash have to be zero.
const averageTries = 1 << 16

// measureClient buys tokens as a client does. Since that is a lottery, it goes on until
// enough was tried, and says what the average purchase takes.
func (b *bench) measureClient(ctx context.Context, r *relay) error {
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
	b.sheet.setFigure("buy.time", elapsed.Seconds()/purchases)
	b.sheet.setFigure("buy.cpu", (after-before).Seconds()/purchases)
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

// recordRequest buys n tokens and returns the packet with the request. It can be sent
// again: a service does not tell blinded points from others.
func (r *relay) recordRequest(ctx context.Context, n int) ([]byte, error) {
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

// buyer is a client of a token service that sends a request which was made
// before, and has an easy way to its proof of work, since what a client does for
// its tokens takes far longer than what the service does.
type buyer struct {
	net.Conn
	clear    *tapir.Conn
	seed     []byte
	solution []byte
}

// openPurchase connects to the token service and takes the seed of its puzzle.
func (r *relay) openPurchase(ctx context.Context) (*buyer, error) {
	nc, err := r.network.Dial(ctx, r.bundle.TokenService, client.Port)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // reads and writes fail as well
	b := &buyer{Conn: nc, clear: tapir.Plain(nc)}
	err = b.clear.Receive(func(seed []byte) error {
		b.seed = bytes.Clone(seed)
		return nil
	})
	return b, err
}

// payRequest sends solution and request and takes the tokens.
func (b *buyer) payRequest(request []byte) error {
	if err := b.clear.Send(b.solution); err != nil {
		return err
	}
	if _, err := b.Write(request); err != nil {
		return err
	}
	return b.clear.Receive(func([]byte) error { return nil }) // a service that refuses sends nothing
}

// solvePuzzle finds a solution of the proof of work by counting, which is quicker than
// the scalars that the protocol has clients try; a service does not ask where
// it comes from. The labels are those of core/token.
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
