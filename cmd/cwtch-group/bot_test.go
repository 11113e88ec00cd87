package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// testBot is a bot that runs.
type testBot struct {
	x         *hostsTest
	facts     chan botFact // what it prints
	says      *lineWatcher
	interrupt context.CancelFunc
	ended     chan int
}

// botFact is a line that a bot prints, of either kind.
type botFact struct {
	Messages int
	Serial   uint64
}

// startBot starts the bot of a member.
func (x *hostsTest) startBot(who string, args ...string) *testBot {
	x.Helper()
	ctx, interrupt := context.WithCancel(x.Context())
	read, write := io.Pipe()
	b := &testBot{x, make(chan botFact, 1000), newLineWatcher(), interrupt, make(chan int, 1)}
	go func() {
		b.ended <- x.start(ctx, who, nil, write, b.says, append([]string{"-json", "bot", "-settle", "0s", "club"}, args...)...)
		write.Close()
	}()
	go func() {
		defer close(b.facts)
		lines := json.NewDecoder(read)
		for {
			var f botFact
			if lines.Decode(&f) != nil {
				return
			}
			b.facts <- f
		}
	}()
	return b
}

// next returns what the bot prints next.
func (b *testBot) next() botFact {
	b.x.Helper()
	f, ok := <-b.facts
	if !ok {
		b.x.Fatalf("the bot has ended: %s", b.says.text())
	}
	return f
}

// awaitMessages waits until the bot has brought n messages, and returns the serials that
// it has announced meanwhile.
func (b *testBot) awaitMessages(n int) (announced []uint64) {
	b.x.Helper()
	for n > 0 {
		f := b.next()
		n -= f.Messages
		if f.Serial > 0 {
			announced = append(announced, f.Serial)
		}
	}
	return announced
}

func (b *testBot) stop() {
	b.x.Helper()
	b.interrupt()
	if status := <-b.ended; status != 0 {
		b.x.Errorf("the bot ends with status %d: %s", status, b.says.text())
	}
}

// awaitEnvelopes waits until the board of a host has n envelopes.
func (x *hostsTest) awaitEnvelopes(i, n int) {
	x.Helper()
	board, err := client.Open(x.Context(), x.network, x.hosts[i].bundle.Board)
	if err != nil {
		x.Fatal(err)
	}
	defer board.Close()
	if err := board.Replay(nil); err != nil {
		x.Fatal(err)
	}
	for e, err := range board.Events(x.Context()) {
		if err != nil {
			x.Fatal(err)
		}
		if (e.Kind == client.Replayed || e.Kind == client.New) && !e.Repeat {
			n--
		}
		if n == 0 {
			return
		}
	}
}

// A bot brings to each host what it lacks, and nothing that it has or had, also after a
// restart.
func TestBotBridgesHosts(t *testing.T) {
	x := newHostsTest(t, 3)
	for n := range 6 {
		x.onlyHost(n%3, func() { x.run("alice", "post", "club", fmt.Sprint(n)) })
	}
	x.join("bot")
	bot := x.startBot("bot")
	bot.awaitMessages(6*2 + 2) // each message at two more hosts, and so the announcement
	bot.stop()
	for i := range x.hosts {
		if got := len(x.envelopes(i)); got != 7 {
			t.Errorf("host %d has %d envelopes, want 7", i, got)
		}
		x.onlyHost(i, func() {
			if got := x.read("alice"); len(got) != 6 {
				t.Errorf("host %d has the messages %q", i, got)
			}
		})
	}
	if g := x.group("bot"); g.Serverless.Hosts[0].Bridged == nil {
		t.Error("no position is kept")
	}

	// A host that has removed everything does not get it again, only what comes.
	x.stopHost(1)
	x.startHost(1)
	x.onlyHost(0, func() { x.run("alice", "post", "club", "later") })
	bot = x.startBot("bot")
	if announced := bot.awaitMessages(2); announced != nil {
		t.Errorf("announced %v again, within a day", announced)
	}
	bot.stop()
	if a, b, c := len(x.envelopes(0)), len(x.envelopes(1)), len(x.envelopes(2)); a != 8 || b != 1 || c != 8 {
		t.Errorf("the hosts have %d, %d and %d envelopes", a, b, c)
	}
}

