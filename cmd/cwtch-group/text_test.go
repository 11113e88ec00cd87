package main

import (
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
)

func TestCleanChatRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":             "",
		"a space":             " ",
		"line breaks":         "\n\r\n\n",
		"tabs":                "\t\t",
		"other spaces":        "\u00a0\u3000\u2003",
		"no width":            "\u200b\u200d\u2060",
		"a direction alone":   "\u202e",
		"letters of no shape": "\u3164\u2800 \uffa0",
		"an accent alone":     "\u0301",
		"what was lost":       "\ufffd\ufffd",
		"a byte order mark":   "\ufeff",
		"two of them":         "\ufeff\ufeff",
		"NUL":                 "a\x00b",
		"NUL alone":           "\x00",
		"escape":              "\x1b[31mred\x1b[0m",
		"backspace":           "N\bNA\bA",
		"bell":                "ring\a",
		"a line overwritten":  "10 %\r20 %\r",
		"delete":              "a\x7f",
		"C1 control":          "a\u009b31m",
		"Latin-1":             "caf\xe9",
		"UTF-16":              "\xff\xfeh\x00i\x00",
		"half a character":    "caf\xc3",
		"a surrogate":         "\xed\xa0\x80",
		"no character":        "a\ufffe",
		"no character either": "a\ufdd0b",
		"paste with escape":   "\x1b[200~text\x1b[201~",
		"paste":               "[200~text[201~",
		"paste, caret":        "^[[200~text^[[201~",
		"paste, begun":        "[200~text",
		"paste, ended":        "text[201~",
		"paste, eaten":        "0~text1~",
		"paste, eaten less":   "00~text01~",
		"too long":            strings.Repeat("x", maxPost+1),
	} {
		if got, err := cleanChat(text); err == nil {
			t.Errorf("%s: it is posted as %q", name, got)
		}
	}
}

func TestCleanChat(t *testing.T) {
	for text, want := range map[string]string{
		"hello":             "hello",
		".":                 ".",
		"0":                 "0",
		"👍":                 "👍",
		"1\ufe0f\u20e3":     "1\ufe0f\u20e3",
		"👩\u200d👩\u200d👧":   "👩\u200d👩\u200d👧",
		"שלום \u200f!":      "שלום \u200f!",
		"می\u200cخواهم":     "می\u200cخواهم",
		"日本　語":              "日本　語",
		"\ufeffhello":       "hello",
		"one\r\ntwo\r\n":    "one\ntwo",
		"\n\n  indented\n ": "  indented",
		"a\tb":              "a\tb",
		"damaged \ufffd":    "damaged \ufffd",
		"what is [200~?":    "what is [200~?",
		"20~ or 1~":         "20~ or 1~",
		`{"o":1,"d":""}`:    `{"o":1,"d":""}`,
		"-5°":               "-5°",
	} {
		if got, err := cleanChat(text); err != nil || got != want {
			t.Errorf("%q is posted as %q, %v", text, got, err)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"book club": true, "日本　語": true, "👩\u200d👩\u200d👧": true,
		"": false, " ": false, " club": false, "club\t": false, "a\x1b[2J": false, "a\nb": false, "\u202eab": false,
		"\u3164": false, "\u200d": false, "\ufeffclub": false, "a\x00": false, "\xff": false, "[200~club": false,
		strings.Repeat("n", bundle.MaxGroupName): true, strings.Repeat("n", bundle.MaxGroupName+1): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	for nick, ok := range map[string]bool{
		"Anna": true, "you": false, "You": false, "nobody": false, "[unverified] Anna": false, "": false,
		strings.Repeat("n", maxNick): true, strings.Repeat("n", maxNick+1): false,
	} {
		if err := checkNick(nick); (err == nil) != ok {
			t.Errorf("nickname %q: %v", nick, err)
		}
	}
}

func TestParseSince(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"":                     {},
		"90m":                  now.Add(-90 * time.Minute),
		"12h":                  now.Add(-12 * time.Hour),
		"3d":                   time.Date(2026, 11, 25, 12, 0, 0, 0, zone),
		"2026-11-27":           time.Date(2026, 11, 27, 0, 0, 0, 0, zone),
		"2026-11-27 09:30":     time.Date(2026, 11, 27, 9, 30, 0, 0, zone),
		"2026-11-27T09:30:00Z": time.Date(2026, 11, 27, 10, 30, 0, 0, zone),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"yesterday", "-2h", "d", "-1d", "99999d", "2026-13-01", "12"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
