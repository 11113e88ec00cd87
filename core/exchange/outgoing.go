package exchange

import (
	"cmp"
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// outgoing is what a link is to send: envelopes that the replicator pushes and offers.
type outgoing struct {
	out        map[storage.ID]outbound
	outOwed    int                // outcomes that calls wait for, of all in out
	announce   []peerlink.Offered // to be offered
	unanswered int                // ids that the peer has to answer with a TAKEN or a WANT
	offers     int                // of these, those that were offered

	bodies
}

// outbound is an envelope that is pushed or offered.
type outbound struct {
	offered bool
	stage   outStage
	calls   int // that get its outcome
}

type outStage uint8

const (
	outQueued    outStage = iota // its key or its body has to be read
	outAnnounced                 // the OFFER was sent
	outWanted                    // its body has to be read, since the peer wants it
	outSent                      // the BODY was sent
)

// Push implements [peersync.Links].
func (e *Engine) Push(to peersync.Peer, ids []storage.ID) error {
	return e.sendEnvelopes(to, ids, false)
}

// Offer implements [peersync.Links].
func (e *Engine) Offer(to peersync.Peer, ids []storage.ID) error {
	return e.sendEnvelopes(to, ids, true)
}

func (e *Engine) sendEnvelopes(to peersync.Peer, ids []storage.ID, offer bool) error {
	if err := peersync.CheckIDs(len(ids)); err != nil {
		return err
	}
	l, err := e.findUp(to)
	if err != nil {
		return err
	}
	ids = dropRepeated(ids, func(id storage.ID) storage.ID { return id })
	if err := l.admitCall(denied{sent: len(ids)}); err != nil {
		return err
	}
	for _, id := range ids {
		if o, underWay := l.out[id]; underWay {
			o.calls++
			l.out[id] = o
			l.outOwed++
			continue
		}
		if status := e.refusalBy(l); status != 0 {
			l.p.addSent(id, status, 1)
			continue
		}
		l.out[id] = outbound{offered: offer, calls: 1}
		l.outOwed++
		if offer {
			l.lookups = append(l.lookups, lookup{id: id, out: true})
		} else {
			l.toFetch[peerlink.Pushed] = append(l.toFetch[peerlink.Pushed], id)
		}
	}
	return nil
}

// dropRepeated returns the items without those whose id has occurred before.
func dropRepeated[T any](items []T, id func(T) storage.ID) []T {
	seen := make(map[storage.ID]bool, len(items))
	kept := make([]T, 0, len(items))
	for _, item := range items {
		if !seen[id(item)] {
			seen[id(item)] = true
			kept = append(kept, item)
		}
	}
	return kept
}

// refusalBy says why the peer takes nothing now, as it has said itself; 0 if it has not.
func (e *Engine) refusalBy(l *link) peersync.OutcomeStatus {
	switch {
	case !l.takes:
		return peersync.NotAllowed
	case e.now < l.p.theirRetry:
		return peersync.OverQuota
	}
	return 0
}

// settleOut settles an envelope that was to be sent.
func (l *link) settleOut(id storage.ID, status peersync.OutcomeStatus) {
	o := l.out[id]
	delete(l.out, id)
	l.outOwed -= o.calls
	if o.stage == outAnnounced || o.stage == outSent {
		l.unanswered--
	}
	if o.offered && o.stage != outQueued {
		l.offers--
	}
	l.p.addSent(id, status, o.calls)
}

// announceFound queues the offer of an envelope whose key was read.
func (e *Engine) announceFound(l *link, id storage.ID, found Found, failed bool) {
	switch {
	case failed:
		l.settleOut(id, peersync.Lost)
	case !found.Held || found.Born < e.state.Floor:
		l.settleOut(id, peersync.Gone)
	case found.Born < l.state.Floor:
		l.settleOut(id, peersync.TooOld)
	default:
		l.announce = append(l.announce, peerlink.Offered{Key: storage.Key{Born: found.Born, ID: id}, Size: min(found.Size, storage.MaxEnvelope)})
	}
}

// makeOffer returns the next OFFER, or nil.
func (e *Engine) makeOffer(l *link) *peerlink.Offer {
	status := e.refusalBy(l)
	for len(l.announce) > 0 && (status != 0 || l.announce[0].Born < e.state.Floor) {
		l.settleOut(l.announce[0].ID, cmp.Or(status, peersync.Gone))
		l.announce = l.announce[1:]
	}
	n := min(len(l.announce), peerlink.MaxIDs, peerlink.MaxOffered-l.offers)
	if n <= 0 {
		return nil
	}
	for i, o := range l.announce[:n] {
		if o.Born < e.state.Floor {
			n = i // the rest comes next time
			break
		}
	}
	f := &peerlink.Offer{Envelopes: l.announce[:n:n]}
	l.announce = l.announce[n:]
	for _, o := range f.Envelopes {
		l.setStage(o.ID, outAnnounced)
	}
	l.offers += n
	return f
}

// setStage moves an envelope on, and counts those that the peer has to answer.
func (l *link) setStage(id storage.ID, stage outStage) {
	o := l.out[id]
	o.stage = stage
	l.out[id] = o
	if stage == outWanted {
		l.unanswered--
	} else {
		l.unanswered++
	}
}

// receiveTaken settles what the peer has answered.
func (e *Engine) receiveTaken(l *link, f *peerlink.Taken) error {
	l.progress = e.now
	if f.RetryAfter > 0 {
		l.p.theirRetry = e.now + min(time.Duration(f.RetryAfter)*time.Second, peersync.MaxRest)
	}
	for _, taken := range f.Outcomes {
		if o, known := l.out[taken.ID]; !known || o.stage != outAnnounced && o.stage != outSent {
			return errors.New("a TAKEN for what was not sent")
		}
		l.settleOut(taken.ID, taken.Status)
	}
	return nil
}
