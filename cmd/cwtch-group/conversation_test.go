package main

import (
	"bytes"
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

func newTalk(t *testing.T) (*conversation, group.Group) {
	t.Helper()
	g, err := group.New("club", member(9).Onion())
	if err != nil {
		t.Fatal(err)
	}
	return newConversation(&profile.Group{Name: "club", Group: g}, &profile.Server{History: client.NewHistory()}, nil), g
}

func seal(t *testing.T, g group.Group, from identity.Key, text string) wire.Envelope {
	t.Helper()
	e, err := g.Seal(from, group.Draft{Text: text, Time: time.Unix(1700000000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConversationTakesEachMessageOnce(t *testing.T) {
	c, g := newTalk(t)
	hello := seal(t, g, member(1), "hello")
	forged := seal(t, g, member(1), "forged")
	forged.Signature = hello.Signature
	_, other := newTalk(t)
	events := []struct {
		e    client.Event
		want bool
	}{
		{client.Event{Kind: client.Count, Left: 4}, false},
		{client.Event{Kind: client.Replayed, Envelope: hello, Left: 3}, true},
		{client.Event{Kind: client.Replayed, Envelope: seal(t, other, member(1), "elsewhere"), Left: 2}, false},
		{client.Event{Kind: client.Replayed, Envelope: forged, Left: 1}, true}, // unverified, not dropped
		{client.Event{Kind: client.Replayed, Envelope: forged, Left: 0}, false},
		{client.Event{Kind: client.New, Envelope: hello}, false},
		{client.Event{Kind: client.Posted, Post: 1}, false},
	}
	for i, x := range events {
		if _, ok, err := c.takeEvent(x.e); ok != x.want || err != nil {
			t.Errorf("event %d: message %t, want %t", i, ok, x.want)
		}
	}
	if c.messageCount() != 2 || c.unverified != 1 || c.verified[member(1).Onion()] != 1 {
		t.Errorf("counted %+v", c)
	}
	if !bytes.Equal(c.head, hello.Signature) {
		t.Error("the head is not the last verified message")
	}
}

// The position moves only over what came in order, so that nothing is skipped
// when a connection ends in the middle of a replay.
func TestPlace(t *testing.T) {
	c, g := newTalk(t)
	e := func(text string) wire.Envelope { return seal(t, g, member(1), text) }
	first, early, second, live := e("first"), e("early"), e("second"), e("live")
	unsigned := wire.Envelope{Ciphertext: []byte("x")}
	for i, x := range []struct {
		e    client.Event
		want []byte
	}{
		{client.Event{Kind: client.Count, Left: 2}, nil},
		{client.Event{Kind: client.Replayed, Envelope: first, Left: 1}, first.Signature},
		{client.Event{Kind: client.New, Envelope: early}, first.Signature},
		{client.Event{Kind: client.Replayed, Envelope: second}, second.Signature},
		{client.Event{Kind: client.New, Envelope: live}, live.Signature},
		{client.Event{Kind: client.New, Envelope: second, Repeat: true}, live.Signature},
		{client.Event{Kind: client.New, Envelope: unsigned}, live.Signature},
	} {
		if c.takeEvent(x.e); !bytes.Equal(c.reader.Position().Last().Signature, x.want) {
			t.Errorf("after event %d the position is %x, want %x", i, c.reader.Position().Last().Signature, x.want)
		}
	}
}

// A member who seals again what another member signed does not make a second
// message of it.
func TestResealedMessageIsTheSame(t *testing.T) {
	c, g := newTalk(t)
	e := seal(t, g, member(1), "pay 5")
	c.takeEvent(client.Event{Kind: client.Replayed, Envelope: e, Left: 1})
	if _, ok, _ := c.takeEvent(client.Event{Kind: client.Replayed, Envelope: reseal(t, g, e)}); ok {
		t.Error("the message was taken twice")
	}
}

func TestSummary(t *testing.T) {
	c, g := newTalk(t)
	forged := seal(t, g, member(2), "x")
	forged.Signature = nil
	c.takeEvent(client.Event{Kind: client.New, Envelope: seal(t, g, member(1), "a")})
	c.takeEvent(client.Event{Kind: client.New, Envelope: seal(t, g, member(1), "b")})
	c.takeEvent(client.Event{Kind: client.New, Envelope: forged})
	c.takeEvent(client.Event{Kind: client.New, Envelope: box(g, []byte("not a message"))})
	const want = "3 messages; verified you (2); unverified: 1, not signed by the member they name; left out: 1 that hold no message"
	if got := c.summaryText(testNames(member(1).Onion(), nil)); got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}

// box seals bytes with the key of a group, as any member can.
func box(g group.Group, text []byte) wire.Envelope {
	key, nonce := g.Invite().SharedKey, [24]byte{1}
	return wire.Envelope{Ciphertext: secretbox.Seal(nonce[:], text, &nonce, &key)}
}

// reseal seals the message of an envelope again, under its signature.
func reseal(t *testing.T, g group.Group, e wire.Envelope) wire.Envelope {
	t.Helper()
	key := g.Invite().SharedKey
	nonce := [24]byte(e.Ciphertext)
	text, ok := secretbox.Open(nil, e.Ciphertext[24:], &nonce, &key)
	if !ok {
		t.Fatal("does not open")
	}
	again := box(g, text)
	again.Signature = e.Signature
	return again
}

// TestSummaryOrder: the order must not depend on what the names happen to be.
func TestSummaryOrder(t *testing.T) {
	for own := range byte(4) {
		c, g := newTalk(t)
		for i := range byte(4) {
			c.takeEvent(client.Event{Kind: client.New, Envelope: seal(t, g, member(i), "a")})
		}
		got := c.summaryText(testNames(member(own).Onion(), nil))
		if !strings.HasSuffix(got, ", you (1)") {
			t.Errorf("summary %q does not end with oneself", got)
		}
	}
}
