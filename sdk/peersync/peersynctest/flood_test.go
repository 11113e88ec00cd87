package peersynctest_test

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

// floodPlugin is a plugin that keeps the contract.
var floodPlugin = plugin.Plugin{
	Name:    "flood",
	Version: "1",
	PeerSync: func(_ context.Context, _ plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
		return &flood{host: host}, nil
	},
}

// flood is the simplest replicator that converges. What clients post here it pushes to all peers;
// what a peer sent it offers to the others. When twins meet they exchange the sums of their boards;
// if the sums differ, or something did not arrive, each offers all that it has.
type flood struct {
	host  peersync.HostServices
	atEnd bool // begins at the end of the log, because twins compare their boards anyway
	now   time.Duration
	state peersync.State
	track track
	peers []*peer // ascending, because the order of a map would not be deterministic
}

// track is the position in the log. A cursor keeps it.
type track struct {
	loaded bool
	epoch  storage.Epoch
	next   storage.Seq
}

// peer is a peer that is up.
type peer struct {
	number  peersync.Peer
	takes   bool
	floor   storage.Hour
	askAt   time.Duration // when to ask for the sum of the peer; never: not at all
	offerAt time.Duration // when to go on offering what is here; never: not at all
	from    peersync.Key  // first key that was not offered
	waits   bool          // for PeerReady
}

const (
	retryTime = 5 * time.Second
	never     = time.Duration(1<<63 - 1)
)

// A message is a kind, the hour from which on the sum is, and the sum.
const (
	kindAsk     = 1 // wants a kindTell
	kindTell    = 2
	messageSize = 1 + 4 + 8 + 32
)

func (f *flood) Handle(ctx context.Context, events []peersync.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range events {
		f.noteEvent(e)
	}
	for _, e := range events {
		if m, ok := e.(peersync.PeerMessage); ok {
			f.compareSum(ctx, m)
		}
	}
	f.followLog(ctx)
	for _, p := range f.peers {
		if p.askAt <= f.now {
			p.askAt = never
			f.sendSum(ctx, p, kindAsk)
		}
		f.offerAll(ctx, p)
	}
	f.host.Report(ctx, peersync.Report{Summary: fmt.Sprintf("at %d", f.track.next)})
	return ctx.Err()
}

func (f *flood) noteEvent(e peersync.Event) {
	switch e := e.(type) {
	case peersync.Start:
		f.state = e.State
	case peersync.LogAdvanced:
		for _, p := range f.peers {
			if e.State.Epoch != f.state.Epoch {
				p.askAt = f.now
			}
		}
		f.state = e.State
	case peersync.Tick:
		f.now = max(f.now, e.Now)
	case peersync.PeerUp:
		f.peers = append(f.peers, &peer{number: e.Peer, takes: e.Takes, floor: e.State.Floor, askAt: f.now, offerAt: never})
		slices.SortFunc(f.peers, func(a, b *peer) int { return int(a.number) - int(b.number) })
	case peersync.PeerDown:
		f.peers = slices.DeleteFunc(f.peers, func(p *peer) bool { return p.number == e.Peer })
	}
	f.noteNews(e)
}

// noteNews notes what an event says of a peer that is up.
func (f *flood) noteNews(e peersync.Event) {
	for _, p := range f.peers {
		switch e := e.(type) {
		case peersync.PeerMoved:
			if e.Peer == p.number {
				p.floor = e.State.Floor
			}
		case peersync.PeerReady:
			p.waits = p.waits && e.Peer != p.number
		case peersync.Sent:
			if e.Peer == p.number && slices.ContainsFunc(e.Outcomes, isTemporary) {
				f.offerAgain(p, max(retryTime, e.RetryAfter))
			}
		}
	}
}

func isTemporary(o peersync.Outcome) bool {
	return o.Status == peersync.Lost || o.Status == peersync.OverQuota || o.Status == peersync.Invalid
}

// offerAgain offers all to a peer from the beginning, after some time.
func (f *flood) offerAgain(p *peer, after time.Duration) {
	if p.takes {
		p.offerAt, p.from = f.now+min(after, time.Hour), peersync.Key{}
	}
}

// compared is the range of which the sums with a peer are.
func (f *flood) compared(floor storage.Hour) []peersync.Range {
	return []peersync.Range{{Lo: peersync.Key{Born: max(f.state.Floor, floor)}}}
}

