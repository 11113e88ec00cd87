package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// printFact prints a line of text or, with -json, v.
func (a *app) printFact(v any, format string, args ...any) error {
	if !a.json {
		_, err := fmt.Fprintf(a.out, format+"\n", args...)
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	_, err = fmt.Fprintln(a.out, escapeJSON(b))
	return err
}

// messageFact is a message as JSON.
type messageFact struct {
	Time     time.Time      `json:"time"` // the sender's claim
	From     identity.Onion `json:"from"` // empty where the message names nobody
	Nick     string         `json:"nick,omitempty"`
	You      bool           `json:"you"`
	Verified bool           `json:"verified"` // the signature is From's
	Chat     bool           `json:"chat"`     // false: text is an overlay that is shown raw
	Text     string         `json:"text"`
}

// printer writes messages for people and for programs.
type printer struct {
	app   *app
	names *names
	zone  *time.Location
}

func (p *printer) printMessage(m group.Message) error {
	if m.Verified {
		if err := p.names.nameSender(m.From); err != nil {
			return err
		}
	}
	text, chat := group.UnwrapText(m.Text)
	name, nick := p.names.claimed(m.From), ""
	if m.Verified {
		name, nick = p.names.nameOf(m.From), p.names.known.Nick(m.From)
	}
	return p.app.printFact(
		messageFact{m.Time.UTC(), m.From, nick, m.From == p.names.own, m.Verified, chat, text},
		"%s", formatMessage(m.Time.In(p.zone), name, m.Verified, text))
}

// formatMessage lays a message out in columns. Further lines of the text are
// indented, so that none of them looks like a message.
func formatMessage(at time.Time, name string, verified bool, text string) string {
	head := fmt.Sprintf("%s  %-8s  ", at.Format("2006-01-02 15:04"), name)
	if !verified {
		text = "[unverified] " + text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = printableText(line)
	}
	return head + strings.Join(lines, "\n"+strings.Repeat(" ", utf8.RuneCountInString(head)))
}

// names are what the members of a group are called on the screen.
type names struct {
	own   identity.Onion
	known profile.Names
	// give keeps a name for a member for ever, and returns all names.
	give func(identity.Onion) (profile.Names, error)
	// warn tells the reader that somebody's onion begins like another member's.
	warn   func(text string)
	warned map[identity.Onion]bool
}

func (a *app) newNames(ctx context.Context, own identity.Onion, g *profile.Group) *names {
	group := g.Group.ID
	return &names{
		own: own, known: g.Names, warned: make(map[identity.Onion]bool),
		give: func(from identity.Onion) (profile.Names, error) {
			return a.profile.GiveName(context.WithoutCancel(ctx), group, from)
		},
		warn: a.progress.Warn,
	}
}

// nameSender gives the sender of a verified message a name, unless they have one.
func (n *names) nameSender(o identity.Onion) (err error) {
	if o == n.own {
		return nil
	}
	if _, ok := n.known.Of(o); !ok && !n.known.Full() {
		if n.known, err = n.give(o); err != nil {
			return err
		}
	}
	twin := n.known.Twin(o)
	if o[:shortest] == n.own[:shortest] {
		twin = "you"
	}
	if twin != "" && !n.warned[o] {
		n.warned[o] = true
		n.warn(fmt.Sprintf("warning: %s is not %s: they begin alike, which does not happen by chance", n.nameOf(o), twin))
	}
	return nil
}

// shortest is how many characters two onions have in common where a warning is due.
const shortest = 8

// nameOf returns what the reader calls a member.
func (n *names) nameOf(o identity.Onion) string {
	if nick := n.known.Nick(o); nick != "" {
		return printableText(nick)
	}
	return n.claimed(o)
}

// claimed returns the name of somebody who may be another. Who has none is shown
// by the whole onion: a message that is not verified must not get a name for a
// key, nor the nickname of a friend.
func (n *names) claimed(o identity.Onion) string {
	if o == n.own {
		return "you"
	}
	if o == "" {
		return "nobody"
	}
	if name, ok := n.known.Of(o); ok {
		return name
	}
	return string(o)
}

// printableText replaces what would act on a terminal or reorder text: control
// characters, line breaks and directional marks become escapes.
func printableText(s string) string {
	return escapeRunes(s, func(r rune) string {
		if r == '\t' {
			return "    "
		}
		quoted := strconv.QuoteRuneToASCII(r)
		return quoted[1 : len(quoted)-1]
	})
}

// oneLine is printable for texts that may hold line breaks of our own making.
func oneLine(s string) string { return printableText(strings.ReplaceAll(s, "\n", "; ")) }

// escapeJSON does for JSON what printable does for text; only strings hold such
// characters.
func escapeJSON(b []byte) string {
	return escapeRunes(string(b), func(r rune) string {
		if r > 0xffff {
			r -= 0x10000
			return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})
}

// zeroWidthJoiner holds emoji together and is harmless.
const zeroWidthJoiner = '\u200d'

func escapeRunes(s string, replace func(rune) string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsGraphic(r) || r == zeroWidthJoiner {
			b.WriteRune(r)
		} else {
			b.WriteString(replace(r))
		}
	}
	return b.String()
}
