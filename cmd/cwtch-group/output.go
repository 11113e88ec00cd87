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

// printer prints messages for people or as JSON.
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
	name, nick := p.names.claimedName(m.From), ""
	if m.Verified {
		name, nick = p.names.nameOf(m.From), p.names.known.Nick(m.From)
	}
	return p.app.printFact(
		messageFact{m.Time.UTC(), m.From, nick, m.From == p.names.own, m.Verified, chat, text},
		"%s", formatMessage(m.Time.In(p.zone), name, m.Verified, text))
}

// formatMessage formats a message in columns. It indents further lines of the text, so
// that none of them looks like a message.
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
	// give gives a member a name forever, and returns all names.
	give func(identity.Onion) (profile.Names, error)
	// warn prints that somebody's onion begins like that of another member.
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
	if o[:twinLength] == n.own[:twinLength] {
		twin = "you"
	}
	if twin != "" && !n.warned[o] {
		n.warned[o] = true
		n.warn(fmt.Sprintf("warning: %s is not %s: their addresses begin alike, which does not happen by chance", n.nameOf(o), twin))
	}
	return nil
}

// twinLength is how many characters two onions share at their beginning when a warning
// is due.
const twinLength = 8

// nameOf returns what the reader calls a member.
func (n *names) nameOf(o identity.Onion) string {
	if nick := n.known.Nick(o); nick != "" {
		return printableText(nick)
	}
	return n.claimedName(o)
}

// claimedName returns the name of the claimed sender of a message, or the whole onion
// if it has none. An unverified message must not give a key a name, nor be shown with
// the nickname of a friend.
func (n *names) claimedName(o identity.Onion) string {
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

// printableText escapes what would act on a terminal or reorder text: control
// characters, line breaks and directional marks.
func printableText(s string) string {
	return escapeRunes(s, func(r rune) string {
		if r == '\t' {
			return "    "
		}
		quoted := strconv.QuoteRuneToASCII(r)
		return quoted[1 : len(quoted)-1]
	})
}

// oneLine is printableText for our own texts, which may have line breaks.
func oneLine(s string) string { return printableText(strings.ReplaceAll(s, "\n", "; ")) }

// escapeJSON does for JSON what printableText does for text. Only strings have such
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
