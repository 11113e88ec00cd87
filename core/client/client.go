// Package client talks to a Cwtch server: it buys tokens at the token onion, and reads
// and posts on the board. It is for programs of group members, for bots and for load
// generators. It knows envelopes; core/group knows what is inside them.
//
// # Use
//
//	tokens, err := client.Buy(ctx, network, bundle, token.DefaultBatch, nil)
//	board, err := client.Open(ctx, network, bundle.Board)
//	err = board.Sync(ctx, reader.ReplayFrom(), use)  // everything since, in order
//	err = board.Post(ctx, envelope, tokens[0], use)  // returns when it is durable and echoed
//
// where use calls [Reader.Accept]. [Board.Events] has what others post from then on.
// [Board.Submit] posts without waiting, for programs that keep many posts under way.
//
// # What the server learns
//
// Every connection has an identity of its own that is forgotten with it. Over Tor the
// server cannot tell who connects, nor that two connections belong to one person,
// unless their requests show it: a replay from a signature shows which message was
// read last. Tokens cannot be linked to their purchase.
//
// # A hostile server
//
// It can lie about what exists, drop, repeat and reorder. It cannot make a client hold
// more than a few packets, since nothing is read before the program asks for it, nor
// wait longer than [Timeout] for something that is due. It can send a replay without
// end, which the caller's context ends. The number of envelopes that it announces is
// counted down, and never used to allocate.
package client

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// Port is the virtual port of both onion services of a server.
const Port = 9878

// Timeout is how long a server may take for the next thing that it owes, which is a
// part of a replay, the result of a post, or its echo. It is also how long sending a
// packet may take.
const Timeout = 60 * time.Second

// Dialer connects to onion services; a Network of core/onion is one.
type Dialer interface {
	Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error)
}

// Buy buys n tokens, 1 to [token.MaxBatch], over a connection of its own. Cwtch clients
// ask for [token.DefaultBatch]. The proof of work takes one processor some 65,536
// tries, well under a second on a desktop; progress, unless nil, is called now and
// then with their number. Buy checks the tokens against the key in the bundle, so a
// server cannot mark them.
func Buy(ctx context.Context, d Dialer, b bundle.Bundle, n int, progress func(tries int)) ([]token.Token, error) {
	nc, err := d.Dial(ctx, b.TokenService, Port)
	if err != nil {
		return nil, fmt.Errorf("connect to token service: %w", err)
	}
	c := tapir.Plain(nc)
	defer c.Close()
	tokens, err := token.Buy(ctx, c, b.TokenKey, n, progress)
	if err != nil {
		return nil, fmt.Errorf("buy tokens: %w", err)
	}
	return tokens, nil
}
