package exchange

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// PeerStatus is a peer as an operator sees it.
type PeerStatus struct {
	Up    bool          // HELLO has come
	Since time.Duration // when the link came up or went down
	// Reason is why the last link has ended; empty before.
	Reason string
	// Barred: the peer may have no link for now, for that reason.
	Barred bool
	// Version is what the peer said in its last HELLO, and Clock by how much its clock was
	// ahead then. State and Takes are what it says now, if it is up.
	Version string
	State   peersync.State
	Takes   bool
	Clock   time.Duration

	Spent  Quota // what it has used up of its quota now
	Memory int   // bytes that it takes in the engine, at most MaxMemory

	// Since the engine is new:
	BodiesIn, BodiesOut     uint64 // bytes of bodies
	EnvelopesIn             uint64 // bodies that came, new or not
	EnvelopesOut            uint64
	Stored, Known           uint64 // envelopes that came or were offered
	Refused                 uint64 // with any other outcome
	MessagesIn, MessagesOut uint64 // bytes of messages
}

// Status returns the status of a peer; ok is false if it is not configured.
func (e *Engine) Status(id peersync.Peer) (s PeerStatus, ok bool) {
	p := e.findPeer(id)
	if p == nil {
		return PeerStatus{}, false
	}
	s = p.status
	s.Spent = Quota{p.envelopes.spent(e.now), p.bytes.spent(e.now)}
	s.Memory = p.memory()
	s.Barred = p.dial.refused && e.now < p.dial.closedUntil
	if l := p.link; l != nil && l.ready {
		s.Up, s.State, s.Takes = true, l.state, l.takes
	}
	return s, true
}
