package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Indexes of credits.
const (
	messages = iota
	envelopes
	channels
)

// initialCredit is what both sides begin with, and a side never has more.
var initialCredit = [channels]int{peerlink.InitialMessages, peerlink.InitialEnvelopes}

// kinds is the number of kinds of bodies.
const kinds = 3

// link is one connection to a peer, from Connect on.
type link struct {
	p         *peer
	initiator bool
	since     time.Duration
	helloSent bool
	ready     bool // HELLO has come
	told      bool // the replicator has taken the PeerUp
	nonce     [32]byte
	takes     bool           // the peer takes envelopes, as it says
	state     peersync.State // of the peer's replica, as it says
	moved     bool           // a PeerMoved is due
	denied    denied         // a PeerReady is due when there is room for it

	stateDue    bool // a STATE has to be sent, at once if urgent
	stateUrgent bool
	stateSent   time.Duration
	notices     bucket         // PINGs and STATEs that may come
	pong        *peerlink.Pong // to be sent
	pings       [][8]byte      // unanswered
	nextPing    time.Duration
	progress    time.Duration // when the peer last gave what it owed, or owed nothing

	credit  [channels]int // that we have
	granted [channels]int // that the peer has
	grants  [channels]int // to be granted
	// withheld is credit for bodies that came over the quota.
	withheld int

	outbox     [][]byte // messages to be sent
	outboxAt   int      // bytes of the first one that were sent
	queued     int      // bytes in outbox
	inbox      [][]byte // fragments of a message that has not ended
	inboxBytes int
	inboxCost  int

	outgoing
	inward
}

// Connect says that a link to a peer stands: both ends are authenticated, and no frame has passed.
// It replaces another link to the peer, if there is one. A link that is not wanted is closed by NextClose.
func (e *Engine) Connect(id peersync.Peer, initiator bool) {
	p := e.findPeer(id)
	refused := p == nil || p.cfg.Paused || e.now < p.dial.closedUntil
	e.Disconnect(id) // of the old link that this one replaces, which does not keep it out
	if refused {
		last := &peerlink.Err{Code: peerlink.CodeResting}
		if p != nil {
			last.RetryAfter = wholeSeconds(p.dial.closedUntil - e.now)
		}
		e.closes = append(e.closes, Close{Peer: id, Last: last, Reason: errors.New("no link to the peer is wanted now")})
		return
	}
	l := &link{p: p, initiator: initiator, since: e.now, progress: e.now, credit: initialCredit, granted: initialCredit}
	l.notices = bucket{limit: noticeBurst, period: noticeBurst * noticeStep}
	l.out = make(map[storage.ID]outbound)
	l.in = make(map[storage.ID]inbound)
	for i := range l.nonce {
		l.nonce[i] = byte(e.rand.Uint32())
	}
	e.planPing(l)
	p.link = l
}

// Disconnect says that the link to a peer has broken. Without a link it does nothing, so the
// owner may call it for each connection that ends, provided that it is the latest one.
func (e *Engine) Disconnect(id peersync.Peer) {
	if l := e.findLink(id); l != nil {
		e.endLink(l, ending{kind: cut, reason: errors.New("the connection broke")})
	}
}

// Breach says that a peer has broken the protocol below the frames: it has sent bytes that are
// none. NextClose follows.
func (e *Engine) Breach(id peersync.Peer, err error) {
	if l := e.findLink(id); l != nil {
		e.closeForBreach(l, err)
	}
}

func (e *Engine) closeForBreach(l *link, err error) {
	e.closeLink(l, ending{kind: blamed, code: peerlink.CodeBreach, reason: err, breach: true})
}

// Drop implements [peersync.Links].
func (e *Engine) Drop(id peersync.Peer, reason string) error {
	if err := peersync.CheckText(reason); err != nil {
		return err
	}
	l, err := e.findUp(id)
	if err == nil {
		e.closeLink(l, ending{kind: blamed, code: peerlink.CodeDropped, reason: fmt.Errorf("the plugin has dropped the peer: %s", reason)})
	}
	return err
}

// Rest implements [peersync.Links].
func (e *Engine) Rest(id peersync.Peer, pause time.Duration) error {
	if err := peersync.CheckRest(pause); err != nil {
		return err
	}
	l, err := e.findUp(id)
	if err == nil {
		e.closeLink(l, ending{kind: rested, code: peerlink.CodeResting, reason: errors.New("the plugin lets the link rest"), pause: pause})
	}
	return err
}

// Close is a link that the owner has to close. For the engine it does not exist any more: the
// owner passes no further frame of it.
type Close struct {
	Peer peersync.Peer
	// Last is worth a short attempt to write it; nil if the peer is to get no last frame.
	Last *peerlink.Err
	// Reason is for the operator.
	Reason error
	Breach bool // the peer has broken the protocol
}

// NextClose returns the next link to close.
func (e *Engine) NextClose() (Close, bool) {
	if len(e.closes) == 0 {
		return Close{}, false
	}
	c := e.closes[0]
	e.closes = e.closes[1:]
	return c, true
}

// closeLink ends a link from this side.
func (e *Engine) closeLink(l *link, end ending) {
	e.endLink(l, end)
	c := Close{Peer: l.p.cfg.Peer, Reason: end.reason, Breach: end.breach}
	if end.code != 0 {
		c.Last = &peerlink.Err{Code: end.code, RetryAfter: wholeSeconds(l.p.dial.closedUntil - e.now)}
	}
	e.closes = append(e.closes, c)
}

