// Package peersync is the contract between a relay and an algorithm that keeps
// the boards of several relays equal. It is for authors of peer-sync plugins,
// who implement [Replicator], and for the relay, which calls it and implements
// [HostServices].
//
// A plugin is only the algorithm. It sees the id of each envelope, the hour in which it was
// born and its place in the log. It exchanges messages with its twin on the other relay, and
// decides which envelopes go where. Everything dangerous stays with the relay: links and
// permissions, reading, checking and appending envelopes, flow control, quotas and floors. A
// plugin gets no ciphertext, no onion address and no socket, and a [Peer] is a number.
//
// # One event after the other
//
// The relay tells a replicator what happens: it passes [Event] values in order to Handle, one
// call at a time. The replicator acts only in Handle, by calling its [HostServices] from the
// same goroutine. The first event is [Start]. What a replicator needs after its process has
// ended, it keeps in cursors.
//
// # Determinism
//
// A replicator reads no clock, draws no random numbers, starts no goroutines and does not
// depend on an order that Go leaves open, such as that of a map. Time comes with [Tick],
// randomness with [Start]. The same events and answers therefore lead to the same calls, and
// a plugin runs unchanged in a simulator that replays years of bad networks from a seed.
//
// For the same reason a replicator keeps nothing in files, although its plugin has a directory
// as any other. Nor would files fit the board after a backup was restored; cursors do.
//
// # Failure
//
// After an error of Handle, the relay closes the replicator and opens another one, which
// begins with Start. Errors of the host are normal, and no reason for Handle to fail; see
// [ErrBusy] and the errors after it.
//
// # Bounds
//
// Every list, message and text has a limit, see [MaxMessage] and the constants after it. A call
// beyond a limit fails with [ErrTooLarge] and does nothing.
//
// # Order on a link
//
// A link carries messages before envelopes. Of the envelopes, those of Push go first, then
// those that were requested, then those of Offer; within each, in the order of the calls.
// A message that is sent after an Offer therefore arrives before the envelopes of it.
//
// # One key for one envelope
//
// An envelope has one id on all relays, but two relays may have accepted it in different hours.
// Then the earlier hour wins, and its key moves: a relay that learns of an earlier hour from an
// Offer, a Push or a Request lowers its own, by at most [storage.MaxAging] hours in all.
//
// # Version 1, frozen
//
// This is version 1 of the contract, and it is frozen: a plugin that keeps it works with
// every later relay of version 1, without a new build. None of this changes:
//
//   - the methods of [Replicator] and [HostServices], and what their comments demand
//   - the events, and when they come
//   - the limits
//   - the numbers on the wire: of fields, events, outcomes and errors
//
// This may be added:
//
//   - events, which a replicator ignores that does not know them
//   - calls of the host, without which a replicator works as before
//   - fields of events, calls and answers, whose zero value means what their absence means now
//   - checks of sentences that stand here already
//
// A plugin that was built before version 1 is refused: its description names no contract.
//
// # Proof
//
// Package peersynctest checks an implementation against this contract in a small simulation,
// with direct calls, over gRPC, and in a process of its own.
package peersync

