package main

import (
	"bytes"
	"context"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/mint"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

var buyAttack = attack{
	name: "buyers of 150 tokens", act: "buy 10 tokens", bound: 5 * time.Second,
	prepare: func(ctx context.Context, _ options, r *relay) (err error) {
		r.request, err = mint.RecordRequest(ctx, r, r.bundle, token.MaxBatch)
		return err
	},
	storm: func(ctx context.Context, o options, r *relay) {
		// A buyer pauses between purchases, so that those who are refused do not
		// take more processor time than those who are served.
		runAttackers(ctx, o.buyers, 10*time.Second, &r.strikes, func(ctx context.Context) { r.buyAll(ctx) })
	},
	honest: func(ctx context.Context, r *relay) error {
		_, err := client.Buy(ctx, r, r.bundle, token.DefaultBatch, nil)
		return err
	},
}

// buyAll buys as many tokens as one proof of work gives, with the least effort: it finds
// the solution by counting, and repeats a recorded request.
func (r *relay) buyAll(ctx context.Context) {
	nc, err := r.dialLocal(ctx, r.bundle.TokenService)
	if err != nil {
		return
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c := tapir.Plain(nc)
	var seed []byte
	err = c.Receive(func(payload []byte) error {
		seed = bytes.Clone(payload)
		return nil
	})
	if err != nil || c.Send(mint.SolvePuzzle(seed)) != nil {
		return
	}
	if _, err := nc.Write(r.request); err != nil {
		return
	}
	c.Receive(func([]byte) error { return nil }) //nolint:errcheck // may be refused
}