// endLink settles all ids of a link, and forgets it.
func (e *Engine) endLink(l *link, end ending) {
	p := l.p
	for _, id := range sortedIDs(l.out) {
		p.addSent(id, peersync.Lost, l.out[id].calls)
	}
	p.link = nil
	e.abandonIncoming(l)
	p.endEvents(l.told)
	up := time.Duration(0) // there was none yet
	if l.ready {
		up = max(e.now-l.since, 1)
	}
	e.planDial(p, end, up)
	p.status.Since, p.status.Reason = e.now, end.reason.Error()
}

// sortedIDs returns the ids of a map in an order that does not depend on the map.
func sortedIDs[V any](m map[storage.ID]V) []storage.ID {
	ids := make([]storage.ID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b storage.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// Receive passes a frame from the link to a peer. The engine keeps what the frame points to.
func (e *Engine) Receive(id peersync.Peer, f peerlink.Frame) {
	l := e.findLink(id)
	if l == nil {
		return // of a link that NextClose will name
	}
	if err := e.receiveFrame(l, f); err != nil && l.p.link == l {
		e.closeForBreach(l, err)
	}
}

// receiveFrame returns an error if the frame breaks the protocol.
func (e *Engine) receiveFrame(l *link, f peerlink.Frame) error {
	switch f := f.(type) {
	case *peerlink.Hello:
		return e.receiveHello(l, f)
	case *peerlink.Err:
		e.receiveErr(l, f)
		return nil
	}
	if !l.ready {
		return errors.New("the first frame is no HELLO")
	}
	switch f := f.(type) {
	case *peerlink.State:
		if err := l.chargeNotice(e.now); err != nil {
			return err
		}
		l.moved = l.moved || f.State != l.state
		l.state = f.State
	case *peerlink.Credit:
		return e.receiveCredit(l, f)
	case *peerlink.Ping:
		if err := l.chargeNotice(e.now); err != nil {
			return err
		}
		l.pong = &peerlink.Pong{Token: f.Token}
	case *peerlink.Pong:
		return l.receivePong(f)
	case *peerlink.Message:
		return e.receiveMessage(l, f)
	case *peerlink.Offer:
		return e.receiveOffer(l, f)
	case *peerlink.Want:
		return e.receiveWant(l, f)
	case *peerlink.Body:
		return e.receiveBody(l, f)
	case *peerlink.Gone:
		return e.receiveGone(l, f)
	case *peerlink.Taken:
		return e.receiveTaken(l, f)
	}
	return nil
}

func (e *Engine) makeHello(l *link) *peerlink.Hello {
	l.helloSent = true
	l.stateDue, l.stateUrgent, l.stateSent = false, false, e.now
	return &peerlink.Hello{
		Proto: peerlink.Proto, Plugin: e.cfg.Plugin, Version: e.cfg.Version, State: e.state,
		Unix: uint64(max(e.wall.Unix(), 0)), Takes: l.p.cfg.Gives, Nonce: l.nonce,
	}
}

func (e *Engine) receiveHello(l *link, f *peerlink.Hello) error {
	switch {
	case l.ready:
		return errors.New("a second HELLO")
	case f.Proto != peerlink.Proto:
		e.closeLink(l, ending{kind: blamed, code: peerlink.CodeVersion, reason: fmt.Errorf("the peer's relay speaks version %d of the protocol, and this one version %d; update the older relay", f.Proto, peerlink.Proto)})
		return nil
	case f.Plugin != e.cfg.Plugin:
		e.closeLink(l, ending{kind: blamed, code: peerlink.CodePlugin, reason: fmt.Errorf("the peer runs the peer-sync plugin %q, and this relay %q; both have to run the same", f.Plugin, e.cfg.Plugin)})
		return nil
	case f.Nonce == l.nonce:
		return errors.New("the peer returns the own HELLO")
	}
	l.ready, l.takes, l.state = true, f.Takes, f.State
	p := l.p
	p.status.Version, p.status.Since = f.Version, e.now
	p.status.Clock = clockAhead(f.Unix, e.wall)
	p.events = append(p.events, note{event: peersync.PeerUp{
		Peer: p.cfg.Peer, Initiator: l.initiator, State: f.State, Version: f.Version, Gives: p.cfg.Gives, Takes: f.Takes,
	}})
	return nil
}

// clockAhead returns by how much a peer's clock is ahead, at most a year.
func clockAhead(unix uint64, wall time.Time) time.Duration {
	const year = 365 * 24 * 3600
	ahead := int64(min(unix, 1<<40)) - wall.Unix()
	return time.Duration(min(max(ahead, -year), year)) * time.Second
}

func (e *Engine) receiveErr(l *link, f *peerlink.Err) {
	end := ending{kind: cut, pause: min(time.Duration(f.RetryAfter)*time.Second, peersync.MaxRest)}
	switch f.Code {
	case peerlink.CodeVersion:
		end.reason = errors.New("the peer's relay speaks another version of the protocol; update the older relay")
	case peerlink.CodePlugin:
		end.reason = errors.New("the peer runs another peer-sync plugin")
	case peerlink.CodeDropped:
		end.reason = errors.New("the peer's plugin has dropped this relay")
	case peerlink.CodeResting:
		end.reason = errors.New("the peer wants no link now")
	case peerlink.CodeSilent:
		end.reason = errors.New("the peer has waited too long for this relay")
	case peerlink.CodeBreach:
		end.reason = errors.New("the peer says that this relay broke the protocol")
	default:
		end.reason = fmt.Errorf("the peer has closed the link with code %d", f.Code)
	}
	e.endLink(l, end)
	e.closes = append(e.closes, Close{Peer: l.p.cfg.Peer, Reason: end.reason})
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) uint32 {
	return uint32(min(max((d+time.Second-1)/time.Second, 0), 1<<32-1))
}
