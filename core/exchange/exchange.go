// Package exchange is the engine of peer sync: it moves messages and envelopes between one board
// and its peers. It is for core/replica, which runs it with real links and stores, and for
// core/lab, which runs it with simulated ones.
//
// The engine is a deterministic state machine. It has no clock, starts no goroutine and does no
// I/O. Its owner tells it what happens, and then carries out what it asks for:
//
//	e := exchange.New(cfg)
//	e.Advance(now, wall)             // the time, before anything else
//	e.SetState(state)                // the own board
//	e.SetTaking(true)                // whether it has room
//	e.Connect(peer, initiator)       // a link stands
//	e.Receive(peer, frame)           // from the link
//	for { c, ok := e.NextClose() }   // links to close
//	for { job, ok := e.NextJob() }   // work for the store; Done with each
//	for { f, ok := e.Next(peer) }    // frames to write, as long as the link has room
//	events := e.Events()             // for the replicator
//
// After any call, any of the four may have something new. All methods are for one goroutine at a
// time. The same calls with the same arguments lead to the same answers.
//
// # What it does
//
// It says HELLO and compares plugins; keeps to credit and grants it; splits messages into
// fragments and joins them; offers, wants, fetches, sends, checks and appends envelopes; knows
// which envelopes are under way from which peer, so that none is asked for twice; settles each id
// of the replicator once; keeps quotas, floors and the accept window; pings; and says when to dial
// again.
//
// # Order on a link
//
// [Engine.Next] returns control frames first, then messages, then offers, then bodies: pushed,
// requested, offered. Bodies are fetched from the store shortly before they are sent.
//
// # Rules for what comes
//
// The id of a body is computed from its bytes. A body that was not wanted and is no push breaks
// the protocol. What was born below the own floor is TooOld; what is born more than two hours
// ahead is taken as born now. A peer may age a known envelope, at the price of one envelope of its
// quota each time, or of the bytes of a push; by how much is for the store to limit.
//
// Quotas are soft: what exceeds them is answered with OverQuota and the time until there is room,
// on both ends. The credit for a body that came all the same returns slowly, so a flood is slow.
//
// # Bounds
//
// One peer takes at most [MaxMemory] bytes, whatever it sends; [PeerStatus].Memory is the account.
// A peer that breaks the protocol is cut off for a minute, and twice as long each time, up to six
// hours. A new link renews what bounds the work for a peer, so after a few short ones in a row
// the peer gets no link for some seconds, and for twice as long each time, up to a minute. More PINGs and
// STATEs than an honest peer ever sends break the protocol. A peer that owes an answer for ten
// minutes is cut, and one that answers no ping for about four.
package exchange

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// MaxMemory bounds the bytes that one peer takes.
const MaxMemory = 9 << 20

// Config says what an engine serves.
type Config struct {
	Plugin  string // name of the replicator's plugin; peers run the same
	Version string // of the plugin, for the twins
	Peers   []PeerConfig
	Seed    [32]byte // the only randomness: nonces, pings, backoff
}

// PeerConfig is one other relay.
type PeerConfig struct {
	Peer   peersync.Peer
	Gives  bool  // what it sends is stored
	Paused bool  // no link to it, in neither direction
	Quota  Quota // what is taken from it
	// Spent is what it had used up of its quota when the engine was new, see
	// [PeerStatus]. SetPeers ignores it for a peer that it had before.
	Spent Quota
}

// Quota bounds what is taken from a peer. 0 means no limit. Each is a bucket that is full at
// first, and refills evenly within an hour or a day. A body is charged when it comes, and an
// envelope when the peer is asked for it; one that turns out not to be new is given back. A push
// that is not new costs as many bytes as credit. What this relay loses costs nothing.
type Quota struct {
	EnvelopesPerHour uint64
	BytesPerDay      uint64
}

// Engine is the exchange of one board with its peers.
type Engine struct {
	cfg   Config
	rand  *rand.Rand
	now   time.Duration
	wall  time.Time
	state peersync.State // of the own board
	begun bool           // state is known
	// refuses holds while nothing can be stored, whoever sends it.
	refuses bool

	peers    []*peer                // ascending
	incoming map[storage.ID]arrival // envelopes that peers are sending
	timersAt time.Duration          // when the timers are looked at next
	stealAt  time.Duration          // when offers that wait are looked at next

	jobs    map[uint64]*pending
	lastJob uint64
	jobTurn int // counts jobs, so that all peers get their turn
	closes  []Close

	advanced  bool    // a LogAdvanced is due
	changed   bool    // a PeersChanged is due
	removed   []*peer // that have events left
	eventTurn int     // counts batches, as jobTurn does
}

