package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

const (
	onionA = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion"
	drafts = `# my relay
network   "tor"   { }   // kept as it is

server "main" {
	description = "a"   # odd spaces, and a tab

  peersync "mesh" {}
  # alice, until May
  peer "alice" {
    onion    = "` + onionA + `" # by phone
    paused   =   false   # she moves
  }
  # the end
}
server "one" { description = "on a line" }
server "two" {}
`
)

// draftPlugins are testPlugins with a peersync plugin.
func draftPlugins() Plugins {
	p := testPlugins
	p.BuiltIn = append(p.BuiltIn[:len(p.BuiltIn):len(p.BuiltIn)], plugin.Description{Kind: plugin.KindPeerSync, Name: "mesh", Version: "1"})
	return p
}

func openDraft(t *testing.T, text string) *Draft {
	t.Helper()
	path := writeConfig(t, text)
	d, _, err := OpenDraft(path, draftPlugins())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func peerBlock(name string) string {
	return FormatBlock("peer", name, Setting{"onion", cty.StringVal(onionA)})
}

// TestDraftKeepsTheRest makes each change to a file that a person has formatted, and checks that
// no other line differs.
func TestDraftKeepsTheRest(t *testing.T) {
	bob := "peer \"bob\" {\n    onion = \"" + onionA + "\"\n  }\n"
	for name, c := range map[string]struct {
		change   func(d *Draft) error
		old, new string
	}{
		"a new block": {
			func(d *Draft) error { return d.AddBlock(peerBlock("bob"), "server", "main") },
			"  # the end\n", "  # the end\n  " + bob,
		},
		"an empty block": {
			func(d *Draft) error {
				return d.AddBlock(FormatBlock("stats", "page"), "server", "main")
			},
			"  # the end\n", "  # the end\n  stats \"page\" {}\n",
		},
		"into an empty block": {
			func(d *Draft) error { return d.AddBlock(peerBlock("bob"), "server", "two") },
			"server \"two\" {}", "server \"two\" {\n  " + bob + "}",
		},
		"into a block on a line": {
			func(d *Draft) error { return d.AddBlock(peerBlock("bob"), "server", "one") },
			"{ description = \"on a line\" }", "{\n  description = \"on a line\"\n  " + bob + "}",
		},
		"another value": {
			func(d *Draft) error { return d.SetAttribute("paused", cty.True, "server", "main", "peer", "alice") },
			"paused   =   false   # she moves", "paused   =   true   # she moves",
		},
		"a new attribute": {
			func(d *Draft) error {
				return d.SetAttribute("role", cty.StringVal("mirror"), "server", "main", "peer", "alice")
			},
			"# she moves\n", "# she moves\n    role = \"mirror\"\n",
		},
		"an attribute of a block on a line": {
			func(d *Draft) error { return d.SetAttribute("description", cty.StringVal("x"), "server", "one") },
			"\"on a line\"", "\"x\"",
		},
		"a removed block": {
			func(d *Draft) error { return d.RemoveBlock("server", "main", "peer", "alice") },
			drafts[strings.Index(drafts, "  # alice"):strings.Index(drafts, "  # the end")], "",
		},
	} {
		for _, newline := range []string{"\n", "\r\n"} {
			unix := strings.NewReplacer("\n", newline)
			d := openDraft(t, unix.Replace(drafts))
			if err := c.change(d); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if want := unix.Replace(strings.Replace(drafts, c.old, c.new, 1)); string(d.text) != want {
				t.Errorf("%s: got\n%q\nwant\n%q", name, d.text, want)
			}
		}
	}
}

func TestDraftIsWritten(t *testing.T) {
	d := openDraft(t, drafts)
	link := filepath.Join(filepath.Dir(d.path), "link.hcl")
	if err := errors.Join(os.Chmod(d.path, 0o640), os.Symlink(d.path, link)); err != nil {
		t.Fatal(err)
	}
	d.path, d.main = link, link
	if err := d.RemoveBlock("server", "two"); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		text, err := os.ReadFile(d.path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := d.Save(); err != nil || strings.Contains(read(), `server "two"`) {
		t.Errorf("Save: %v\n%s", err, read())
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if info, err := os.Stat(link); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if err := d.Revert(); err != nil || read() != drafts {
		t.Errorf("Revert: %v\n%s", err, read())
	}
}

// TestDraftRefuses shows what is not written: a file with errors, a change to one, and what
// somebody else has changed meanwhile.
func TestDraftRefuses(t *testing.T) {
	if _, _, err := OpenDraft(writeConfig(t, "server \"main\" {\n  retentoin {}\n}\n"), draftPlugins()); err == nil || !strings.Contains(err.Error(), "line 2, column 3") {
		t.Errorf("a file with an error: %v", err)
	}
	d := openDraft(t, drafts)
	if err := d.RemoveBlock("server", "main", "peer", "bob"); err == nil || !strings.Contains(err.Error(), "has no block server main peer bob") {
		t.Errorf("a block that is not there: %v", err)
	}
	if err := d.AddBlock(peerBlock("alice"), "server", "main"); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); !errors.Is(err, ErrInvalidDraft) || !strings.Contains(err.Error(), `second peer "alice"`) {
		t.Errorf("a second peer: %v", err)
	}
	d = openDraft(t, drafts)
	changed := drafts + "# mine\n"
	err := errors.Join(d.RemoveBlock("server", "two"), os.WriteFile(d.path, []byte(changed), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); err == nil || !strings.Contains(err.Error(), "changed by somebody else") {
		t.Errorf("a file that was changed: %v", err)
	}
	if text, err := os.ReadFile(d.path); err != nil || string(text) != changed {
		t.Errorf("the file is now\n%s%v", text, err)
	}
}