import (
	"context"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Replicator is the algorithm of a peer-sync plugin.
type Replicator interface {
	// Handle processes events in order. Without events it returns no error. It may take
	// seconds, but not longer than ctx, which it passes to its calls of the host. The relay
	// gives it two minutes, and then replaces the process; Wake cuts longer work, such as
	// reading the whole log, into pieces. If ctx has ended before the call, Handle does nothing and
	// returns the error of ctx.
	//
	// A replicator ignores what it does not understand: messages that make no sense, peers
	// that it has not heard of, and events of types that a later version of this package
	// adds. The events and what they point to belong to the replicator. After an error only
	// Close is called.
	Handle(ctx context.Context, events []Event) error

	// Close releases the replicator. The relay calls it once, after the last Handle has
	// returned. It must not call the host.
	Close() error
}

// HostServices is what a relay offers to a replicator. Its methods are called only within
// Handle, one at a time and with its context. The caller owns what they return, and keeps
// what it passes to them.
type HostServices interface {
	Replica
	Links
	Cursors

	// Wake asks for a Tick as soon as Now has grown by after, 0 to [MaxWake]. It replaces
	// an earlier Wake. With 0 the Tick comes when this Handle has returned, and the relay
	// has done what is more urgent: so long work is cut into pieces.
	Wake(ctx context.Context, after time.Duration) error

	// Report replaces what the relay shows its operator about the replication.
	Report(ctx context.Context, report Report) error
}

// Replica is the board of this relay as a replicator sees it. Keys, RangeSum and Split fail
// with [ErrUnavailable] until the relay has read the keys of its store, and while it has more
// than it can hold.
//
// Each call shows one moment of each range. What clients post meanwhile has the present hour,
// so two calls differ only in it, in what the replicator has replicated itself, and below a
// floor that has risen.
type Replica interface {
	// Log returns the entries from req.From on, in the order of the log, up to the limit
	// of the request.
	Log(ctx context.Context, req LogRequest) (LogPage, error)

	// Keys returns the keys of 1 to [MaxRanges] ranges, ascending within each, and at most max
	// keys in all, which is 1 to [MaxKeys]. There is a list for each range, unless max ends
	// the answer: then the last list may lack keys, and those of later ranges are left out.
	Keys(ctx context.Context, ranges []Range, max int) ([][]Key, error)

	// RangeSum returns one sum for each of 1 to [MaxRanges] ranges. Sums for a peer are keyed:
	// in the place of each id is a hash of it, SHA-256(secret ‖ id), with a secret of 32 bytes
	// that only the two ends of the present link know. Both ends compute the same sum for the
	// same envelopes, and nobody else can craft ids whose sums agree. For peer 0 the ids
	// themselves are added.
	RangeSum(ctx context.Context, peer Peer, ranges []Range) ([]Sum, error)

	// Split cuts each of 1 to [MaxRanges] ranges into parts of equal count, in order: of n keys
	// in the range, the first n mod parts of the parts have one key more than the others.
	// Parts without keys are left out, so an empty range has none. parts is at least 1, and
	// times the number of ranges at most [MaxParts]. The sums are those of RangeSum.
	Split(ctx context.Context, peer Peer, ranges []Range, parts int) ([][]Part, error)
}

// Links are the connections to other relays. A replicator calls them only for peers that are
// up: from [PeerUp] until [PeerDown].
//
// Envelopes are under way from the call until their outcome. Of one peer there are at most
// [MaxUnderWay] that are pushed or offered, and as many that are requested. Beyond that, and if
// messages of [MaxQueued] bytes wait, a call fails with [ErrBusy] and queues nothing; [PeerReady]
// says when another one may succeed.
//
// An id that occurs twice in a call is read once. An id that is under way to the peer already is
// not sent a second time: both calls get the outcome.
type Links interface {
	// Send queues a message of 1 to [MaxMessage] bytes for the twin of this replicator at
	// the peer. Messages arrive in the order of Send. When the link breaks they are lost;
	// only [PeerDown] says so.
	Send(ctx context.Context, to Peer, message []byte) error

	// Push sends 1 to [MaxIDs] envelopes to the peer, without asking whether it has them. Each
	// id is settled once by an outcome in a [Sent] event.
	Push(ctx context.Context, to Peer, ids []storage.ID) error

	// Offer tells the relay of the peer the keys of 1 to [MaxIDs] envelopes, and sends it
	// those that it lacks. Each id is settled once by an outcome in a [Sent] event. It takes
	// a turn longer than Push, and costs 40 bytes for an envelope that the peer has.
	Offer(ctx context.Context, to Peer, ids []storage.ID) error

	// Request asks the peer for 1 to [MaxIDs] envelopes, with the keys that they have there.
	// A replicator that does not know the Born there passes a later one; the envelope comes
	// with the true one. Each id is settled once by an outcome in a [Received] event. An id that is in the log
	// already is settled as [Known], one that another peer is sending as [UnderWay]; for
	// neither is the peer asked.
	Request(ctx context.Context, from Peer, keys []Key) error

	// Drop closes the link to a peer that breaks the protocol, and keeps it closed for a
	// while, longer each time. The reason is for the operators on this side, with the limits
	// of the texts in a [Report]. PeerDown follows.
	Drop(ctx context.Context, peer Peer, reason string) error

	// Rest closes the link to a peer, without blame, and keeps it closed until Now has grown
	// by pause, which is 0 to [MaxRest]. PeerDown follows. For algorithms that need few links
	// at a time, or save power.
	Rest(ctx context.Context, peer Peer, pause time.Duration) error
}

// Cursors are values that survive the process of a replicator.
type Cursors interface {
	// Save stores values of at most [MaxCursor] bytes under their names, all or none of them,
	// and replaces those before; an empty value deletes its cursor. Names are 1 to
	// [MaxCursorName] bytes of a-z, 0-9 and "./_-", and occur once in a call. The values are
	// durable when Save returns. If a Save survives a crash, so does every Save before it.
	Save(ctx context.Context, cursors ...Cursor) error

	// Load returns the value under a name, and an empty one if there is none.
	Load(ctx context.Context, name string) ([]byte, error)

	// List returns the names of all cursors, ascending.
	List(ctx context.Context) ([]string, error)
}

// Cursor is a value under a name.
type Cursor struct {
	Name  string
	Value []byte
}

// Peer is the number of another relay with a replica of the board. Numbers start at 1. A peer
// keeps its number as long as it is configured, across all restarts, so the name of a cursor
// may contain it. No other peer gets the same number later.
type Peer uint32

// Key is an envelope in the order of reconciliation.
type Key = storage.Key

// Range is a half-open range of keys.
type Range = storage.Range

// Sum describes a set of envelopes. Sums of disjoint sets add up, see [Sum.Join].
type Sum struct {
	Count uint64
	// IDs is the sum of the ids, or of the keyed hashes in their place, each a little-endian
	// number of 256 bits, modulo 2^256.
	IDs [32]byte
}

// Part is a run of keys that [Replica.Split] returns.
type Part struct {
	First, Last Key // both in it
	Sum         Sum
}

// State describes a replica.
type State struct {
	Epoch storage.Epoch // sequence numbers of another epoch mean nothing
	First storage.Seq   // lowest sequence number kept; 0 when the log is empty
	Last  storage.Seq   // highest ever assigned; 0 before the first
	Count uint64        // envelopes kept
	// Floor is the hour below which the relay neither keeps nor accepts
	// envelopes: what was born before is in no answer, and is TooOld when it
	// comes. It only rises within an epoch.
	Floor storage.Hour
}

// LogRequest asks for a page of the log.
type LogRequest struct {
	From storage.Seq // first entry wanted; 0 is read as 1
	Max  int         // entries; 0 means MaxEntries, and more than that is ErrTooLarge
}

// LogPage is a part of the log.
type LogPage struct {
	// Epoch is the epoch of the log at the time of reading. If it differs from the one that
	// the replicator knows, From belongs to a log that no longer exists.
	Epoch   storage.Epoch
	Entries []Entry
	// Last is the highest sequence number of the log at the time of reading. The reader is at
	// the end if the page contains it or is empty.
	Last storage.Seq
}

// Entry is an envelope in the log.
type Entry struct {
	Seq storage.Seq
	Key
	Size uint32 // bytes of ciphertext and signature together
	// Via is the peer that it came from; 0 if a client posted it here, or the relay no
	// longer knows.
	Via Peer
}

// Report is for the operator. Its texts are at most [MaxText] bytes of UTF-8 without control
// characters, and contain no ids.
type Report struct {
	Summary string       `json:"summary,omitempty"`
	Peers   []PeerReport `json:"peers,omitempty"` // each peer at most once
}

// PeerReport is what an operator sees of one peer.
type PeerReport struct {
	Peer    Peer   `json:"peer"`
	Summary string `json:"summary,omitempty"`
	Lacks   uint64 `json:"lacks"`   // envelopes that the peer is known to lack
	Missing uint64 `json:"missing"` // envelopes that the peer has and this relay is known to lack
}

// Event is something that has happened: one of the types below.
type Event interface{ event() }

// Start is the first event of a replicator, and comes only once. No peer is up, and nothing is
// under way.
type Start struct {
	State State
	Hour  storage.Hour // as in Tick
	// Seed is the only randomness of the replicator. Every Start has a new one, and nobody
	// else knows it.
	Seed [32]byte
	// Peers are all peers that are configured, ascending, at most MaxPeers. Most algorithms
	// need only those that are up.
	Peers []Peer
}

// PeersChanged says that other peers are configured now. Those that are gone are down.
type PeersChanged struct {
	Peers []Peer // as in Start
}

// LogAdvanced says that the log or the floor has moved, or that the epoch has changed. One event
// may stand for many changes.
type LogAdvanced struct{ State State }

// Tick tells the time: about every second while a peer is up, otherwise about every ten
// seconds or with a LogAdvanced, and when a Wake is due. Its frequency means nothing; a
// replicator calculates with Now.
type Tick struct {
	Now  time.Duration // since Start; never falls
	Hour storage.Hour  // by the clock of the relay, which may be wrong and may jump
}

// PeerUp says that the link to a peer and the twin there are ready. Both run a plugin of the same
// name.
type PeerUp struct {
	Peer Peer
	// Initiator is true at exactly one of the two ends.
	Initiator bool
	// State is the state of the peer's replica, as the peer claims.
	State State
	// Version is the version of the twin's plugin, as the peer claims.
	Version string
	// Gives says that this relay stores envelopes from the peer. If not, they are NotAllowed.
	// Takes says the same of the peer's relay, as the peer claims. The operators decide: a
	// mirror takes and does not give.
	Gives, Takes bool
}

// PeerMoved says that the epoch or the floor of a peer's replica has changed, or that its log has
// moved, as the peer claims. Its relay says so after a change of epoch or floor at once, and else
// now and then.
type PeerMoved struct {
	Peer  Peer
	State State
}

// PeerReady says that a call for a peer may succeed that failed with ErrBusy before.
type PeerReady struct{ Peer Peer }

// PeerDown says that the link is gone. No message of the peer follows, and every id is settled.
type PeerDown struct{ Peer Peer }

// PeerMessage is a message from the twin at a peer. The peer may be anybody's relay, so the
// bytes may be anything, from 1 to [MaxMessage] of them.
type PeerMessage struct {
	Peer Peer
	Data []byte
}

// Sent settles ids of a Push or an Offer. Whether the peer's relay took them is its word:
// [Stored], [Known], [TooOld], [OverQuota], [NotAllowed] or [Invalid]. What did not get so far
// is [Gone] or [Lost].
type Sent struct {
	Peer     Peer
	Outcomes []Outcome // at most MaxIDs
	// RetryAfter is how long the peer's relay takes nothing more, if it was OverQuota.
	RetryAfter time.Duration
}

// Received settles ids of a Request: as [Stored], [Known], [UnderWay], [TooOld], [OverQuota],
// [NotAllowed], [Invalid], [Gone] or [Lost]. It also reports envelopes that the peer pushed or
// offered, in the same words except the last two; of these, Known says that the peer has it as
// well.
type Received struct {
	Peer     Peer
	Outcomes []Outcome // at most MaxIDs
	// RetryAfter is how long this relay takes nothing more from the peer, if it was OverQuota.
	RetryAfter time.Duration
}

// Outcome says what became of one envelope.
type Outcome struct {
	ID     storage.ID
	Status OutcomeStatus
}

// OutcomeStatus is what became of an envelope. The numbers are part of the protocol and never
// change.
type OutcomeStatus uint8

const (
	// Stored: the envelope is new, and durable in the log of the relay that received it.
	Stored OutcomeStatus = 1
	// Known: the envelope was in that log before.
	Known OutcomeStatus = 2
	// UnderWay: another peer is sending the envelope. If its outcome there is not Stored, it
	// can be requested again.
	UnderWay OutcomeStatus = 3
	// Gone: the sender does not have the envelope, or no longer.
	Gone OutcomeStatus = 4
	// TooOld: not stored, because it was born below the floor of the relay that received it.
	TooOld OutcomeStatus = 5
	// OverQuota: not stored, because the sender has used up what its operator allows it, or the
	// receiver has no room now.
	OverQuota OutcomeStatus = 6
	// NotAllowed: not stored, because the relay takes nothing from the sender.
	NotAllowed OutcomeStatus = 7
	// Invalid: not stored, because it is not the envelope that has the id, or none at all.
	Invalid OutcomeStatus = 8
	// Lost: the link broke before, or the store of the relay that received it failed.
	Lost OutcomeStatus = 9
)

func (s OutcomeStatus) String() string {
	switch s {
	case Stored:
		return "stored"
	case Known:
		return "known"
	case UnderWay:
		return "under way"
	case Gone:
		return "gone"
	case TooOld:
		return "too old"
	case OverQuota:
		return "over quota"
	case NotAllowed:
		return "not allowed"
	case Invalid:
		return "invalid"
	case Lost:
		return "lost"
	}
	return "unknown"
}

func (Start) event()        {}
func (PeersChanged) event() {}
func (LogAdvanced) event()  {}
func (Tick) event()         {}
func (PeerUp) event()       {}
func (PeerMoved) event()    {}
func (PeerReady) event()    {}
func (PeerDown) event()     {}
func (PeerMessage) event()  {}
func (Sent) event()         {}
func (Received) event()     {}
