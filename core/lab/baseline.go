package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Baselines are the simplest algorithms that there are, to compare others with.
func Baselines() []plugin.Plugin {
	return []plugin.Plugin{
		{
			Name: "flood", Version: "1", Doc: "Pushes every envelope to every peer once, whether the peer has it or not.",
			PeerSync: func(_ context.Context, _ plugin.Config, h peersync.HostServices) (peersync.Replicator, error) {
				return &pusher{host: h}, nil
			},
		},
		{
			Name: "copy", Version: "1", Doc: "Pushes the whole log to every peer when the link comes up, and every hour.",
			PeerSync: func(_ context.Context, _ plugin.Config, h peersync.HostServices) (peersync.Replicator, error) {
				return &pusher{host: h, copies: true}, nil
			},
		},
	}
}

// Baseline returns the algorithm of a name, or nil.
func Baseline(name string) *Algorithm {
	for _, p := range Baselines() {
		if p.Name == name {
			a, err := FromPlugin(p)
			if err != nil {
				panic(err) // they need no configuration
			}
			a.Quiet = name != "copy"
			return a
		}
	}
	return nil
}

// pusher pushes its log to all peers. Without copies, it remembers how far each peer has it.
type pusher struct {
	host   peersync.HostServices
	copies bool
	now    time.Duration
	epoch  storage.Epoch
	last   storage.Seq
	peers  []*pushedPeer // that are up and take envelopes, ascending
}

// pushedPeer is a peer that is up.
type pushedPeer struct {
	peer     peersync.Peer
	epoch    storage.Epoch // of its board
	next     storage.Seq   // the first entry that was not pushed
	back     storage.Seq   // up to this entry, what came from the peer is pushed as well: its board is another one
	settled  storage.Seq   // the first entry that may be lost
	waiting  int           // ids without an outcome
	again    bool          // something was lost, or refused for a while
	resume   time.Duration // nothing is pushed before
	nextCopy time.Duration
}

// copyEvery is how often a full copy begins.
const copyEvery = time.Hour

// Handle implements [peersync.Replicator].
func (p *pusher) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		if err := p.handleEvent(ctx, e); err != nil {
			return err
		}
	}
	for _, peer := range p.peers {
		if err := p.push(ctx, peer); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (p *pusher) handleEvent(ctx context.Context, e peersync.Event) error {
	switch e := e.(type) {
	case peersync.Start:
		p.epoch, p.last = e.State.Epoch, e.State.Last
	case peersync.LogAdvanced:
		p.last = e.State.Last
		if p.epoch != e.State.Epoch {
			p.epoch = e.State.Epoch
			for _, peer := range p.peers {
				peer.next, peer.settled = 1, 1
			}
		}
	case peersync.Tick:
		p.now = e.Now
	case peersync.PeerUp:
		if e.Takes {
			return p.addPeer(ctx, e)
		}
	case peersync.PeerDown:
		p.peers = slices.DeleteFunc(p.peers, func(peer *pushedPeer) bool { return peer.peer == e.Peer })
	case peersync.Sent:
		for _, peer := range p.peers {
			if peer.peer == e.Peer {
				return p.settle(ctx, peer, e)
			}
		}
	}
	return nil
}

// addPeer begins where the peer was when it was last up.
func (p *pusher) addPeer(ctx context.Context, e peersync.PeerUp) error {
	peer := &pushedPeer{peer: e.Peer, epoch: e.State.Epoch, next: 1, settled: 1, back: p.last, nextCopy: p.now + copyEvery}
	if !p.copies {
		value, err := p.host.Load(ctx, cursorName(e.Peer))
		if err != nil {
			return err
		}
		if len(value) == 40 && [16]byte(value) == p.epoch && [16]byte(value[16:]) == peer.epoch {
			peer.next = storage.Seq(binary.BigEndian.Uint64(value[32:]))
			peer.settled, peer.back = peer.next, 0
		}
	}
	at, _ := slices.BinarySearchFunc(p.peers, e.Peer, func(x *pushedPeer, y peersync.Peer) int { return int(x.peer) - int(y) })
	p.peers = slices.Insert(p.peers, at, peer)
	return nil
}

func cursorName(peer peersync.Peer) string { return fmt.Sprintf("peer/%d", peer) }

// settle notes what became of envelopes, and saves how far the peer is when nothing is under way.
func (p *pusher) settle(ctx context.Context, peer *pushedPeer, e peersync.Sent) error {
	peer.waiting -= len(e.Outcomes)
	for _, o := range e.Outcomes {
		switch o.Status {
		case peersync.Lost:
			peer.again = true
		case peersync.OverQuota:
			peer.again = true
			peer.resume = max(peer.resume, p.now+e.RetryAfter)
		}
	}
	if peer.waiting > 0 {
		return nil
	}
	if peer.again {
		peer.again, peer.next = false, peer.settled
		return nil
	}
	peer.settled = peer.next
	if p.copies || peer.next <= peer.back {
		return nil
	}
	value := append(slices.Clone(p.epoch[:]), peer.epoch[:]...)
	return p.host.Save(ctx, peersync.Cursor{Name: cursorName(peer.peer), Value: binary.BigEndian.AppendUint64(value, uint64(peer.next))})
}

// push pushes what the peer may lack, as much as is possible now.
func (p *pusher) push(ctx context.Context, peer *pushedPeer) error {
	if p.copies && p.now >= peer.nextCopy && peer.waiting == 0 {
		peer.next, peer.settled, peer.nextCopy = 1, 1, p.now+copyEvery
	}
	for !peer.again && p.now >= peer.resume {
		page, err := p.host.Log(ctx, peersync.LogRequest{From: peer.next})
		if errors.Is(err, peersync.ErrUnavailable) {
			return nil // a later Tick calls Handle again
		}
		if err != nil || page.Epoch != p.epoch || len(page.Entries) == 0 {
			return err
		}
		ids := make([]storage.ID, 0, len(page.Entries))
		for _, e := range page.Entries {
			if p.copies || e.Via != peer.peer || e.Seq <= peer.back {
				ids = append(ids, e.ID)
			}
		}
		if len(ids) > 0 {
			err = p.host.Push(ctx, peer.peer, ids)
		}
		if errors.Is(err, peersync.ErrBusy) || errors.Is(err, peersync.ErrPeerUnknown) {
			return nil // PeerReady or PeerDown follows, and calls Handle again
		}
		if err != nil {
			return err
		}
		peer.waiting += len(ids)
		peer.next = page.Entries[len(page.Entries)-1].Seq + 1
		if p.copies && peer.next > page.Last {
			peer.next = 1 << 62 // until the next copy
			return nil
		}
	}
	return nil
}

// Close implements [peersync.Replicator].
func (p *pusher) Close() error { return nil }
