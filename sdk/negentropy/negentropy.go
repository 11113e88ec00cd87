// Package negentropy finds out which envelopes two relays do not share, with Negentropy V1. It is
// for authors of replicators: see package peersync.
//
// Both ends hold a set of keys. They exchange messages that describe the set range by range: with
// a fingerprint, or with the ids if there are few. Ranges whose fingerprints agree are done, the
// others are divided further. The cost depends on the differences: of two sets of 10^5 keys, equal
// ones cost 323 bytes and one round, and 100 differences among the newest keys 6.4 kB and
// two rounds.
//
// # A session
//
// The initiator begins with [Initiate], and passes each answer to [Reconcile], which returns the
// next message until all differences are known. The other end answers each message with [Respond].
// Neither end keeps anything between two messages, except the range of the session. Only the
// initiator learns the differences. A message may get lost with its link: the session then begins
// again.
//
// A session covers one range of keys, its window. Both ends must use the same one, and a message
// does not contain it: within a message, the window begins at zero and ends at infinity. So its
// bytes are those of any other implementation of V1 whose set is what lies in the window.
//
// # Windows
//
// Large sets are compared in windows, whose sessions are independent of each other and small.
// [Compare] returns one fingerprint for each of many windows in a message, [Differing] the windows
// that differ at the other end. The end that has called Differing sends the result of Initiate for
// each of these windows. The receiver is the initiator of this session, and passes it to
// Reconcile: a first message reads the same whoever sends it.
//
// # Ids under two hours
//
// Two relays may have the same envelope under different hours. Sums do not contain hours, so
// this is a difference only if a bound lies between the two keys. Then Reconcile returns the id
// twice, among have with the key here, and among need; perhaps not from the same message. A
// session has no more rounds for that. A replicator can Offer and Request all the same: no body
// moves, because each relay knows the id, and the outcome of both is [peersync.Known]. The Offer
// tells the peer the hour of this relay. If the peer has the earlier one, the twin must Offer the
// id as well, so a replicator asks it to for each id that it has requested and that was Known.
//
// # Trust
//
// The other end may send anything. [ErrInvalid] says that it does not speak V1, or not in the one
// way in which a set of ranges is encoded. Each message is checked as a whole before the set is
// read. What one message may cost is bounded by its length, by [MaxMessage] and by [MaxRanges],
// but a peer can make a session go on for ever, and claim differences that do not exist. So
// callers count rounds, see [MaxRounds].
//
// Fingerprints are made from sums of ids. Somebody who can post about a thousand crafted envelopes
// can find some whose sums agree, and so hide another one. Sums that are keyed, such as those of
// [ForPeer], prevent it.
package negentropy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// MaxMessage bounds a message in both directions. It leaves 1 KiB of a message of
	// peersync for what a replicator writes before it.
	MaxMessage = peersync.MaxMessage - 1<<10
	// MaxRanges is the greatest number of ranges in a message.
	MaxRanges = 1 << 16
	// MaxRounds is the greatest number of messages from the initiator in a session of honest
	// ends: each message divides the ranges of its sender by 16.
	MaxRounds = 8
)

// The errors that callers tell apart. All others are those of the [Storage].
var (
	// ErrInvalid: the message breaks the protocol. Whoever sent it is not to be trusted.
	ErrInvalid = errors.New("not a message of Negentropy V1")
	// ErrTooLarge: the sets differ in more than one message can list. Smaller windows help, or
	// a copy of everything.
	ErrTooLarge = errors.New("too many differences for a message of Negentropy V1")
)

// Storage is a set of keys. Its methods have the contract and the limits of those of
// [peersync.Replica], and may be calls to another process: a message needs one call of each, and
// more only beyond these limits.
type Storage interface {
	Sums(ctx context.Context, ranges []storage.Range) ([]peersync.Sum, error)
	Split(ctx context.Context, ranges []storage.Range, parts int) ([][]peersync.Part, error)
	Keys(ctx context.Context, ranges []storage.Range, max int) ([][]storage.Key, error)
}

// ForPeer returns the replica as a Storage, with the sums for the peer.
func ForPeer(replica peersync.Replica, peer peersync.Peer) Storage { return peerStorage{replica, peer} }

type peerStorage struct {
	replica peersync.Replica
	peer    peersync.Peer
}

func (s peerStorage) Sums(ctx context.Context, ranges []storage.Range) ([]peersync.Sum, error) {
	return s.replica.RangeSum(ctx, s.peer, ranges)
}

func (s peerStorage) Split(ctx context.Context, ranges []storage.Range, parts int) ([][]peersync.Part, error) {
	return s.replica.Split(ctx, s.peer, ranges, parts)
}

func (s peerStorage) Keys(ctx context.Context, ranges []storage.Range, max int) ([][]storage.Key, error) {
	return s.replica.Keys(ctx, ranges, max)
}

