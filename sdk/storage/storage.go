// Package storage is the contract between a relay and the place where it keeps
// envelopes. It is for authors of storage plugins, who implement [Store], and
// for the relay, which calls it.
//
// A store is an append-only log of envelopes and a set of spent tokens. It
// knows nothing about connections, groups or people, and cannot find out: an
// envelope is ciphertext and a signature that only the members of its group can
// check.
//
// # Guarantees a store gives
//
//   - Durable: when Append returns without an error, every outcome it reports
//     survives the death of the process and of the machine. A store that keeps
//     files checks before it returns that they are still at their paths, and
//     reports [ErrCorrupt] if not: no write fails because somebody has deleted,
//     moved or replaced a file, and what was written is lost with the process.
//     The relay itself notices when the directory is moved.
//   - Atomic: a batch is applied whole or not at all, and an envelope is never
//     kept without the token that paid for it, nor the other way round.
//   - Ordered: sequence numbers start at 1, rise by one with every stored
//     envelope and are never reused within an [Epoch]. Once a reader has seen
//     number s, nothing appears at or below s.
//   - Shown at one moment: Log, Find, Info, SpentTokens, Hours, Keys and Get show
//     all that an Append changes, or all tokens of a Spend, from the same moment on,
//     and not before it is durable.
//   - Idempotent: an envelope is stored once, however often it is appended.
//
// # Sharing
//
// The store assigns sequence numbers, so several relays may append to one
// store. A store that is shared this way also implements [Watcher], by which a
// relay learns what the others have appended.
//
// # Concurrency
//
// All methods may be called at the same time from several goroutines. A relay
// has at most one Append in flight.
//
// A method that is called with a context that has ended returns its error and
// does nothing. One whose context ends while it works may finish or return that
// error. After such an Append, as after any error, the caller appends the batch
// again.
//
// # Bytes
//
// Signatures and ciphertexts are opaque and may be empty; nil and empty are the
// same. The relay has computed the ID of a record, with [NewID]; a store takes
// it as given and may rely on equal IDs meaning equal bytes.
//
// # Version 1, frozen
//
// This is version 1 of the contract, and it is frozen: a plugin that keeps it works with
// every later relay of version 1, without a new build. None of this changes:
//
//   - the methods of [Store] and of the optional interfaces, and what their comments demand
//   - the limits
//   - the numbers on the wire: of fields, outcomes, errors and capabilities
//
// This may be added:
//
//   - optional interfaces, each with a capability, without which a store serves as before
//   - fields of requests and answers, whose zero value means what their absence means now
//   - checks of sentences that stand here already
//
// # Proof
//
// The package storagetest beside this one checks every sentence above and
// below against an implementation: called directly, over gRPC and as a process
// that is killed while it appends, prunes and compacts.
package storage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// Sizes, in bytes, and counts that bound every call. The relay keeps to them; a
// store refuses what exceeds them with [ErrTooLarge] and changes nothing. See
// [CheckBatch] and [LogRequest.Bounds].
const (
	// MaxBatch is the greatest number of records in one Append.
	MaxBatch = 256
	// MaxBatchBytes bounds the ciphertexts and signatures of one Append. A
	// batch of a single record is always allowed.
	MaxBatchBytes = 1 << 20
	// MaxEnvelope bounds ciphertext and signature of one record together.
	MaxEnvelope = 16 << 10
	// PageBytes bounds the bodies of one [Page]. A page of a single entry is
	// always allowed.
	PageBytes = 256 << 10
	// MaxPage is the greatest number of entries in one [Page].
	MaxPage = 1024
)

