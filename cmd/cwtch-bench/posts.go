package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// measurePosts measures acknowledged posts: by few and many clients with little
// stored, and by many clients with much stored.
func (b *bench) measurePosts(ctx context.Context, small, large *relay) error {
	one := func() (float64, error) { return b.timeBareCommits(1) }
	err := b.measureBeside("bbolt.1", one, func() error { return b.postRows(ctx, small, 1) })
	if err != nil {
		return err
	}
	if err := b.postRows(ctx, small, 16); err != nil {
		return err
	}
	many := func() (float64, error) { return b.timeBareCommits(64) }
	err = b.measureBeside("bbolt.64", many, func() error {
		return b.measureBeside("verify", b.timeVerification, func() error { return b.postRows(ctx, small, 64) })
	})
	if err != nil {
		return err
	}
	b.sheet.setFigure("posts.ratio.bbolt", b.sheet.figure("posts.1.rate")/b.sheet.figure("bbolt.1"))
	b.sheet.setFigure("posts.ratio.verify", b.sheet.figure("posts.64.cpu")/b.sheet.figure("verify"))

	return b.compareStores(ctx, small, large)
}

// compareStores has the stores take turns, so that other load on the machine slows both.
func (b *bench) compareStores(ctx context.Context, small, large *relay) error {
	var rate, cpu = map[*relay]float64{}, map[*relay]float64{}
	for _, r := range []*relay{small, large, large, small} {
		res, err := b.postLoad(ctx, r, 64, b.plan.Posts[64]/2)
		if err != nil {
			return fmt.Errorf("64 clients, %d stored: %w", r.stored, err)
		}
		rate[r] += res.rate / 2
		cpu[r] += res.cpu / 2
	}
	b.sheet.setFigure("posts.many.rate", rate[large])
	b.sheet.setFigure("posts.many.cpu", cpu[large])
	b.sheet.setFigure("posts.many.ratio", rate[large]/rate[small])
	return nil
}

// postRows measures the posts of a number of clients.
func (b *bench) postRows(ctx context.Context, r *relay, clients int) error {
	res, err := b.postLoad(ctx, r, clients, b.plan.Posts[clients])
	if err != nil {
		return fmt.Errorf("%d clients: %w", clients, err)
	}
	name := fmt.Sprintf("posts.%d", clients)
	b.sheet.setFigure(name+".rate", res.rate)
	b.sheet.setFigure(name+".p50", toMilliseconds(percentileOf(res.latencies, 0.50)))
	b.sheet.setFigure(name+".p99", toMilliseconds(percentileOf(res.latencies, 0.99)))
	b.sheet.setFigure(name+".cpu", res.cpu)
	return nil
}

// postResult is what postLoad measures.
type postResult struct {
	rate      float64 // per second
	cpu       float64 // µs of relay and plugin for each
	latencies []time.Duration
}

// postLoad has clients post, each as soon as it has the result of its last post. A tenth
// of n comes first and is not counted.
func (b *bench) postLoad(ctx context.Context, r *relay, clients, n int) (res postResult, err error) {
	warm := max(clients, n/10)
	posts, err := r.posts.makePosts(ctx, warm+n, b.plan.Size)
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
	took, err := r.measureCPU(func() (err error) {
		res.latencies, err = postAll(peers, posts[warm:])
		return err
	})
	r.stored += len(posts)
	r.last = posts[len(posts)-1].signature
	res.rate, res.cpu = took.perSecond(n), took.cpuPerItem(n)
	return res, err
}

// postAll divides posts among peers and returns how long each took.
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
				if err := p.postAndWait(posts[i].payload); err != nil {
					return err
				}
				latencies[i] = time.Since(start)
			}
		})
	}
	return latencies, g.Wait()
}

// fileSize returns the size of the files of a store, in terms of what was posted into it.
func (r *relay) fileSize(post int) (float64, error) {
	files, err := os.ReadDir(r.storageDir())
	if err != nil {
		return 0, err
	}
	var size int64
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return float64(size) / float64(r.stored*(ciphertextSize(post)+signatureSize)), nil
}
