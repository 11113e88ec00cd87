package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// fact prints a line of text or, with -json, v.
func (a *app) fact(v any, format string, args ...any) error {
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
	You      bool           `json:"you"`
	Verified bool           `json:"verified"` // the signature is From's
	Chat     bool           `json:"chat"`     // false: text is an overlay that is shown raw
	Text     string         `json:"text"`
}

// printer writes messages for people and for programs.
type printer struct {
	app   *app
	names names
	zone  *time.Location
}

func (p *printer) print(m group.Message) error {
	text, chat := group.UnwrapText(m.Text)
	return p.app.fact(
		messageFact{m.Time.UTC(), m.From, m.From == p.names.own, m.Verified, chat, text},
		"%s", formatMessage(m.Time.In(p.zone), p.names.of(m.From), m.Verified, text))
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
		lines[i] = printable(line)
	}
	return head + strings.Join(lines, "\n"+strings.Repeat(" ", len(head)))
}

// names gives members short names: the beginning of their onion, longer where
// another member has the same beginning, which can be had for some computing.
type names struct {
	own   identity.Onion
	known map[identity.Onion]string
	taken map[string]bool
}

const shortName = 8

func newNames(own identity.Onion) names {
	return names{own, make(map[identity.Onion]string), make(map[string]bool)}
}

func (n names) of(o identity.Onion) string {
	if o == n.own {
		return "you"
	}
	if o == "" {
		return "nobody"
	}
	if name, ok := n.known[o]; ok {
		return name
	}
	length := min(shortName, len(o))
	for length < len(o) && n.taken[string(o[:length])] {
		length++
	}
	name := string(o[:length])
	n.known[o], n.taken[name] = name, true
	return name
}

// printable replaces what would act on a terminal or reorder text: control
// characters, line breaks and directional marks become escapes.
func printable(s string) string {
	return escape(s, func(r rune) string {
		if r == '\t' {
			return "    "
		}
		quoted := strconv.QuoteRuneToASCII(r)
		return quoted[1 : len(quoted)-1]
	})
}

// oneLine is printable for texts that may hold line breaks of our own making.
func oneLine(s string) string { return printable(strings.ReplaceAll(s, "\n", "; ")) }

// escapeJSON does for JSON what printable does for text; only strings hold such
// characters.
func escapeJSON(b []byte) string {
	return escape(string(b), func(r rune) string {
		if r > 0xffff {
			r -= 0x10000
			return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})
}

// zeroWidthJoiner holds emoji together and is harmless.
const zeroWidthJoiner = '\u200d'

func escape(s string, replace func(rune) string) string {
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
