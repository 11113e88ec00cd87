package exchange

import (
	"errors"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxFetched bounds the bytes of bodies of each kind and those of more urgent kinds that were
// fetched and wait: so that there is room for a push while offered bodies wait for credit.
var maxFetched = [kinds]int{512 << 10, 448 << 10, 384 << 10}

// bodies are the envelopes that a link sends: pushed, requested, and taken from an offer.
type bodies struct {
	toFetch      [kinds][]storage.ID
	fetched      [kinds][]fetched
	bodyBytes    int       // of all that were fetched
	wantedByPeer int       // ids that the peer has requested, and that have no answer
	gone         []missing // answers to be sent
}

// missing is an envelope that the peer wants and that is not in the log.
type missing struct {
	id        storage.ID
	requested bool
}

type fetched struct {
	id    storage.ID
	frame *peerlink.Body
}

// receiveWant queues the envelopes that the peer asks for.
func (e *Engine) receiveWant(l *link, f *peerlink.Want) error {
	l.progress = e.now
	if !f.Offered {
		if l.wantedByPeer+len(f.IDs) > peerlink.MaxRequested {
			return errors.New("more ids wanted than there may be")
		}
		ids := dropRepeated(f.IDs, func(id storage.ID) storage.ID { return id })
		l.wantedByPeer += len(ids)
		l.toFetch[peerlink.Requested] = append(l.toFetch[peerlink.Requested], ids...)
		return nil
	}
	for _, id := range f.IDs {
		if o, known := l.out[id]; !known || o.stage != outAnnounced {
			return errors.New("a WANT of what was not offered")
		}
		l.setStage(id, outWanted)
		l.toFetch[peerlink.FromOffer] = append(l.toFetch[peerlink.FromOffer], id)
	}
	return nil
}

// nextFetch returns ids whose bodies can be sent soon, and their kind.
func (l *link) nextFetch() (kind peerlink.BodyKind, ids []storage.ID) {
	for kind, queue := range l.toFetch {
		room := min(maxFetched[kind], l.credit[envelopes]) - l.bodyBytes
		if n := min(len(queue), MaxFetch, room/maxBody); n > 0 && n >= min(len(queue), MaxFetch/8) {
			l.toFetch[kind] = queue[n:]
			return peerlink.BodyKind(kind), queue[:n:n]
		}
	}
	return 0, nil
}

// addFetched queues the bodies that were fetched. Records are in the order of ids, and lack what
// is not in the log.
func (e *Engine) addFetched(l *link, kind peerlink.BodyKind, ids []storage.ID, result Result) {
	records := result.Records
	for _, id := range ids {
		if result.Err == nil && len(records) > 0 && records[0].ID == id {
			r := records[0]
			records = records[1:]
			switch {
			case r.Born < e.state.Floor:
			case kind == peerlink.Pushed && r.Born < l.state.Floor:
				l.settleOut(id, peersync.TooOld)
				continue
			default:
				f := &peerlink.Body{Kind: kind, Born: r.Born, Signature: r.Signature, Ciphertext: r.Ciphertext}
				l.fetched[kind] = append(l.fetched[kind], fetched{id, f})
				l.bodyBytes += len(r.Signature) + len(r.Ciphertext) + 256
				continue
			}
		}
		status := peersync.Gone
		if result.Err != nil {
			status = peersync.Lost
		}
		e.settleMissing(l, kind, id, status)
	}
}

// settleMissing settles an envelope that was to be sent and cannot be read. The peer waits for it,
// unless it was to be pushed.
func (e *Engine) settleMissing(l *link, kind peerlink.BodyKind, id storage.ID, status peersync.OutcomeStatus) {
	if kind != peerlink.Pushed {
		l.gone = append(l.gone, missing{id, kind == peerlink.Requested})
	}
	if kind != peerlink.Requested {
		l.settleOut(id, status)
	}
}

// makeGone returns the next GONE, or nil.
func (l *link) makeGone() *peerlink.Gone {
	n := min(len(l.gone), peerlink.MaxIDs)
	if n == 0 {
		return nil
	}
	f := &peerlink.Gone{IDs: make([]storage.ID, n)}
	for i, m := range l.gone[:n] {
		f.IDs[i] = m.id
		if m.requested {
			l.wantedByPeer--
		}
	}
	l.gone = l.gone[n:]
	return f
}

// dropFetched settles the first bodies of each kind that have become useless since they were
// fetched: the floor has risen above them, or the peer takes no pushes now.
func (e *Engine) dropFetched(l *link) {
	for kind := range l.fetched {
		for len(l.fetched[kind]) > 0 {
			next := l.fetched[kind][0]
			status := peersync.OutcomeStatus(0)
			if kind == int(peerlink.Pushed) {
				status = e.refusalBy(l)
			}
			if next.frame.Born < e.state.Floor {
				status = peersync.Gone
			}
			if status == 0 {
				break
			}
			l.popFetched(kind)
			e.settleMissing(l, next.frame.Kind, next.id, status)
		}
	}
}

// popFetched removes the first body of a kind.
func (l *link) popFetched(kind int) {
	f := l.fetched[kind][0].frame
	l.bodyBytes -= len(f.Signature) + len(f.Ciphertext) + 256
	l.fetched[kind][0] = fetched{}
	l.fetched[kind] = l.fetched[kind][1:]
}

// makeBody returns the next BODY, or nil if no body waits or the credit does not suffice.
func (e *Engine) makeBody(l *link) *peerlink.Body {
	for kind := range l.fetched {
		if len(l.fetched[kind]) == 0 {
			continue
		}
		next := l.fetched[kind][0]
		cost := peerlink.CreditCost(next.frame)
		if cost > l.credit[envelopes] {
			return nil
		}
		l.credit[envelopes] -= cost
		l.popFetched(kind)
		if kind == int(peerlink.Requested) {
			l.wantedByPeer--
		} else {
			l.setStage(next.id, outSent)
		}
		l.progress = e.now
		l.p.status.EnvelopesOut++
		l.p.status.BodiesOut += uint64(len(next.frame.Signature) + len(next.frame.Ciphertext))
		return next.frame
	}
	return nil
}
