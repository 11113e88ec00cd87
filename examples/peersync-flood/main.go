// Command peersync-flood is the smallest useful peer-sync plugin: what is on one board
// reaches the boards of all peers, over any number of relays and bad links.
//
// It does two things. It follows the log of its relay, pushes what clients posted here to every
// peer, and offers what came from one peer to the others. And it compares its board with that
// of each peer, to find what following the log has missed, see compare.go.
package main

import (
	"cmp"
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

func main() { plugin.Serve(flooding) }

var flooding = plugin.Plugin{
	Name:    "flood",
	Version: "0.1.0",
	Doc:     "Sends every envelope to every peer that lacks it.",
	PeerSync: func(_ context.Context, _ plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
		return newFlood(host), nil
	},
}

const (
	comparePeriod = 15 * time.Minute // between two comparisons with a peer, when all goes well
	retryTime     = 5 * time.Second  // until the next one, when something was left out
	saveTime      = 5 * time.Second  // between two times that the place in the log is saved
	// maxMessages is how many messages of a peer are read in a minute. An honest twin needs a
	// tenth of that.
	maxMessages = 600
)

// flood is a replicator. Its memory is bounded: by the number of peers, and by what the relay lets
// it request.
type flood struct {
	host  peersync.HostServices
	now   time.Duration
	state peersync.State
	peers []*peer             // that are up, ascending: the order of a map would not be deterministic
	asked map[storage.ID]bool // requested from any peer, and not settled yet

	place   place
	loaded  bool // place was loaded
	saved   place
	savedAt time.Duration
}

func newFlood(host peersync.HostServices) *flood {
	return &flood{host: host, asked: make(map[storage.ID]bool)}
}

// place is a place in the log. A cursor keeps it.
type place struct {
	epoch storage.Epoch
	next  storage.Seq // the first entry that was not read
}

// cursor is the name under which the place is kept.
const cursor = "log"

// peer is a peer that is up.
type peer struct {
	number       peersync.Peer
	gives, takes bool
	floor        storage.Hour
	compareAt    time.Duration   // when to compare the boards
	compareFrom  peersync.Key    // where to begin then
	fullUntil    time.Duration   // until when the peer takes nothing, because of its quota
	busy         bool            // too much is under way; PeerReady follows
	rest         *peersync.Range // what is offered piece by piece; nil: nothing
	messages     int             // received since minute
	minute       time.Duration
}

// Handle notes all that has happened, and then does what there is to do. Calls that fail are made up for by
// a later comparison.
func (f *flood) Handle(ctx context.Context, events []peersync.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range events {
		f.noteEvent(e)
	}
	for _, e := range events {
		if m, ok := e.(peersync.PeerMessage); ok {
			f.answerMessage(ctx, m)
		}
	}
	f.followLog(ctx)
	for _, p := range f.peers {
		f.offerRest(ctx, p)
		if p.compareAt <= f.now && !p.busy && p.rest == nil {
			f.startComparison(ctx, p)
		}
	}
	f.savePlace(ctx)
	return ctx.Err()
}

// Close implements [peersync.Replicator].
func (f *flood) Close() error { return nil }

func (f *flood) noteEvent(e peersync.Event) {
	switch e := e.(type) {
	case peersync.Start:
		f.state = e.State
	case peersync.LogAdvanced:
		if e.State.Epoch != f.state.Epoch { // another store, which may lack anything
			for _, p := range f.peers {
				p.compareAt = f.now
			}
		}
		f.state = e.State
	case peersync.Tick:
		f.now = max(f.now, e.Now)
	case peersync.PeerUp:
		p := &peer{number: e.Peer, gives: e.Gives, takes: e.Takes, floor: e.State.Floor, compareAt: f.now, minute: f.now}
		if !e.Initiator { // the other end begins
			p.compareAt += comparePeriod
		}
		f.removePeer(e.Peer)
		f.peers = append(f.peers, p)
		slices.SortFunc(f.peers, func(a, b *peer) int { return cmp.Compare(a.number, b.number) })
	case peersync.PeerDown:
		f.removePeer(e.Peer)
	case peersync.PeerMoved:
		if p := f.findPeer(e.Peer); p != nil {
			p.floor = e.State.Floor
		}
	case peersync.PeerReady:
		if p := f.findPeer(e.Peer); p != nil {
			p.busy = false
		}
	case peersync.Sent:
		f.noteSent(e)
	case peersync.Received:
		f.noteReceived(e)
	}
}

func (f *flood) removePeer(number peersync.Peer) {
	f.peers = slices.DeleteFunc(f.peers, func(p *peer) bool { return p.number == number })
}

// findPeer returns a peer that is up, or nil.
func (f *flood) findPeer(number peersync.Peer) *peer {
	for _, p := range f.peers {
		if p.number == number {
			return p
		}
	}
	return nil
}

// noteSent has the boards compared again if the peer did not take something that it may take later.
func (f *flood) noteSent(e peersync.Sent) {
	p := f.findPeer(e.Peer)
	if p == nil {
		return
	}
	for _, o := range e.Outcomes {
		switch o.Status {
		case peersync.OverQuota:
			p.fullUntil = f.now + min(e.RetryAfter, time.Hour)
			p.compareAt = min(p.compareAt, max(p.fullUntil, f.now+retryTime))
		case peersync.Lost:
			f.compareAgain(p)
		}
	}
}

func (f *flood) noteReceived(e peersync.Received) {
	p := f.findPeer(e.Peer)
	for _, o := range e.Outcomes {
		delete(f.asked, o.ID)
		if p != nil && (o.Status == peersync.Lost || o.Status == peersync.UnderWay) {
			f.compareAgain(p)
		}
	}
}

// compareAgain has the boards compared soon.
func (f *flood) compareAgain(p *peer) { p.compareAt = min(p.compareAt, f.now+retryTime) }

// noteError has the boards compared again after an error of a call for a peer, which did nothing.
func (f *flood) noteError(p *peer, err error) {
	if err != nil {
		p.busy = p.busy || errors.Is(err, peersync.ErrBusy)
		f.compareAgain(p)
	}
}

// followLog reads a page of the log, and sends it to the peers. The first replicator of a relay
// begins at the end of the log: what is there already is found by comparing boards.
func (f *flood) followLog(ctx context.Context) {
	if !f.loadPlace(ctx) {
		return
	}
	if f.place.epoch != f.state.Epoch {
		f.place = place{f.state.Epoch, f.state.Last + 1}
	}
	if f.place.next > f.state.Last {
		return
	}
	page, err := f.host.Log(ctx, peersync.LogRequest{From: f.place.next})
	if err != nil || page.Epoch != f.place.epoch {
		return // the next Tick or LogAdvanced tries again
	}
	for _, p := range f.peers {
		f.sendEntries(ctx, p, page.Entries)
	}
	f.place.next = page.Last + 1
	if n := len(page.Entries); n > 0 {
		f.place.next = page.Entries[n-1].Seq + 1
	}
	if f.place.next <= page.Last {
		f.host.Wake(ctx, 0) // after other events; if it fails, the next Tick comes anyway
	}
}

// sendEntries sends new entries of the log to a peer, but not what came from it.
func (f *flood) sendEntries(ctx context.Context, p *peer, entries []peersync.Entry) {
	if !p.takes || f.now < p.fullUntil {
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
	if len(push) > 0 {
		f.noteError(p, f.host.Push(ctx, p.number, push))
	}
	f.offer(ctx, p, offer)
}

// offer offers any number of envelopes.
func (f *flood) offer(ctx context.Context, p *peer, ids []storage.ID) {
	if !p.takes || f.now < p.fullUntil {
		return
	}
	for some := range slices.Chunk(ids, peersync.MaxIDs) {
		if err := f.host.Offer(ctx, p.number, some); err != nil {
			f.noteError(p, err)
			return
		}
	}
}

// loadPlace loads the place in the log that an earlier replicator has saved. It reports whether the place is known.
func (f *flood) loadPlace(ctx context.Context) bool {
	if f.loaded {
		return true
	}
	value, err := f.host.Load(ctx, cursor)
	if err != nil {
		return false
	}
	if len(value) == len(f.place.epoch)+8 {
		f.place.next = storage.Seq(binary.BigEndian.Uint64(value[copy(f.place.epoch[:], value):]))
	}
	f.loaded, f.saved = true, f.place
	return true
}

// savePlace saves the place in the log and reports it, now and then: each Save costs a write to the disk.
func (f *flood) savePlace(ctx context.Context) {
	if f.place == f.saved || f.now < f.savedAt+saveTime {
		return
	}
	f.savedAt = f.now
	value := binary.BigEndian.AppendUint64(f.place.epoch[:], uint64(f.place.next))
	if f.host.Save(ctx, peersync.Cursor{Name: cursor, Value: value}) != nil {
		return // after saveTime again
	}
	f.saved = f.place
	f.host.Report(ctx, f.describe())
}

// describe says what an operator should see.
func (f *flood) describe() peersync.Report {
	r := peersync.Report{Summary: fmt.Sprintf("has passed on the log up to entry %d", f.place.next-1)}
	for _, p := range f.peers {
		summary := "gets what is new"
		switch {
		case !p.takes:
			summary = "takes nothing"
		case f.now < p.fullUntil:
			summary = "has used up its quota"
		case p.rest != nil || p.busy:
			summary = "catches up"
		}
		r.Peers = append(r.Peers, peersync.PeerReport{Peer: p.number, Summary: summary})
	}
	return r
}
