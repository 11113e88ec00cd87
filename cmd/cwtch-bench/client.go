package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// connectionTimeout is how long a connection of the bench may last, so that a hanging
// relay is an error.
const connectionTimeout = 10 * time.Minute

// peer is a connection to a board that takes little processor time: posts come encoded,
// and packets can be skipped without being opened. core/client is not made for that.
type peer struct {
	*tapir.Conn
	in *bufio.Reader
}

// buffered reads ahead.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// openConnection authenticates a connection, which reads up to ahead bytes at once.
func (r *relay) openConnection(ctx context.Context, ahead int) (*peer, error) {
	board := r.keys.Board.Onion()
	nc, err := r.network.Dial(ctx, board, client.Port)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(connectionTimeout)) //nolint:errcheck // reads and writes fail as well
	in := bufio.NewReaderSize(nc, ahead)
	conn, err := tapir.Client(ctx, buffered{nc, in}, identity.NewKey(), board)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &peer{conn, in}, nil
}

// connectAll opens n connections, some at a time.
func (r *relay) connectAll(ctx context.Context, n, ahead int) ([]*peer, error) {
	peers := make([]*peer, n)
	err := inParallel(peers, 8, func(i int) (err error) {
		peers[i], err = r.openConnection(ctx, ahead)
		return err
	})
	if err != nil {
		closeAll(peers)
		return nil, fmt.Errorf("connect %d clients: %w", n, err)
	}
	return peers, nil
}

func closeAll(peers []*peer) {
	for _, p := range peers {
		if p != nil {
			p.Close()
		}
	}
}

var storedReply = wire.AppendPosted(nil, true)

// receiveResult receives the result of a post.
func (p *peer) receiveResult() error {
	return p.Receive(func(payload []byte) error {
		if !bytes.Equal(payload, storedReply) {
			return errors.New("a post was not stored")
		}
		return nil
	})
}

// postAndWait sends an encoded post and waits for its result.
func (p *peer) postAndWait(payload []byte) error {
	if err := p.Send(payload); err != nil {
		return err
	}
	return p.receiveResult()
}

// requestReplay asks for a replay and returns how many envelopes follow.
func (p *peer) requestReplay(last []byte) (count int, err error) {
	if err := p.Send(wire.AppendRequest(nil, wire.Request{Replay: &wire.Replay{LastCommit: last}})); err != nil {
		return 0, err
	}
	reply, err := p.receiveReply()
	if err != nil {
		return 0, err
	}
	if reply.Count == nil {
		return 0, errors.New("a replay does not begin with its count")
	}
	return *reply.Count, nil
}

func (p *peer) receiveReply() (reply wire.Reply, err error) {
	err = p.Receive(func(payload []byte) error {
		reply, err = wire.DecodeReply(payload)
		return err
	})
	return reply, err
}

// checkEvery is how many packets are passed over for one that is opened. Packets do
// not depend on each other, so any of them can be.
const checkEvery = 64

// readPackets reads n packets and checks some of them, which have to hold an envelope.
// It calls each, unless nil, after every packet.
func (p *peer) readPackets(n int, each func(i int)) error {
	for i := range n {
		if i%checkEvery == checkEvery-1 {
			reply, err := p.receiveReply()
			if err != nil {
				return err
			}
			if reply.New == nil && (reply.Replay == nil || len(reply.Replay.Signature) == 0) {
				return errors.New("a packet does not hold an envelope")
			}
		} else if _, err := p.in.Discard(tapir.PacketSize); err != nil {
			return err
		}
		if each != nil {
			each(i)
		}
	}
	return nil
}
