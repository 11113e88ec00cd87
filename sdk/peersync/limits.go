package peersync

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Sizes, in bytes, and counts that bound every call. Each side checks them, and does not rely on
// the other.
const (
	// MaxMessage bounds a message to or from a peer.
	MaxMessage = 1 << 20
	// MaxEvents is the greatest number of events in one Handle.
	MaxEvents = 256
	// MaxEventBytes bounds the messages in one Handle, MaxEventIDs the outcomes.
	MaxEventBytes = 4 << 20
	MaxEventIDs   = 16 << 10
	// MaxIDs is the greatest number of ids in a Transfer, a Request or an event.
	MaxIDs = 1024
	// MaxEntries is the greatest number of entries in a [LogPage].
	MaxEntries = 1024
	// MaxKeys is the greatest number of keys that Keys returns.
	MaxKeys = 4096
	// MaxRanges is the greatest number of ranges in a call of Keys, RangeSum or Split.
	MaxRanges = 1024
	// MaxParts is the greatest number of parts of all ranges of a Split.
	MaxParts = 4096
	// MaxUnderWay is how many ids that are pushed or offered to one peer, and how many that
	// are requested from it, may be without an outcome.
	MaxUnderWay = 4096
	// MaxQueued bounds the messages that wait for one peer.
	MaxQueued = 2 << 20
	// MaxWake is the longest time of a Wake, and MaxRest that of a Rest.
	MaxWake = time.Hour
	MaxRest = 24 * time.Hour
	// MaxCursors is the greatest number of cursors of a replicator.
	MaxCursors = 256
	// MaxCursor bounds the value of a cursor, and MaxCursorName its name.
	MaxCursor     = 1 << 10
	MaxCursorName = 64
	// MaxPeers is the greatest number of peers of a relay; a [Peer] may be higher.
	MaxPeers = 64
	// MaxVersion bounds the version of a twin.
	MaxVersion = 128
	// MaxText bounds a text for operators.
	MaxText = 256
)

// CheckEvents returns an error that matches [ErrTooLarge] if the events exceed the limits of one
// Handle, or one event exceeds its own.
func CheckEvents(events []Event) error {
	if err := atMost("events", len(events), MaxEvents); err != nil {
		return err
	}
	size, ids := 0, 0
	for _, e := range events {
		var err error
		switch e := e.(type) {
		case Start:
			err = checkPeers(e.Peers)
		case PeersChanged:
			err = checkPeers(e.Peers)
		case PeerUp:
			err = CheckVersion(e.Version)
		case PeerMessage:
			size += len(e.Data)
			err = CheckMessage(e.Data)
		case Sent:
			ids += len(e.Outcomes)
			err = checkOutcomes(e.Outcomes, e.RetryAfter)
		case Received:
			ids += len(e.Outcomes)
			err = checkOutcomes(e.Outcomes, e.RetryAfter)
		}
		if err != nil {
			return err
		}
	}
	if err := atMost("bytes of messages", size, MaxEventBytes); err != nil {
		return err
	}
	return atMost("outcomes", ids, MaxEventIDs)
}

// checkPeers checks a list of peers: their number and order.
func checkPeers(peers []Peer) error {
	if err := atMost("peers", len(peers), MaxPeers); err != nil {
		return err
	}
	last := Peer(0)
	for _, p := range peers {
		if p <= last {
			return fmt.Errorf("peer %d follows peer %d in a list: %w", p, last, ErrTooLarge)
		}
		last = p
	}
	return nil
}

func checkOutcomes(outcomes []Outcome, retryAfter time.Duration) error {
	if retryAfter < 0 {
		return fmt.Errorf("another attempt after %v: %w", retryAfter, ErrTooLarge)
	}
	return between("outcomes", len(outcomes), 1, MaxIDs)
}

// CheckVersion checks the version of a twin, as CheckMessage does. It may be empty.
func CheckVersion(version string) error {
	if err := atMost("bytes of a version", len(version), MaxVersion); err != nil {
		return err
	}
	return CheckText(version)
}

// CheckMessage returns an error that matches [ErrTooLarge] if a message is empty or too long.
func CheckMessage(message []byte) error {
	return between("bytes of a message", len(message), 1, MaxMessage)
}

