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
	// seconds, for example to read the whole log, but not longer than ctx, which it passes
	// to its calls of the host. If ctx has ended before the call, Handle does nothing and
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

	// Report replaces what the relay shows its operator about the replication.
	Report(ctx context.Context, report Report) error
}

// Replica is the board of this relay as a replicator sees it. Keys, RangeSum and Split fail
// with [ErrUnavailable] until the relay has read the keys of its store, and while it has more
// than it can hold.
type Replica interface {
	// Log returns the entries from req.From on, in the order of the log, up to the limit
	// of the request.
	Log(ctx context.Context, req LogRequest) (LogPage, error)

	// Keys returns the first keys of a range, ascending. max is 1 to [MaxKeys]. Fewer
	// keys than max are all keys of the range.
	Keys(ctx context.Context, in Range, max int) ([]Key, error)

	// RangeSum returns one sum for each of at most [MaxRanges] ranges.
	RangeSum(ctx context.Context, ranges []Range) ([]Sum, error)

	// Split cuts a range into parts of equal count, in order: of n keys in the range, the
	// first n mod parts of the parts have one key more than the others. Parts without keys
	// are left out, so an empty range has none. parts is 1 to [MaxParts].
	Split(ctx context.Context, in Range, parts int) ([]Part, error)
}

// Links are the connections to other relays. A replicator calls them only for peers that are
// up: from [PeerUp] until [PeerDown].
type Links interface {
	// Send queues a message of 1 to [MaxMessage] bytes for the twin of this replicator at
	// the peer. Messages arrive in the order of Send. When the link breaks they are lost;
	// only [PeerDown] says so.
	Send(ctx context.Context, to Peer, message []byte) error

	// Transfer queues 1 to [MaxIDs] envelopes, which the relay reads from the log and sends
	// to the peer. Each id is settled once by an outcome in a [Sent] event.
	Transfer(ctx context.Context, to Peer, ids []storage.ID) error

	// Request asks the peer for 1 to [MaxIDs] envelopes. Each id is settled once by an
	// outcome in a [Received] event. An id that is in the log already is settled as [Known],
	// without asking the peer.
	Request(ctx context.Context, from Peer, ids []storage.ID) error

	// Drop closes the link to a peer that breaks the protocol, and keeps it closed for a
	// while. The reason is for the operators on this side, with the limits of the texts in a
	// [Report]. PeerDown follows.
	Drop(ctx context.Context, peer Peer, reason string) error
}

// Cursors are values that survive the process of a replicator.
type Cursors interface {
	// Save stores a value of at most [MaxCursor] bytes under a name and replaces the one
	// before; an empty value deletes it. Names are 1 to [MaxCursorName] bytes of a-z, 0-9 and
	// "./_-". The value is durable when Save returns. If a Save survives a crash, so does
	// every Save before it.
	Save(ctx context.Context, name string, value []byte) error

	// Load returns the value under a name, and an empty one if there is none.
	Load(ctx context.Context, name string) ([]byte, error)
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
	// IDs is the sum of the ids, each a little-endian number of 256 bits,
	// modulo 2^256.
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
	// envelopes: what was born before is in no answer, and is Refused when it
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
}

// LogAdvanced says that the log or the floor has moved, or that the epoch has changed. One event
// may stand for many changes.
type LogAdvanced struct{ State State }

// Tick tells the time: about every second while a peer is up, otherwise about every ten
// seconds or with a LogAdvanced. Its frequency means nothing; a replicator calculates with Now.
type Tick struct {
	Now  time.Duration // since Start; never falls
	Hour storage.Hour  // by the clock of the relay, which may be wrong and may jump
}

// PeerUp says that the link to a peer and the twin there are ready.
type PeerUp struct {
	Peer Peer
	// Initiator is true at exactly one of the two ends.
	Initiator bool
	// State is the state of the peer's replica, as the peer claims.
	State State
}

// PeerDown says that the link is gone. No message of the peer follows, and every id is settled.
type PeerDown struct{ Peer Peer }

// PeerMessage is a message from the twin at a peer. The peer may be anybody's relay, so the
// bytes may be anything, from 1 to [MaxMessage] of them.
type PeerMessage struct {
	Peer Peer
	Data []byte
}

// Sent settles ids of a Transfer: as [Passed], [Gone] or [Lost].
type Sent struct {
	Peer     Peer
	Outcomes []Outcome // at most MaxIDs
}

// Received settles ids of a Request, and reports envelopes that the peer transferred without a
// Request: as [Stored], [Known], [Gone], [Refused] or [Lost].
type Received struct {
	Peer     Peer
	Outcomes []Outcome // at most MaxIDs
}

// Outcome says what became of one envelope of a Transfer or a Request.
type Outcome struct {
	ID     storage.ID
	Status OutcomeStatus
}

// OutcomeStatus is what became of an envelope. The numbers are part of the protocol and never
// change.
type OutcomeStatus uint8

const (
	// Passed: the relay has passed the envelope to the link. Only the twin can say whether it
	// arrived.
	Passed OutcomeStatus = 1
	// Stored: the envelope is new, and durable in the log here.
	Stored OutcomeStatus = 2
	// Known: the envelope was in the log here before.
	Known OutcomeStatus = 3
	// Gone: the sender does not have the envelope.
	Gone OutcomeStatus = 4
	// Refused: the envelope was not stored, because it is below the floor here, over a quota,
	// or not an envelope at all.
	Refused OutcomeStatus = 5
	// Lost: the link broke before.
	Lost OutcomeStatus = 6
)

func (s OutcomeStatus) String() string {
	switch s {
	case Passed:
		return "passed"
	case Stored:
		return "stored"
	case Known:
		return "known"
	case Gone:
		return "gone"
	case Refused:
		return "refused"
	case Lost:
		return "lost"
	}
	return "unknown"
}

func (Start) event()       {}
func (LogAdvanced) event() {}
func (Tick) event()        {}
func (PeerUp) event()      {}
func (PeerDown) event()    {}
func (PeerMessage) event() {}
func (Sent) event()        {}
func (Received) event()    {}
