package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
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
	x.forgoCheck("carol")
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
	x.forgoCheck("carol")
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

// forgoCheck has the next posts of a member look for no newer list.
func (x *hostsTest) forgoCheck(who string) {
	x.Helper()
	x.changeProfile(who, func(g *profile.Group) { g.Serverless.Checked = time.Now() })
}

// Who has not read for a day, or joined with an old invite, posts to the hosts that the group has
// now. The message is still printed by the next read, and a post soon after looks for no list.
func TestPostFindsNewerHosts(t *testing.T) {
	x := newHostsTest(t, 2)
	x.join("bob")
	x.run("alice", "post", "club", "one")
	for range 2 {
		x.run("alice", "peer", "add", "club", x.addHost().bundle.String())
	}
	x.removeHost(0)
	x.removeHost(1)
	count := func(a, b int) int { return len(x.envelopes(a)) + len(x.envelopes(b)) }
	old, current := count(0, 1), count(2, 3)
	out := x.run("bob", "post", "club", "hello")
	if got := count(0, 1); got != old || count(2, 3) != current+1 {
		t.Errorf("the hosts that left have %d envelopes, and had %d; the others %d, and had %d", got, old, count(2, 3), current)
	}
	if strings.Contains(out, "one") || x.group("bob").Serverless.Checked.IsZero() {
		t.Errorf("post printed %s", out)
	}
	expectTexts(t, x.read("bob", "-new"), "one", "hello")

	x.removeHost(2)
	x.run("bob", "post", "club", "again")
	if len(x.group("bob").Boards()) != 2 {
		t.Error("a post looks for a list although another one has just done so")
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

// A member who was away while all hosts were replaced reads what the old ones have, and goes
// on with the new ones. Nothing is printed twice, also if the new ones cannot be reached.
func TestReadAfterAllHostsWereReplaced(t *testing.T) {
	x := newHostsTest(t, 2)
	x.join("bob")
	x.join("carol")
	x.run("alice", "post", "club", "one")
	for range 2 {
		x.run("alice", "peer", "add", "club", x.addHost().bundle.String())
	}
	x.removeHost(0)
	x.removeHost(1)
	x.run("alice", "post", "club", "two")
	expectTexts(t, x.read("bob", "-new"), "one", "two")
	expectTexts(t, x.read("bob", "-new"))
	x.withdraw(2)
	x.withdraw(3)
	out, errs := x.runBoth("carol", "-json", "read", "-new", "club")
	expectTexts(t, textsOf(t, out), "one")
	if !strings.Contains(errs, "none of 2 core peers was read") {
		t.Errorf("read says %s", errs)
	}
	expectTexts(t, x.read("carol", "-new"))
}

// Messages that were left out, and lists that were not taken over, do not count as printed.
func TestOnlyWhatWasShownIsRemembered(t *testing.T) {
	now := time.Now()
	var says bytes.Buffer
	r := &hostReader{app: &app{progress: newProgress(&says, false, true)}, messages: newHostMessages(&profile.Group{})}
	r.messages.since = now
	list := openedMessage{id: profile.MessageID{1}, message: group.Message{Text: group.WrapHosts([]byte("no list")), Time: now}}
	older := openedMessage{id: profile.MessageID{2}, message: group.Message{Text: "older", Time: now.Add(-time.Hour)}}
	for _, o := range []openedMessage{list, older, list} {
		if err := r.printOne(o); err != nil {
			t.Fatal(err)
		}
	}
	if r.messages.shown != nil {
		t.Errorf("%d count as printed", len(r.messages.shown))
	}
	if strings.Count(says.String(), "newer program") != 1 {
		t.Errorf("it says %s", &says)
	}
}

// What was printed counts as read although no host came to an end.
func TestPrintedCountsAsReadWithoutAnEnd(t *testing.T) {
	x := newHostsTest(t, 1)
	x.run("alice", "post", "club", "one")
	log := x.envelopes(0)
	x.replaceHost(0, func(c *tapir.Conn) error {
		return c.Receive(func([]byte) error {
			return c.Send(wire.AppendCount(nil, 2), log[0].AppendJSON(nil))
		})
	})
	for _, want := range []string{"one", ""} {
		var out, errs bytes.Buffer
		status := x.start(t.Context(), "alice", nil, &out, &errs, "-json", "read", "-new", "club")
		if status != 1 || strings.Join(textsOf(t, out.String()), "") != want {
			t.Errorf("status %d, %s, %s; want %q", status, &out, &errs, want)
		}
	}
}

// Of many lists that come at once, a reader and a bot take over the newest only, so a
// manager who signs many has nobody write and connect for each.
func TestOnlyTheNewestListIsTakenOver(t *testing.T) {
	x := newHostsTest(t, 2)
	x.join("bob")
	x.join("bot")
	g := x.group("alice")
	x.onlyHost(0, func() {
		for n := range uint64(5) {
			hosts := g.Serverless.List.Hosts
			if n%2 == 0 {
				hosts = hosts[:1]
			}
			l, err := bundle.SignHosts(*g.Serverless.Manager, g.Group.ID, 2+n, hosts)
			if err != nil {
				t.Fatal(err)
			}
			x.put(0, sealMessage(t, g.Group, member(3), group.WrapHosts(l.Encode())))
		}
	})
	_, errs := x.runBoth("bob", "-q=false", "read", "-new", "club")
	if n := strings.Count(errs, "have changed"); n != 1 || x.group("bob").Serverless.List.Serial != 6 {
		t.Errorf("bob takes over %d lists: %s", n, errs)
	}
	bot := x.startBot("bot")
	for serial := uint64(0); serial != 6; {
		if serial = bot.next().Serial; serial > 1 && serial < 6 {
			t.Errorf("the bot announces list %d", serial)
		}
	}
	bot.stop()
}
