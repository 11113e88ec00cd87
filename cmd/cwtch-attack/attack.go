package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// attack is what strangers do, and what an honest client does at the same time.
type attack struct {
	name   string
	limits string // of the relay, in its configuration; %d: options.connections
	// retention of the server, in the configuration; empty has the defaults.
	retention string
	pause     time.Duration // of the honest client; 0 is 100 ms
	prepare   func(context.Context, options, *relay) error
	storm     func(context.Context, options, *relay)
	honest    func(context.Context, *relay) error
	act       string // what the honest client does
	bound     time.Duration
}

// result is a row of the table.
type result struct {
	attack
	took    []time.Duration // of what succeeded
	failed  int
	first   error // of the failures
	strikes int64 // connections of the attackers
	memory  int   // most that relay and store had resident, KiB
	cpu     float64
	filled  int64 // posts of attackers that were stored
	lasted  time.Duration
}

func (r *result) isMet() bool {
	return r.failed == 0 && len(r.took) > 0 && slices.Max(r.took) <= r.bound
}

// performAttack starts a relay and attacks it.
func (o options) performAttack(ctx context.Context, a attack) (*result, error) {
	dir, err := os.MkdirTemp("", "cwtch-attack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r, err := startRelay(ctx, o, dir, a)
	if err != nil {
		return nil, err
	}
	defer r.endRelay()
	if a.prepare != nil {
		if err := a.prepare(ctx, o, r); err != nil {
			return nil, r.withLogTail(fmt.Errorf("prepare: %w", err))
		}
	}
	res := &result{attack: a}
	before, begin := r.processorTime(), time.Now()
	storm, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	var attacking sync.WaitGroup
	attacking.Go(func() { a.storm(storm, o, r) })
	for pause := time.Tick(cmp.Or(a.pause, 100*time.Millisecond)); storm.Err() == nil; {
		res.tryHonest(ctx, r)
		select {
		case <-pause:
		case <-storm.Done():
		}
	}
	res.lasted, res.filled = time.Since(begin), r.filled.Load()
	res.cpu = (r.processorTime() - before).Seconds() / time.Since(begin).Seconds()
	res.memory = r.peakMemory()
	attacking.Wait()
	res.strikes = r.strikes.Load()
	return res, ctx.Err()
}

// tryHonest has the honest client act once.
func (res *result) tryHonest(ctx context.Context, r *relay) {
	ctx, cancel := context.WithTimeout(ctx, 4*res.bound)
	defer cancel()
	begin := time.Now()
	if err := res.honest(ctx, r); err != nil {
		if res.failed++; res.first == nil {
			res.first = err
		}
		return
	}
	res.took = append(res.took, time.Since(begin))
}

func writeTable(w io.Writer, rows []*result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "attack\tstrikes\thonest client\ttimes\trefused\tp50\tmax\tbound\tmet\tmemory\tprocessors")
	for _, r := range rows {
		p50, max := "-", "-"
		if n := len(r.took); n > 0 {
			slices.Sort(r.took)
			p50, max = r.took[n/2].Round(time.Millisecond).String(), r.took[n-1].Round(time.Millisecond).String()
		}
		met := "yes"
		if !r.isMet() {
			met = "NO"
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%d\t%s\t%s\t%v\t%s\t%d MiB\t%.2f\n",
			r.name, r.strikes, r.act, len(r.took)+r.failed, r.failed, p50, max, r.bound, met, r.memory>>10, r.cpu)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		io.WriteString(w, r.describeFill())
		if r.first != nil {
			fmt.Fprintf(w, "%s: the honest client met: %v\n", r.name, r.first)
		}
	}
	return nil
}

// runAttackers runs n attackers, which strike again and again until ctx ends.
func runAttackers(ctx context.Context, n int, pause time.Duration, strikes *atomic.Int64, strike func(context.Context)) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				strikes.Add(1)
				strike(ctx)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	wg.Wait()
}
