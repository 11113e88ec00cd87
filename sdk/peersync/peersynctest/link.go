package peersynctest

import (
	"context"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxQueue is how many parcels may wait in one direction of a link before its sender gets
// ErrBusy.
const maxQueue = 2 * peersync.MaxIDs

// link connects two relays. The mutex of the world guards it.
type link struct {
	ends   [2]*Replica
	up     bool
	queues [2][]parcel     // queues[i] comes from ends[i]
	asked  [2][]storage.ID // asked[i] was requested by ends[i]
}

// parcel is one thing under way: a message, a transferred envelope, the request for an envelope,
// or the answer to a request, with the envelope or without.
type parcel struct {
	kind    parcelKind
	message []byte
	id      storage.ID
}

type parcelKind int

const (
	message parcelKind = iota
	transfer
	request
	answer
	refusal
)

// linkTo returns the link to another relay, and the index of its end at r.
func (r *Replica) linkTo(other *Replica) (*link, int) {
	for _, l := range r.world.links {
		if end := slices.Index(l.ends[:], r); end >= 0 && l.ends[1-end] == other {
			return l, end
		}
	}
	return nil, 0
}

// peerNumber is the number by which r knows another relay.
func (r *Replica) peerNumber(other *Replica) peersync.Peer {
	return peersync.Peer(100*(r.index+1) + other.index)
}

// linkWith returns the link to a peer, and the index of its end at r.
func (r *Replica) linkWith(peer peersync.Peer) (*link, int) {
	for _, other := range r.world.Replicas {
		if other != r && r.peerNumber(other) == peer {
			return r.linkTo(other)
		}
	}
	return nil, 0
}

func (l *link) connectFrom(initiator int) {
	l.up = true
	for i, end := range l.ends {
		if other := l.ends[1-i]; end.replicator != nil {
			end.queueEvent(peersync.PeerUp{
				Peer: end.peerNumber(other), Initiator: i == initiator, State: other.logState(), Gives: true, Takes: true,
			})
		}
	}
}

func (l *link) cutLink() {
	l.up = false
	for i, end := range l.ends {
		for _, p := range l.queues[i] {
			if p.kind == transfer {
				l.settleSent(i, p.id, peersync.Lost)
			}
		}
		for _, id := range l.asked[i] {
			l.settleReceived(i, id, peersync.Lost)
		}
		l.queues[i], l.asked[i] = nil, nil
		if end.replicator != nil {
			end.queueEvent(peersync.PeerDown{Peer: end.peerNumber(l.ends[1-i])})
		}
	}
}

// settleSent settles an id of a Transfer at one end.
func (l *link) settleSent(end int, id storage.ID, status peersync.OutcomeStatus) {
	r := l.ends[end]
	r.queueEvent(peersync.Sent{Peer: r.peerNumber(l.ends[1-end]), Outcomes: []peersync.Outcome{{ID: id, Status: status}}})
}

// settleReceived settles an id of a Request, or of a Transfer by the other end, at one end.
func (l *link) settleReceived(end int, id storage.ID, status peersync.OutcomeStatus) {
	r := l.ends[end]
	r.queueEvent(peersync.Received{Peer: r.peerNumber(l.ends[1-end]), Outcomes: []peersync.Outcome{{ID: id, Status: status}}})
}

// deliverFrom delivers the first parcel of an end to the other one.
func (l *link) deliverFrom(from int) {
	sender, receiver := l.ends[from], l.ends[1-from]
	sender.world.mu.Lock()
	defer sender.world.mu.Unlock()
	p := l.queues[from][0]
	l.queues[from] = l.queues[from][1:]
	switch p.kind {
	case message:
		receiver.queueEvent(peersync.PeerMessage{Peer: receiver.peerNumber(sender), Data: p.message})
	case transfer:
		entry := sender.findEntry(p.id)
		if entry == nil {
			l.settleSent(from, p.id, peersync.Gone)
			return
		}
		l.settleSent(from, p.id, l.acceptEntry(1-from, *entry))
	case request:
		kind := answer
		if sender, held := l.ends[1-from], l.ends[1-from].findEntry(p.id); held == nil || sender.replicator == nil {
			kind = refusal
		}
		l.queues[1-from] = append(l.queues[1-from], parcel{kind: kind, id: p.id})
	case answer, refusal:
		if i := slices.Index(l.asked[1-from], p.id); i >= 0 {
			l.asked[1-from] = slices.Delete(l.asked[1-from], i, i+1)
		}
		if entry := sender.findEntry(p.id); p.kind == answer && entry != nil {
			l.acceptEntry(1-from, *entry)
			return
		}
		l.settleReceived(1-from, p.id, peersync.Gone)
	}
}

// acceptEntry adds an envelope to the log at one end, or refuses it, and settles its id. It
// returns what became of it.
func (l *link) acceptEntry(end int, e peersync.Entry) peersync.OutcomeStatus {
	r := l.ends[end]
	status := peersync.Known
	switch {
	case e.Born < r.floor:
		status = peersync.TooOld
	case r.addEnvelope(e.Key, e.Size, r.peerNumber(l.ends[1-end])):
		status = peersync.Stored
	}
	l.settleReceived(end, e.ID, status)
	return status
}

// beginLinkCall begins a call that needs a link. If it returns no error, the caller holds the mutex of
// the world and must unlock it.
func (r *Replica) beginLinkCall(ctx context.Context, name string, broken error, peer peersync.Peer, args ...any) (*link, int, error) {
	if err := r.beginCall(ctx, name, broken, append([]any{peer}, args...)...); err != nil {
		return nil, 0, err
	}
	if !r.up[peer] {
		r.recordFault("%s to peer %d, which is not up", name, peer)
	}
	l, end := r.linkWith(peer)
	err := error(nil)
	switch {
	case l == nil || !l.up:
		err = peersync.ErrPeerUnknown
	case len(l.queues[end]) >= maxQueue || len(l.asked[end]) >= maxQueue:
		err = peersync.ErrBusy
	}
	if err != nil {
		r.world.mu.Unlock()
		return nil, 0, err
	}
	return l, end, nil
}

// Send implements [peersync.Links].
func (r *Replica) Send(ctx context.Context, to peersync.Peer, data []byte) error {
	l, end, err := r.beginLinkCall(ctx, "send", peersync.CheckMessage(data), to, digestOf(data))
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	l.queues[end] = append(l.queues[end], parcel{kind: message, message: slices.Clone(data)})
	return nil
}

// Push implements [peersync.Links].
func (r *Replica) Push(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	return r.sendEnvelopes(ctx, "push", to, ids)
}

// Offer implements [peersync.Links].
func (r *Replica) Offer(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	return r.sendEnvelopes(ctx, "offer", to, ids)
}

func (r *Replica) sendEnvelopes(ctx context.Context, call string, to peersync.Peer, ids []storage.ID) error {
	l, end, err := r.beginLinkCall(ctx, call, peersync.CheckIDs(len(ids)), to, ids)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	for _, id := range ids {
		l.queues[end] = append(l.queues[end], parcel{kind: transfer, id: id})
	}
	return nil
}

// Request implements [peersync.Links].
func (r *Replica) Request(ctx context.Context, from peersync.Peer, keys []peersync.Key) error {
	l, end, err := r.beginLinkCall(ctx, "request", peersync.CheckIDs(len(keys)), from, keys)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	for _, k := range keys {
		if r.findEntry(k.ID) != nil {
			l.settleReceived(end, k.ID, peersync.Known)
			continue
		}
		l.asked[end] = append(l.asked[end], k.ID)
		l.queues[end] = append(l.queues[end], parcel{kind: request, id: k.ID})
	}
	return nil
}

// Rest implements [peersync.Links]. The World decides when the link comes back.
func (r *Replica) Rest(ctx context.Context, peer peersync.Peer, pause time.Duration) error {
	l, _, err := r.beginLinkCall(ctx, "rest", peersync.CheckRest(pause), peer, pause)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	l.cutLink()
	return nil
}

// Drop implements [peersync.Links].
func (r *Replica) Drop(ctx context.Context, peer peersync.Peer, reason string) error {
	l, _, err := r.beginLinkCall(ctx, "drop", peersync.CheckText(reason), peer, reason)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	l.cutLink()
	return nil
}
