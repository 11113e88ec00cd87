package peersynctest

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Terms are what the operator of a relay allows a peer. The zero Terms allow everything.
type Terms struct {
	// Mirror says that the relay stores nothing from the peer.
	Mirror bool
	// Quota is how many envelopes the relay stores from the peer in each period of QuotaTime;
	// 0 means no limit.
	Quota     int
	QuotaTime time.Duration
}

// account counts what a relay stored from a peer in a period of its quota.
type account struct {
	period time.Duration
	stored int
}

// parkedOffer is an offered envelope that another peer is sending.
type parkedOffer struct {
	link  *link
	end   int
	entry peersync.Entry
}

// deliverTo has a parcel arrive at one end.
func (l *link) deliverTo(at int, p parcel) {
	end, peer := l.ends[at], l.peerAt(at)
	switch p.kind {
	case message:
		end.queueEvent(peersync.PeerMessage{Peer: peer, Data: p.message})
	case stateNews:
		end.queueEvent(peersync.PeerMoved{Peer: peer, State: p.state})
	case offer:
		for _, e := range p.entries {
			l.considerOffer(at, e)
		}
	case wantRequest:
		for _, id := range p.ids {
			l.queueBody(at, requested, id)
		}
	case wantOffered:
		for _, id := range p.ids {
			l.queueBody(at, offered, id)
		}
	case goneRequest, goneOffered:
		for _, id := range p.ids {
			l.settleReceived(at, peersync.Outcome{ID: id, Status: peersync.Gone}, 0, false)
			l.endExpected(at, id)
		}
	case taken:
		for _, o := range p.outcomes {
			l.settleSent(at, o, p.retry)
		}
	case pushed, requested, offered:
		l.receiveBody(at, p.kind, p.entries[0])
	}
}

// considerOffer answers the offer of an envelope to one end.
func (l *link) considerOffer(at int, e peersync.Entry) {
	end := l.ends[at]
	o, retry := l.judgeKey(at, e.Key, end.expected.len()+end.requested.len())
	switch {
	case o.Status == 0 && end.incoming[e.ID] != nil:
		end.parked[e.ID] = append(end.parked[e.ID], parkedOffer{l, at, e})
	case o.Status == 0:
		end.incoming[e.ID] = l
		end.expected.add(e.ID)
		l.queueParcel(at, parcel{kind: wantOffered, ids: []storage.ID{e.ID}})
	default:
		l.answerSender(at, o, retry)
		l.settleReceived(at, o, retry, true)
	}
}

// receiveBody stores an envelope that arrives at one end, or not, and settles it.
func (l *link) receiveBody(at int, kind parcelKind, e peersync.Entry) {
	end, other := l.ends[at], l.ends[1-at]
	end.traffic.Envelopes++
	end.traffic.Bytes += int(e.Size)
	o, retry := l.judgeKey(at, e.Key, 0)
	switch {
	case o.Status == peersync.Known:
		end.traffic.Wasted++
	case o.Status != 0:
	case l.line.Corrupt > 0 && l.world.rng.IntN(l.line.Corrupt) == 0:
		o.Status = peersync.Invalid
	case end.refuses("store", l.peerAt(at)) != nil:
		o.Status = peersync.Lost
	default:
		o.Status = peersync.Stored
		end.addEnvelope(peersync.Key{Born: min(e.Born, end.presentHour()), ID: e.ID}, e.Size, l.peerAt(at))
		end.accountOf(other.index).stored++
	}
	if kind != requested {
		l.answerSender(at, o, retry)
	}
	switch {
	case kind == pushed && o.Status != peersync.Lost: // a request for it gets its own answer
		end.queueEvent(peersync.Received{Peer: l.peerAt(at), Outcomes: []peersync.Outcome{o}, RetryAfter: retry})
	case kind != pushed:
		l.settleReceived(at, o, retry, kind == offered && o.Status != peersync.Lost)
		l.endExpected(at, e.ID)
	}
}

// judgeKey says why a relay does not take an envelope from the other end; status 0 means that it
// does. It lowers the hour of one that it has. reserved is how much of the quota is spoken for.
func (l *link) judgeKey(at int, k peersync.Key, reserved int) (o peersync.Outcome, retry time.Duration) {
	end, other := l.ends[at], l.ends[1-at]
	o.ID = k.ID
	terms := end.terms[other.index]
	switch e := end.findEntry(k.ID); {
	case terms.Mirror:
		o.Status = peersync.NotAllowed
	case k.Born < end.floor:
		o.Status = peersync.TooOld
	case e != nil:
		end.moveKey(e, k.Born)
		o.Status = peersync.Known
	case terms.Quota > 0 && end.accountOf(other.index).stored+reserved >= terms.Quota:
		o.Status = peersync.OverQuota
		retry = terms.QuotaTime - l.world.now%terms.QuotaTime
	}
	return o, retry
}

// answerSender tells the other end what became of an envelope that it pushed or offered.
func (l *link) answerSender(at int, o peersync.Outcome, retry time.Duration) {
	l.queueParcel(at, parcel{kind: taken, outcomes: []peersync.Outcome{o}, retry: retry})
}

// endExpected forgets an id that no longer comes from the other end.
func (l *link) endExpected(at int, id storage.ID) {
	l.ends[at].expected.take(id)
	l.ends[at].endIncoming(l, id)
}

// endIncoming ends the waiting for an envelope from a link, and considers what others offered
// meanwhile.
func (r *Replica) endIncoming(l *link, id storage.ID) {
	if r.incoming[id] != l {
		return
	}
	delete(r.incoming, id)
	offers := r.parked[id]
	delete(r.parked, id)
	for _, p := range offers {
		p.link.considerOffer(p.end, p.entry)
	}
}

// forgetParked forgets the offers of a link.
func (r *Replica) forgetParked(l *link) {
	for id, offers := range r.parked {
		kept := offers[:0]
		for _, p := range offers {
			if p.link != l {
				kept = append(kept, p)
			}
		}
		r.parked[id] = kept
	}
}

// accountOf returns the present account of a peer.
func (r *Replica) accountOf(other int) *account {
	a := &r.accounts[other]
	if t := r.terms[other].QuotaTime; t > 0 && a.period != r.world.now/t {
		*a = account{period: r.world.now / t}
	}
	return a
}