// New returns an engine without links.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, rand: rand.New(rand.NewChaCha8(cfg.Seed)),
		incoming: make(map[storage.ID]arrival), jobs: make(map[uint64]*pending),
	}
	e.SetPeers(cfg.Peers)
	e.changed = false
	return e
}

// Advance tells the time: now is the time since New and never falls, and wall is the clock of
// the relay. It is called before everything that happens later than the call before, and about every second
// in any case.
func (e *Engine) Advance(now time.Duration, wall time.Time) {
	e.now, e.wall = max(e.now, now), wall
	if e.now < e.timersAt {
		return
	}
	elapsed := e.now - (e.timersAt - timerStep)
	e.timersAt = e.now + timerStep
	for _, p := range e.peers {
		if p.link != nil {
			e.runTimers(p.link, elapsed)
		}
	}
	if e.now >= e.stealAt {
		e.stealAt = e.now + stealStep
		e.stealWaiting()
	}
}

// presentHour returns the present hour by the clock of the relay.
func (e *Engine) presentHour() storage.Hour { return storage.HourOf(e.wall) }

// SetState tells the state of the own board: at the beginning, and whenever it has moved. Before
// the first one no link says HELLO. The replicator is told by a LogAdvanced, except of the first.
func (e *Engine) SetState(state peersync.State) {
	if e.begun && state == e.state {
		return
	}
	urgent := state.Epoch != e.state.Epoch || state.Floor != e.state.Floor
	e.advanced = e.begun
	e.state, e.begun = state, true
	for _, p := range e.peers {
		if p.link != nil {
			p.link.stateDue = true
			p.link.stateUrgent = p.link.stateUrgent || urgent
		}
	}
}

// SetTaking says whether the own board has room for envelopes; at first it has. While it has none,
// peers are told OverQuota before they send a body, and to come again in a minute.
func (e *Engine) SetTaking(taking bool) { e.refuses = !taking }

// SetPeers replaces the peers. Links to peers that are gone or paused are closed, and so are those
// to peers whose Gives has changed.
func (e *Engine) SetPeers(peers []PeerConfig) {
	peers = slices.SortedFunc(slices.Values(peers), func(a, b PeerConfig) int { return cmp.Compare(a.Peer, b.Peer) })
	old := e.peers
	e.peers = make([]*peer, len(peers))
	kept := 0
	for i, cfg := range peers {
		at := slices.IndexFunc(old, func(p *peer) bool { return p.cfg.Peer == cfg.Peer })
		if at < 0 {
			e.peers[i] = newPeer(cfg, e.now)
			continue
		}
		e.peers[i] = old[at]
		e.reconfigure(old[at], cfg)
		old = slices.Delete(old, at, at+1)
		kept++
	}
	for _, p := range old {
		if p.link != nil {
			e.closeLink(p.link, ending{kind: rested, code: peerlink.CodeResting, reason: errRemoved})
		}
		e.removed = append(e.removed, p)
	}
	e.changed = e.changed || len(old) > 0 || kept < len(peers)
}

// Restart forgets what waits for the replicator and closes all links, because another replicator
// begins with Start. The owner makes the Start, and the Ticks. known are the peers in Start: if
// there are others by now, a PeersChanged follows.
func (e *Engine) Restart(known []peersync.Peer) {
	for _, p := range e.peers {
		if p.link != nil {
			e.closeLink(p.link, ending{kind: cut, code: peerlink.CodeResting, reason: errRestarted})
		}
		p.clearEvents()
	}
	e.removed, e.advanced = nil, false
	e.changed = !slices.Equal(known, e.peerNumbers())
}

// findPeer returns a configured peer, or nil.
func (e *Engine) findPeer(id peersync.Peer) *peer {
	at, ok := slices.BinarySearchFunc(e.peers, id, func(p *peer, id peersync.Peer) int { return cmp.Compare(p.cfg.Peer, id) })
	if !ok {
		return nil
	}
	return e.peers[at]
}

// findLink returns the link to a peer, or nil.
func (e *Engine) findLink(id peersync.Peer) *link {
	if p := e.findPeer(id); p != nil {
		return p.link
	}
	return nil
}

// findUp returns the link to a peer that the replicator knows to be up.
func (e *Engine) findUp(id peersync.Peer) (*link, error) {
	if l := e.findLink(id); l != nil && l.told {
		return l, nil
	}
	return nil, peersync.ErrPeerUnknown
}
