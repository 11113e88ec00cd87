package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// posts measures acknowledged posts: by few and many clients with little
// stored, and by many clients with much stored.
func (b *bench) posts(ctx context.Context, small, large *relay) error {
	var most int
	var rate float64
	for _, clients := range slices.Sorted(maps.Keys(b.plan.Posts)) {
		res, err := b.postLoad(ctx, small, clients, b.plan.Posts[clients])
		if err != nil {
			return fmt.Errorf("%d clients: %w", clients, err)
		}
		name := fmt.Sprintf("posts.%d", clients)
		b.sheet.set(name+".rate", res.rate)
		b.sheet.set(name+".p50", milliseconds(percentile(res.latencies, 0.50)))
		b.sheet.set(name+".p99", milliseconds(percentile(res.latencies, 0.99)))
		b.sheet.set(name+".cpu", res.cpu)
		most, rate = clients, res.rate
	}
	b.sheet.set("posts.ratio.bbolt", b.sheet.get("posts.1.rate")/b.sheet.get("bbolt.1"))
	b.sheet.set("posts.ratio.verify", b.sheet.get(fmt.Sprintf("posts.%d.cpu", most))/b.sheet.get("verify"))

	res, err := b.postLoad(ctx, large, most, b.plan.Posts[most])
	if err != nil {
		return fmt.Errorf("%d clients, much stored: %w", most, err)
	}
	b.sheet.set("posts.many.rate", res.rate)
	b.sheet.set("posts.many.cpu", res.cpu)
	b.sheet.set("posts.many.ratio", res.rate/rate)
	return nil
}

// postResult is what a load of posts came to.
type postResult struct {
	rate      float64 // per second
	cpu       float64 // µs of relay and plugin for each
	latencies []time.Duration
}

// postLoad has clients post, each the next as soon as it has the result of the
// last. A tenth of n comes first and is not counted.
func (b *bench) postLoad(ctx context.Context, r *relay, clients, n int) (res postResult, err error) {
	warm := max(clients, n/10)
	posts, err := r.mint.posts(ctx, warm+n, b.plan.Size)
	if err != nil {
		return res, err
	}
	peers, err := r.connectAll(ctx, clients, 16<<10)
	if err != nil {
		return res, err
	}
	defer closeAll(peers)
	if _, err := postAll(peers, posts[:warm]); err != nil {
		return res, err
	}
	took, err := r.measure(func() (err error) {
		res.latencies, err = postAll(peers, posts[warm:])
		return err
	})
	r.stored += len(posts)
	r.last = posts[len(posts)-1].signature
	res.rate, res.cpu = took.rate(n), took.cpuOf(n)
	return res, err
}

// postAll shares posts out among peers and returns how long each took.
func postAll(peers []*peer, posts []post) ([]time.Duration, error) {
	latencies := make([]time.Duration, len(posts))
	var next atomic.Int64
	var g errgroup.Group
	for _, p := range peers {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(posts) {
					return nil
				}
				start := time.Now()
				if err := p.post(posts[i].payload); err != nil {
					return err
				}
				latencies[i] = time.Since(start)
			}
		})
	}
	return latencies, g.Wait()
}

// fileSize compares the file of a store with what was posted into it.
func (b *bench) fileSize(r *relay) error {
	info, err := os.Stat(r.store())
	if err != nil {
		return err
	}
	payload := r.stored * (ciphertextSize(b.plan.Size) + signatureSize)
	b.sheet.set("file", float64(info.Size())/float64(payload))
	return nil
}
