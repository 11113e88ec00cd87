package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/group"
)

// A nickname is shown on signed messages only: everybody who has the key of the group
// can write a message that names somebody else.
func TestNicknamesAreForSignedMessages(t *testing.T) {
	var kept profile.Names
	kept.Give(member(2).Onion(), member(1).Onion())
	if err := kept.SetNick(member(2).Onion(), "Anna"); err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		a := &app{options: options{json: asJSON}, out: bufio.NewWriter(&out)}
		n := testNames(member(1).Onion(), nil)
		n.known = kept
		p := printer{a, n, time.UTC}
		for _, verified := range []bool{true, false} {
			m := group.Message{Text: group.WrapText("hello"), From: member(2).Onion(), Verified: verified, Time: time.Unix(0, 0)}
			if err := p.printMessage(m); err != nil {
				t.Fatal(err)
			}
		}
		a.out.Flush()
		signed, forged, _ := strings.Cut(out.String(), "\n")
		if !strings.Contains(signed, "Anna") || strings.Contains(forged, "Anna") {
			t.Errorf("printed %s", &out)
		}
	}
}

// A nickname cannot make a line look like another message, nor act on a terminal, even
// if another program wrote the profile.
func TestNicknamesArePrintedSafely(t *testing.T) {
	var kept profile.Names
	kept.Give(member(2).Onion(), member(1).Onion())
	if err := kept.SetNick(member(2).Onion(), "An\x1b[2Jna\n"); err != nil {
		t.Fatal(err)
	}
	n := testNames(member(1).Onion(), nil)
	n.known = kept
	if got := n.nameOf(member(2).Onion()); strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("printed as %q", got)
	}
}

// Without a terminal, a command says once that it waits for a server, not every
// minute.
func TestProgressSaysOnce(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, false, false)
	for range 1000 {
		p.Stage("connecting")
		p.Stage("no connection")
	}
	p.Note("connected")
	p.Stage("connecting")
	if got, want := b.String(), "connecting\nno connection\nconnected\nconnecting\n"; got != want {
		t.Errorf("printed %.200q", got)
	}
}
