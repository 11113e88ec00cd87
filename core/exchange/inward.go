package exchange

import (
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// MaxAhead is how far a Born may be ahead of the own clock. Beyond that it becomes the present
// hour, so clocks that differ by more give one envelope two hours.
const MaxAhead = aheadHours * time.Hour

const (
	aheadHours = 2
	// underWayLimit is how long a peer may take to send an envelope before another one is
	// asked for it. Otherwise a peer that withholds it would keep it away.
	underWayLimit = 2 * time.Minute
)

// inward is what a link receives: envelopes that the replicator requests and the peer offers. It
// has its own account of each until the outcome, and keeps no account of pushes.
type inward struct {
	in        map[storage.ID]inbound
	askedOwed int // outcomes that calls wait for
	offeredIn int // ids that the peer has offered, and that have no TAKEN
	parked    int // ids in stage inWaiting
	wanted    int // ids in stage inWanted whose WANT was sent
	lookups   []lookup
	wants     [2][]storage.ID // to be requested, and to be taken from offers
	lastWant  uint32          // numbers what is wanted

	arrived    []arrivedBody // to be appended
	storeBytes int
	lowerings  []storage.Key
	answers    []answer // TAKENs to be sent
}

// inbound is an envelope that may come from the peer.
type inbound struct {
	born    storage.Hour
	number  uint32 // of the WANT
	calls   uint16 // of Request that get its outcome, at most MaxUnderWay
	offered bool   // the peer gets its outcome
	stage   inStage
	kind    peerlink.BodyKind // of the WANT
}

type inStage uint8

const (
	inLooking inStage = iota // is it in the log?
	inWaiting                // another peer is sending it
	inQueued                 // its WANT has to be sent
	inWanted                 // its WANT was sent
	inArrived                // its BODY has to be appended
	inAppending
)

// lookup is an id that is looked up in the log: because it is to be offered, or may come.
type lookup struct {
	id  storage.ID
	out bool
}

// answer is an outcome that the peer is owed.
type answer struct {
	outcome peersync.Outcome
	offered bool
}

// arrival says which peer is sending an envelope.
type arrival struct {
	p      *peer
	since  time.Duration
	pushed bool // the peer was not asked for it
}

// Request implements [peersync.Links].
func (e *Engine) Request(from peersync.Peer, keys []storage.Key) error {
	if err := peersync.CheckIDs(len(keys)); err != nil {
		return err
	}
	l, err := e.findUp(from)
	if err != nil {
		return err
	}
	keys = dropRepeated(keys, func(k storage.Key) storage.ID { return k.ID })
	if err := l.admitCall(denied{asked: len(keys)}); err != nil {
		return err
	}
	for _, k := range keys {
		n, underWay := l.in[k.ID]
		if !underWay || k.Born < n.born {
			n.born = k.Born
		}
		n.calls++
		l.askedOwed++
		l.in[k.ID] = n
		if !underWay {
			e.considerKey(l, k)
		}
	}
	return nil
}

// receiveOffer considers what the peer offers.
func (e *Engine) receiveOffer(l *link, f *peerlink.Offer) error {
	if l.offeredIn += len(f.Envelopes); l.offeredIn > peerlink.MaxOffered {
		return errors.New("more ids offered than there may be")
	}
	for _, o := range f.Envelopes {
		n, underWay := l.in[o.ID]
		if n.offered {
			return errors.New("an id offered twice")
		}
		if !underWay || o.Born < n.born {
			n.born = o.Born
		}
		n.offered = true
		l.in[o.ID] = n
		if !underWay {
			e.considerKey(l, o.Key)
		}
	}
	return nil
}

// considerKey settles a new id by its key, or looks it up.
func (e *Engine) considerKey(l *link, k storage.Key) {
	switch {
	case !l.p.cfg.Gives:
		e.settleIn(l, k.ID, peersync.NotAllowed)
	case k.Born < e.state.Floor:
		e.settleIn(l, k.ID, peersync.TooOld)
	default:
		l.lookups = append(l.lookups, lookup{id: k.ID})
	}
}

// decideFound goes on with an id that was looked up.
func (e *Engine) decideFound(l *link, id storage.ID, found Found, failed bool) {
	n := l.in[id]
	switch {
	case failed:
		e.settleIn(l, id, peersync.Lost)
	case found.Held && found.Born >= e.state.Floor: // what is below is as good as gone
		e.lowerBorn(l, storage.Key{Born: n.born, ID: id}, found.Born)
		e.settleIn(l, id, peersync.Known)
	default:
		e.askOrWait(l, id)
	}
}

// lowerBorn has the store take over a lower Born, if there is quota for the work.
func (e *Engine) lowerBorn(l *link, k storage.Key, born storage.Hour) {
	if k.Born < born && len(l.lowerings) < MaxLower && e.hasQuota(l.p) {
		l.p.envelopes.spend(e.now, 1)
		l.lowerings = append(l.lowerings, k)
	}
}

// askOrWait asks the peer for an envelope that is not in the log, unless another peer is sending it
// or there is no quota.
func (e *Engine) askOrWait(l *link, id storage.ID) {
	n := l.in[id]
	if a, underWay := e.incoming[id]; underWay && e.now-a.since < underWayLimit {
		if n.calls > 0 && a.p != l.p {
			l.p.addReceived(id, peersync.UnderWay, int(n.calls))
			l.askedOwed -= int(n.calls)
			n.calls = 0
		}
		if n.calls > 0 || n.offered {
			l.setIn(id, n, inWaiting)
		} else {
			delete(l.in, id)
		}
		return
	}
	if !e.hasQuota(l.p) {
		e.settleIn(l, id, peersync.OverQuota)
		return
	}
	l.p.envelopes.spend(e.now, 1)
	e.incoming[id] = arrival{p: l.p, since: e.now}
	n.kind = peerlink.Requested
	if n.calls == 0 {
		n.kind = peerlink.FromOffer
	}
	l.lastWant++
	n.number = l.lastWant
	l.setIn(id, n, inQueued)
	l.wants[n.kind-1] = append(l.wants[n.kind-1], id)
}

// setIn stores an id with a new stage, and counts the stages.
func (l *link) setIn(id storage.ID, n inbound, stage inStage) {
	l.countStage(n.stage, -1)
	l.countStage(stage, +1)
	n.stage = stage
	l.in[id] = n
}

func (l *link) countStage(stage inStage, by int) {
	switch stage {
	case inWaiting:
		l.parked += by
	case inWanted:
		l.wanted += by
	}
}

// settleIn settles an id that was requested or offered.
func (e *Engine) settleIn(l *link, id storage.ID, status peersync.OutcomeStatus) {
	n := l.in[id]
	delete(l.in, id)
	l.countStage(n.stage, -1)
	l.askedOwed -= int(n.calls)
	if n.calls > 0 || status != peersync.Lost && status != peersync.Gone {
		l.p.addReceived(id, status, int(n.calls))
	}
	l.p.countOutcome(status)
	switch {
	case !n.offered:
	case status == peersync.Gone && n.kind == peerlink.FromOffer:
		l.offeredIn-- // the peer has settled it
	case status == peersync.Gone: // it has settled the request, but not the offer
		l.answers = append(l.answers, answer{peersync.Outcome{ID: id, Status: peersync.Lost}, true})
	default:
		l.answers = append(l.answers, answer{peersync.Outcome{ID: id, Status: status}, true})
	}
	if n.stage >= inQueued {
		if status != peersync.Stored {
			l.p.envelopes.giveBack(1)
		}
		e.endArrival(l.p, id, status)
	}
}

func (p *peer) countOutcome(status peersync.OutcomeStatus) {
	switch status {
	case peersync.Stored:
		p.status.Stored++
	case peersync.Known:
		p.status.Known++
	case peersync.Gone, peersync.Lost, peersync.UnderWay:
	default:
		p.status.Refused++
	}
}

// endArrival says that a peer no longer sends an envelope, and goes on with what others offer.
func (e *Engine) endArrival(p *peer, id storage.ID, status peersync.OutcomeStatus) {
	if e.incoming[id].p != p {
		return
	}
	delete(e.incoming, id)
	for _, other := range e.peers {
		l := other.link
		if l == nil || l.parked == 0 {
			continue
		}
		if n, offered := l.in[id]; !offered || n.stage != inWaiting {
			continue
		}
		if status == peersync.Stored || status == peersync.Known {
			e.settleIn(l, id, peersync.Known)
		} else {
			e.askOrWait(l, id)
		}
	}
}

// stealWaiting asks for offers that have waited too long for another peer.
func (e *Engine) stealWaiting() {
	for _, p := range e.peers {
		if p.link == nil || p.link.parked == 0 {
			continue
		}
		for _, id := range sortedIDs(p.link.in) {
			if p.link.in[id].stage == inWaiting && e.now-e.incoming[id].since >= underWayLimit {
				e.askOrWait(p.link, id)
			}
		}
	}
}

// makeWant returns the next WANT, or nil. While the replicator leaves many outcomes, the peer is
// asked for no more of what it has offered.
func (e *Engine) makeWant(l *link) *peerlink.Want {
	for i := range l.wants {
		if n := min(len(l.wants[i]), peerlink.MaxIDs); n > 0 && (i == 0 || !l.p.hasManyReports()) {
			f := &peerlink.Want{Offered: i == 1, IDs: l.wants[i][:n:n]}
			l.wants[i] = l.wants[i][n:]
			for _, id := range f.IDs {
				l.setIn(id, l.in[id], inWanted)
			}
			return f
		}
	}
	return nil
}

// makeTaken returns the next TAKEN, or nil. While the replicator leaves many outcomes, the peer
// gets none, so that it sends no more.
func (e *Engine) makeTaken(l *link) *peerlink.Taken {
	n := min(len(l.answers), peerlink.MaxIDs)
	if n == 0 || l.p.hasManyReports() {
		return nil
	}
	f := &peerlink.Taken{Outcomes: make([]peersync.Outcome, n)}
	for i, a := range l.answers[:n] {
		f.Outcomes[i] = a.outcome
		if a.offered {
			l.offeredIn--
		}
	}
	if hasOverQuota(f.Outcomes) {
		f.RetryAfter = max(1, wholeSeconds(e.retryAfter(l.p)))
	}
	l.answers = l.answers[n:]
	return f
}

// receiveGone settles what the peer does not have.
func (e *Engine) receiveGone(l *link, f *peerlink.Gone) error {
	l.progress = e.now
	for _, id := range f.IDs {
		if n, known := l.in[id]; !known || n.stage != inWanted {
			return errors.New("a GONE for what was not wanted")
		}
		e.settleIn(l, id, peersync.Gone)
	}
	return nil
}

// abandonIncoming settles what a link was to receive when it ends. What is being appended stays
// under way.
func (e *Engine) abandonIncoming(l *link) {
	l.p.link = nil // so nothing is asked of it
	for _, b := range l.arrived {
		if b.kind != peerlink.Pushed {
			continue
		}
		l.p.envelopes.giveBack(1)
		if e.incoming[b.record.ID].pushed {
			e.endArrival(l.p, b.record.ID, peersync.Lost)
		}
	}
	for _, id := range sortedIDs(l.in) {
		n := l.in[id]
		if n.calls > 0 {
			l.p.addReceived(id, peersync.Lost, int(n.calls))
		}
		switch {
		case n.stage == inAppending:
		case n.stage >= inQueued:
			l.p.envelopes.giveBack(1)
			e.endArrival(l.p, id, peersync.Lost)
		}
	}
}