// A host that joins the group gets what the others have, and the bot announces the list
// of hosts, so that members learn of it who have missed the change.
func TestBotFollowsTheListOfHosts(t *testing.T) {
	x := newHostsTest(t, 2)
	x.join("bob")
	for n := range 3 {
		x.run("alice", "post", "club", fmt.Sprint(n))
	}
	x.join("bot")
	bot := x.startBot("bot")
	bot.awaitMessages(3 + 1)
	third := x.addHost()
	x.run("alice", "peer", "add", "club", third.bundle.String())
	for announced := uint64(0); announced < 2; {
		announced = max(announced, bot.next().Serial)
	}
	x.awaitEnvelopes(2, 3+1+2) // the messages, the first list, and the second one by alice and by the bot
	bot.stop()
	x.onlyHost(2, func() { expectTexts(t, x.read("alice"), "0", "1", "2") })
	if texts := x.read("bob"); len(texts) != 3 || len(x.group("bob").Boards()) != 3 {
		t.Errorf("bob reads %q on %d core peers", texts, len(x.group("bob").Boards()))
	}
}

// A host that is away gets its messages when it is back, from a bot that runs all the
// time.
func TestBotWaitsForAHost(t *testing.T) {
	x := newHostsTest(t, 2)
	x.join("bot")
	bot := x.startBot("bot")
	bot.awaitMessages(1) // the announcement
	x.stopHost(1)
	bot.says.await(t, "only 1 of 2 core peers answers")
	x.run("alice", "post", "club", "hello")
	x.startHost(1)
	bot.awaitMessages(1)
	bot.stop()
	x.onlyHost(1, func() { expectTexts(t, x.read("alice"), "hello") })
}

func TestOneBotForAProfile(t *testing.T) {
	x := newHostsTest(t, 1)
	bot := x.startBot("alice")
	if f := bot.next(); f.Serial != 1 {
		t.Errorf("it prints %+v", f)
	}
	var errs bytes.Buffer
	if status := x.start(t.Context(), "alice", nil, io.Discard, &errs, "bot", "club"); status != 1 || !strings.Contains(errs.String(), profile.ErrBotRuns.Error()) {
		t.Errorf("a second bot: status %d, %s", status, &errs)
	}
	bot.stop()
	for _, args := range [][]string{{"-rate", "0"}, {"-settle", "-1s"}, {"-announce", "-1s"}} {
		if status := x.start(t.Context(), "alice", nil, io.Discard, io.Discard, append([]string{"bot", "club"}, args...)...); status != 2 {
			t.Errorf("%s: status %d", args, status)
		}
	}
}

// bridgeMessage returns a message of a member, with the name n.
func bridgeMessage(n int, at time.Time) openedMessage {
	return openedMessage{id: profile.MessageID{byte(n), byte(n >> 8), 1}, message: group.Message{Verified: true, Time: at}}
}

