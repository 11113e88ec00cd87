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
// quota each time; by how much is for the store to limit.
//
// Quotas are soft: what exceeds them is answered with OverQuota and the time until there is room,
// on both ends. The credit for a body that came all the same is withheld for so long.
//
// # Bounds
//
// One peer takes at most [MaxMemory] bytes, whatever it sends; [PeerStatus].Memory is the account.
// A peer that breaks the protocol is cut off for a minute, and twice as long each time, up to six
// hours. A peer that owes an answer and gives none for ten minutes is cut, and one that
// answers no ping for about four.
package exchange

import (
	"math/rand/v2"
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
// envelope when the peer is asked for it; one that turns out not to be new is given back.
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
	state peersync.State
	begun bool // state is known

	peers    []*peer // ascending
	incoming map[storage.ID]arrival
	waiting  int // ids that wait for what another peer sends

	jobs      map[uint64]*jobContext
	lastJob   uint64
	jobTurn   int // index of the peer whose jobs come next
	closes    []Close
	eventTurn int     // index of the peer whose events come first next
	advanced  bool    // a LogAdvanced is due
	changed   bool    // a PeersChanged is due
	removed   []*peer // that have events left
}

// New returns an engine without links.
func New(cfg Config) *Engine {
	panic("not implemented")
}

// Advance tells the time: now never falls and has any origin, and wall is the clock of the relay.
// It is called before everything that happens later than the call before, and about every second
// in any case.
func (e *Engine) Advance(now time.Duration, wall time.Time) {}

// SetState tells the state of the own board: at the beginning, and whenever it has moved. Before
// the first one no link says HELLO. The replicator is told by a LogAdvanced, except of the first.
func (e *Engine) SetState(state peersync.State) {}

// SetPeers replaces the peers. Links to peers that are gone or paused are closed, and so are those
// to peers whose Gives has changed.
func (e *Engine) SetPeers(peers []PeerConfig) {}

// Restart forgets what waits for the replicator and closes all links, because another replicator
// begins with Start. The owner makes the Start, and the Ticks.
func (e *Engine) Restart() {}

// Connect says that a link to a peer stands: both ends are authenticated, and no frame has passed.
// There is no other link to the peer. A link that is not wanted is closed by NextClose.
func (e *Engine) Connect(id peersync.Peer, initiator bool) {}

// Disconnect says that the link to a peer has broken. It does nothing if there is none, so the
// owner may call it for each connection that ends, provided that it is the latest one.
func (e *Engine) Disconnect(id peersync.Peer) {}

// DialFailed says that a link to a peer that NextDial had asked for did not come about.
func (e *Engine) DialFailed(id peersync.Peer) {}

// Receive passes a frame from the link to a peer. The engine keeps what the frame points to.
func (e *Engine) Receive(id peersync.Peer, f peerlink.Frame) {}

// Breach says that a peer has broken the protocol below the frames: it has sent bytes that are
// none. NextClose follows.
func (e *Engine) Breach(id peersync.Peer, err error) {}

// Next returns the frame to be written to the link next. The owner calls it when the link has room
// for one, and writes what it gets.
func (e *Engine) Next(id peersync.Peer) (peerlink.Frame, bool) { return nil, false }

// Close is a link that the owner has to close. For the engine it does not exist any more: the
// owner passes no further frame of it.
type Close struct {
	Peer peersync.Peer
	// Last is worth a short attempt to write it; nil if there is none.
	Last *peerlink.Err
	// Reason is for the operator.
	Reason error
	Breach bool // the peer has broken the protocol
}

// NextClose returns the next link to close.
func (e *Engine) NextClose() (Close, bool) { return Close{}, false }

// Events takes what has happened for the replicator, in order, as much as fits one Handle and two
// events fewer; none if there is nothing. It is called until there is nothing, but not before the
// Handle of the events before has returned.
func (e *Engine) Events() []peersync.Event { return nil }

// Send implements [peersync.Links]. The engine keeps the message.
func (e *Engine) Send(to peersync.Peer, message []byte) error { return nil }

// Push implements [peersync.Links].
func (e *Engine) Push(to peersync.Peer, ids []storage.ID) error { return nil }

// Offer implements [peersync.Links].
func (e *Engine) Offer(to peersync.Peer, ids []storage.ID) error { return nil }

// Request implements [peersync.Links].
func (e *Engine) Request(from peersync.Peer, keys []storage.Key) error { return nil }

// Drop implements [peersync.Links].
func (e *Engine) Drop(id peersync.Peer, reason string) error { return nil }

// Rest implements [peersync.Links].
func (e *Engine) Rest(id peersync.Peer, pause time.Duration) error { return nil }

// NextDial says whether a link to the peer is wanted, and from when on the owner may dial.
func (e *Engine) NextDial(id peersync.Peer) (at time.Duration, wanted bool) { return 0, false }
