package peersync

import (
	"cmp"
	"fmt"
	"strings"
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
	// MaxRanges is the greatest number of ranges in a RangeSum.
	MaxRanges = 1024
	// MaxParts is the greatest number of parts of a Split.
	MaxParts = 1024
	// MaxCursors is the greatest number of cursors of a replicator.
	MaxCursors = 256
	// MaxCursor bounds the value of a cursor, and MaxCursorName its name.
	MaxCursor     = 1 << 10
	MaxCursorName = 64
	// MaxPeers is the greatest number of peers of a relay; a [Peer] may be higher.
	MaxPeers = 64
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
		case PeerMessage:
			size += len(e.Data)
			err = CheckMessage(e.Data)
		case Sent:
			ids += len(e.Outcomes)
			err = between("outcomes", len(e.Outcomes), 1, MaxIDs)
		case Received:
			ids += len(e.Outcomes)
			err = between("outcomes", len(e.Outcomes), 1, MaxIDs)
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

// CheckMessage returns an error that matches [ErrTooLarge] if a message is empty or too long.
func CheckMessage(message []byte) error {
	return between("bytes of a message", len(message), 1, MaxMessage)
}

// CheckIDs checks the ids of a Transfer or a Request, as CheckMessage does.
func CheckIDs(ids []storage.ID) error { return between("ids", len(ids), 1, MaxIDs) }

// CheckKeys checks the last argument of Keys, as CheckMessage does.
func CheckKeys(max int) error { return between("keys", max, 1, MaxKeys) }

// CheckParts checks the last argument of Split, as CheckMessage does.
func CheckParts(parts int) error { return between("parts", parts, 1, MaxParts) }

// CheckRanges checks the ranges of a RangeSum, as CheckMessage does.
func CheckRanges(ranges []Range) error { return atMost("ranges", len(ranges), MaxRanges) }

// Bounds returns the first sequence number that r asks for, and how many entries at most, with
// the defaults filled in.
func (r LogRequest) Bounds() (from storage.Seq, entries int, err error) {
	if err := between("entries", r.Max, 0, MaxEntries); err != nil {
		return 0, 0, err
	}
	return max(r.From, 1), cmp.Or(r.Max, MaxEntries), nil
}

// CheckCursor checks the name and value of a cursor, as CheckMessage does.
func CheckCursor(name string, value []byte) error {
	if err := between("bytes of a cursor's name", len(name), 1, MaxCursorName); err != nil {
		return err
	}
	if strings.IndexFunc(name, notInName) >= 0 {
		return fmt.Errorf("cursor %q: a name has letters a-z, digits and \"./_-\" only: %w", name, ErrTooLarge)
	}
	return atMost("bytes of a cursor", len(value), MaxCursor)
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
