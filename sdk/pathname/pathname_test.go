package pathname

import (
	"errors"
	"flag"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	t.Setenv("RELAYS", "/srv/relays")
	t.Setenv("RELATIVE", "x")
	for path, want := range map[string]string{
		"~":                      "/home/ann",
		"~/relay":                "/home/ann/relay",
		"~root/relay":            "/root/relay",
		"~nobody-of-this-name/x": "/home/me/x",
		"$HOME/relay":            "/home/ann/relay",
		"${HOME}/relay":          "/home/ann/relay",
		"$RELAYS/a/b":            "/srv/relays/a/b",
		"$RELATIVE/a":            "/home/me/a",
		"$UNSET_AND_UNKNOWN":     "/home/me",
		"$(pwd)/x":               "/home/me/x",
		"%h/relay":               "/home/ann/relay",
		"%S/relay":               "/var/lib/relay",
		"%HOME%/relay":           "/home/ann/relay",
	} {
		var found *UnexpandedError
		if err := Check(path); !errors.As(err, &found) || found.Instead != want {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
		if err := Check("./" + path); err != nil {
			t.Errorf("./%s: %v", path, err)
		}
	}
	for _, path := range []string{"", ".", "/", "relay", "/home/~/x", "a~", "/srv/$x", "100%", "%25x/y", "$", "$1/x", "-", "#x", "\xff", " ~/x"} {
		if err := Check(path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestVar(t *testing.T) {
	var path string
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	Var(fs, &path, "dir", "default", "")
	if path != "default" {
		t.Errorf("without the flag: %q", path)
	}
	if err := fs.Parse([]string{"-dir", "/x"}); err != nil || path != "/x" {
		t.Errorf("%q, %v", path, err)
	}
	if err := fs.Parse([]string{"-dir=~/x"}); err == nil || path != "/x" {
		t.Errorf("~ is taken: %q, %v", path, err)
	}
}

func TestQuote(t *testing.T) {
	for arg, want := range map[string]string{
		"/var/lib/cwtch-relay/a_b.c": "/var/lib/cwtch-relay/a_b.c",
		"-config":                    "-config",
		"":                           "''",
		"~/x":                        "'~/x'",
		"a b":                        "'a b'",
		"it's":                       `'it'\''s'`,
		"café":                       "'café'",
		"#a":                         "'#a'",
		"a\nb":                       `$'a\nb'`,
		"\xff'\\":                    `$'\377\'\\'`,
		"\x1b[2J":                    `$'\033[2J'`,
	} {
		if got := Quote(arg); got != want {
			t.Errorf("%q is quoted %s, want %s", arg, got, want)
		}
	}
}

// FuzzQuote has a shell read what was quoted.
func FuzzQuote(f *testing.F) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		f.Skip("there is no bash to read what was quoted")
	}
	for _, arg := range []string{"", "a", "~", "$HOME", "`id`", "a b\tc\nd", "'", `"`, `\`, "*", "é", "\xff\xfe", "!x", "\u202e", "a=~/b", "\x01" + "2"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if strings.Contains(arg, "\x00") {
			return // which no argument can hold
		}
		quoted := Quote(arg)
		if strings.ContainsAny(quoted, "\n\r\x1b\t") {
			t.Errorf("%q is quoted as %q", arg, quoted)
		}
		got, err := exec.Command(bash, "-c", "printf %s. "+quoted).Output()
		if err != nil || string(got) != arg+"." {
			t.Errorf("%q is quoted %s, which bash reads as %q, %v", arg, quoted, got, err)
		}
	})
}
