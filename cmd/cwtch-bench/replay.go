package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// readAhead is the buffer of a connection that is sent much.
const readAhead = 64 << 10

// startLarge starts the relay of the large store and measures how long it takes
// until a client has its first answer, from the start of the process.
func (b *bench) startLarge(ctx context.Context) (*relay, error) {
	start := time.Now()
	r, err := b.start(ctx, b.many)
	if err != nil {
		return nil, err
	}
	p, err := r.connect(ctx, 0)
	if err == nil {
		defer p.Close()
		var count int
		if count, err = p.sync(r.last); err == nil && count == 0 {
			err = errors.New("the store came back empty")
		}
	}
	if err != nil {
		r.kill()
		return nil, r.explain(err)
	}
	b.sheet.set("start", time.Since(start).Seconds())
	return r, nil
}

// replay measures one client that reads everything, and many that read a part
// each at the same time.
func (b *bench) replay(ctx context.Context, r *relay) error {
	base, err := r.anonymous()
	if err != nil {
		return err
	}
	var took spent
	count := 0
	one := 0
	err = b.beside("seal", b.seal, func() (err error) {
		one, err = r.peak(func() error {
			took, err = r.measure(func() (err error) {
				count, err = r.read(ctx, -1)
				return err
			})
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	many, err := r.peak(func() error {
		g, ctx := errgroup.WithContext(ctx)
		for range b.plan.Readers {
			g.Go(func() error {
				_, err := r.read(ctx, b.plan.ReaderPart)
				return err
			})
		}
		return g.Wait()
	})
	if err != nil {
		return err
	}
	b.sheet.set("replay.rate", took.rate(count))
	b.sheet.set("replay.cpu", took.cpuOf(count))
	b.sheet.set("replay.ratio", took.cpuOf(count)/b.sheet.get("seal"))
	b.sheet.set("replay.one", float64(one-base)/1024)
	b.sheet.set("replay.memory", float64(many-one)/1024/float64(b.plan.Readers-1))
	return nil
}

// read replays everything, or leaves after part envelopes, and returns how many
// it took.
func (r *relay) read(ctx context.Context, part int) (int, error) {
	p, err := r.connect(ctx, readAhead)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	count, err := p.sync(nil)
	if err != nil {
		return 0, err
	}
	if part >= 0 {
		count = min(count, part)
	}
	return count, p.pass(count, nil)
}
