package peersynctest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// floodPlugin is a plugin that keeps the contract.
var floodPlugin = plugin.Plugin{
	Name:    "flood",
	Version: "1",
	PeerSync: func(_ context.Context, _ plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
		return &flood{host: host}, nil
	},
}

// flood is the simplest replicator that converges. It transfers its whole log to every peer, page
// by page, and remembers the position of each peer.
type flood struct {
	host  peersync.HostServices
	own   track
	peers []*peer // ascending, because the order of a map would not be deterministic
}

// peer is a peer that is up.
type peer struct {
	number peersync.Peer
	track  track
	upTo   storage.Seq // end of the page under way
	left   int         // envelopes of the page that are not settled
	lost   bool
}

// track is a position in the log that a cursor keeps.
type track struct {
	cursor string
	loaded bool
	epoch  storage.Epoch
	next   storage.Seq
}

func (f *flood) Handle(ctx context.Context, events []peersync.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range events {
		switch e := e.(type) {
		case peersync.Start:
			f.own.cursor = "log"
		case peersync.PeerUp:
			f.peers = append(f.peers, &peer{number: e.Peer, track: track{cursor: fmt.Sprintf("peer/%d", e.Peer)}})
			slices.SortFunc(f.peers, func(a, b *peer) int { return int(a.number) - int(b.number) })
			f.host.Send(ctx, e.Peer, []byte("hello"))
		case peersync.PeerDown:
			f.peers = slices.DeleteFunc(f.peers, func(p *peer) bool { return p.number == e.Peer })
		case peersync.Sent:
			f.settlePage(ctx, e)
		}
	}
	f.followLog(ctx)
	for _, p := range f.peers {
		f.pushPage(ctx, p)
	}
	return ctx.Err()
}

// followLog reads the new entries of the log.
func (f *flood) followLog(ctx context.Context) {
	for f.loadTrack(ctx, &f.own) {
		page, ok := f.readPage(ctx, &f.own)
		if !ok || len(page.Entries) == 0 {
			break
		}
		f.own.next = page.Entries[len(page.Entries)-1].Seq + 1
		f.saveTrack(ctx, &f.own)
	}
	f.host.Report(ctx, peersync.Report{Summary: fmt.Sprintf("at %d", f.own.next)})
}

// pushPage transfers the next page to a peer, if none is under way.
func (f *flood) pushPage(ctx context.Context, p *peer) {
	for p.left == 0 && f.loadTrack(ctx, &p.track) {
		page, ok := f.readPage(ctx, &p.track)
		if !ok || len(page.Entries) == 0 {
			return
		}
		var ids []storage.ID
		for _, e := range page.Entries {
			if e.Via != p.number {
				ids = append(ids, e.ID)
			}
		}
		if len(ids) > 0 && f.host.Push(ctx, p.number, ids) != nil {
			return
		}
		p.upTo, p.left, p.lost = page.Entries[len(page.Entries)-1].Seq, len(ids), false
		f.advancePeer(ctx, p)
	}
}

func (f *flood) settlePage(ctx context.Context, e peersync.Sent) {
	for _, p := range f.peers {
		if p.number == e.Peer && p.left > 0 {
			p.left = max(0, p.left-len(e.Outcomes))
			p.lost = p.lost || slices.ContainsFunc(e.Outcomes, func(o peersync.Outcome) bool { return o.Status == peersync.Lost })
			f.advancePeer(ctx, p)
		}
	}
}

// advancePeer moves the cursor of a peer if its page has arrived.
func (f *flood) advancePeer(ctx context.Context, p *peer) {
	if p.left == 0 && !p.lost {
		p.track.next = p.upTo + 1
		f.saveTrack(ctx, &p.track)
	}
}

func (f *flood) readPage(ctx context.Context, t *track) (peersync.LogPage, bool) {
	page, err := f.host.Log(ctx, peersync.LogRequest{From: t.next})
	if err == nil && page.Epoch != t.epoch {
		t.epoch, t.next = page.Epoch, 1
		page, err = f.host.Log(ctx, peersync.LogRequest{From: 1})
	}
	return page, err == nil
}

func (f *flood) loadTrack(ctx context.Context, t *track) bool {
	if t.loaded {
		return true
	}
	value, err := f.host.Load(ctx, t.cursor)
	if err != nil {
		return false
	}
	t.loaded, t.next = true, 1
	if len(value) == 24 {
		t.next = storage.Seq(binary.BigEndian.Uint64(value[copy(t.epoch[:], value):]))
	}
	return true
}

func (f *flood) saveTrack(ctx context.Context, t *track) {
	f.host.Save(ctx, peersync.Cursor{Name: t.cursor, Value: binary.BigEndian.AppendUint64(t.epoch[:], uint64(t.next))})
}

func (f *flood) Close() error { return nil }
