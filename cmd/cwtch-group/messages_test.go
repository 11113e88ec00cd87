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

func newMessages(t *testing.T) (*messageReader, group.Group) {
	t.Helper()
	g, err := group.New("club", member(9).Onion())
	if err != nil {
		t.Fatal(err)
	}
	return newMessageReader(&profile.Group{Name: "club", Group: g}, &profile.Server{History: client.NewHistory()}, nil), g
}

func sealMessage(t *testing.T, g group.Group, from identity.Key, text string) wire.Envelope {
	t.Helper()
	e, err := g.Seal(from, group.Draft{Text: text, Time: time.Unix(1700000000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConversationTakesEachMessageOnce(t *testing.T) {
	c, g := newMessages(t)
	hello := sealMessage(t, g, member(1), "hello")
	forged := sealMessage(t, g, member(1), "forged")
	forged.Signature = hello.Signature
	_, other := newMessages(t)
	events := []struct {
		e    client.Event
		want bool
	}{
		{client.Event{Kind: client.Count, Left: 4}, false},
		{client.Event{Kind: client.Replayed, Envelope: hello, Left: 3}, true},
		{client.Event{Kind: client.Replayed, Envelope: sealMessage(t, other, member(1), "elsewhere"), Left: 2}, false},
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
func TestPosition(t *testing.T) {
	c, g := newMessages(t)
	e := func(text string) wire.Envelope { return sealMessage(t, g, member(1), text) }
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

// A message that another member seals again is still the same message.
func TestResealedMessageIsTheSame(t *testing.T) {
	c, g := newMessages(t)
	e := sealMessage(t, g, member(1), "pay 5")
	c.takeEvent(client.Event{Kind: client.Replayed, Envelope: e, Left: 1})
	if _, ok, _ := c.takeEvent(client.Event{Kind: client.Replayed, Envelope: sealAgain(t, g, e)}); ok {
		t.Error("the message was taken twice")
	}
}

func TestSummary(t *testing.T) {
	c, g := newMessages(t)
	forged := sealMessage(t, g, member(2), "x")
	forged.Signature = nil
	c.takeEvent(client.Event{Kind: client.New, Envelope: sealMessage(t, g, member(1), "a")})
	c.takeEvent(client.Event{Kind: client.New, Envelope: sealMessage(t, g, member(1), "b")})
	c.takeEvent(client.Event{Kind: client.New, Envelope: forged})
	c.takeEvent(client.Event{Kind: client.New, Envelope: sealBytes(g, []byte("not a message"))})
	const want = "3 messages; verified you (2); 1 unverified, not signed by the member they name; 1 without a message left out"
	if got := c.summaryText(testNames(member(1).Onion(), nil)); got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}

// sealBytes seals bytes with the key of a group, as any member can.
func sealBytes(g group.Group, text []byte) wire.Envelope {
	key, nonce := g.Invite().SharedKey, [24]byte{1}
	return wire.Envelope{Ciphertext: secretbox.Seal(nonce[:], text, &nonce, &key)}
}

// sealAgain seals the message of an envelope again, under its signature.
func sealAgain(t *testing.T, g group.Group, e wire.Envelope) wire.Envelope {
	t.Helper()
	key := g.Invite().SharedKey
	nonce := [24]byte(e.Ciphertext)
	text, ok := secretbox.Open(nil, e.Ciphertext[24:], &nonce, &key)
	if !ok {
		t.Fatal("does not open")
	}
	again := sealBytes(g, text)
	again.Signature = e.Signature
	return again
}

// The reader comes last in a summary, whatever the names are.
func TestSummaryOrder(t *testing.T) {
	for own := range byte(4) {
		c, g := newMessages(t)
		for i := range byte(4) {
			c.takeEvent(client.Event{Kind: client.New, Envelope: sealMessage(t, g, member(i), "a")})
		}
		got := c.summaryText(testNames(member(own).Onion(), nil))
		if !strings.HasSuffix(got, ", you (1)") {
			t.Errorf("summary %q does not end with oneself", got)
		}
	}
}
