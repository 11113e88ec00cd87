package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/mint"
	"github.com/cwtch-relay/cwtch-relay/core/client"
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

// measureSales has many clients buy size tokens each. It leaves out their proofs of work,
// for which the relay waits.
func (b *bench) measureSales(ctx context.Context, r *relay, size int) error {
	request, err := mint.RecordRequest(ctx, r.network, r.bundle, size)
	if err != nil {
		return err
	}
	buyers := make([]*purchase, b.plan.Purchases)
	defer func() {
		for _, buyer := range buyers {
			if buyer != nil {
				buyer.Close()
			}
		}
	}()
	connecting, err := r.measureCPU(func() error {
		return inParallel(buyers, 8, func(i int) (err error) {
			buyers[i], err = r.beginPurchase(ctx)
			return err
		})
	})
	if err != nil {
		return err
	}
	err = inParallel(buyers, runtime.GOMAXPROCS(0), func(i int) error {
		buyers[i].solution = mint.SolvePuzzle(buyers[i].seed)
		return nil
	})
	if err != nil {
		return err
	}
	buying, err := r.measureCPU(func() error {
		return inParallel(buyers, len(buyers), func(i int) error { return buyers[i].finish(request) })
	})
	if err != nil {
		return err
	}
	cpu := connecting.cpuPerItem(size*len(buyers)) + buying.cpuPerItem(size*len(buyers))
	b.sheet.setFigure(fmt.Sprintf("tokens.%d.cpu", size), cpu)
	b.sheet.setFigure(fmt.Sprintf("tokens.%d.rate", size), 1e6/cpu)
	return nil
}

// inParallel calls f with the index of every element, limit of them at a time.
func inParallel[T any](all []T, limit int, f func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(limit)
	for i := range all {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}

// averageTries is how many tries a proof of work takes on average: two bytes of a hash
// have to be zero.
const averageTries = 1 << 16

// measureClient buys tokens as a client does. A purchase is a lottery, so it goes on until
// it has tried enough, and notes what the average purchase takes.
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

// purchase is a client of a token service that sends a request which was made
// before, and has an easy way to its proof of work, since what a client does for
// its tokens takes far longer than what the service does.
type purchase struct {
	net.Conn
	clear    *tapir.Conn
	seed     []byte
	solution []byte
}

// beginPurchase connects to the token service and takes the seed of its puzzle.
func (r *relay) beginPurchase(ctx context.Context) (*purchase, error) {
	nc, err := r.network.Dial(ctx, r.bundle.TokenService, client.Port)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(connectionTimeout)) //nolint:errcheck // reads and writes fail as well
	b := &purchase{Conn: nc, clear: tapir.Plain(nc)}
	err = b.clear.Receive(func(seed []byte) error {
		b.seed = bytes.Clone(seed)
		return nil
	})
	return b, err
}

// finish sends solution and request and takes the tokens.
func (b *purchase) finish(request []byte) error {
	if err := b.clear.Send(b.solution); err != nil {
		return err
	}
	if _, err := b.Write(request); err != nil {
		return err
	}
	return b.clear.Receive(func([]byte) error { return nil }) // a service that refuses sends nothing
}
