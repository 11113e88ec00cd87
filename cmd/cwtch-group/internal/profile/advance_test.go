package profile

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// commandVariable makes the test binary a command that reads 40 envelopes, saves
// ten times on the way, takes ten tokens and names a member; see
// TestCommandsAtOnce.
const commandVariable = "CWTCH_GROUP_TEST_WORK"

// readUpTo reads a board of numbered envelopes from its beginning to envelope n.
func readUpTo(r *client.Reader, n int) {
	r.ReplayFrom()
	for i := range n {
		r.Accept(client.Event{Kind: client.Replayed, Envelope: wire.Envelope{Signature: fmt.Append(nil, i+1)}, Left: 1000 - i})
	}
}

func readNumber(t *testing.T, p *Profile) uint64 {
	t.Helper()
	return view(t, p).Groups[0].Read.Last().Number
}

func savePosition(t *testing.T, p *Profile, r *client.Reader) {
	t.Helper()
	err := p.Update(t.Context(), func(s *State) error {
		return s.Advance(s.Groups[0], Session{Reader: r, Read: true})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A command that began earlier, or at the beginning of the board, does not move
// back the position that another reached.
func TestPositionsMoveForward(t *testing.T) {
	p := newProfile(t)
	withServer(t, p, 0)
	begin := func() *client.Reader { return client.NewReader(view(t, p).Servers[0].History, nil) }
	slow, fast := begin(), begin()
	readUpTo(fast, 30)
	readUpTo(slow, 10)
	savePosition(t, p, fast)
	savePosition(t, p, slow)
	if got := readNumber(t, p); got != 30 {
		t.Errorf("the position is %d after the slow command, want 30", got)
	}
	few := begin()
	readUpTo(few, 2)
	savePosition(t, p, few)
	if got := readNumber(t, p); got != 30 {
		t.Errorf("the position is %d after a command that read two from the beginning, want 30", got)
	}
	if got := string(view(t, p).Servers[0].Position.Last().Signature); got != "30" {
		t.Errorf("a new group would begin at %s", got)
	}
	readUpTo(slow, 35)
	savePosition(t, p, slow)
	if got := readNumber(t, p); got != 35 {
		t.Errorf("the position is %d, want 35", got)
	}
}

// Commands that run at the same time lose nothing: the one that got furthest decides the
// position, no token is spent twice, and no name is given twice.
func TestCommandsAtOnce(t *testing.T) {
	p := newProfile(t)
	withServer(t, p, 50)
	var commands []*exec.Cmd
	var outs []*strings.Builder
	for i := range 4 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), commandVariable+"="+fmt.Sprintf("%s:%d", p.dir, i))
		out := new(strings.Builder)
		c.Stdout, c.Stderr = out, os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		commands, outs = append(commands, c), append(outs, out)
	}
	seen := make(map[string]bool)
	for i, c := range commands {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(outs[i].String()) {
			if seen[word] {
				t.Errorf("%s came out twice", word)
			}
			seen[word] = true
		}
	}
	if len(seen) != 40+4 { // tokens, names
		t.Errorf("%d tokens and names came out, want 44", len(seen))
	}
	s := view(t, p)
	if n := len(s.Servers[0].Tokens); n != 10 {
		t.Errorf("%d tokens are left, want 10", n)
	}
	if got, end := readNumber(t, p), s.Servers[0].History.End(); got != 43 || end != 43 {
		t.Errorf("the position is %d and the history ends at %d, want 43", got, end)
	}
}

