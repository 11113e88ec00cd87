package exchange

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// Times between a link and the next one.
const (
	minCut, maxCut     = 5 * time.Second, 10 * time.Minute
	minBlame, maxBlame = time.Minute, 6 * time.Hour
	goodCut            = time.Minute // a link that was up for so long forgives cuts
	goodBlame          = time.Hour   // and blame

	// A new link renews what bounds the work for a peer, so short ones get fewer: after freeCuts in
	// a row, the peer may have no link for a while.
	freeCuts             = 3
	minPacing, maxPacing = 5 * time.Second, time.Minute
)

// endingKind says what follows from the end of a link.
type endingKind uint8

const (
	cut    endingKind = iota // nobody's fault: dial again soon, later each time
	blamed                   // the peer's fault: no link for a while, longer each time
	rested                   // wanted: no link for the time of the pause
)

// ending says why a link ends.
type ending struct {
	kind   endingKind
	code   peerlink.ErrCode // for the ERR frame
	reason error
	breach bool
	pause  time.Duration // of rested; of cut, the least time before the next attempt
}

// dialing is when the next link to a peer may come.
type dialing struct {
	at          time.Duration // from when on to dial
	closedUntil time.Duration // no link before, whoever dials
	refused     bool          // for blame
	cuts        int           // in a row
	shortLinks  int           // in a row: those that were cut early
	blames      int
}

// NextDial says whether a link to the peer is wanted, and from when on the owner may dial.
func (e *Engine) NextDial(id peersync.Peer) (at time.Duration, wanted bool) {
	p := e.findPeer(id)
	if p == nil || p.link != nil || p.cfg.Paused {
		return 0, false
	}
	return max(p.dial.at, p.dial.closedUntil), true
}

// DialFailed says that a link to a peer that NextDial had asked for did not come about.
func (e *Engine) DialFailed(id peersync.Peer) {
	if p := e.findPeer(id); p != nil && p.link == nil {
		e.planDial(p, ending{kind: cut}, 0)
	}
}

// Reconnect closes the link to a peer, if there is one, and lets the next one come at once,
// whatever has happened before: the operator wants it. NextClose follows.
func (e *Engine) Reconnect(id peersync.Peer) error {
	p := e.findPeer(id)
	if p == nil || p.cfg.Paused {
		return peersync.ErrPeerUnknown
	}
	if p.link != nil {
		e.closeLink(p.link, ending{kind: rested, code: peerlink.CodeResting, reason: errReconnected})
	}
	p.dial.at, p.dial.closedUntil = e.now, e.now
	return nil
}

// planDial decides when the next link may come, after one that was up for some time.
func (e *Engine) planDial(p *peer, end ending, up time.Duration) {
	d := &p.dial
	if up >= goodCut {
		d.cuts, d.shortLinks = 0, 0
	}
	if up >= goodBlame {
		d.blames = 0
	}
	switch end.kind {
	case cut:
		bound := doubleOften(minCut, maxCut, d.cuts)
		d.cuts++
		d.at = e.now + max(time.Duration(e.rand.Int64N(int64(bound)))+1, end.pause)
		e.paceLinks(d, up)
	case blamed:
		d.closedUntil, d.refused = e.now+doubleOften(minBlame, maxBlame, d.blames), true
		d.blames++
	case rested:
		d.closedUntil, d.refused = e.now+end.pause, false
	}
}

// paceLinks lets no link come for a while when many were short. Attempts without a link do not count,
// and neither do links that a peer has refused: two peers would keep each other out.
func (e *Engine) paceLinks(d *dialing, up time.Duration) {
	if up == 0 || up >= goodCut {
		return
	}
	if d.shortLinks++; d.shortLinks > freeCuts {
		d.closedUntil, d.refused = e.now+doubleOften(minPacing, maxPacing, d.shortLinks-freeCuts-1), false
	}
}

// doubleOften returns least, doubled as often as it has happened before, at most most.
func doubleOften(least, most time.Duration, times int) time.Duration {
	for ; times > 0 && least < most; times-- {
		least *= 2
	}
	return min(least, most)
}
