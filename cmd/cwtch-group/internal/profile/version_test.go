package profile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// openCopy opens a profile.json of testdata in a directory of its own.
func openCopy(t *testing.T, file string) *Profile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	p := &Profile{t.TempDir()}
	if err := os.WriteFile(p.filePath(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err = Open(p.dir); err != nil {
		t.Fatal(err)
	}
	return p
}

// A file that an earlier release wrote is read, and keeps everything when it is
// written in the present format.
func TestFormatsOnDisk(t *testing.T) {
	for _, file := range []string{"version2.json", "version3.json", "version4.json"} {
		t.Run(file, func(t *testing.T) {
			p := openCopy(t, file)
			check := func() {
				t.Helper()
				s := view(t, p)
				server, g := s.Servers[0], s.Groups[0]
				members := g.Names.Members()
				if s.Identity.Onion() == "" || len(server.Tokens) != 3 || server.Position.Last().Number != 30 || server.History.End() != 30 ||
					g.Name != "book club" || g.Read.Last().Number != 30 || g.Synced.Last().Number != 30 ||
					!g.Printed.Has(MessageID{1}) || !g.Printed.Has(MessageID{2}) || g.Printed.Has(MessageID{3}) ||
					len(members) != 2 || members[0].Name != "nn44k7tk" || string(g.Group.Invite().GroupName) != "book club" {
					t.Fatalf("server %+v, group %+v, members %+v", server, g, members)
				}
				if file != "version2.json" && (members[0].Nick != "Anna" || g.Unfinished == nil || g.Unfinished.Done != 1 ||
					string(g.Unfinished.Pending.Signature) != "signature" || !g.Unfinished.Fits(unfinishedText, g.Unfinished.Begun)) {
					t.Fatalf("members %+v, unfinished %+v", members, g.Unfinished)
				}
				if file == "version4.json" {
					checkServerless(t, s)
				}
			}
			check()
			if err := p.Update(t.Context(), func(*State) error { return nil }); err != nil {
				t.Fatal(err)
			}
			check()
		})
	}
}

// checkServerless checks what version4.json has in addition.
func checkServerless(t *testing.T, s *State) {
	t.Helper()
	g, err := s.FindGroup("club")
	if err != nil {
		t.Fatal(err)
	}
	x, at := g.Serverless, time.Unix(1_800_000_000, 0)
	if h := x.Hosts[1]; x.Manager == nil || x.Manager.Onion() != g.Group.Server || x.List.Serial != 1 || !x.HeadTime.Equal(at) ||
		!h.Seen.Equal(at) || !h.Failed.Equal(at.Add(time.Second)) || !h.Down || h.Error != "gone" || h.Alone != 3 ||
		h.Read.Last().Number != 30 || h.Bridged.Last().Number != 30 || x.Hosts[0].Read != nil || !g.Printed.Has(MessageID{1}) ||
		s.Servers[1].Local != "/home/alice/relay/servers/main" {
		t.Fatalf("group %+v, host %+v", x, h)
	}
}

// unfinishedText is the text that version3.json began to post.
var unfinishedText = []string{"one", "two"}

// Only Create makes an identity, and never a second one.
func TestOnlyCreateMakesAProfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "alice")
	if _, err := Open(dir); !errors.Is(err, ErrNoProfile) {
		t.Errorf("open: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("opening made the directory")
	}
	p, err := Create(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	before := view(t, p).Identity.Onion()
	if _, err := Create(t.Context(), dir); !errors.Is(err, ErrExists) {
		t.Errorf("second creation: %v", err)
	}
	if view(t, p).Identity.Onion() != before {
		t.Error("the identity changed")
	}
	if err := os.Remove(p.filePath()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrLost) {
		t.Errorf("open what lost its file: %v", err)
	}
	if err := p.Update(t.Context(), func(*State) error { return nil }); err == nil {
		t.Error("an update made a profile")
	}
}

func TestUnfinishedFits(t *testing.T) {
	now := time.Now()
	u := NewUnfinished([]string{"a", "b"}, now, nil)
	for _, c := range []struct {
		text []string
		at   time.Time
		want bool
	}{
		{[]string{"a", "b"}, now, true},
		{[]string{"a", "b"}, now.Add(resumeWithin), false},
		{[]string{"a", "b"}, now.Add(-time.Second), false},
		{[]string{"a"}, now, false},
		{[]string{"a", "c"}, now, false},
	} {
		if u.Fits(c.text, c.at) != c.want {
			t.Errorf("%q after %s: %t", c.text, c.at.Sub(now), !c.want)
		}
	}
	u.Done = 2
	if u.Fits([]string{"a", "b"}, now) {
		t.Error("a complete post is resumed")
	}
}

func TestNicks(t *testing.T) {
	p := newProfile(t)
	withServer(t, p, 0)
	onion := openCopy(t, "version2.json")
	members := view(t, onion).Groups[0].Names.Members()
	anna, bob := members[0].Onion, members[1].Onion
	err := p.Update(t.Context(), func(s *State) error {
		n := &s.Groups[0].Names
		n.Give(anna, s.Identity.Onion())
		n.Give(bob, s.Identity.Onion())
		return n.SetNick(anna, "Anna")
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &view(t, p).Groups[0].Names
	for _, nick := range []string{"Anna", "aNNa", members[0].Name, string(anna[:20]), members[0].Name + "x"} {
		if err := n.SetNick(bob, nick); !errors.Is(err, ErrNickTaken) {
			t.Errorf("bob becomes %q: %v", nick, err)
		}
	}
	for _, word := range []string{"Anna", "anna", members[0].Name, string(anna[:12]), string(anna)} {
		if m, err := n.Find(word); err != nil || m.Onion != anna {
			t.Errorf("%q: %v", word, err)
		}
	}
	if _, err := n.Find(string(anna[:3])); !errors.Is(err, errNoMember) {
		t.Errorf("three letters: %v", err)
	}
	if err := n.SetNick(anna, ""); err != nil || n.Nick(anna) != "" {
		t.Errorf("nick %q, %v", n.Nick(anna), err)
	}
}

// A key can be ground that begins like a nickname. Its name is longer then, and
// the reader is told.
func TestNicksAreNotImitated(t *testing.T) {
	var n Names
	own, friend := identity.KeyFromSeed([32]byte{1}).Onion(), identity.KeyFromSeed([32]byte{2}).Onion()
	n.Give(friend, own)
	if err := n.SetNick(friend, "Jonathan"); err != nil {
		t.Fatal(err)
	}
	ground := "jonathan" + friend[8:]
	if got := n.Give(ground, own); got != string(ground[:16]) {
		t.Errorf("the other is called %s", got)
	}
	if got := n.Twin(ground); got != "Jonathan" {
		t.Errorf("the other looks like %q", got)
	}
	if got := n.Twin(friend); got != "" {
		t.Errorf("the friend looks like %q", got)
	}
}
