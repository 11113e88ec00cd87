package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

const (
	// honestPosters post twice in three seconds together, which is a lively conversation.
	honestPosters = 5
	honestPause   = 1500 * time.Millisecond
	// usualBytes is the length of the ciphertext of a short message.
	usualBytes = 2623
	// window is how many posts an attacker sends ahead of their answers.
	window = 16

	// noBudget lets in as much as attackers can post, and roomyRetention keeps it.
	noBudget       = "posts_per_hour = 1000000000\n  bytes_per_day = \"1TiB\""
	roomyRetention = "min_age = \"1d\"\n    max_count = 100000000000\n    max_bytes = \"4TiB\""
)

// fillAttacks are attacks on a server without a budget and on one with the default budget.
// The attackers have many connections, and as many tokens as they want.
var fillAttacks = []attack{
	fillAttack("fill, no budget", noBudget, roomyRetention, false),
	fillAttack("fill, default budget", "", "", true),
}

func fillAttack(name, limits, retention string, budget bool) attack {
	return attack{
		name: name, act: "post", bound: 5 * time.Second, limits: limits, retention: retention,
		prepare: func(ctx context.Context, o options, r *relay) error {
			for range honestPosters {
				c, err := r.connectBoard(ctx)
				if err != nil {
					return err
				}
				r.posters = append(r.posters, c)
			}
			for range honestPosters { // a client that has not asked for anything is closed
				if err := r.postHonestly(ctx); err != nil {
					return err
				}
			}
			if !budget {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(o.early):
				return nil
			}
		},
		storm: func(ctx context.Context, o options, r *relay) {
			runAttackers(ctx, o.posters, 100*time.Millisecond, &r.strikes, func(ctx context.Context) { r.postMuch(ctx, o.posts) })
		},
		pause:  honestPause,
		honest: func(ctx context.Context, r *relay) error { return r.postHonestly(ctx) },
	}
}

// connectBoard opens an authenticated connection to the board.
func (r *relay) connectBoard(ctx context.Context) (*tapir.Conn, error) {
	nc, err := r.dialLocal(ctx, r.bundle.Board)
	if err != nil {
		return nil, err
	}
	return tapir.Client(ctx, nc, identity.NewKey(), r.bundle.Board)
}

// postHonestly posts once, on the connection of the honest client whose turn it is.
func (r *relay) postHonestly(ctx context.Context) error {
	c := r.posters[r.turn%len(r.posters)]
	r.turn++
	deadline, _ := ctx.Deadline() // none is the zero time, which stands for that here as well
	c.SetReadDeadline(deadline)
	if err := r.sendUsual(c); err != nil {
		return err
	}
	stored, err := receiveResult(c)
	if err == nil && !stored {
		err = errors.New("the post is refused")
	}
	return err
}

// postMuch connects and posts as fast as the relay answers, until it has refused a whole
// window of posts in a row, or the attackers together have posted as many as they may.
func (r *relay) postMuch(ctx context.Context, most int) {
	c, err := r.connectBoard(ctx)
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for pending, refused := 0, 0; refused < window; pending-- {
		for ; pending < window; pending++ {
			if r.filled.Load() >= int64(most) || r.sendUsual(c) != nil {
				return
			}
		}
		stored, err := receiveResult(c)
		if err != nil {
			return
		}
		if refused++; stored {
			refused = 0
			r.filled.Add(1)
		}
	}
}

// sendUsual sends a post of the usual length, under a signature of its own.
func (r *relay) sendUsual(c *tapir.Conn) error {
	t, err := r.mint.Token()
	if err != nil {
		return err
	}
	e := wire.Envelope{Ciphertext: make([]byte, usualBytes), Signature: newSignature(int(r.serial.Add(1)))}
	spent := t.Spend(e.AppendJSON(nil), []byte(r.bundle.Board))
	return c.Send(wire.AppendRequest(nil, wire.Request{Post: &wire.Post{Token: wire.Token{T: spent.T[:], MAC: spent.MAC[:]}, EGM: e}}))
}

// receiveResult receives the result of a post, on a connection that gets nothing else.
func receiveResult(c *tapir.Conn) (stored bool, err error) {
	err = c.Receive(func(payload []byte) error {
		reply, err := wire.DecodeReply(payload)
		stored = reply.Posted != nil && *reply.Posted
		return err
	})
	return stored, err
}

// describeFill says what attackers stored, or is empty if they did not post.
func (res *result) describeFill() string {
	if res.filled == 0 {
		return ""
	}
	perSecond := float64(res.filled) / res.lasted.Seconds()
	return fmt.Sprintf("%s: the attackers stored %d posts in %v, %.0f MiB an hour at this rate\n",
		res.name, res.filled, res.lasted.Round(time.Second), perSecond*3600*(usualBytes+64)/(1<<20))
}