func (f *flood) sendSum(ctx context.Context, p *peer, kind byte) {
	in := f.compared(p.floor)
	sums, err := f.host.RangeSum(ctx, p.number, in)
	if err == nil {
		m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(in[0].Lo.Born))
		m = append(binary.BigEndian.AppendUint64(m, sums[0].Count), sums[0].IDs[:]...)
		err = f.host.Send(ctx, p.number, m)
	}
	if err != nil {
		p.askAt = f.now + retryTime
	}
}

// compareSum compares the sum of a peer with that of the same range here.
func (f *flood) compareSum(ctx context.Context, m peersync.PeerMessage) {
	at := slices.IndexFunc(f.peers, func(p *peer) bool { return p.number == m.Peer })
	if at < 0 || len(m.Data) != messageSize || m.Data[0] != kindAsk && m.Data[0] != kindTell {
		return
	}
	p := f.peers[at]
	sum := peersync.Sum{Count: binary.BigEndian.Uint64(m.Data[5:]), IDs: [32]byte(m.Data[13:])}
	sums, err := f.host.RangeSum(ctx, p.number, f.compared(storage.Hour(binary.BigEndian.Uint32(m.Data[1:]))))
	switch {
	case err != nil:
		p.askAt = f.now + retryTime
		return
	case sums[0] != sum && p.offerAt == never:
		f.offerAgain(p, 0)
	}
	if m.Data[0] == kindAsk {
		f.sendSum(ctx, p, kindTell)
	}
}

// offerAll offers what is here to a peer, page by page.
func (f *flood) offerAll(ctx context.Context, p *peer) {
	for p.offerAt <= f.now && !p.waits {
		in := f.compared(p.floor)
		if p.from.Compare(in[0].Lo) > 0 {
			in[0].Lo = p.from
		}
		keys, err := f.host.Keys(ctx, in, peersync.MaxIDs)
		if err == nil && len(keys[0]) == 0 {
			p.offerAt = never
			return
		}
		if err == nil {
			var ids []storage.ID
			for _, k := range keys[0] {
				ids = append(ids, k.ID)
			}
			err = f.host.Offer(ctx, p.number, ids)
		}
		switch {
		case errors.Is(err, peersync.ErrBusy):
			p.waits = true
		case err != nil:
			p.offerAt = f.now + retryTime
		default:
			p.from = keys[0][len(keys[0])-1].Next()
		}
	}
}

// followLog sends the new entries of the log to the peers that did not send them.
func (f *flood) followLog(ctx context.Context) {
	for f.loadTrack(ctx) {
		page, err := f.host.Log(ctx, peersync.LogRequest{From: f.track.next})
		switch {
		case err == nil && page.Epoch != f.track.epoch:
			f.track.epoch, f.track.next = page.Epoch, 1
			continue
		case err != nil || len(page.Entries) == 0:
			return
		}
		for _, p := range f.peers {
			f.sendEntries(ctx, p, page.Entries)
		}
		f.track.next = page.Entries[len(page.Entries)-1].Seq + 1
		f.saveTrack(ctx)
	}
}

func (f *flood) sendEntries(ctx context.Context, p *peer, entries []peersync.Entry) {
	if !p.takes {
		return
	}
	var push, offer []storage.ID
	for _, e := range entries {
		switch e.Via {
		case 0:
			push = append(push, e.ID)
		case p.number:
		default:
			offer = append(offer, e.ID)
		}
	}
	if len(push) > 0 && f.host.Push(ctx, p.number, push) != nil || len(offer) > 0 && f.host.Offer(ctx, p.number, offer) != nil {
		f.offerAgain(p, retryTime)
	}
}

func (f *flood) loadTrack(ctx context.Context) bool {
	if f.track.loaded {
		return true
	}
	value, err := f.host.Load(ctx, "log")
	if err != nil {
		return false
	}
	f.track = track{loaded: true, next: 1}
	if f.atEnd {
		f.track.epoch, f.track.next = f.state.Epoch, f.state.Last+1
	}
	if len(value) == 24 {
		f.track.next = storage.Seq(binary.BigEndian.Uint64(value[copy(f.track.epoch[:], value):]))
	}
	return true
}

func (f *flood) saveTrack(ctx context.Context) {
	f.host.Save(ctx, peersync.Cursor{Name: "log", Value: binary.BigEndian.AppendUint64(f.track.epoch[:], uint64(f.track.next))})
}

func (f *flood) Close() error { return nil }