// Initiate returns the first message of a session over the range.
func Initiate(ctx context.Context, s Storage, in storage.Range) ([]byte, error) {
	if err := checkWindow(in); err != nil {
		return nil, err
	}
	sums, err := s.Sums(ctx, []storage.Range{in})
	if err != nil {
		return nil, err
	}
	if len(sums) != 1 {
		return nil, fmt.Errorf("storage returned %d sums for one range", len(sums))
	}
	a := newAnswer(in, false)
	first := span{Range: in, reply: replySplit}
	if sums[0].Count < minSplit {
		first.reply = replyIDs
	}
	if err := a.writeReplies(ctx, s, []span{first}); err != nil {
		return nil, err
	}
	return a.out.bytes, nil
}

// Respond answers a message of the initiator of a session over the range.
func Respond(ctx context.Context, s Storage, in storage.Range, message []byte) ([]byte, error) {
	if len(message) > 0 && message[0] != version && message[0]&^0xf == firstVersion {
		return []byte{version}, nil // says what we know, as the protocol asks
	}
	a := newAnswer(in, false)
	if err := a.readMessage(ctx, s, message); err != nil {
		return nil, err
	}
	return a.out.bytes, nil
}

// Reconcile reads an answer in a session that this end has initiated. It returns the next message,
// or nil if all differences are known, and those that became known now: have, which only this end
// has, ascending, and need, which only the other end has.
//
// V1 does not transmit the Born of what the other end has. That of a needed key is the latest hour
// that it can have there.
func Reconcile(ctx context.Context, s Storage, in storage.Range, message []byte) (next []byte, have, need []storage.Key, err error) {
	a := newAnswer(in, true)
	if err := a.readMessage(ctx, s, message); err != nil {
		return nil, nil, nil, err
	}
	if len(a.out.bytes) > 1 {
		next = a.out.bytes
	}
	return next, a.have, a.need, nil
}

// Compare divides the range into windows of equal count and returns them, with a message that
// has a fingerprint for each. The message is one of V1, about 21 bytes for each window. There are
// at most count windows, which is 1 to [peersync.MaxParts], but not more than there are keys, and
// always one. Of up to 7900 keys in a window, differences are found after two rounds, including
// that of Compare. Larger windows take a third, and fewer bytes for many scattered differences.
func Compare(ctx context.Context, s Storage, in storage.Range, count int) (message []byte, windows []storage.Range, err error) {
	if err := checkWindow(in); err != nil {
		return nil, nil, err
	}
	splits, err := s.Split(ctx, []storage.Range{in}, count)
	if err != nil {
		return nil, nil, err
	}
	if len(splits) != 1 {
		return nil, nil, fmt.Errorf("storage has split one range into %d lists", len(splits))
	}
	parts := splits[0]
	if len(parts) == 0 {
		parts = []peersync.Part{{}}
	}
	w := newWriter(in)
	for i := range parts {
		window := boundPart(in, parts, i)
		w.writeFingerprint(window.Hi, newFingerprint(parts[i].Sum))
		windows = append(windows, window)
	}
	return w.bytes, windows, nil
}

// Differing returns the windows of a message of Compare whose keys are not the same here.
func Differing(ctx context.Context, s Storage, in storage.Range, message []byte) ([]storage.Range, error) {
	ranges, _, err := checkMessage(in, message)
	if err != nil {
		return nil, err
	}
	var differing []storage.Range
	a := newAnswer(in, false)
	for d := newDecoder(in, message, ranges); d.more(); {
		spans, err := d.nextSpans()
		if err != nil {
			return nil, err
		}
		for _, sp := range spans {
			if sp.mode != modeFingerprint {
				return nil, fmt.Errorf("%w: a comparison of windows has other things than fingerprints", ErrInvalid)
			}
		}
		if err := a.compareSpans(ctx, s, spans); err != nil {
			return nil, err
		}
		for _, sp := range spans {
			if sp.reply != replySkip {
				differing = append(differing, sp.Range)
			}
		}
	}
	return differing, nil
}

// newFingerprint returns what V1 transmits in the place of a sum.
func newFingerprint(sum peersync.Sum) fingerprint {
	var input [len(sum.IDs) + 10]byte
	hash := sha256.Sum256(appendVarint(append(input[:0], sum.IDs[:]...), sum.Count))
	return fingerprint(hash[:len(fingerprint{})])
}

// checkWindow refuses a range without keys, which V1 cannot express.
func checkWindow(in storage.Range) error {
	if (in.Hi != storage.Key{}) && in.Lo.Compare(in.Hi) >= 0 {
		return fmt.Errorf("%w: the range of the session is empty", ErrInvalid)
	}
	return nil
}
