package exchange

import (
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// Next returns the frame to be written to the link next. The owner calls it when the link has room
// for one, and writes what it gets.
func (e *Engine) Next(id peersync.Peer) (peerlink.Frame, bool) {
	l := e.findLink(id)
	if l == nil || !e.begun {
		return nil, false
	}
	if !l.helloSent {
		return e.makeHello(l), true
	}
	if !l.ready {
		return nil, false
	}
	e.dropFetched(l)
	if f := e.nextControl(l); f != nil {
		return f, true
	}
	if f := e.makeMessage(l); f != nil {
		return f, true
	}
	if f := e.makeOffer(l); f != nil {
		return f, true
	}
	if len(l.outbox) > 0 {
		return nil, false // bodies do not overtake messages that wait for credit
	}
	if f := e.makeBody(l); f != nil {
		return f, true
	}
	return nil, false
}

// nextControl returns the next frame that needs no credit and is short, or nil.
func (e *Engine) nextControl(l *link) peerlink.Frame {
	if f := l.pong; f != nil {
		l.pong = nil
		return f
	}
	if f := l.makeCredit(); f != nil {
		return f
	}
	if f := e.makeTaken(l); f != nil {
		return f
	}
	if f := l.makeGone(); f != nil {
		return f
	}
	if f := e.makeWant(l); f != nil {
		return f
	}
	if f := e.makeState(l); f != nil {
		return f
	}
	if f := e.makePing(l); f != nil {
		return f
	}
	return nil
}
