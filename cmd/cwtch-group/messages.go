package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// messageReader finds the messages of one group in what a board sends, over one
// connection or several.
type messageReader struct {
	name  string // of the group in the profile
	group group.Group

	reader *client.Reader
	head   []byte // signature of the last verified message

	since   time.Time           // older messages are left out
	printed profile.Printed     // messages that are not printed again
	shown   []profile.MessageID // messages since the last save, the last few thousand

	seen       map[profile.MessageID]struct{}
	seenOrder  []profile.MessageID    // oldest first
	verified   map[identity.Onion]int // messages of each member
	unverified int
	malformed  int
	older      int
}

// newMessageReader goes on from a position on the group's server.
func newMessageReader(g *profile.Group, server *profile.Server, from client.Position) *messageReader {
	c := newHostMessages(g)
	c.reader = client.NewReader(server.History, from)
	return c
}

// newHostMessages returns a reader without a position, for a group with several hosts.
func newHostMessages(g *profile.Group) *messageReader {
	return &messageReader{
		name: g.Name, group: g.Group, head: g.Head,
		seen: make(map[profile.MessageID]struct{}), verified: make(map[identity.Onion]int),
	}
}

// takeEvent processes an event and returns its message. ok is false if it has none, or
// one that came before. The error is [client.ErrWrongStart].
func (c *messageReader) takeEvent(e client.Event) (m group.Message, ok bool, err error) {
	if err := c.reader.Accept(e); err != nil {
		return m, false, err
	}
	o, ok := c.openEvent(e)
	if !ok || !c.noteSeen(o.id) {
		return m, false, nil
	}
	if o.message.Verified {
		c.head = o.message.Signature
	}
	if c.printed.Has(o.id) {
		return m, false, nil
	}
	if ok = c.countMessage(o); ok {
		c.noteShown(o.id)
	}
	return o.message, ok, nil
}

// openedMessage is what an envelope of the group holds.
type openedMessage struct {
	message  group.Message
	id       profile.MessageID
	envelope wire.Envelope
	err      error // it holds no message
}

// openEvent opens the envelope of an event. ok is false if the event has no envelope, or
// one of another group, or one that this connection has sent before.
func (c *messageReader) openEvent(e client.Event) (o openedMessage, ok bool) {
	if e.Kind != client.Replayed && e.Kind != client.New || e.Repeat {
		return o, false
	}
	m, err := c.group.Open(e.Envelope)
	if errors.Is(err, group.ErrForeign) {
		return o, false
	}
	return openedMessage{m, messageID(e.Envelope, m, err), e.Envelope, err}, true
}

// maxSeen bounds the messages of which it is remembered that they came, of some 100 bytes
// each.
const maxSeen = 1 << 18

// noteSeen reports whether the message has not come before, and remembers it.
func (c *messageReader) noteSeen(id profile.MessageID) bool {
	if _, known := c.seen[id]; known {
		return false
	}
	if len(c.seenOrder) == maxSeen {
		delete(c.seen, c.seenOrder[0])
		c.seenOrder = c.seenOrder[1:]
	}
	c.seen[id] = struct{}{}
	c.seenOrder = append(c.seenOrder, id)
	return true
}

// countMessage counts a message for the summary. It reports whether to print it.
func (c *messageReader) countMessage(o openedMessage) bool {
	switch {
	case o.err == nil && o.message.Time.Before(c.since):
		c.older++
		return false
	case o.err != nil:
		c.malformed++
		return false
	case o.message.Verified:
		c.verified[o.message.From]++
	default:
		c.unverified++
	}
	return true
}

// noteShown remembers a message for the profile.
func (c *messageReader) noteShown(id profile.MessageID) {
	if len(c.shown) >= c.printed.Max() {
		c.shown = c.shown[1:]
	}
	c.shown = append(c.shown, id)
}

// messageID names a message. The signature alone names a verified one: any member can
// seal again what another member signed, and it is still the same message.
func messageID(e wire.Envelope, m group.Message, err error) profile.MessageID {
	h := sha256.New()
	h.Write(e.Signature)
	if err != nil || !m.Verified {
		h.Write(e.Ciphertext)
	}
	return profile.MessageID(h.Sum(nil))
}

// messageCount returns the number of messages taken in.
func (c *messageReader) messageCount() int {
	n := c.unverified
	for _, k := range c.verified {
		n += k
	}
	return n
}

// maxListed bounds the members in a summary: a member can make as many keys as they
// like.
const maxListed = 20

// summaryText says how many messages came, and whose signatures were verified.
func (c *messageReader) summaryText(n *names) string {
	s := pluralOf(c.messageCount(), "message")
	// The reader comes last: among names that are random, "you" would stand elsewhere
	// in every group.
	onions := slices.Sorted(maps.Keys(c.verified))
	i := slices.Index(onions, n.own)
	if i >= 0 {
		onions = slices.Delete(onions, i, i+1)
	}
	more := max(0, len(onions)-maxListed)
	var members []string
	for _, o := range onions[:len(onions)-more] {
		members = append(members, fmt.Sprintf("%s (%d)", n.nameOf(o), c.verified[o]))
	}
	if more > 0 {
		members = append(members, fmt.Sprintf("%d more", more))
	}
	if i >= 0 {
		members = append(members, fmt.Sprintf("you (%d)", c.verified[n.own]))
	}
	if len(members) > 0 {
		s += "; verified " + strings.Join(members, ", ")
	}
	if c.unverified > 0 {
		s += fmt.Sprintf("; %d unverified, not signed by the member they name", c.unverified)
	}
	if c.older > 0 {
		s += fmt.Sprintf("; %d older left out", c.older)
	}
	if c.malformed > 0 {
		s += fmt.Sprintf("; %d without a message left out", c.malformed)
	}
	return s
}

func pluralOf(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// saveProgress writes to the profile how far reading got; read tells whether the
// messages were printed. It does so even when ctx has ended.
func (c *messageReader) saveProgress(ctx context.Context, p *profile.Profile, read bool) error {
	return p.Update(context.WithoutCancel(ctx), func(s *profile.State) error {
		g, err := s.Group(c.group.ID)
		if err != nil {
			return err
		}
		err = s.Advance(g, profile.Session{Reader: c.reader, Head: c.head, Read: read, Shown: c.shown})
		c.shown = nil
		return err
	})
}

// syncBoard connects to the board and processes everything after the position of m. If a replay begins elsewhere, it connects again and asks from
// another of the few checkpoints of the position. The connection stays open.
func (a *app) syncBoard(ctx context.Context, network client.Dialer, name identity.Onion, c *messageReader, use func(client.Event) error) (*client.Board, error) {
	for {
		board, err := a.openBoard(ctx, network, name)
		if err != nil {
			return nil, err
		}
		if err = board.Sync(ctx, c.reader.ReplayFrom(), a.showReplay(use)); err == nil {
			return board, nil
		}
		board.Close()
		if !errors.Is(err, client.ErrWrongStart) {
			return nil, err
		}
	}
}
