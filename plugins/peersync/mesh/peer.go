package mesh

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// maxWait is the longest time for which a peer can ask not to be sent anything.
	maxWait = time.Hour
	// lostWait is the time before something that was Lost is sent again.
	lostWait = 10 * time.Second
	// retryWait is the time before a call that failed is tried again, unless PeerReady comes.
	retryWait = time.Second
)

// peer is another relay that is up.
type peer struct {
	number       peersync.Peer
	initiator    bool // of repairs: this end
	gives, takes bool // as in PeerUp
	state        peersync.State
	breach       string // how it broke the protocol
	dropped      bool

	tail     tail
	sendAt   time.Duration // when it takes envelopes again
	takeAt   time.Duration // when this relay takes envelopes of it again
	outboxAt time.Duration // when it may be sent
	heardAt  time.Duration // when something came of it
	outbox   []byte        // a message that waits for PeerReady
	work     workBudget
	serving  serving
	repair   *repair // that this end has initiated
	schedule schedule
	transfer transfer
}

func (r *replicator) newPeer(e peersync.PeerUp) *peer {
	p := &peer{
		number: e.Peer, initiator: e.Initiator, gives: e.Gives, takes: e.Takes, state: e.State,
		heardAt:  r.now,
		work:     workBudget{left: workBurst, at: r.now},
		schedule: schedule{at: r.now, upAt: r.now},
	}
	p.tail.reset(r.state.Last)
	return p
}

// isUsable reports whether calls for the peer make sense.
func (p *peer) isUsable() bool { return p.breach == "" }

// fault notes that the peer has broken the protocol. The link is closed at the end of this Handle.
func (p *peer) fault(format string, args ...any) {
	if p.breach == "" {
		p.breach = fmt.Sprintf(format, args...)
	}
}

// loseTrack makes the next repair cover everything, because what the tail has done is void.
func (r *replicator) loseTrack(p *peer) {
	p.tail.reset(r.state.Last)
	p.tail.loaded = true // its cursor is of another epoch
	r.compareAll(p)
}

// compareAll makes a repair of everything the next thing to do.
func (r *replicator) compareAll(p *peer) {
	p.tail.valid = false
	p.schedule.whole, p.schedule.asked = true, false
	p.schedule.at = r.now
	p.repair, p.serving.whole = nil, 0
}

// noteReady notes that calls may succeed that failed before.
func (p *peer) noteReady(now time.Duration) {
	p.tail.retryAt, p.transfer.retryAt, p.outboxAt = now, now, now
}

func (r *replicator) notePeerState(p *peer, s peersync.State) {
	renewed := s.Epoch != p.state.Epoch
	p.state = s
	if renewed && p.tail.loaded {
		r.compareAll(p)
	}
}

func (r *replicator) noteMessage(p *peer, data []byte) {
	if !p.isUsable() {
		return
	}
	p.heardAt = r.now
	m, err := decodeMessage(data)
	switch {
	case errors.Is(err, errUnknown):
		return
	case errors.Is(err, errVersion):
		p.fault("its mesh speaks another version of the protocol (%d, here %d): let both relays run the same release", data[0], version)
		return
	case err != nil:
		p.fault("it sent a message that is none of mesh")
		return
	}
	if fromInitiator := m.kind == typeCompare || m.kind == typeSession || m.kind == typeDone; fromInitiator && p.initiator {
		p.fault("it acts as the end that begins repairs, which it is not")
		return
	}
	if fromOther := m.kind == typeAsk || m.kind == typeDiffer || m.kind == typeAnswer || m.kind == typeCopied; fromOther && !p.initiator {
		p.fault("it answers repairs that nobody has begun")
		return
	}
	switch m.kind {
	case typeAsk:
		r.noteAsk(p)
	case typeDiffer:
		r.noteDiffer(p, m)
	case typeAnswer:
		r.noteAnswer(p, m)
	case typeCopied:
		if p.repair != nil && p.repair.number == m.repair {
			p.repair.copying = false
		}
	case typeOffer:
		// What has no room, or exceeds the budget, the next repair of the twin asks for again.
		if p.takes && p.work.mayGo(r.now) {
			p.work.charge(len(data))
			p.transfer.addHave(m.ids...)
		}
	default:
		r.noteRequest(p, m)
	}
}

// noteSent notes what became of ids that were pushed or offered.
func (r *replicator) noteSent(p *peer, e peersync.Sent) {
	p.heardAt = r.now
	for _, o := range e.Outcomes {
		switch o.Status {
		case peersync.OverQuota:
			p.sendAt = max(p.sendAt, r.now+min(max(e.RetryAfter, time.Second), maxWait))
		case peersync.Lost:
			p.sendAt = max(p.sendAt, r.now+lostWait)
		}
		p.tail.settleSent(o)
		if p.transfer.settleOffered(o) {
			p.noteProgress(o)
		}
	}
}

// noteReceived notes what came from a peer, or did not.
func (r *replicator) noteReceived(p *peer, e peersync.Received) {
	p.heardAt = r.now
	for _, o := range e.Outcomes {
		if o.Status == peersync.OverQuota {
			p.takeAt = max(p.takeAt, r.now+min(max(e.RetryAfter, time.Second), maxWait))
		}
		if o.Status == peersync.Known {
			p.tail.noteKnown(o.ID)
		}
		if p.transfer.settleRequested(o) {
			p.noteProgress(o)
		}
	}
}

// noteProgress notes an outcome of what a repair has found.
func (p *peer) noteProgress(o peersync.Outcome) {
	if p.repair == nil {
		return
	}
	switch o.Status {
	case peersync.Stored:
		p.repair.progress = true
	case peersync.OverQuota, peersync.Lost, peersync.UnderWay:
		p.repair.unsettled = true
	}
}

// idRing remembers the latest ids.
type idRing struct {
	ids  []storage.ID
	has  map[storage.ID]bool
	next int
}

func (s *idRing) add(id storage.ID, limit int) {
	if s.has[id] {
		return
	}
	if s.has == nil {
		s.has = make(map[storage.ID]bool)
	}
	s.has[id] = true
	if len(s.ids) < limit {
		s.ids = append(s.ids, id)
		return
	}
	delete(s.has, s.ids[s.next])
	s.ids[s.next] = id
	s.next = (s.next + 1) % limit
}

// shuffleIDs puts ids into a random order.
func (r *replicator) shuffleIDs(ids []storage.ID) {
	r.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
}

// takeFront removes at most n elements from the front of a list and returns them.
func takeFront[T any](list *[]T, n int) []T {
	n = min(n, len(*list))
	front := slices.Clone((*list)[:n])
	if *list = (*list)[n:]; len(*list) == 0 {
		*list = nil
	}
	return front
}
