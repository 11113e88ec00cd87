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
	r, err := b.startRelay(ctx, b.large)
	if err != nil {
		return nil, err
	}
	p, err := r.openConnection(ctx, 0)
	if err == nil {
		defer p.Close()
		var count int
		if count, err = p.requestReplay(r.last); err == nil && count == 0 {
			err = errors.New("the store came back empty")
		}
	}
	if err != nil {
		r.killRunning()
		return nil, r.withLogTail(err)
	}
	b.sheet.setFigure("start", time.Since(start).Seconds())
	return r, nil
}

// measureReplays measures one client that reads everything, and many that read a part
// each at the same time.
func (b *bench) measureReplays(ctx context.Context, r *relay) error {
	base, err := r.anonymousMemory()
	if err != nil {
		return err
	}
	var took cost
	count := 0
	one := 0
	err = b.measureBeside("seal", b.timeSealing, func() (err error) {
		one, err = r.peakMemory(func() error {
			took, err = r.measureCPU(func() (err error) {
				count, err = r.readReplay(ctx, -1)
				return err
			})
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	many, err := r.peakMemory(func() error {
		g, ctx := errgroup.WithContext(ctx)
		for range b.plan.Readers {
			g.Go(func() error {
				_, err := r.readReplay(ctx, b.plan.ReaderPart)
				return err
			})
		}
		return g.Wait()
	})
	if err != nil {
		return err
	}
	b.sheet.setFigure("replay.rate", took.perSecond(count))
	b.sheet.setFigure("replay.cpu", took.cpuPerItem(count))
	b.sheet.setFigure("replay.ratio", took.cpuPerItem(count)/b.sheet.figure("seal"))
	b.sheet.setFigure("replay.one", float64(one-base)/1024)
	b.sheet.setFigure("replay.memory", float64(many-one)/1024/float64(b.plan.Readers-1))
	return nil
}

// readReplay replays everything, or leaves after part envelopes, and returns how many
// it took.
func (r *relay) readReplay(ctx context.Context, part int) (int, error) {
	p, err := r.openConnection(ctx, readAhead)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	count, err := p.requestReplay(nil)
	if err != nil {
		return 0, err
	}
	if part >= 0 {
		count = min(count, part)
	}
	return count, p.readPackets(count, nil)
}
