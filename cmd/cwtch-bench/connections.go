package main

import (
	"context"
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// measureConnections measures what authenticated connections that do nothing more cost a
// relay that has done nothing before: its resident memory with all of them, less that
// with the first few, which include what is needed once.
func (b *bench) measureConnections(ctx context.Context, r *relay) error {
	first, err := r.connectAll(ctx, 1+b.plan.IdleConnections/50, 16)
	if err != nil {
		return err
	}
	defer closeAll(first)
	before, err := r.awaitStableMemory(ctx)
	if err != nil {
		return err
	}
	var peers []*peer
	took, err := r.measureCPU(func() (err error) {
		peers, err = r.connectAll(ctx, b.plan.IdleConnections, 16)
		return err
	})
	if err != nil {
		return err
	}
	defer closeAll(peers)
	after, err := r.awaitStableMemory(ctx)
	if err != nil {
		return err
	}
	b.sheet.setFigure("auth.cpu", took.cpuPerItem(b.plan.IdleConnections))
	b.sheet.setFigure("idle.memory", float64(after-before)/float64(b.plan.IdleConnections))
	closeAll(peers)
	closeAll(first)
	return r.awaitNoConnections(ctx)
}

func (r *relay) awaitStableMemory(ctx context.Context) (int, error) {
	return awaitStableRSS(ctx, r.cmd.Process.Pid)
}

// awaitStableRSS waits until the resident memory of a process has not changed for half
// a second, and returns it, in KiB.
func awaitStableRSS(ctx context.Context, pid int) (int, error) {
	const checks = 5
	last, same := 0, 0
	for same < checks {
		now, err := readMemory(pid, "VmRSS")
		if err != nil {
			return 0, err
		}
		if now == last {
			same++
		} else {
			last, same = now, 0
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return last, nil
}

// awaitNoConnections waits until the relay has seen all connections end.
func (r *relay) awaitNoConnections(ctx context.Context) error {
	for {
		st, err := manager.AskStatus(ctx, r.dataDir())
		if err != nil {
			return err
		}
		server := st.Servers[0].Relay
		if server == nil {
			return errors.New("the relay does not say how many connections are open")
		}
		if server.BoardConnections.Open == 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
