package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

var update = flag.Bool("update", false, "write golden files")

// member returns the same member for the same number.
func member(n byte) identity.Key { return identity.KeyFromSeed([32]byte{n}) }

// testNames returns names that are in no profile; warn may be nil.
func testNames(own identity.Onion, warn func(string)) *names {
	if warn == nil {
		warn = func(string) {}
	}
	var kept profile.Names
	return &names{own: own, warn: warn, warned: make(map[identity.Onion]bool), give: func(o identity.Onion) (profile.Names, error) {
		kept.Give(o, own)
		return kept, nil
	}}
}

// TestOutput prints friendly and hostile messages as text and as JSON.
func TestOutput(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	twin := member(2).Onion()[:12] + member(3).Onion()[12:]
	chat := func(from identity.Onion, verified bool, text string) group.Message {
		return group.Message{Text: group.WrapText(text), From: from, Verified: verified, Time: at}
	}
	messages := []group.Message{
		chat(member(1).Onion(), true, "mine"),
		chat(member(2).Onion(), true, "hers"),
		chat(twin, true, "from somebody with the same beginning"),
		chat(member(2).Onion(), true, "hers again"),
		chat(member(2).Onion(), false, "not signed by her"),
		chat("", false, "from nobody"),
		chat(member(2).Onion(), true, "two lines\n2026-03-04 05:06  you       of which one pretends"),
		chat(member(2).Onion(), true, "\x1b[2Jclears\r\a\u009b31m, \u202edrawkcab\u2066, \u2028, a\ttab, 👩‍👩‍👧, 日本　語"),
		{Text: `{"o":10,"d":"a quote"}`, From: member(2).Onion(), Verified: true, Time: at},
		{Text: "", From: member(2).Onion(), Verified: true, Time: time.Unix(253402300799, 0)},
	}
	var out bytes.Buffer
	for _, asJSON := range []bool{false, true} {
		a := &app{options: options{json: asJSON}, out: bufio.NewWriter(&out)}
		p := printer{a, testNames(member(1).Onion(), nil), time.UTC}
		for _, m := range messages {
			if err := p.printMessage(m); err != nil {
				t.Fatal(err)
			}
		}
		a.out.Flush()
	}
	const golden = "testdata/output.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("printed\n%s\nwant\n%s", &out, want)
	}
}

func TestNothingPrintedActsOnATerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		line := printableText(s)
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		safe := escapeJSON(encoded)
		for _, out := range []string{line, safe} {
			if i := strings.IndexFunc(out, func(r rune) bool { return !unicode.IsGraphic(r) && r != zeroWidthJoiner }); i >= 0 {
				t.Fatalf("%q has something at %d", out, i)
			}
		}
		var back string
		if err := json.Unmarshal([]byte(safe), &back); err != nil || back != s {
			t.Fatalf("%q came back as %q, %v", s, back, err)
		}
	})
}

func TestProgress(t *testing.T) {
	show := func(terminal, quiet bool) string {
		var b bytes.Buffer
		p := newProgress(&b, terminal, quiet)
		p.Stage("first")
		p.Detail("%d %%", 50)
		p.Detail("too soon")
		p.Stage("sec\x1bond")
		p.Note("note")
		p.Done()
		return b.String()
	}
	for _, c := range []struct {
		terminal, quiet bool
		want            string
	}{
		{false, false, "first\nsec\\x1bond\nnote\n"},
		{true, false, "\r\x1b[Kfirst\r\x1b[Kfirst: 50 %\r\x1b[Ksec\\x1bond\r\x1b[Knote\n"},
		{true, true, ""},
	} {
		if got := show(c.terminal, c.quiet); got != c.want {
			t.Errorf("terminal %t, quiet %t: %q, want %q", c.terminal, c.quiet, got, c.want)
		}
	}
}

// The sender of an unverified message gets no name.
func TestUnverifiedSendersTakeNoNames(t *testing.T) {
	n := testNames(member(1).Onion(), func(s string) { t.Errorf("warned: %s", s) })
	if got := n.nameOf(member(2).Onion()); got != string(member(2).Onion()) {
		t.Errorf("shown as %s", got)
	}
	if err := n.nameSender(member(2).Onion()); err != nil {
		t.Fatal(err)
	}
	if got := n.nameOf(member(2).Onion()); got != string(member(2).Onion()[:8]) {
		t.Errorf("the verified sender is shown as %s", got)
	}
}

// A reader is warned once in each run of a key that was made to look like another's,
// or like their own.
func TestWarnsOfLookalikes(t *testing.T) {
	var said []string
	n := testNames(member(1).Onion(), func(s string) { said = append(said, s) })
	for _, o := range []identity.Onion{
		member(2).Onion(),
		member(2).Onion()[:8] + member(3).Onion()[8:],
		member(2).Onion()[:8] + member(3).Onion()[8:],
		member(1).Onion()[:8] + member(3).Onion()[8:],
	} {
		if err := n.nameSender(o); err != nil {
			t.Fatal(err)
		}
	}
	if len(said) != 2 || !strings.Contains(said[0], "not "+string(member(2).Onion()[:8])) || !strings.Contains(said[1], "not you") {
		t.Errorf("said %q", said)
	}
}
