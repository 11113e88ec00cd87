package exchange

import (
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// note is an event of a peer that waits for the replicator. Outcomes of the same kind are joined.
type note struct {
	event    peersync.Event // PeerUp or PeerDown
	message  []byte
	cost     int // credit for the message
	sent     bool
	outcomes []peersync.Outcome
	owed     int // how many of the outcomes are answers to calls
}

// addSent queues an outcome for calls of Push and Offer.
func (p *peer) addSent(id storage.ID, status peersync.OutcomeStatus, calls int) {
	p.sentWaiting += calls
	for range calls {
		p.addOutcome(peersync.Outcome{ID: id, Status: status}, true, 1)
	}
}

// addReceived queues an outcome for calls of Request, or a report of what the peer sent if there
// was none.
func (p *peer) addReceived(id storage.ID, status peersync.OutcomeStatus, calls int) {
	p.askedWaiting += calls
	p.reportWaiting += max(calls, 1)
	for i := range max(calls, 1) {
		p.addOutcome(peersync.Outcome{ID: id, Status: status}, false, min(1, calls-i))
	}
}

func (p *peer) addOutcome(o peersync.Outcome, sent bool, owed int) {
	p.outcomes++
	if n := len(p.events); n > 0 {
		last := &p.events[n-1]
		if len(last.outcomes) > 0 && last.sent == sent && len(last.outcomes) < peersync.MaxIDs {
			last.outcomes = append(last.outcomes, o)
			last.owed += owed
			return
		}
	}
	p.events = append(p.events, note{sent: sent, outcomes: []peersync.Outcome{o}, owed: owed})
}

// clearEvents forgets what waits.
func (p *peer) clearEvents() {
	p.events = nil
	p.sentWaiting, p.askedWaiting, p.reportWaiting, p.messageBytes, p.outcomes = 0, 0, 0, 0, 0
}

// endEvents drops what a replicator need not know of a link that has ended: its messages, and
// everything if the replicator has not heard of the link.
func (p *peer) endEvents(told bool) {
	from := len(p.events)
	for i, n := range p.events {
		if _, up := n.event.(peersync.PeerUp); up {
			from = i // so the replicator has not taken it
		}
	}
	kept := p.events[:0]
	for i, n := range p.events {
		if n.message != nil || i >= from {
			p.messageBytes -= len(n.message)
			p.outcomes -= len(n.outcomes)
			p.reportWaiting -= len(n.outcomes) // before its PeerUp, nobody calls Push or Request
			continue
		}
		kept = append(kept, n)
	}
	clear(p.events[len(kept):])
	p.events = kept
	if told {
		p.events = append(p.events, note{event: peersync.PeerDown{Peer: p.cfg.Peer}})
	}
}

// batch is a list of events within the limits of one Handle.
type batch struct {
	events     []peersync.Event
	bytes, ids int
}

// hasRoom reports whether an event still fits. Two are left for the owner.
func (b *batch) hasRoom(n note) bool {
	return len(b.events) < peersync.MaxEvents-2 && b.bytes+len(n.message) <= peersync.MaxEventBytes &&
		b.ids+len(n.outcomes) <= peersync.MaxEventIDs
}

// Events takes what has happened for the replicator, in order, as much as fits one Handle and two
// events fewer; none if there is nothing. It is called until there is nothing, but not before the
// Handle of the events before has returned.
func (e *Engine) Events() []peersync.Event {
	b := &batch{}
	for len(e.removed) > 0 && e.takeEvents(b, e.removed[0]) {
		e.removed = e.removed[1:]
	}
	if len(e.removed) > 0 {
		return b.events // a number that is gone may be back, so the rest comes later
	}
	if e.changed && b.hasRoom(note{}) {
		e.changed = false
		b.events = append(b.events, peersync.PeersChanged{Peers: e.peerNumbers()})
	}
	if e.advanced && b.hasRoom(note{}) {
		e.advanced = false
		b.events = append(b.events, peersync.LogAdvanced{State: e.state})
	}
	for i := range e.peers {
		e.takeEvents(b, e.peers[(i+e.eventTurn)%len(e.peers)])
	}
	e.eventTurn++
	return b.events
}

func (e *Engine) peerNumbers() []peersync.Peer {
	numbers := make([]peersync.Peer, len(e.peers))
	for i, p := range e.peers {
		numbers[i] = p.cfg.Peer
	}
	return numbers
}

// takeEvents moves events of a peer to the batch, and reports whether all had room.
func (e *Engine) takeEvents(b *batch, p *peer) bool {
	taken := 0
	for taken < len(p.events) && b.hasRoom(p.events[taken]) {
		e.takeNote(b, p, &p.events[taken])
		taken++
	}
	clear(p.events[:taken])
	if p.events = p.events[taken:]; len(p.events) > 0 {
		return false
	}
	p.events = nil
	l := p.link
	if l == nil || !l.told {
		return true
	}
	if l.moved && b.hasRoom(note{}) {
		l.moved = false
		b.events = append(b.events, peersync.PeerMoved{Peer: p.cfg.Peer, State: l.state})
	}
	if l.denied != (denied{}) && l.hasRoom(l.denied) && b.hasRoom(note{}) {
		l.denied = denied{}
		b.events = append(b.events, peersync.PeerReady{Peer: p.cfg.Peer})
	}
	return true
}

func (e *Engine) takeNote(b *batch, p *peer, n *note) {
	b.bytes += len(n.message)
	b.ids += len(n.outcomes)
	p.outcomes -= len(n.outcomes)
	switch {
	case n.message != nil:
		b.events = append(b.events, peersync.PeerMessage{Peer: p.cfg.Peer, Data: n.message})
		p.messageBytes -= len(n.message)
		p.link.grants[messages] += n.cost
	case n.event != nil:
		b.events = append(b.events, n.event)
		if _, up := n.event.(peersync.PeerUp); up {
			p.link.told = true
		}
	case n.sent:
		p.sentWaiting -= n.owed
		event := peersync.Sent{Peer: p.cfg.Peer, Outcomes: n.outcomes}
		if hasOverQuota(n.outcomes) {
			event.RetryAfter = max(p.theirRetry-e.now, 0)
		}
		b.events = append(b.events, event)
	default:
		p.askedWaiting -= n.owed
		p.reportWaiting -= len(n.outcomes)
		event := peersync.Received{Peer: p.cfg.Peer, Outcomes: n.outcomes}
		if hasOverQuota(n.outcomes) {
			event.RetryAfter = e.retryAfter(p)
		}
		b.events = append(b.events, event)
	}
}

func hasOverQuota(outcomes []peersync.Outcome) bool {
	for _, o := range outcomes {
		if o.Status == peersync.OverQuota {
			return true
		}
	}
	return false
}
