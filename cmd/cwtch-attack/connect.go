package main

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

var connectAttacks = []attack{
	stormAttack("opened and closed at once", func(ctx context.Context, r *relay, nc net.Conn) { nc.Close() }),
	stormAttack("kept open and silent", func(ctx context.Context, r *relay, nc net.Conn) {}),
	stormAttack("half a handshake", func(ctx context.Context, r *relay, nc net.Conn) {
		tapir.Plain(nc).Send(r.keys) //nolint:errcheck // may be closed
	}),
	stormAttack("authenticated, never asks", func(ctx context.Context, r *relay, nc net.Conn) {
		tapir.Client(ctx, nc, identity.NewKey(), r.bundle.Board) //nolint:errcheck // may be closed
	}),
	stormAttack("asks for nothing new", func(ctx context.Context, r *relay, nc net.Conn) {
		if c, err := tapir.Client(ctx, nc, identity.NewKey(), r.bundle.Board); err == nil {
			c.Send(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{LastCommit: r.last}})) //nolint:errcheck // may be closed
		}
	}),
}

// stormAttack opens connections at a rate, does one thing with each and keeps it.
func stormAttack(name string, do func(context.Context, *relay, net.Conn)) attack {
	return attack{
		name: name, act: "connect, replay", bound: time.Second, honest: honestReplay,
		limits: "connections = %d",
		storm: func(ctx context.Context, o options, r *relay) {
			var wg sync.WaitGroup
			defer wg.Wait()
			tick := time.NewTicker(time.Second / time.Duration(o.rate))
			defer tick.Stop()
			for ctx.Err() == nil {
				wg.Go(func() {
					nc, err := r.dialLocal(ctx, r.bundle.Board)
					if err != nil {
						return
					}
					r.strikes.Add(1)
					context.AfterFunc(ctx, func() { nc.Close() })
					do(ctx, r, nc)
				})
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		},
	}
}

// honestReplay connects, authenticates and reads what is new.
func honestReplay(ctx context.Context, r *relay) error {
	b, err := client.Open(ctx, r, r.bundle.Board)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Sync(ctx, r.last, func(client.Event) error { return nil })
}