func runTestCommand(argument string) error {
	dir, which, _ := strings.Cut(argument, ":")
	i := int(which[0] - '0')
	p, err := Open(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := p.View()
	if err != nil {
		return err
	}
	r := client.NewReader(s.Servers[0].History, nil)
	for n := range 10 {
		readUpTo(r, 4+4*n+i)
		err := p.Update(ctx, func(s *State) error {
			return s.Advance(s.Groups[0], Session{Reader: r, Read: true})
		})
		if err != nil {
			return err
		}
		tok, ok, err := p.TakeToken(ctx, s.Servers[0].Bundle.Board)
		if err != nil || !ok {
			return fmt.Errorf("token: %t, %w", ok, err)
		}
		fmt.Printf("%x\n", tok.T)
	}
	from := identity.Onion("aaaaaaaa" + strings.Repeat(which, 48))
	names, err := p.GiveName(ctx, s.Groups[0].Group.ID, from)
	if err != nil {
		return err
	}
	name, _ := names.Of(from)
	fmt.Println(name)
	return nil
}

// The member who was first shown under a name keeps it, in later runs too, and in
// whatever order the members speak then.
func TestNamesStay(t *testing.T) {
	p := newProfile(t)
	withServer(t, p, 0)
	onion := func(beginning string) identity.Onion {
		return identity.Onion(beginning + strings.Repeat("z", 56-len(beginning)))
	}
	first, twin, third := onion("aaaaaaaab"), onion("aaaaaaaac"), onion("aaaaaaaacc")
	for _, c := range []struct {
		from identity.Onion
		want string
	}{
		{first, "aaaaaaaa"}, {twin, string(twin[:16])}, {third, string(third[:17])},
		{twin, string(twin[:16])}, {first, "aaaaaaaa"},
	} {
		names, err := p.GiveName(t.Context(), view(t, p).Groups[0].Group.ID, c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := names.Of(c.from); got != c.want {
			t.Errorf("%s is called %s, want %s", c.from, got, c.want)
		}
		if twin := names.Twin(c.from); (twin == "") != (c.from == first) {
			t.Errorf("%s looks like %q", c.from, twin)
		}
	}
}

// A member can make many keys. They do not get the profile to grow without end,
// and take no name from those who have one.
func TestNamesAreBounded(t *testing.T) {
	var n Names
	own := identity.NewKey().Onion()
	for i := range 2 * maxNames {
		n.Give(identity.KeyFromSeed([32]byte{byte(i), byte(i >> 8), 1}).Onion(), own)
	}
	if len(n.order) != maxNames || len(n.names) != maxNames {
		t.Errorf("%d names", len(n.order))
	}
	late := identity.NewKey().Onion()
	if got := n.Give(late, own); got != string(late) {
		t.Errorf("a late member is called %s", got)
	}
}

func TestPrintedIsBounded(t *testing.T) {
	var p Printed
	for i := range 2 * MaxPrinted {
		p.Add([]MessageID{{byte(i), byte(i >> 8)}})
	}
	var again Printed
	if err := again.decode(p.encode()); err != nil {
		t.Fatal(err)
	}
	if len(again.known) != MaxPrinted || !again.Has(MessageID{255, 15}) || again.Has(MessageID{}) {
		t.Errorf("%d messages", len(again.known))
	}
}

// A profile of version 1 is read: its positions and tokens stay.
func TestVersion1(t *testing.T) {
	p := newProfile(t)
	withServer(t, p, 1)
	text, err := os.ReadFile(p.filePath())
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(string(text), fmt.Sprintf(`"Version": %d`, version), `"Version": 1`, 1)
	old = strings.Replace(old, `"Place": null`, `"Last": "bGFzdA=="`, 1)
	old = strings.Replace(old, `"SyncedPlace": null`, `"Synced": "bGFzdA=="`, 1)
	old = strings.Replace(old, `"ReadPlace": null`, `"Read": "cmVhZA=="`, 1)
	old = regexp.MustCompile(`,\s*"Trail": "[^"]*"`).ReplaceAllString(old, "")
	if err := os.WriteFile(p.filePath(), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	s := view(t, p)
	g := s.Groups[0]
	if len(s.Servers[0].Tokens) != 1 || string(s.Servers[0].Position.Last().Signature) != "last" ||
		string(g.Synced.Last().Signature) != "last" || g.Synced.Last().Number != 1 || string(g.Read.Last().Signature) != "read" || g.Read.Last().Number != 0 {
		t.Errorf("positions are %+v, %+v, %+v", s.Servers[0].Position, g.Synced, g.Read)
	}
}
