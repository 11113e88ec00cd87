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

// measureFanOut measures how posts of one client reach many: at a pace that leaves the
// relay idle in between, and as fast as they go.
func (b *bench) measureFanOut(ctx context.Context, r *relay) error {
	latencies, _, err := b.measureDelivery(ctx, r, b.plan.Paced, func(d *delivery, poster *peer) error {
		return d.sendPaced(ctx, poster, b.plan.Pace)
	})
	if err != nil {
		return fmt.Errorf("paced: %w", err)
	}
	b.sheet.setFigure("fanout.p50", toMilliseconds(percentileOf(latencies, 0.50)))
	b.sheet.setFigure("fanout.p99", toMilliseconds(percentileOf(latencies, 0.99)))

	latencies, took, err := b.measureDelivery(ctx, r, b.plan.Closed, func(d *delivery, poster *peer) error {
		return d.sendWindowed(ctx, poster, b.plan.Window)
	})
	if err != nil {
		return fmt.Errorf("closed loop: %w", err)
	}
	b.sheet.setFigure("fanout.rate", took.perSecond(len(latencies)))
	b.sheet.setFigure("fanout.cpu", took.cpuPerItem(len(latencies)))
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

// measureDelivery has n posts sent and returns how long each took to each subscriber.
func (b *bench) measureDelivery(ctx context.Context, r *relay, n int, send func(*delivery, *peer) error) ([]time.Duration, cost, error) {
	posts, err := r.posts.makePosts(ctx, n+1, b.plan.Size)
	if err != nil {
		return nil, cost{}, err
	}
	poster, err := r.openConnection(ctx, 0)
	if err != nil {
		return nil, cost{}, err
	}
	defer poster.Close()
	// Subscribers join at an envelope that they have to be sent once.
	if err := poster.postAndWait(posts[n].payload); err != nil {
		return nil, cost{}, err
	}
	subscribers, err := r.openSubscribers(ctx, b.plan.Subscribers, posts[n].signature)
	if err != nil {
		return nil, cost{}, err
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
	took, err := r.measureCPU(func() error {
		g := new(errgroup.Group)
		for i, s := range subscribers {
			latencies[i] = make([]time.Duration, n)
			g.Go(func() error {
				return s.readPackets(n, func(k int) { latencies[i][k] = d.noteArrival(k, len(subscribers)) })
			})
		}
		g.Go(func() error { return send(d, poster) })
		return g.Wait()
	})
	return slices.Concat(latencies...), took, err
}

// openSubscribers opens n connections that are sent everything behind the envelope
// with the signature last.
func (r *relay) openSubscribers(ctx context.Context, n int, last []byte) ([]*peer, error) {
	peers, err := r.connectAll(ctx, n, readAhead)
	if err != nil {
		return nil, err
	}
	for _, p := range peers {
		count, err := p.requestReplay(last)
		if err == nil && count != 1 {
			err = errors.New("a replay from the last envelope is not that envelope")
		}
		if err == nil {
			err = p.readPackets(count, nil)
		}
		if err != nil {
			closeAll(peers)
			return nil, err
		}
	}
	return peers, nil
}

// noteArrival notes that one of the subscribers has got post k, and returns how
// long it took.
func (d *delivery) noteArrival(k, subscribers int) time.Duration {
	now := time.Since(d.start)
	if d.left[k].Add(1) == int64(subscribers) {
		d.complete <- struct{}{}
	}
	return now - time.Duration(d.sent[k].Load())
}

// sendPaced sends a post at every tick. The time of a post counts from its tick if it
// had to wait for the one before, and else from when it was sent: timers of this process
// are late by most of a millisecond, which is not the fault of the relay.
func (d *delivery) sendPaced(ctx context.Context, poster *peer, pace time.Duration) error {
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
		if err := poster.postAndWait(d.posts[k].payload); err != nil {
			return err
		}
	}
	return nil
}

// sendWindowed keeps window posts under way; a post has arrived when all subscribers have it.
func (d *delivery) sendWindowed(ctx context.Context, poster *peer, window int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for range d.posts {
			if err := poster.receiveResult(); err != nil {
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
