package exchange

import (
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Reasons why a link ends that the operator has caused.
var (
	errRemoved     = errors.New("the peer is no longer configured")
	errPaused      = errors.New("the link is paused")
	errChanged     = errors.New("the configuration of the peer has changed")
	errReconnected = errors.New("the link is opened anew")
	errRestarted   = errors.New("the peer-sync plugin was restarted")
)

// peer is what stays of a peer when its link breaks.
type peer struct {
	cfg       PeerConfig
	link      *link // nil while it is down
	envelopes bucket
	bytes     bucket
	dial      dialing
	// theirRetry is until when the peer takes nothing, as it says.
	theirRetry time.Duration

	events        []note
	sentWaiting   int // outcomes in events that calls wait for, of Sent
	askedWaiting  int // and of Received
	reportWaiting int // all outcomes of Received in events
	messageBytes  int // of messages in events
	outcomes      int // in events

	busy      [Lower + 1]bool // a job of the kind is not done
	appending int             // bytes of records in the Store job
	fetching  int             // ids in the Fetch job
	status    PeerStatus      // its counters and texts
}

func newPeer(cfg PeerConfig, now time.Duration) *peer {
	p := &peer{cfg: cfg}
	p.envelopes = bucket{limit: cfg.Quota.EnvelopesPerHour, unit: 1, period: time.Hour}
	p.bytes = bucket{limit: cfg.Quota.BytesPerDay, unit: storage.MaxEnvelope, period: 24 * time.Hour}
	p.envelopes.spend(now, cfg.Spent.EnvelopesPerHour)
	p.bytes.spend(now, cfg.Spent.BytesPerDay)
	p.dial.at, p.status.Since = now, now
	return p
}

// reconfigure applies another configuration to a peer that stays.
func (e *Engine) reconfigure(p *peer, cfg PeerConfig) {
	old := p.cfg
	p.cfg = cfg
	p.envelopes.setLimit(e.now, cfg.Quota.EnvelopesPerHour)
	p.bytes.setLimit(e.now, cfg.Quota.BytesPerDay)
	switch {
	case p.link == nil:
	case cfg.Paused:
		e.closeLink(p.link, ending{kind: cut, code: peerlink.CodeResting, reason: errPaused})
	case cfg.Gives != old.Gives:
		e.closeLink(p.link, ending{kind: cut, code: peerlink.CodeResting, reason: errChanged})
	}
}

// noRoomRest is how long a peer is told to wait while nothing can be stored.
const noRoomRest = time.Minute

// hasQuota reports whether another envelope may be taken from the peer now.
func (e *Engine) hasQuota(p *peer) bool {
	return e.retryAfter(p) == 0
}

// retryAfter returns how long nothing is taken from the peer.
func (e *Engine) retryAfter(p *peer) time.Duration {
	wait := max(p.envelopes.wait(e.now), p.bytes.wait(e.now))
	if e.refuses {
		wait = max(wait, noRoomRest)
	}
	return wait
}

// memory returns what the peer takes, see MaxMemory. The costs of ids cover the maps and the
// queues that they are in.
func (p *peer) memory() int {
	const (
		fixed       = 8 << 10
		noteCost    = 160
		outcomeCost = 48
		inboundCost = 192
		outCost     = 144
		wantCost    = 48
		answerCost  = 48
	)
	n := fixed + p.messageBytes + len(p.events)*noteCost + p.outcomes*outcomeCost + p.appending + p.fetching*maxBody
	if l := p.link; l != nil {
		n += l.queued + l.inboxBytes + l.storeBytes + l.bodyBytes
		n += len(l.in)*inboundCost + len(l.out)*outCost + l.wantedByPeer*wantCost + len(l.answers)*answerCost
	}
	return n
}

// maxBody is the most that one envelope takes, besides its id.
const maxBody = 16<<10 + 256

// denied is what a call asked for that failed with ErrBusy.
type denied struct{ sent, asked, bytes int }

// hasRoom reports whether a call may succeed that failed.
func (l *link) hasRoom(d denied) bool {
	return l.outOwed+l.p.sentWaiting+d.sent <= peersync.MaxUnderWay &&
		l.askedOwed+l.p.askedWaiting+d.asked <= peersync.MaxUnderWay &&
		l.queued+d.bytes <= peersync.MaxQueued
}

// admitCall returns ErrBusy if a call has no room, and remembers it for PeerReady.
func (l *link) admitCall(d denied) error {
	if l.hasRoom(d) {
		return nil
	}
	l.denied = denied{max(l.denied.sent, d.sent), max(l.denied.asked, d.asked), max(l.denied.bytes, d.bytes)}
	return peersync.ErrBusy
}