// Store keeps the envelopes of one server.
type Store interface {
	// Info describes the store as it is now. The relay calls it whenever it
	// opens or reopens the store, and for its status report; it must be cheap.
	Info(ctx context.Context) (Info, error)

	// Append applies the records in order, in one transaction, and returns one
	// outcome for each. A record sees the effect of the records before it in the
	// batch. Its nullifier is checked first, its Born second (see [Pruner]), its ID
	// third, its signature fourth.
	// An empty batch is no error and has no outcomes. Append returns when the
	// batch is durable, not before. An error says nothing about the batch: the
	// caller appends it again, and what had been applied is then reported as
	// Duplicate or Replayed.
	//
	// The records and what they point to belong to the caller. A store does not
	// change them, and does not keep them after the call.
	Append(ctx context.Context, records []Record) ([]Outcome, error)

	// Log returns the entries from sequence number req.From on, ascending and
	// without a gap, as many as fit a page. A Page with no entries means that
	// the log ends before From. A page ends at the end of the log, at Max
	// entries, or where one more would exceed MaxBytes, and never earlier.
	// Entries that were pruned are left out, which is the only reason for a
	// gap. Replay of a whole log is many calls, so Log must not hold anything
	// between them.
	Log(ctx context.Context, req LogRequest) (Page, error)

	// Find returns the lowest sequence number of an envelope with the given
	// signature, or [ErrNotFound]. Signatures are opaque and not unique:
	// strangers may post another ciphertext under a known signature. The cost of
	// a call does not depend on how many envelopes have its signature: neither
	// Find nor Append walks over the envelopes of one signature. A signature
	// longer than MaxEnvelope is ErrTooLarge.
	//
	// When the envelope that Find returns is pruned, its signature is forgotten, even
	// if later envelopes have it; the next one that is stored with it counts as the
	// lowest. A reader that knows the pruned envelope may lack what stands between
	// the two.
	Find(ctx context.Context, signature []byte) (Seq, error)

	// Close releases the store. The relay calls it once, after the last call
	// of the other methods has returned.
	Close() error
}

// Seq is a position in the log of one store; 0 stands for "before the first".
type Seq uint64

// Epoch names one life of a store. It is random and new whenever a store is
// created, or restored by a means of its own; sequence numbers of different
// epochs have nothing to do with each other. A file that somebody copied back
// keeps its epoch, so a relay also checks the length of the log. A server that has
// run refuses a store of another epoch until an operator accepts it.
type Epoch [16]byte

// NewEpoch draws an epoch.
func NewEpoch() (e Epoch) {
	rand.Read(e[:]) // never fails: crypto/rand ends the process instead
	return e
}

func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// ID identifies an envelope: signature and ciphertext together, since a relay
// cannot check that one belongs to the other.
type ID [sha256.Size]byte