// CheckIDs checks how many ids a Push, an Offer or a Request has, as CheckMessage does.
func CheckIDs(n int) error { return between("ids", n, 1, MaxIDs) }

// CheckRanges checks the ranges of a RangeSum, as CheckMessage does.
func CheckRanges(ranges []Range) error { return between("ranges", len(ranges), 1, MaxRanges) }

// CheckKeys checks the arguments of Keys, as CheckMessage does.
func CheckKeys(ranges []Range, max int) error {
	if err := CheckRanges(ranges); err != nil {
		return err
	}
	return between("keys", max, 1, MaxKeys)
}

// CheckSplit checks the arguments of Split, as CheckMessage does.
func CheckSplit(ranges []Range, parts int) error {
	if err := CheckRanges(ranges); err != nil {
		return err
	}
	return between("parts of each range", parts, 1, MaxParts/len(ranges))
}

// CheckWake checks the argument of Wake, as CheckMessage does.
func CheckWake(after time.Duration) error { return checkTime("a wake", after, MaxWake) }

// CheckRest checks the pause of Rest, as CheckMessage does.
func CheckRest(pause time.Duration) error { return checkTime("a rest", pause, MaxRest) }

func checkTime(what string, d, limit time.Duration) error {
	if d < 0 || d > limit {
		return fmt.Errorf("%s of %v, allowed are 0 to %v: %w", what, d, limit, ErrTooLarge)
	}
	return nil
}

// Bounds returns the first sequence number that r asks for, and how many entries at most, with
// the defaults filled in.
func (r LogRequest) Bounds() (from storage.Seq, entries int, err error) {
	if err := between("entries", r.Max, 0, MaxEntries); err != nil {
		return 0, 0, err
	}
	return max(r.From, 1), cmp.Or(r.Max, MaxEntries), nil
}

// CheckCursors checks the cursors of a Save, as CheckMessage does.
func CheckCursors(cursors []Cursor) error {
	if err := between("cursors", len(cursors), 1, MaxCursors); err != nil {
		return err
	}
	seen := make(map[string]bool, len(cursors))
	for _, c := range cursors {
		if err := CheckCursorName(c.Name); err != nil {
			return err
		}
		if seen[c.Name] {
			return fmt.Errorf("cursor %q occurs twice: %w", c.Name, ErrTooLarge)
		}
		seen[c.Name] = true
		if err := atMost("bytes of a cursor", len(c.Value), MaxCursor); err != nil {
			return err
		}
	}
	return nil
}

// CheckCursorName checks the name of a cursor, as CheckMessage does.
func CheckCursorName(name string) error {
	if err := between("bytes of a cursor's name", len(name), 1, MaxCursorName); err != nil {
		return err
	}
	if strings.IndexFunc(name, notInName) >= 0 {
		return fmt.Errorf("cursor %q: a name has letters a-z, digits and \"./_-\" only: %w", name, ErrTooLarge)
	}
	return nil
}

func notInName(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789./_-", r)
}

// Check checks a report, as [CheckMessage] does.
func (r Report) Check() error {
	if err := CheckText(r.Summary); err != nil {
		return err
	}
	if err := atMost("peers", len(r.Peers), MaxPeers); err != nil {
		return err
	}
	told := make(map[Peer]bool)
	for _, p := range r.Peers {
		if err := CheckText(p.Summary); err != nil {
			return err
		}
		if told[p.Peer] {
			return fmt.Errorf("peer %d is reported twice: %w", p.Peer, ErrTooLarge)
		}
		told[p.Peer] = true
	}
	return nil
}

// CheckText checks a text that operators will read, as CheckMessage does.
func CheckText(text string) error {
	if err := atMost("bytes of text", len(text), MaxText); err != nil {
		return err
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("text %q has bytes that cannot be shown: %w", text, ErrTooLarge)
	}
	return nil
}

func atMost(what string, n, limit int) error { return between(what, n, 0, limit) }

func between(what string, n, least, limit int) error {
	if n < least || n > limit {
		return fmt.Errorf("%d %s, allowed are %d to %d: %w", n, what, least, limit, ErrTooLarge)
	}
	return nil
}
