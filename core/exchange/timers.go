package exchange

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
)

const (
	timerStep  = time.Second
	stealStep  = 10 * time.Second
	stateStep  = 5 * time.Second  // between two STATEs that are not urgent
	helloLimit = time.Minute      // for the first frame
	oweLimit   = 10 * time.Minute // for anything that the peer owes
	minPing    = 45 * time.Second
	maxPing    = 75 * time.Second
	maxMissed  = 3 // pings
	// A peer may send noticeBurst PINGs and STATEs at once, and one each noticeStep. An honest
	// one sends twelve a minute to one a second, the latter while its floor rises. What Tor held
	// back comes at once, but no more than that of five minutes: the peer misses PONGs then.
	noticeBurst = 512
	noticeStep  = time.Second / 2
	// withheldRate is how many bytes of withheld credit return in a second: what was
	// asked for still comes, and a flood is slow.
	withheldRate = 16 << 10
)

// runTimers does what is due on a link.
func (e *Engine) runTimers(l *link, elapsed time.Duration) {
	if !l.peerOwes() {
		l.progress = e.now
	}
	var reason error
	switch {
	case !l.ready:
		if e.now-l.since >= helloLimit {
			reason = errors.New("the peer says no HELLO: it may take this relay for a client, because it does not list it")
		}
	case len(l.pings) >= maxMissed && e.now >= l.nextPing:
		reason = errors.New("the peer answers no PING")
	case e.now-l.progress >= oweLimit:
		reason = errors.New("the peer does not answer what it owes")
	}
	if reason != nil {
		e.closeLink(l, ending{kind: cut, code: peerlink.CodeSilent, reason: reason})
		return
	}
	l.returnWithheld(elapsed)
}

// returnWithheld grants a little of the credit that was withheld.
func (l *link) returnWithheld(elapsed time.Duration) {
	n := min(l.withheld, int(min(elapsed, time.Hour)*withheldRate/time.Second))
	l.withheld -= n
	l.grants[envelopes] += n
}

// peerOwes reports whether an answer or credit of the peer is due.
func (l *link) peerOwes() bool {
	return l.wanted > 0 || l.unanswered > 0 || len(l.outbox) > 0 || l.bodyBytes > 0
}

func (e *Engine) planPing(l *link) {
	l.nextPing = e.now + minPing + time.Duration(e.rand.Int64N(int64(maxPing-minPing)))
}

// makePing returns a PING when one is due, and otherwise nil.
func (e *Engine) makePing(l *link) *peerlink.Ping {
	if e.now < l.nextPing || len(l.pings) >= maxMissed {
		return nil
	}
	f := &peerlink.Ping{}
	binary.BigEndian.PutUint64(f.Token[:], e.rand.Uint64())
	l.pings = append(l.pings, f.Token)
	e.planPing(l)
	return f
}

// chargeNotice counts a frame that costs the peer nothing.
func (l *link) chargeNotice(now time.Duration) error {
	if l.notices.spent(now) >= noticeBurst {
		return errors.New("a PING or STATE after too many of them")
	}
	l.notices.spend(now, 1)
	return nil
}

func (l *link) receivePong(f *peerlink.Pong) error {
	at := slices.Index(l.pings, f.Token)
	if at < 0 {
		return errors.New("a PONG without its PING")
	}
	l.pings = l.pings[at+1:] // it stands for those before, too
	return nil
}

// makeState returns a STATE when one is due, and otherwise nil.
func (e *Engine) makeState(l *link) *peerlink.State {
	if !l.stateDue || !l.stateUrgent && e.now < l.stateSent+stateStep {
		return nil
	}
	l.stateDue, l.stateUrgent, l.stateSent = false, false, e.now
	return &peerlink.State{State: e.state}
}
