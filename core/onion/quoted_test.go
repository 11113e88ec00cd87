package onion

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestUnquote(t *testing.T) {
	for text, want := range map[string]string{
		`""`:                        "",
		`"a b"`:                     "a b",
		`"caf\303\251"`:             "café",
		`"it\'s \"x\" \\ \n\t\r"`:   "it's \"x\" \\ \n\t\r",
		`"\x0a\xFF\7\101\1012"`:     "\n\xff\aAA2",
		`"/run/tor/a" NULL "other"`: "/run/tor/a",
		"\"caf\xe9\"":               "caf\xe9",
	} {
		if got, _, err := unquote(text); err != nil || got != want {
			t.Errorf("%s is read as %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a", `"`, `"a`, `"a\`, `"a\"`, `"\q"`, `"\x1"`, `"\xzz"`, `"\400"`, `"\8"`, `a"b"`} {
		if got, _, err := unquote(text); err == nil {
			t.Errorf("%s is read as %q", text, got)
		}
	}
}

// torQuote writes a string as tor does (esc_for_log in its source).
func torQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case strings.IndexByte("\\\"'", c) >= 0:
			b.WriteString(`\` + string(c))
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c >= 127:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// FuzzUnquote reads what tor writes, whatever follows it, and must not fail otherwise
// on anything else.
func FuzzUnquote(f *testing.F) {
	for _, s := range []string{"", "a", "/home/café/x y", `\"'`, "\x00\n\xff", "é", `"\303`, `"\x4`, `" "`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, rest, err := unquote(torQuote(s) + " " + s); err != nil || got != s || rest != " "+s {
			t.Errorf("%q is read as %q and %q, %v", s, got, rest, err)
		}
		if value, rest, err := unquote(s); err == nil && len(value)+len(rest)+2 > len(s) {
			t.Errorf("%q is read as %q and %q", s, value, rest)
		}
		TorrcLines(s)
	})
}

func TestTorrcLines(t *testing.T) {
	got := TorrcLines("\ufeff# private network\nTestingTorNetwork 1\r\n\n  DirAuthority a 127.0.0.1:1 # first\n" +
		"ClientOnionAuthDir \"/home/a#b/\\\"#\" # keys\nNickname \"open #\n")
	want := []string{
		"TestingTorNetwork 1", "DirAuthority a 127.0.0.1:1", `ClientOnionAuthDir "/home/a#b/\"#"`, `Nickname "open`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCheckTorrcOfUnexpandedPaths(t *testing.T) {
	for _, bad := range []string{"ClientOnionAuthDir ~/auth", `ClientOnionAuthDir "~/auth"`, "ClientTransportPlugin obfs4 exec ~/obfs4proxy",
		"GeoIPFile $HOME/geoip", "GeoIPFile ${HOME}/geoip"} {
		if err := CheckTorrc([]string{bad}); err == nil || !strings.Contains(err.Error(), "not expanded here") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	good := "EntryNodes $0123456789ABCDEF0123456789ABCDEF01234567~name"
	if err := CheckTorrc([]string{good}); err != nil {
		t.Errorf("%s: %v", good, err)
	}
}
