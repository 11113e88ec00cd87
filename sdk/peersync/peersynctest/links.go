package peersynctest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// beginLinkCall begins a call that needs a link. If it returns no error, the caller holds the
// mutex of the world and must unlock it. measure returns what the call needs of the limits of
// the link.
func (r *Replica) beginLinkCall(ctx context.Context, name string, broken error, peer peersync.Peer, measure func(end *linkEnd) denied, args ...any) (*link, int, error) {
	err := r.beginCall(ctx, name, broken, peer, append([]any{peer}, args...)...)
	if errors.Is(err, peersync.ErrBusy) { // by Refuse: PeerReady has to follow
		r.world.mu.Lock()
		defer r.world.mu.Unlock()
		if l, at := r.linkWith(peer); l != nil && l.up {
			l.ends[at].noteDenied(measure(l.ends[at]))
		}
	}
	if err != nil {
		return nil, 0, err
	}
	if !r.up[peer] {
		r.recordFault("%s to peer %d, which is not up", name, peer)
	}
	l, at := r.linkWith(peer)
	if l == nil || !l.up {
		r.world.mu.Unlock()
		return nil, 0, peersync.ErrPeerUnknown
	}
	end := l.ends[at]
	need := measure(end)
	if !hasRoom(&end.sending, need.ids) || !hasRoom(&end.requested, need.requests) || need.bytes > 0 && end.queued+need.bytes > peersync.MaxQueued {
		end.noteDenied(need)
		r.world.mu.Unlock()
		return nil, 0, peersync.ErrBusy
	}
	return l, at, nil
}

// noteDenied notes a call that failed with ErrBusy.
func (end *linkEnd) noteDenied(need denied) {
	d := &end.denied
	d.ids, d.requests, d.bytes = max(d.ids, need.ids), max(d.requests, need.requests), max(d.bytes, need.bytes)
}

// countNew returns how many different ids are not under way.
func countNew(underWay *idSet, ids []storage.ID) int {
	seen := make(map[storage.ID]bool, len(ids))
	for _, id := range ids {
		if !underWay.has(id) {
			seen[id] = true
		}
	}
	return len(seen)
}

// needNothing measures a call that no limit keeps from succeeding.
func needNothing(*linkEnd) denied { return denied{} }

// Send implements [peersync.Links].
func (r *Replica) Send(ctx context.Context, to peersync.Peer, data []byte) error {
	measure := func(*linkEnd) denied { return denied{bytes: len(data)} }
	l, at, err := r.beginLinkCall(ctx, "send", peersync.CheckMessage(data), to, measure, digestOf(data))
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	messages := [][]byte{slices.Clone(data)}
	if r.Twist != nil {
		messages = r.Twist(messages[0])
	}
	for _, m := range messages {
		l.queueParcel(at, parcel{kind: message, message: m})
	}
	return nil
}

// Push implements [peersync.Links].
func (r *Replica) Push(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	l, at, fresh, err := r.beginSending(ctx, "push", to, ids)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	for _, id := range fresh {
		l.queueBody(at, pushed, id)
	}
	return nil
}

// Offer implements [peersync.Links].
func (r *Replica) Offer(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	l, at, fresh, err := r.beginSending(ctx, "offer", to, ids)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	if len(fresh) > 0 {
		l.queueParcel(at, parcel{kind: offer, ids: fresh})
	}
	return nil
}

// beginSending begins a Push or an Offer, and returns the ids that are not under way already.
func (r *Replica) beginSending(ctx context.Context, name string, to peersync.Peer, ids []storage.ID) (l *link, at int, fresh []storage.ID, err error) {
	measure := func(end *linkEnd) denied { return denied{ids: countNew(&end.sending, ids)} }
	l, at, err = r.beginLinkCall(ctx, name, peersync.CheckIDs(len(ids)), to, measure, digestIDs(ids))
	if err != nil {
		return nil, 0, nil, err
	}
	for _, id := range uniqueOf(ids) {
		if l.ends[at].sending.add(id) {
			fresh = append(fresh, id)
		}
	}
	return l, at, fresh, nil
}

// uniqueOf returns ids without repetitions.
func uniqueOf(ids []storage.ID) (out []storage.ID) {
	seen := make(map[storage.ID]bool, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// Request implements [peersync.Links].
func (r *Replica) Request(ctx context.Context, from peersync.Peer, keys []peersync.Key) error {
	var ids []storage.ID
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	measure := func(end *linkEnd) denied { return denied{requests: countNew(&end.requested, ids)} }
	l, at, err := r.beginLinkCall(ctx, "request", peersync.CheckIDs(len(keys)), from, measure, digestKeys(keys))
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	read := make(map[storage.ID]bool)
	for _, k := range keys {
		if !read[k.ID] {
			read[k.ID] = true
			l.requestKey(at, k)
		}
	}
	return nil
}

// requestKey asks the other end for an envelope, or settles it at once.
func (l *link) requestKey(at int, k peersync.Key) {
	end := l.ends[at]
	asked := end.requested.has(k.ID)
	o, retry := l.judgeKey(at, k, end.expected.len()+end.requested.len())
	if by := end.incoming[k.ID]; o.Status == 0 && by != nil && by != l {
		o.Status = peersync.UnderWay
		if by.ends[by.endOf(end.Replica)].requested.has(k.ID) {
			end.doubleRequests++
		}
	}
	switch {
	case o.Status != 0 && !asked:
		end.queueEvent(peersync.Received{Peer: l.peerAt(at), Outcomes: []peersync.Outcome{o}, RetryAfter: retry})
		return
	case end.requested.add(k.ID) && end.incoming[k.ID] == nil:
		end.incoming[k.ID] = l
		l.queueParcel(at, parcel{kind: wantRequest, ids: []storage.ID{k.ID}})
	}
}

// Drop implements [peersync.Links].
func (r *Replica) Drop(ctx context.Context, peer peersync.Peer, reason string) error {
	l, _, err := r.beginLinkCall(ctx, "drop", peersync.CheckText(reason), peer, needNothing, reason)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	l.closeFor(min(time.Minute<<min(l.drops, 20), maxDrop))
	l.drops++
	return nil
}

// maxDrop is the longest time for which a Drop closes a link.
const maxDrop = 6 * time.Hour

// Rest implements [peersync.Links].
func (r *Replica) Rest(ctx context.Context, peer peersync.Peer, pause time.Duration) error {
	l, _, err := r.beginLinkCall(ctx, "rest", peersync.CheckRest(pause), peer, needNothing, pause)
	if err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	l.closeFor(pause)
	return nil
}