// NewID computes the id of an envelope:
//
//	SHA-256("cwtch-relay/envelope/v1" ‖ uint32(len) ‖ signature ‖ uint32(len) ‖ ciphertext)
//
// with both lengths big-endian.
func NewID(signature, ciphertext []byte) (id ID) {
	h := sha256.New()
	var n [4]byte
	h.Write([]byte("cwtch-relay/envelope/v1"))
	for _, part := range [][]byte{signature, ciphertext} {
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	h.Sum(id[:0])
	return id
}

// Nullifier is what remains of a spent token. It is shown when the token is
// redeemed, and cannot be linked to the purchase.
type Nullifier [32]byte

// Hour is a time in whole hours since the Unix epoch, the only precision in
// which time is stored.
type Hour uint32

// HourOf returns the hour that t lies in.
func HourOf(t time.Time) Hour { return Hour(t.Unix() / 3600) }

// Record is an envelope to append.
type Record struct {
	ID         ID
	Born       Hour // when the first relay accepted it
	Signature  []byte
	Ciphertext []byte
	// Nullifier is the token that pays for the envelope; nil when none does,
	// because another relay has accepted the envelope already.
	Nullifier *Nullifier
}

// Entry is an envelope in the log.
type Entry struct {
	Seq        Seq
	ID         ID
	Born       Hour
	Signature  []byte
	Ciphertext []byte
}

// OutcomeStatus says what became of a record. The numbers cross the wire and are
// never changed.
type OutcomeStatus uint8

const (
	// Stored: the envelope is new and now in the log at Seq; its nullifier is
	// spent.
	Stored OutcomeStatus = 1
	// Duplicate: the envelope was in the log before, at Seq; its nullifier,
	// unspent until now, is spent.
	Duplicate OutcomeStatus = 2
	// Spent: the nullifier had paid for another envelope, or for this one, which
	// is not in the log (see [Ledger] and [Pruner]); nothing changed.
	Spent OutcomeStatus = 3
	// Replayed: the nullifier had paid for this very envelope, which is in the
	// log at Seq; nothing changed. It is how the caller of a repeated Append
	// tells its own earlier attempt from a second spend.
	Replayed OutcomeStatus = 4
	// Conflict: another envelope with this signature is in the log; nothing
	// changed, and the nullifier is not spent. Only a record with a nullifier and
	// a signature that is not empty can be a Conflict. A record without a nullifier
	// comes from another relay or store. If it were refused, a stranger who has seen
	// an envelope at one relay could keep it out of another, by posting something
	// else under its signature there first. A signature that Find has forgotten is
	// no reason for a Conflict.
	Conflict OutcomeStatus = 5
	// Expired: the envelope was born before the floor of the store (see [Pruner]);
	// nothing changed, and the nullifier is not spent.
	Expired OutcomeStatus = 6
)

func (s OutcomeStatus) String() string {
	switch s {
	case Stored:
		return "stored"
	case Duplicate:
		return "duplicate"
	case Spent:
		return "spent"
	case Replayed:
		return "replayed"
	case Conflict:
		return "conflict"
	case Expired:
		return "expired"
	}
	return "unknown"
}

// Outcome answers one record of an Append.
type Outcome struct {
	Status OutcomeStatus
	Seq    Seq // of the envelope in the log; 0 with Spent, Conflict and Expired
}

// Info describes a store.
type Info struct {
	Epoch  Epoch
	First  Seq    // lowest sequence number kept; 0 when the log is empty
	Last   Seq    // highest ever assigned; 0 when none was
	Count  uint64 // envelopes kept
	Bytes  uint64 // space that the store takes, that of a compaction included, as far as it can tell
	InUse  uint64 // how much of Bytes is not free for reuse, never more than Bytes; 0 when the store cannot tell
	Tokens uint64 // spent tokens, those of Spend included
	Floor  Hour   // below which nothing is kept; 0 when the store has pruned nothing
}

// LogRequest asks for a page of the log.
type LogRequest struct {
	From Seq // first entry wanted; 0 is read as 1
	// Max bounds the number of entries; 0 means MaxPage. Less than 0 or more
	// than MaxPage is ErrTooLarge.
	Max int
	// MaxBytes bounds the bodies of the page; one entry is always allowed. 0
	// means PageBytes, and more than that is ErrTooLarge.
	MaxBytes int
}

// Page is a part of the log. Its slices belong to the caller.
type Page struct {
	Entries []Entry
	// Last is the highest sequence number ever assigned when the page was read. The
	// reader is at the end when the page holds it or is empty.
	Last Seq
}

// The errors of a store. They keep their identity (errors.Is) across the
// process border; any other error is reported by its text.
var (
	// ErrNotFound: no envelope has the signature asked for.
	ErrNotFound = errors.New("not found")
	// ErrTooLarge: a batch, a record or a request exceeds the limits above.
	ErrTooLarge = errors.New("too large")
	// ErrFull: there is no room for the batch, the transaction of a Prune, or the
	// compaction of a Compact. Nothing was changed; the store goes on serving reads and accepts appends again
	// once there is room.
	ErrFull = errors.New("no space left for the store")
	// ErrUnavailable: the store cannot be reached now, for instance because its
	// process restarts. Whether an Append was applied is unknown; it may be repeated.
	ErrUnavailable = errors.New("store unavailable")
	// ErrCorrupt: the store contradicts itself and must not be used further.
	ErrCorrupt = errors.New("store is damaged")
)
