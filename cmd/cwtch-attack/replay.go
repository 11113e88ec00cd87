package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

var replayAttacks = []attack{
	replayAttack("replays from one signature", true),
	replayAttack("replays from many signatures", false),
}

func replayAttack(name string, one bool) attack {
	return attack{
		name: name, act: "connect, replay", bound: 2 * time.Second, honest: honestReplay,
		// Neither the limits of connections nor those of posts are attacked here.
		limits: "connections = 8192\n connections_per_second = 10000\n " + noBudget, retention: roomyRetention,
		prepare: func(ctx context.Context, o options, r *relay) error { return r.plantEnvelopes(ctx, o.envelopes, one) },
		storm: func(ctx context.Context, o options, r *relay) {
			runAttackers(ctx, o.readers, 0, &r.strikes, r.askForReplay)
		},
	}
}

// askForReplay asks for a replay from the planted signature, waits until the answer begins,
// and leaves.
func (r *relay) askForReplay(ctx context.Context) {
	nc, err := r.dialLocal(ctx, r.bundle.Board)
	if err != nil {
		return
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c, err := tapir.Client(ctx, nc, identity.NewKey(), r.bundle.Board)
	if err != nil {
		return
	}
	if c.Send(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{LastCommit: r.planted}})) == nil {
		c.Receive(func([]byte) error { return nil }) //nolint:errcheck // may be refused
	}
}

// plantEnvelopes posts n tiny envelopes, under one signature or each under its own, and
// then an honest one. A relay may refuse some.
func (r *relay) plantEnvelopes(ctx context.Context, n int, one bool) error {
	const posters = 8
	r.planted = newSignature(0)
	g, posting := errgroup.WithContext(ctx)
	for i := range posters {
		g.Go(func() error {
			var batch []wire.Envelope
			for k := i; k < n; k += posters {
				e := wire.Envelope{Ciphertext: fmt.Append(nil, k), Signature: r.planted}
				if !one {
					e.Signature = newSignature(k)
				}
				batch = append(batch, e)
			}
			_, err := r.postAll(posting, batch)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.last = newSignature(n)
	stored, err := r.postAll(ctx, []wire.Envelope{{Ciphertext: []byte("honest"), Signature: r.last}})
	if err == nil && stored != 1 {
		err = errors.New("an honest post is refused")
	}
	return err
}

// newSignature makes a signature of the usual length.
func newSignature(n int) []byte { return fmt.Appendf(nil, "%064d", n) }

// postAll posts envelopes on a connection of its own, with tokens made from the key
// of the relay, and returns how many were stored.
func (r *relay) postAll(ctx context.Context, all []wire.Envelope) (stored int, err error) {
	nc, err := r.dialLocal(ctx, r.bundle.Board)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c, err := tapir.Client(ctx, nc, identity.NewKey(), r.bundle.Board)
	if err != nil {
		return 0, err
	}
	var g errgroup.Group
	g.Go(func() error {
		for _, e := range all {
			t, err := r.mint.Token()
			if err != nil {
				return err
			}
			spent := t.Spend(e.AppendJSON(nil), []byte(r.bundle.Board))
			request := wire.Request{Post: &wire.Post{Token: wire.Token{T: spent.T[:], MAC: spent.MAC[:]}, EGM: e}}
			if err := c.Send(wire.AppendRequest(nil, request)); err != nil {
				return err
			}
		}
		return nil
	})
	for range all {
		err := c.Receive(func(payload []byte) error {
			reply, err := wire.DecodeReply(payload)
			if err == nil && reply.Posted != nil && *reply.Posted {
				stored++
			}
			return err
		})
		if err != nil {
			nc.Close()
			return stored, errors.Join(err, g.Wait())
		}
	}
	return stored, g.Wait()
}
