package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// conversation picks the messages of one group out of what a board sends, over
// one connection or several.
type conversation struct {
	name  string // of the group in the profile
	group group.Group

	place  []byte // on the board: signature of the last envelope that came in order
	synced bool   // the present replay is complete
	head   []byte // signature of the last verified message

	seen       map[[32]byte]struct{}
	verified   map[identity.Onion]int // messages of each member
	unverified int
	malformed  int
}

func newConversation(g *profile.Group, place []byte) *conversation {
	return &conversation{
		name: g.Name, group: g.Group, place: place, head: g.Head,
		seen: make(map[[32]byte]struct{}), verified: make(map[identity.Onion]int),
	}
}

// take takes an event in and returns the message in it; ok is false where there
// is none or it came before.
func (c *conversation) take(e client.Event) (m group.Message, ok bool) {
	switch e.Kind {
	case client.Count:
		c.synced = e.Left == 0
		return m, false
	case client.Posted:
		return m, false
	}
	c.advance(e)
	if e.Repeat { // such as the envelope at the place from which was replayed
		return m, false
	}
	m, err := c.group.Open(e.Envelope)
	if errors.Is(err, group.ErrForeign) || !c.first(e.Envelope, m, err) {
		return m, false
	}
	switch {
	case err != nil:
		c.malformed++
		return m, false
	case m.Verified:
		c.verified[m.From]++
		c.head = m.Signature
	default:
		c.unverified++
	}
	return m, true
}

// advance moves the place. What is announced before a replay is complete does
// not move it, since envelopes before it are still to come.
func (c *conversation) advance(e client.Event) {
	inOrder := e.Kind == client.Replayed || c.synced && !e.Repeat
	if inOrder && len(e.Envelope.Signature) > 0 {
		c.place = e.Envelope.Signature
	}
	if e.Kind == client.Replayed && e.Left == 0 {
		c.synced = true
	}
}

// first reports whether a message came for the first time. A verified one is
// known by its signature alone: members can seal what another member signed once
// more, which does not make it another message.
func (c *conversation) first(e wire.Envelope, m group.Message, err error) bool {
	h := sha256.New()
	h.Write(e.Signature)
	if err != nil || !m.Verified {
		h.Write(e.Ciphertext)
	}
	key := [32]byte(h.Sum(nil))
	_, known := c.seen[key]
	c.seen[key] = struct{}{}
	return !known
}

// count is the number of messages taken in.
func (c *conversation) count() int {
	n := c.unverified
	for _, k := range c.verified {
		n += k
	}
	return n
}

// summary says whose signatures were verified.
func (c *conversation) summary(n names) string {
	s := plural(c.count(), "message")
	// Oneself last: among names that are random, "you" would be in another place in
	// every group.
	onions := slices.Sorted(maps.Keys(c.verified))
	if i := slices.Index(onions, n.own); i >= 0 {
		onions = append(slices.Delete(onions, i, i+1), n.own)
	}
	var members []string
	for _, o := range onions {
		members = append(members, fmt.Sprintf("%s (%d)", n.of(o), c.verified[o]))
	}
	if len(members) > 0 {
		s += "; verified " + strings.Join(members, ", ")
	}
	if c.unverified > 0 {
		s += fmt.Sprintf("; unverified: %d, not signed by the member they name", c.unverified)
	}
	if c.malformed > 0 {
		s += fmt.Sprintf("; left out: %d that hold no message", c.malformed)
	}
	return s
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// save writes to the profile how far the conversation got; read tells whether
// the messages were printed. It does so also when ctx has ended.
func (c *conversation) save(ctx context.Context, p *profile.Profile, read bool) error {
	return p.Update(context.WithoutCancel(ctx), func(s *profile.State) error {
		g, err := s.FindGroup(c.name)
		if err != nil {
			return err
		}
		server, err := s.Server(g.Group.Server)
		if err != nil {
			return err
		}
		g.Head, g.Synced, server.Last = c.head, c.place, c.place
		if read {
			g.Read = c.place
		}
		return nil
	})
}
