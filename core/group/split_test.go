package group

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

// checkParts fails unless every part seals and opens as itself, and the parts
// together are the chat, except for white space.
func checkParts(t interface {
	Helper()
	Fatalf(string, ...any)
}, g Group, chat string, parts []string) {
	t.Helper()
	visible := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, s)
	}
	if got, want := visible(strings.Join(parts, "")), visible(chat); got != want {
		t.Fatalf("%d parts hold %d bytes of %d", len(parts), len(got), len(want))
	}
	for i, part := range parts {
		e, err := g.Seal(senderKey(1), Draft{Text: WrapText(part), Time: time.Unix(maxTimestamp, 0), Previous: make([]byte, 64)})
		if err != nil {
			t.Fatalf("part %d of %d: %v", i, len(parts), err)
		}
		m, err := g.Open(e)
		if err != nil || !m.Verified {
			t.Fatalf("part %d: %v", i, err)
		}
		if got, ok := UnwrapText(m.Text); got != part || !ok || strings.TrimSpace(part) == "" {
			t.Fatalf("part %d came as %q", i, got)
		}
	}
}

func TestSplitChat(t *testing.T) {
	g := testersGroup(t)
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("<>&\"\\\u2028\x00 \n\té💬👩\u200d\u0301"))),
			rapid.Map(rapid.IntRange(1, 4000), func(n int) string { return strings.Repeat("<", n) }),
			rapid.Map(rapid.IntRange(1, 4000), func(n int) string { return strings.Repeat("x", n) }),
			rapid.Map(rapid.IntRange(1, 4000), func(n int) string { return strings.Repeat("\n", n) }),
			rapid.Map(rapid.IntRange(1, 1000), func(n int) string { return strings.Repeat("👩\u200d", n) }))
		chat := strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "words"), " ")
		checkParts(t, g, chat, SplitChat(chat))
	})
}

// Parts have the documented sizes and end at lines, spaces and characters.
func TestSplitChatBreaks(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name, chat string
		want       []string
	}{
		{"nothing", "", nil},
		{"white space", " \n\t \n", nil},
		{"one message", x(1786), []string{x(1786)}},
		{"one byte more", x(1787), []string{x(1786), "x"}},
		{"quotes count twice", strings.Repeat(`"`, 894), []string{strings.Repeat(`"`, 893), `"`}},
		{"at a line", x(1000) + "\n" + x(300) + " " + x(900), []string{x(1000), x(300) + " " + x(900)}},
		{"at a space", x(1000) + " " + x(900), []string{x(1000), x(900)}},
		{"between words", x(1786) + " y", []string{x(1786), "y"}},
		{"indented", x(1786) + "\n\n  y\n", []string{x(1786), "  y"}},
		{"many empty lines", "a" + strings.Repeat("\n", 5000) + "b", []string{"a", "b"}},
		{"between letters of more bytes", strings.Repeat("é", 900), []string{strings.Repeat("é", 893), strings.Repeat("é", 7)}},
		{"not before an accent", x(1785) + "e\u0301", []string{x(1785), "e\u0301"}},
		{"not within a family", x(1782) + "👩\u200d👧", []string{x(1782), "👩\u200d👧"}},
	} {
		got := SplitChat(c.chat)
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: %d parts: %.80q", c.name, len(got), got)
		}
		checkParts(t, testersGroup(t), c.chat, got)
	}
}

// A long text of the most expensive kind is split in reasonable time.
func TestSplitChatIsBounded(t *testing.T) {
	chat := strings.Repeat("<", 64<<10)
	parts := SplitChat(chat)
	if len(parts) > 110 {
		t.Errorf("%d parts", len(parts))
	}
	checkParts(t, testersGroup(t), chat, parts)
}
