package main

import (
	"slices"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// removeHost takes a host out of the group.
func (x *hostsTest) removeHost(i int) {
	x.Helper()
	x.run("alice", "peer", "remove", "club", string(x.hosts[i].bundle.Board))
}

// What a member posts to a host that has left, because they do not know it, reaches those
// who know it, for as long as the host is still read.
func TestHostThatLeftIsStillRead(t *testing.T) {
	x := newHostsTest(t, 3)
	x.join("bob")
	x.join("carol")
	x.removeHost(2)
	x.read("bob", "-new")
	g := x.group("bob")
	left := x.hosts[2].bundle.Board
	if slices.Contains(g.Boards(), left) || slices.Contains(hostOrder(g, func(identity.Onion) bool { return false }), left) {
		t.Fatal("bob posts to the host that left")
	}
	x.onlyHost(2, func() { x.run("carol", "post", "club", "hello") })
	expectTexts(t, x.read("bob", "-new"), "hello")
	expectTexts(t, x.read("bob", "-new"))

	x.onlyHost(2, func() { x.run("carol", "post", "club", "late") })
	x.changeProfile("bob", func(g *profile.Group) {
		g.Serverless.Left[0].Left = time.Now().Add(-profile.LeftWindow)
	})
	expectTexts(t, x.read("bob", "-new"))
}

// A bot brings such a message to the hosts of the group, and nothing to the one that left.
func TestBotReadsHostThatLeft(t *testing.T) {
	x := newHostsTest(t, 3)
	x.join("bot")
	x.join("carol")
	x.removeHost(2)
	before := len(x.envelopes(2))
	x.onlyHost(2, func() { x.run("carol", "post", "club", "hello") })
	bot := x.startBot("bot")
	bot.awaitMessages(2 + 1) // to two hosts, and the announcement to the other one
	bot.stop()
	for i := range 2 {
		x.onlyHost(i, func() { expectTexts(t, x.read("alice"), "hello") })
	}
	if got := len(x.envelopes(2)); got != before+1 {
		t.Errorf("the host that left has %d envelopes, and had %d and one post", got, before)
	}
}

// changeProfile changes the group in the profile of a member.
func (x *hostsTest) changeProfile(who string, change func(*profile.Group)) {
	x.Helper()
	p, err := profile.Open(x.dir + "/" + who)
	if err != nil {
		x.Fatal(err)
	}
	err = p.Update(x.Context(), func(s *profile.State) error {
		g, err := s.FindGroup("club")
		if err == nil {
			change(g)
		}
		return err
	})
	if err != nil {
		x.Fatal(err)
	}
}
