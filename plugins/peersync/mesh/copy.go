package mesh

import (
	"context"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// maxOffered is how many ids of repairs and copies are offered and not settled, for each peer. The rest
	// of MaxUnderWay is for the tail.
	maxOffered = peersync.MaxUnderWay - maxTail
	// maxRequested is how many ids are requested and not settled.
	maxRequested = peersync.MaxUnderWay
	// maxFound is how many ids of a repair may wait to be offered, and how many to be
	// requested. Sessions wait while there are more than enoughFound.
	maxFound    = 16 << 10
	enoughFound = 8 << 10
	// maxAsks is how many ids may wait that the peer is asked to offer.
	maxAsks = 4096
	// copyPage is how many keys of a copy are offered at a time.
	copyPage = 512
)

// transfer is what a repair has found, and what is copied.
type transfer struct {
	haves     []storage.ID        // to offer
	needs     []storage.Key       // to request
	copies    []storage.Range     // to offer, after haves; what was offered of the first one is cut off
	asks      []storage.ID        // to have offered, because the hour there may be earlier
	offered   map[storage.ID]bool // under way
	requested map[storage.ID]bool
	retryAt   time.Duration // when calls may succeed again
	sent      uint64        // of what was found and copied: envelopes that the peer has stored
	received  uint64        // and that this relay has stored
}

// addHave queues ids to offer, and reports whether there was room for them.
func (t *transfer) addHave(ids ...storage.ID) bool {
	n := min(len(ids), maxFound-len(t.haves))
	t.haves = append(t.haves, ids[:n]...)
	return n == len(ids)
}

// addNeed queues keys to request, and reports whether there was room for them.
func (t *transfer) addNeed(keys []storage.Key) bool {
	n := min(len(keys), maxFound-len(t.needs))
	t.needs = append(t.needs, keys[:n]...)
	return n == len(keys)
}

// addCopy queues a window to be offered as a whole. Windows are added in ascending order, so
// neighbors become one.
func (t *transfer) addCopy(in storage.Range) {
	if n := len(t.copies); n > 0 && t.copies[n-1].Hi == in.Lo {
		t.copies[n-1].Hi = in.Hi
		return
	}
	t.copies = append(t.copies, in)
}

// hasRoom reports whether sessions may find more.
func (t *transfer) hasRoom() bool { return len(t.haves) <= enoughFound && len(t.needs) <= enoughFound }

// isCopied reports whether all that was to be copied is offered, and settled.
func (t *transfer) isCopied() bool { return len(t.copies) == 0 && len(t.offered) == 0 }

// isIdle reports whether all that was found is settled.
func (t *transfer) isIdle() bool {
	return t.isCopied() && len(t.haves) == 0 && len(t.needs) == 0 && len(t.requested) == 0
}

// settleOffered notes the outcome of an id, and reports whether it was offered here.
func (t *transfer) settleOffered(o peersync.Outcome) bool {
	if !t.offered[o.ID] {
		return false
	}
	delete(t.offered, o.ID)
	if o.Status == peersync.Stored {
		t.sent++
	}
	return true
}

// settleRequested notes the outcome of an id, and reports whether it was requested. If this relay
// knows the id, the peer has it under another hour, perhaps an earlier one: then the peer is
// asked to offer it, because a key that Negentropy has found lacks its exact hour.
func (t *transfer) settleRequested(o peersync.Outcome) bool {
	if !t.requested[o.ID] {
		return false
	}
	delete(t.requested, o.ID)
	switch {
	case o.Status == peersync.Stored:
		t.received++
	case o.Status == peersync.Known && len(t.asks) < maxAsks:
		t.asks = append(t.asks, o.ID)
	}
	return true
}

// catchUp offers and requests what repairs have found, and copies.
func (r *replicator) catchUp(ctx context.Context, p *peer) {
	t := &p.transfer
	if !p.isUsable() || r.now < t.retryAt {
		return
	}
	if r.now >= p.sendAt && !r.offerFound(ctx, p) || r.now >= p.takeAt && !r.requestFound(ctx, p) {
		t.retryAt = r.now + retryWait
		return
	}
	if len(t.asks) > 0 && r.send(ctx, p, message{kind: typeOffer, ids: t.asks[:min(len(t.asks), peersync.MaxIDs)]}) {
		takeFront(&t.asks, peersync.MaxIDs)
	}
}

// offerFound offers what a repair has found here, then what is to be copied. It reports false if
// a call failed.
func (r *replicator) offerFound(ctx context.Context, p *peer) bool {
	t := &p.transfer
	for len(t.haves) > 0 && len(t.offered) < maxOffered {
		n := min(len(t.haves), peersync.MaxIDs, maxOffered-len(t.offered))
		if !r.offerIDs(ctx, p, t.haves[:n]) {
			return false
		}
		takeFront(&t.haves, n)
	}
	for len(t.copies) > 0 && len(t.offered)+copyPage <= maxOffered {
		in := &t.copies[0]
		lists, err := r.host.Keys(ctx, []peersync.Range{*in}, copyPage)
		if err != nil {
			return false
		}
		if len(lists) == 0 || len(lists[0]) == 0 {
			takeFront(&t.copies, 1)
			continue
		}
		ids := make([]storage.ID, len(lists[0]))
		for i, k := range lists[0] {
			ids[i] = k.ID
		}
		if !r.offerIDs(ctx, p, ids) {
			return false
		}
		if in.Lo = lists[0][len(ids)-1].Next(); in.Lo == in.Hi || in.Lo == (storage.Key{}) {
			takeFront(&t.copies, 1)
		}
	}
	return true
}

// offerIDs offers those of the ids that are not offered already, and reports whether it could.
func (r *replicator) offerIDs(ctx context.Context, p *peer, ids []storage.ID) bool {
	fresh := selectNew(&p.transfer.offered, ids, func(id storage.ID) storage.ID { return id })
	if len(fresh) > 0 && r.host.Offer(ctx, p.number, fresh) != nil {
		for _, id := range fresh {
			delete(p.transfer.offered, id)
		}
		return false
	}
	return true
}

// requestFound requests what a repair has found at the peer. It reports false if a call failed.
func (r *replicator) requestFound(ctx context.Context, p *peer) bool {
	t := &p.transfer
	for len(t.needs) > 0 && len(t.requested) < maxRequested {
		n := min(len(t.needs), peersync.MaxIDs, maxRequested-len(t.requested))
		fresh := selectNew(&t.requested, t.needs[:n], func(k storage.Key) storage.ID { return k.ID })
		if len(fresh) > 0 && r.host.Request(ctx, p.number, fresh) != nil {
			for _, k := range fresh {
				delete(t.requested, k.ID)
			}
			return false
		}
		takeFront(&t.needs, n)
	}
	return true
}

// selectNew returns the elements whose ids are not in the set, once each, and adds them to it.
func selectNew[T any](set *map[storage.ID]bool, list []T, idOf func(T) storage.ID) (fresh []T) {
	if *set == nil {
		*set = make(map[storage.ID]bool)
	}
	for _, e := range list {
		if id := idOf(e); !(*set)[id] {
			(*set)[id] = true
			fresh = append(fresh, e)
		}
	}
	return fresh
}
