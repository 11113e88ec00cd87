package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// fanOut measures how posts of one client reach many: at a pace that leaves the
// relay idle in between, and as fast as they go.
func (b *bench) fanOut(ctx context.Context, r *relay) error {
	latencies, _, err := b.deliver(ctx, r, b.plan.Paced, func(d *delivery, poster *peer) error {
		return d.paced(ctx, poster, b.plan.Pace)
	})
	if err != nil {
		return fmt.Errorf("paced: %w", err)
	}
	b.sheet.set("fanout.p50", milliseconds(percentile(latencies, 0.50)))
	b.sheet.set("fanout.p99", milliseconds(percentile(latencies, 0.99)))

	latencies, took, err := b.deliver(ctx, r, b.plan.Closed, func(d *delivery, poster *peer) error {
		return d.closed(ctx, poster, b.plan.Window)
	})
	if err != nil {
		return fmt.Errorf("closed loop: %w", err)
	}
	b.sheet.set("fanout.rate", took.rate(len(latencies)))
	b.sheet.set("fanout.cpu", took.cpuOf(len(latencies)))
	return nil
}

// delivery is one post after another on its way to all subscribers.
type delivery struct {
	posts    []post
	start    time.Time
	sent     []atomic.Int64 // after start, in nanoseconds
	left     []atomic.Int64 // subscribers that have not got it
	complete chan struct{}  // one for each post that all have got
}

// deliver has n posts sent and returns how long each took to each subscriber.
func (b *bench) deliver(ctx context.Context, r *relay, n int, send func(*delivery, *peer) error) ([]time.Duration, spent, error) {
	posts, err := r.mint.posts(ctx, n+1, b.plan.Size)
	if err != nil {
		return nil, spent{}, err
	}
	poster, err := r.connect(ctx, 0)
	if err != nil {
		return nil, spent{}, err
	}
	defer poster.Close()
	// Subscribers join at an envelope that they have to be sent once.
	if err := poster.post(posts[n].payload); err != nil {
		return nil, spent{}, err
	}
	subscribers, err := r.subscribe(ctx, b.plan.Subscribers, posts[n].signature)
	if err != nil {
		return nil, spent{}, err
	}
	defer closeAll(subscribers)
	r.stored += len(posts)

	d := &delivery{
		posts:    posts[:n],
		start:    time.Now(),
		sent:     make([]atomic.Int64, n),
		left:     make([]atomic.Int64, n),
		complete: make(chan struct{}, n),
	}
	latencies := make([][]time.Duration, len(subscribers))
	took, err := r.measure(func() error {
		g := new(errgroup.Group)
		for i, s := range subscribers {
			latencies[i] = make([]time.Duration, n)
			g.Go(func() error {
				return s.pass(n, func(k int) { latencies[i][k] = d.arrived(k, len(subscribers)) })
			})
		}
		g.Go(func() error { return send(d, poster) })
		return g.Wait()
	})
	return slices.Concat(latencies...), took, err
}

// subscribe opens n connections that are sent everything behind the envelope
// with the signature last.
func (r *relay) subscribe(ctx context.Context, n int, last []byte) ([]*peer, error) {
	peers, err := r.connectAll(ctx, n, readAhead)
	if err != nil {
		return nil, err
	}
	for _, p := range peers {
		count, err := p.sync(last)
		if err == nil && count != 1 {
			err = errors.New("a replay from the last envelope is not that envelope")
		}
		if err == nil {
			err = p.pass(count, nil)
		}
		if err != nil {
			closeAll(peers)
			return nil, err
		}
	}
	return peers, nil
}

// arrived notes that one of the subscribers has got post k, and returns how
// long it took.
func (d *delivery) arrived(k, subscribers int) time.Duration {
	now := time.Since(d.start)
	if d.left[k].Add(1) == int64(subscribers) {
		d.complete <- struct{}{}
	}
	return now - time.Duration(d.sent[k].Load())
}

// paced sends a post at every tick. The time of a post that had to wait for the
// one before counts from its tick; otherwise that a timer of this process was
// late, as they are by most of a millisecond, is not the relay's fault.
func (d *delivery) paced(ctx context.Context, poster *peer, pace time.Duration) error {
	for k := range d.posts {
		from := time.Duration(k) * pace
		if wait := from - time.Since(d.start); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return ctx.Err()
			}
			from = time.Since(d.start)
		}
		d.sent[k].Store(int64(from))
		if err := poster.post(d.posts[k].payload); err != nil {
			return err
		}
	}
	return nil
}

// closed keeps window posts under way, of which one ends when all subscribers
// have it.
func (d *delivery) closed(ctx context.Context, poster *peer, window int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for range d.posts {
			if err := poster.result(); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for k := range d.posts {
			if k >= window {
				select {
				case <-d.complete:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			d.sent[k].Store(int64(time.Since(d.start)))
			if err := poster.Send(d.posts[k].payload); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}
