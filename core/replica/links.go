package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

const (
	// maxDials is how many peers are dialled at a time. Circuits of Tor cost everybody.
	maxDials = 4
	// dialTimeout bounds one attempt, with the authentication.
	dialTimeout = 3 * time.Minute
	// saveSpentEvery is how often it is noted what peers have used up of their quotas.
	saveSpentEvery = 10 * time.Minute
)

// connections are the links of a replica, and the engine that decides what passes over them.
// The engine is of one goroutine at a time, the one that holds linksMu. Whoever holds it waits
// for nothing but a small file.
type connections struct {
	linksMu sync.Mutex
	engine  *exchange.Engine // nil until the first replicator has handled Start
	begin   time.Time        // origin of the time of the engine
	numbers *peerNumbers
	peers   []numberedPeer // in the order of configured
	// configured are the peers as the operator wants them.
	configured []Peer
	// open holds while a replicator runs: links may stand, and jobs may be done.
	open    bool
	links   map[peersync.Peer]*link
	dialing map[peersync.Peer]bool
	// dialErrors say why the last attempt to dial a peer has failed.
	dialErrors map[peersync.Peer]string
	traffic    map[peersync.Peer]traffic // of links that have ended
	jobs       int                       // under way
	saved      time.Time                 // when it was noted what peers have used up

	work     sync.WaitGroup  // links, dials and jobs; none begins unless open
	workCtx  context.Context // of them
	stopWork context.CancelFunc

	news chan struct{} // to Run: there may be events
	poke chan struct{} // to the clock: it may be due earlier
}

// traffic counts bytes of frames.
type traffic struct{ in, out uint64 }

// HasPeer reports whether the name is that of a configured peer.
func (r *Replica) HasPeer(onion identity.Onion) bool {
	r.linksMu.Lock()
	defer r.linksMu.Unlock()
	_, ok := r.findPeer(onion)
	return ok
}

// findPeer returns the index of a peer.
func (r *Replica) findPeer(onion identity.Onion) (int, bool) {
	i := slices.IndexFunc(r.configured, func(p Peer) bool { return p.Onion == onion })
	return i, i >= 0
}

// SetPeers replaces the peers. Links to those that are gone or paused are closed, the others
// stay. A new peer gets a number that none had before. When the numbers cannot be written, it
// returns an error and does the same without the new peers.
func (r *Replica) SetPeers(peers []Peer) error {
	r.lockEngine()
	defer r.unlockEngine()
	numbered, err := r.numbers.setPeers(peers)
	r.peers, r.configured = numbered, slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool {
		return !slices.ContainsFunc(numbered, func(n numberedPeer) bool { return n.Onion == p.Onion })
	})
	if r.engine != nil {
		r.engine.SetPeers(r.peerConfigs())
	}
	return err
}

// peerConfigs returns the peers as the engine knows them, ascending.
func (r *Replica) peerConfigs() []exchange.PeerConfig {
	configs := make([]exchange.PeerConfig, len(r.peers))
	for i, p := range r.configured {
		configs[i] = exchange.PeerConfig{
			Peer: r.peers[i].Number, Gives: p.Gives, Paused: p.Paused, Quota: p.Quota,
			Spent: r.peers[i].spentOf(p.Quota, time.Now()),
		}
	}
	slices.SortFunc(configs, func(a, b exchange.PeerConfig) int { return int(a.Peer) - int(b.Peer) })
	return configs
}

// listPeers returns the numbers of all peers, ascending.
func (r *Replica) listPeers() []peersync.Peer {
	r.linksMu.Lock()
	defer r.linksMu.Unlock()
	numbers := make([]peersync.Peer, len(r.peers))
	for i, p := range r.peers {
		numbers[i] = p.Number
	}
	slices.Sort(numbers)
	return numbers
}

// lockEngine takes the engine and tells it the time.
func (r *Replica) lockEngine() {
	r.linksMu.Lock()
	if r.engine != nil {
		r.engine.Advance(time.Since(r.begin), time.Now())
	}
}

// unlockEngine carries out what the engine asks for, wakes up those who may have something to
// do now, and releases it.
func (r *Replica) unlockEngine() {
	if r.engine != nil {
		r.settleEngine()
		r.wakeAll()
	}
	r.linksMu.Unlock()
}

