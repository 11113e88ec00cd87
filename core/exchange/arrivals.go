package exchange

import (
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// arrivedBody is an envelope that came and has to be appended.
type arrivedBody struct {
	record storage.Record
	kind   peerlink.BodyKind
	cost   int // credit
}

// size is what the envelope takes until it is appended. It is not more than the credit, which
// covers small ones as well.
func (b arrivedBody) size() int { return b.cost }

// receiveBody checks an envelope that came.
func (e *Engine) receiveBody(l *link, f *peerlink.Body) error {
	if err := l.chargeCredit(envelopes, f); err != nil {
		return err
	}
	size := len(f.Signature) + len(f.Ciphertext)
	l.p.status.BodiesIn += uint64(size)
	l.p.status.EnvelopesIn++
	b := arrivedBody{
		record: storage.Record{ID: storage.NewID(f.Signature, f.Ciphertext), Born: f.Born, Signature: f.Signature, Ciphertext: f.Ciphertext},
		kind:   f.Kind, cost: peerlink.CreditCost(f),
	}
	if hour := e.presentHour(); b.record.Born > hour+aheadHours {
		b.record.Born = hour
	}
	if f.Kind == peerlink.Pushed {
		e.receivePush(l, b, size)
		return nil
	}
	n, known := l.in[b.record.ID]
	if !known || n.stage != inWanted || n.kind != f.Kind {
		return e.breachByBody(l, f.Kind)
	}
	l.progress = e.now
	l.p.bytes.spend(e.now, uint64(size))
	if b.record.Born < e.state.Floor {
		e.settleIn(l, b.record.ID, peersync.TooOld)
		l.grants[envelopes] += b.cost
		return nil
	}
	l.setIn(b.record.ID, n, inArrived)
	l.addArrived(b)
	return nil
}

// breachByBody is for a body that nobody wanted. Of what was wanted, the first one may be meant.
func (e *Engine) breachByBody(l *link, kind peerlink.BodyKind) error {
	var first storage.ID
	number := uint32(0)
	for id, n := range l.in {
		if n.stage == inWanted && n.kind == kind && (number == 0 || n.number < number) {
			first, number = id, n.number
		}
	}
	if number > 0 {
		e.settleIn(l, first, peersync.Invalid)
	}
	return errors.New("an envelope that was not wanted")
}

// receivePush takes an envelope that was not asked for.
func (e *Engine) receivePush(l *link, b arrivedBody, size int) {
	status := peersync.OutcomeStatus(0)
	switch {
	case !l.p.cfg.Gives:
		status = peersync.NotAllowed
	case b.record.Born < e.state.Floor:
		status = peersync.TooOld
	case !e.hasQuota(l.p):
		status = peersync.OverQuota
	}
	if status == peersync.NotAllowed || status == peersync.OverQuota {
		l.withheld += b.cost
	} else {
		l.p.bytes.spend(e.now, uint64(size))
	}
	if status != 0 {
		if status == peersync.TooOld {
			l.grants[envelopes] += b.cost
		}
		e.settlePush(l, b.record.ID, status)
		return
	}
	l.p.envelopes.spend(e.now, 1)
	if _, underWay := e.incoming[b.record.ID]; !underWay {
		e.incoming[b.record.ID] = arrival{p: l.p, since: e.now, pushed: true}
	}
	l.addArrived(b)
}

func (l *link) addArrived(b arrivedBody) {
	l.arrived = append(l.arrived, b)
	l.storeBytes += b.size()
}

// settleCost charges a peer for an append, once its outcome is known. An envelope that is not new
// costs none of the envelopes. A push that is not new has cost an append for nothing, so it takes
// as many bytes as credit: many small ones would be free otherwise. What this relay has lost is free.
func (p *peer) settleCost(now time.Duration, b arrivedBody, status peersync.OutcomeStatus) {
	size := uint64(len(b.record.Signature) + len(b.record.Ciphertext))
	switch {
	case status == peersync.Lost:
		p.bytes.giveBack(size)
	case status != peersync.Stored && b.kind == peerlink.Pushed:
		p.bytes.spend(now, uint64(b.cost)-size)
	}
}

// settlePush tells both sides what became of a push.
func (e *Engine) settlePush(l *link, id storage.ID, status peersync.OutcomeStatus) {
	if status != peersync.Lost {
		l.p.addReceived(id, status, 0)
	}
	l.p.countOutcome(status)
	l.answers = append(l.answers, answer{outcome: peersync.Outcome{ID: id, Status: status}})
}

// maxAppend bounds the bytes of one append.
const maxAppend = storage.MaxBatchBytes / 2

// takeArrived returns bodies for one append.
func (l *link) takeArrived() []arrivedBody {
	n, size := 0, 0
	for n < min(len(l.arrived), storage.MaxBatch) {
		r := &l.arrived[n].record
		if size += len(r.Signature) + len(r.Ciphertext); size > maxAppend {
			break
		}
		n++
	}
	taken := l.arrived[:n:n]
	if l.arrived = l.arrived[n:]; len(l.arrived) == 0 {
		l.arrived = nil
	}
	for _, b := range taken {
		l.storeBytes -= b.size()
		if b.kind != peerlink.Pushed {
			l.setIn(b.record.ID, l.in[b.record.ID], inAppending)
		}
	}
	return taken
}

// finishStore settles what was appended. The link may have ended meanwhile.
func (e *Engine) finishStore(p *peer, l *link, bodies []arrivedBody, result Result) {
	for i, b := range bodies {
		status := peersync.Lost
		if result.Err == nil {
			status = storeStatus(result.Outcomes[i])
		}
		id := b.record.ID
		p.settleCost(e.now, b, status)
		switch {
		case p.link != l:
			p.countOutcome(status)
			if status != peersync.Stored {
				p.envelopes.giveBack(1)
			}
			e.endArrival(p, id, status)
			continue
		case b.kind == peerlink.Pushed:
			if status != peersync.Stored {
				p.envelopes.giveBack(1)
			}
			e.settlePush(l, id, status)
			if e.incoming[id].pushed {
				e.endArrival(p, id, status)
			}
		default:
			e.settleIn(l, id, status)
		}
		l.grants[envelopes] += b.cost
	}
}

// storeStatus says what an outcome of the store means to both ends.
func storeStatus(s storage.OutcomeStatus) peersync.OutcomeStatus {
	switch s {
	case storage.Stored:
		return peersync.Stored
	case storage.Duplicate, storage.Replayed:
		return peersync.Known
	case storage.Expired:
		return peersync.TooOld
	case storage.Conflict:
		return peersync.Invalid
	}
	return peersync.Lost
}