// What a bot holds is bounded, in number and time, and it brings only what a member has
// signed and what is not old.
func TestBridgeIsBounded(t *testing.T) {
	now := time.Now()
	p, err := profile.Create(t.Context(), filepath.Join(t.TempDir(), "p"))
	if err != nil {
		t.Fatal(err)
	}
	kept, release, err := p.OpenBot([16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	b := newBridge(kept, time.Minute)
	one, two := identity.Onion("one"), identity.Onion("two")
	message := bridgeMessage
	unsigned := message(1, now)
	unsigned.message.Verified = false
	b.note(unsigned, one, false, now)
	old := message(2, now.Add(-bridgeWindow-time.Hour))
	if err := b.note(old, one, true, now); !errors.Is(err, errBridgeOld) || len(b.order) != 0 {
		t.Errorf("it holds %d messages, %v", len(b.order), err)
	}
	if err := b.note(old, one, false, now); err != nil || len(b.order) != 1 {
		t.Errorf("of one that is old and comes now: %d messages, %v", len(b.order), err)
	}
	b.forgetDone([]identity.Onion{one}, now)
	b.note(message(3, now), one, false, now)
	if _, _, wait := b.next(two, now); wait < time.Minute || wait > 2*time.Minute {
		t.Errorf("the first waits %s", wait)
	}
	if id, _, wait := b.next(two, now.Add(2*time.Minute)); wait != 0 || id != message(3, now).id {
		t.Errorf("after its time it waits %s", wait)
	}
	if _, _, wait := b.next(one, now.Add(2*time.Minute)); wait == 0 {
		t.Error("it goes back to where it came from")
	}
	for n := range maxBridged {
		if err := b.note(message(n+4, now), one, false, now); (err != nil) != (n == maxBridged-1) {
			t.Fatalf("message %d: %v", n, err)
		}
	}
	if len(b.order) != maxBridged || len(b.messages) != maxBridged || slices.Contains(b.order, message(3, now).id) {
		t.Errorf("it holds %d messages", len(b.order))
	}
	b.forgetDone([]identity.Onion{one, two}, now.Add(bridgeWindow-time.Hour))
	if len(b.order) != maxBridged {
		t.Errorf("within the window it forgets all but %d", len(b.order))
	}
	if b.forgetDone([]identity.Onion{one, two}, now.Add(bridgeWindow)); len(b.order)+len(b.messages) != 0 {
		t.Errorf("after the window it holds %d", len(b.order))
	}
}

// A host that floods a bot pushes out its own messages only, and those of others take turns
// with them. A message that a host does not take goes behind the others.
func TestBridgeIsFair(t *testing.T) {
	now := time.Now()
	b := newBridge(&profile.Bot{Had: make(map[identity.Onion]*profile.Printed)}, 0)
	flood, good, target := identity.Onion("flood"), identity.Onion("good"), identity.Onion("target")
	b.note(bridgeMessage(1, now), good, false, now)
	for n := range 2 * maxBridged {
		b.note(bridgeMessage(n+10, now), flood, false, now)
	}
	b.note(bridgeMessage(2, now), good, false, now)
	if len(b.order) != maxBridged || b.held[good] != 2 || b.held[flood] != maxBridged-2 {
		t.Fatalf("it holds %d, %v", len(b.order), b.held)
	}
	var got []bool
	for range 4 {
		id, _, wait := b.next(target, now)
		if wait != 0 {
			t.Fatalf("waits %s", wait)
		}
		got = append(got, b.messages[id].from == good)
		b.messages[id].has[target] = true
	}
	if !slices.Equal(got, []bool{false, true, false, true}) {
		t.Errorf("messages of the good host come as %v", got)
	}

	id, _, _ := b.next(target, now)
	b.noteFailed(id, target, now)
	if other, _, wait := b.next(target, now); other == id || wait != 0 {
		t.Errorf("after a failure: the same %t, %s", other == id, wait)
	}
	if other, _, _ := b.next(target, now.Add(lastBridgeBackoff)); other != id {
		t.Error("it is not tried again")
	}
}

// A message that fits what a host sends, but no post, keeps nobody from what comes behind.
func TestBotPassesWhatFitsNoPost(t *testing.T) {
	x := newHostsTest(t, 3)
	g := x.group("alice").Group
	long := sealTooLong(t, g, identity.NewKey())
	if m, err := g.Open(long); err != nil || !m.Verified {
		t.Fatal(err, m.Verified)
	}
	x.onlyHost(1, func() { x.run("alice", "post", "club", "hello") })
	x.replaceHost(0, serveLog(append([]wire.Envelope{long}, x.envelopes(1)...)))
	x.join("bot")
	bot := x.startBot("bot")
	bot.awaitMessages(2) // hello, and the announcement
	bot.stop()
	if got := len(x.envelopes(2)); got != 2 {
		t.Errorf("the third host has %d envelopes", got)
	}
	if says := bot.says.text(); !strings.Contains(says, errBridgeSize.Error()) {
		t.Errorf("it says %s", says)
	}
}

// sealTooLong seals a message of the smallest size that fits no post.
func sealTooLong(t *testing.T, g group.Group, k identity.Key) wire.Envelope {
	t.Helper()
	for n := 2000; n < 6000; n++ {
		text, err := json.Marshal(struct {
			Text, Onion                                string
			Timestamp                                  uint64
			SignedGroupID, PreviousMessageSig, Padding []byte
		}{group.WrapText("long"), string(k.Onion()), uint64(time.Now().Unix()), g.ID[:], []byte{}, make([]byte, n)})
		if err != nil {
			t.Fatal(err)
		}
		var nonce [24]byte
		rand.Read(nonce[:])
		key := g.Invite().SharedKey
		signed := append(hex.AppendEncode(nil, g.ID[:]), g.Server...)
		e := wire.Envelope{
			Ciphertext: secretbox.Seal(nonce[:], text, &nonce, &key),
			Signature:  k.Sign(base64.StdEncoding.AppendEncode(signed, text)),
		}
		if !fitsPost(e) {
			return e
		}
	}
	t.Fatal("every message fits")
	return wire.Envelope{}
}

// What a clock says that was wrong does not put off an announcement.
func TestAnnouncementAfterAWrongClock(t *testing.T) {
	now := time.Now()
	r := &hostReader{app: &app{}, synced: 1, bridge: newBridge(&profile.Bot{AnnouncedAt: now.AddDate(1, 0, 0)}, 0)}
	r.app.announce = 24 * time.Hour
	if wait, _ := r.announceDue(now); wait > 0 {
		t.Errorf("it waits %s", wait)
	}
	r.bridge.kept.AnnouncedAt = now
	if wait, _ := r.announceDue(now); wait != r.app.announce {
		t.Errorf("after one it waits %s", wait)
	}
}