// unlockQuietly is unlockEngine for those who have only taken something from the engine. They
// wake up nobody, or two of them would wake each other for ever.
func (r *Replica) unlockQuietly() {
	if r.engine != nil && r.settleEngine() {
		r.wakeAll()
	}
	r.linksMu.Unlock()
}

// wakeAll wakes up the writers of links, and Run.
func (r *Replica) wakeAll() {
	for _, l := range r.links {
		l.signalWriter()
	}
	signal(r.news)
}

// settleEngine closes links, and begins jobs and dials. It reports whether a link was closed.
func (r *Replica) settleEngine() (closed bool) {
	for c, ok := r.engine.NextClose(); ok; c, ok = r.engine.NextClose() {
		r.closeLink(c)
		closed = true
	}
	for r.open && r.jobs < maxJobs {
		job, ok := r.engine.NextJob()
		if !ok {
			break
		}
		if r.fetchKept(job) {
			continue
		}
		r.jobs++
		r.work.Go(func() { r.runJob(job) })
	}
	r.dialPeers()
	return closed
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// closeLink ends a link that the engine has given up.
func (r *Replica) closeLink(c exchange.Close) {
	l := r.links[c.Peer]
	if l == nil {
		return
	}
	l.last = c.Last
	r.forgetLink(l)
	time.AfterFunc(lastFrameTimeout, func() { l.conn.Close() })
	name := r.nameOf(c.Peer)
	if c.Breach {
		r.log.Warn("a peer breaks the protocol, and is not talked to for a while", "peer", name, "reason", c.Reason)
	} else {
		r.log.Info("the link to a peer is closed", "peer", name, "reason", c.Reason)
	}
}

// forgetLink takes a link off the list, which ends its writer.
func (r *Replica) forgetLink(l *link) {
	delete(r.links, l.peer)
	t := r.traffic[l.peer]
	r.traffic[l.peer] = traffic{t.in + l.in.Load(), t.out + l.out.Load()}
	l.signalWriter()
	signal(r.poke)
}

func (r *Replica) nameOf(number peersync.Peer) string {
	for i, p := range r.peers {
		if p.Number == number {
			return r.configured[i].Name
		}
	}
	return "removed"
}

// openLinks lets links stand: the replicator has handled Start.
func (r *Replica) openLinks(ctx context.Context, start peersync.Start) {
	r.linksMu.Lock()
	if r.engine == nil {
		cfg := exchange.Config{Plugin: r.plugin, Version: r.version(), Peers: r.peerConfigs()}
		rand.Read(cfg.Seed[:])
		r.begin, r.engine = time.Now(), exchange.New(cfg)
	}
	r.linksMu.Unlock()
	r.lockEngine()
	defer r.unlockEngine()
	r.engine.SetState(start.State)
	r.engine.Restart(start.Peers) // what has happened is in Start
	r.open = true
	r.workCtx, r.stopWork = context.WithCancel(ctx)
}

// closeLinks ends all links, dials and jobs, and returns when that is done: the replicator has
// failed, or Run ends.
func (r *Replica) closeLinks() {
	r.linksMu.Lock()
	if !r.open {
		r.linksMu.Unlock()
		return
	}
	r.open = false
	r.stopWork()
	r.linksMu.Unlock()
	r.work.Wait()
	r.lockEngine()
	r.engine.Restart(nil) // and again when the next one begins
	r.saveSpent()
	r.unlockEngine()
}

// saveSpent notes what peers have used up of their quotas, now and then.
func (r *Replica) saveSpent() {
	r.saved = time.Now()
	err := r.numbers.saveSpent(func(p peersync.Peer) exchange.Quota {
		s, _ := r.engine.Status(p)
		return s.Spent
	}, r.saved)
	if err != nil {
		r.log.Warn("what peers have used up of their quotas is not noted: they have it again after a restart", "error", err)
	}
}

// Accept serves a connection that a peer has dialled, until it ends or ctx does. It returns at
// once if the peer may not have a link now. The caller closes conn then.
func (r *Replica) Accept(ctx context.Context, conn *tapir.Conn) {
	if l := r.admitLink(conn, false); l != nil {
		defer r.work.Done()
		defer context.AfterFunc(r.workCtx, func() { l.conn.Close() })()
		r.serveLink(ctx, l)
	}
}

// admitLink makes a link of an authenticated connection, unless the peer may not have one: it is
// paused, or has a link that stays. Of two links, the one stays that the side with the lower
// name has dialled, as both sides find without asking each other.
func (r *Replica) admitLink(conn *tapir.Conn, dialled bool) *link {
	secure := peerlink.NewConn(conn, r.onion, dialled)
	r.lockEngine()
	defer r.unlockEngine()
	i, ok := r.findPeer(conn.Peer())
	if !ok || !r.open || r.configured[i].Paused {
		return nil
	}
	r.settleEngine() // the time may have ended the old link: that Close is not for the new one
	number := r.peers[i].Number
	if old := r.links[number]; old != nil {
		if !r.replacesLink(old, conn.Peer(), dialled) {
			return nil
		}
		r.forgetLink(old)
		old.conn.Close() // Connect tells the engine
	}
	l := newLink(number, secure, dialled)
	r.links[number] = l
	delete(r.dialErrors, number)
	r.work.Add(1)
	r.engine.Connect(number, dialled)
	signal(r.poke)
	return l
}

// replacesLink reports whether a new link takes the place of an old one.
func (r *Replica) replacesLink(old *link, peer identity.Onion, dialled bool) bool {
	age := time.Since(old.since)
	if old.dialled == dialled {
		return age > leastAge // the dialler has noticed that it is dead
	}
	s, _ := r.engine.Status(old.peer)
	return dialled == (r.onion < peer) || old.isSilent() || !s.Up && age > helloAge
}

// dialPeers begins to dial the peers that are due.
func (r *Replica) dialPeers() {
	if r.dial == nil || !r.open {
		return
	}
	now := time.Since(r.begin)
	for len(r.dialing) < maxDials {
		i, at, ok := r.nextDial()
		if !ok || at > now {
			return
		}
		number, onion := r.peers[i].Number, r.configured[i].Onion
		r.dialing[number] = true
		r.work.Go(func() { r.dialPeer(number, onion) })
	}
}

// nextDial returns the index of the peer that is to be dialled next, and from when on. It is the
// one that has waited longest, so that peers which never answer keep nobody out.
func (r *Replica) nextDial() (index int, from time.Duration, ok bool) {
	for i, p := range r.peers {
		at, wanted := r.engine.NextDial(p.Number)
		if wanted && !r.dialing[p.Number] && r.links[p.Number] == nil && (!ok || at < from) {
			index, from, ok = i, at, true
		}
	}
	return index, from, ok
}

// dialPeer dials a peer and serves the link.
func (r *Replica) dialPeer(number peersync.Peer, onion identity.Onion) {
	ctx, cancel := context.WithTimeout(r.workCtx, dialTimeout)
	conn, err := r.dial(ctx, onion)
	cancel()
	var l *link
	if err == nil {
		defer conn.Close()
		l = r.admitLink(conn, true)
	}
	r.lockEngine()
	delete(r.dialing, number)
	if l == nil && r.links[number] == nil {
		r.noteDial(number, err)
		r.engine.DialFailed(number)
	}
	r.unlockEngine()
	signal(r.poke)
	if l != nil {
		defer r.work.Done()
		r.serveLink(r.workCtx, l)
	}
}

// noteDial notes why a peer was not reached.
func (r *Replica) noteDial(number peersync.Peer, err error) {
	text := ""
	switch {
	case errors.Is(err, tapir.ErrAuthentication):
		text = "another service answered at its address"
	case err != nil:
		text = "it was not reached: " + err.Error()
	}
	r.dialErrors[number] = text
}

// runClock tells the engine the time until ctx ends: every second while there is a link, and
// otherwise when a peer is to be dialled.
func (r *Replica) runClock(ctx context.Context) {
	for {
		r.lockEngine()
		wait, waits := r.nextAdvance()
		if r.open && time.Since(r.saved) > saveSpentEvery && len(r.links) > 0 {
			r.saveSpent()
		}
		r.unlockEngine()
		var due <-chan time.Time
		if waits {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-r.poke:
		case <-ctx.Done():
			return
		}
	}
}

// nextAdvance returns when the engine has to be told the time next, if at all.
func (r *Replica) nextAdvance() (wait time.Duration, waits bool) {
	if r.engine == nil || !r.open {
		return 0, false
	}
	if len(r.links) > 0 {
		return untilLook(), true
	}
	if len(r.dialing) >= maxDials {
		return 0, false // the end of a dial begins the next one
	}
	_, at, waits := r.nextDial()
	return max(at-time.Since(r.begin), 10*time.Millisecond), waits
}
