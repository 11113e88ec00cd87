package exchange

import (
	"bytes"
	"errors"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// Send implements [peersync.Links]. The engine keeps the message.
func (e *Engine) Send(to peersync.Peer, message []byte) error {
	if err := peersync.CheckMessage(message); err != nil {
		return err
	}
	l, err := e.findUp(to)
	if err != nil {
		return err
	}
	if err := l.admitCall(denied{bytes: len(message)}); err != nil {
		return err
	}
	l.outbox = append(l.outbox, message)
	l.queued += len(message)
	return nil
}

// makeMessage returns the next fragment, or nil if no message waits or the credit does not suffice.
func (e *Engine) makeMessage(l *link) *peerlink.Message {
	if len(l.outbox) == 0 {
		return nil
	}
	rest := l.outbox[0][l.outboxAt:]
	f := &peerlink.Message{Data: rest}
	if len(rest) > peerlink.MaxFragment {
		f.More, f.Data = true, rest[:peerlink.MaxFragment]
	}
	cost := peerlink.CreditCost(f)
	if cost > l.credit[messages] {
		return nil
	}
	l.credit[messages] -= cost
	l.outboxAt += len(f.Data)
	l.progress = e.now
	if !f.More {
		l.p.status.MessagesOut += uint64(len(l.outbox[0]))
		l.queued -= len(l.outbox[0])
		l.outbox[0] = nil
		l.outbox, l.outboxAt = l.outbox[1:], 0
	}
	return f
}

// receiveMessage joins the fragments of a message.
func (e *Engine) receiveMessage(l *link, f *peerlink.Message) error {
	if err := l.chargeCredit(messages, f); err != nil {
		return err
	}
	l.inbox = append(l.inbox, f.Data)
	l.inboxBytes += len(f.Data)
	l.inboxCost += peerlink.CreditCost(f)
	if l.inboxBytes > peersync.MaxMessage {
		return errors.New("a message that is too long")
	}
	if f.More {
		return nil
	}
	message := l.inbox[0]
	if len(l.inbox) > 1 {
		message = bytes.Join(l.inbox, nil)
	}
	l.p.events = append(l.p.events, note{message: message, cost: l.inboxCost})
	l.p.messageBytes += len(message)
	l.p.status.MessagesIn += uint64(len(message))
	l.inbox, l.inboxBytes, l.inboxCost = nil, 0, 0
	return nil
}

// chargeCredit takes what a frame costs from the credit of the peer.
func (l *link) chargeCredit(channel int, f peerlink.Frame) error {
	cost := peerlink.CreditCost(f)
	if cost > l.granted[channel] {
		return errors.New("a frame without credit")
	}
	l.granted[channel] -= cost
	return nil
}

func (e *Engine) receiveCredit(l *link, f *peerlink.Credit) error {
	channel := int(f.Channel) - 1
	if int64(l.credit[channel])+int64(f.Bytes) > int64(initialCredit[channel]) {
		return errors.New("more credit than there may be")
	}
	l.credit[channel] += int(f.Bytes)
	l.progress = e.now
	return nil
}

// makeCredit returns a CREDIT when enough has gathered, and otherwise nil. While the replicator
// leaves many outcomes, the peer gets no credit for envelopes that would cause more.
func (l *link) makeCredit() *peerlink.Credit {
	for channel, n := range l.grants {
		if n < initialCredit[channel]/8 || channel == envelopes && l.p.hasManyReports() {
			continue
		}
		l.grants[channel] = 0
		l.granted[channel] += n
		return &peerlink.Credit{Channel: peerlink.Channel(channel + 1), Bytes: uint32(n)}
	}
	return nil
}

// hasManyReports says that the replicator has not taken many outcomes yet.
func (p *peer) hasManyReports() bool { return p.reportWaiting > peersync.MaxIDs }
