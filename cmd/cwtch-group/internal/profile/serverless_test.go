package profile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// serverlessTest is a server-less group with its manager and three servers.
type serverlessTest struct {
	manager identity.Key
	invite  bundle.Invite
	hosts   []bundle.Bundle
}

func newServerlessTest(t *testing.T) *serverlessTest {
	t.Helper()
	x := &serverlessTest{manager: identity.NewKey()}
	for range 3 {
		x.hosts = append(x.hosts, newBundle(t, newServer(t)))
	}
	var err error
	if x.invite, err = bundle.NewInvite("club", [32]byte{5}, x.manager.Onion()); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *serverlessTest) sign(t *testing.T, serial uint64, hosts ...bundle.Bundle) bundle.HostList {
	t.Helper()
	l, err := bundle.SignHosts(x.manager, x.invite.GroupID, serial, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// join joins the group with its first two hosts.
func (x *serverlessTest) join(t *testing.T, p *Profile, manager *identity.Key) {
	t.Helper()
	err := p.Update(t.Context(), func(s *State) error {
		return s.JoinServerless(NewServerless("club", x.invite, manager), x.sign(t, 1, x.hosts[:2]...))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestServerlessGroupSurvives(t *testing.T) {
	p, x := newProfile(t), newServerlessTest(t)
	x.join(t, p, &x.manager)
	now := time.Unix(1_800_000_000, 0)
	read := client.Position{{Signature: []byte("read"), Number: 2}}
	err := p.Update(t.Context(), func(s *State) error {
		g := s.Groups[0]
		g.Serverless.HeadTime, g.Serverless.Checked = now, now
		h := g.Serverless.Hosts[1]
		h.Read, h.Alone = read, 3
		h.NoteSeen(now)
		h.NoteFailed(now, errors.New(strings.Repeat("ö", maxHostError)))
		for i := range maxHostPrinted + 1 {
			g.Printed.Add([]MessageID{{byte(i), byte(i >> 8)}})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	g := view(t, p).Groups[0]
	h := g.Serverless.Host(x.hosts[1].Board)
	if g.Serverless.Manager == nil || g.Serverless.Manager.Onion() != x.manager.Onion() || !g.Serverless.HeadTime.Equal(now) || !g.Serverless.Checked.Equal(now) ||
		len(g.Serverless.Hosts) != 2 || g.InviteText() != view(t, p).Groups[0].InviteText() || !strings.HasPrefix(g.InviteText(), "serverless1:") {
		t.Errorf("group %+v", g.Serverless)
	}
	if h.Alone != 3 || !h.Seen.Equal(now) || !h.Down || len(h.Error) != maxHostError || fmt.Sprint(h.Read) != fmt.Sprint(read) {
		t.Errorf("host %+v", h)
	}
	if g.Printed.Has(MessageID{0, 0}) || !g.Printed.Has(MessageID{1, 0}) || g.Printed.Max() != maxHostPrinted {
		t.Error("the printed messages are not the last ones")
	}
}

func TestOnlyNewerHostsAreTakenOver(t *testing.T) {
	p, x := newProfile(t), newServerlessTest(t)
	x.join(t, p, nil)
	set := func(l bundle.HostList) (changed bool, err error) {
		err = p.Update(t.Context(), func(s *State) (err error) {
			changed, err = s.SetHosts(s.Groups[0], l)
			return err
		})
		return changed, err
	}
	if changed, err := set(x.sign(t, 1, x.hosts[:2]...)); changed || err != nil {
		t.Errorf("the same: %t, %v", changed, err)
	}
	if _, err := set(x.sign(t, 1, x.hosts[1:]...)); !errors.Is(err, ErrSplit) {
		t.Errorf("another one under the same serial: %v", err)
	}
	if changed, err := set(x.sign(t, 5, x.hosts[1:]...)); !changed || err != nil {
		t.Errorf("a newer one: %t, %v", changed, err)
	}
	if changed, err := set(x.sign(t, 4, x.hosts...)); changed || err != nil {
		t.Errorf("an older one: %t, %v", changed, err)
	}
	foreign := *x
	foreign.manager = identity.NewKey()
	if _, err := set(foreign.sign(t, 9, x.hosts...)); !errors.Is(err, bundle.ErrManager) {
		t.Errorf("of another manager: %v", err)
	}
	s := view(t, p)
	if boards := s.Groups[0].Boards(); len(boards) != 2 || boards[0] != x.hosts[1].Board || boards[1] != x.hosts[2].Board || len(s.Servers) != 3 {
		t.Errorf("the group is on %v", boards)
	}
	if other := newBundle(t, newServer(t)); other.Board != "" {
		if err := p.Update(t.Context(), func(s *State) error {
			s.Groups[0].Serverless = nil
			_, err := s.SetHosts(s.Groups[0], x.sign(t, 9, other))
			return err
		}); !errors.Is(err, ErrNotServerless) {
			t.Errorf("a group with one server: %v", err)
		}
	}
}

// A manager cannot replace the keys of a server that the person knows.
func TestHostsKeepTheirKeys(t *testing.T) {
	p, x := newProfile(t), newServerlessTest(t)
	keys := newServer(t)
	known := newBundle(t, keys)
	if err := p.Update(t.Context(), func(s *State) error { _, err := s.AddServer(known); return err }); err != nil {
		t.Fatal(err)
	}
	x.join(t, p, nil)
	keys.Scalar = [32]byte{9}
	err := p.Update(t.Context(), func(s *State) error {
		_, err := s.SetHosts(s.Groups[0], x.sign(t, 2, x.hosts[0], newBundle(t, keys)))
		return err
	})
	if !errors.Is(err, ErrServerChanged) {
		t.Errorf("got %v", err)
	}
	if s := view(t, p); len(s.Groups[0].Boards()) != 2 || s.Groups[0].Serverless.List.Serial != 1 {
		t.Error("half of the list was taken over")
	}
}

// Each host has positions of its own, and a host that left the group is no error.
func TestPositionsOfHosts(t *testing.T) {
	p, x := newProfile(t), newServerlessTest(t)
	x.join(t, p, nil)
	a, b := x.hosts[0].Board, x.hosts[1].Board
	s := view(t, p)
	server, err := s.Server(a)
	if err != nil {
		t.Fatal(err)
	}
	r := client.NewReader(server.History, nil)
	readUpTo(r, 10)
	for _, session := range []HostSession{{Reader: r}, {Reader: r, Bridged: true}} {
		if err := p.Update(t.Context(), func(s *State) error { return s.AdvanceHost(s.Groups[0], a, session) }); err != nil {
			t.Fatal(err)
		}
		h := view(t, p).Groups[0].Serverless.Host(a)
		if h.Read.Last().Number != 10 || (h.Bridged.Last().Number == 10) != session.Bridged {
			t.Errorf("positions %d and %d", h.Read.Last().Number, h.Bridged.Last().Number)
		}
	}
	if h := view(t, p).Groups[0].Serverless.Host(b); h.Read != nil {
		t.Errorf("the other host is at %d", h.Read.Last().Number)
	}
	err = p.Update(t.Context(), func(s *State) error {
		if _, err := s.SetHosts(s.Groups[0], x.sign(t, 2, x.hosts[1])); err != nil {
			return err
		}
		return s.AdvanceHost(s.Groups[0], a, HostSession{Reader: r})
	})
	if err != nil {
		t.Error(err)
	}
}

// A host that left is kept for a while, bounded in number, and comes back with its position.
func TestHostsThatLeft(t *testing.T) {
	p, x := newProfile(t), newServerlessTest(t)
	x.join(t, p, nil)
	a, b, c := x.hosts[0], x.hosts[1], x.hosts[2]
	set := func(serial uint64, hosts ...bundle.Bundle) *Serverless {
		t.Helper()
		err := p.Update(t.Context(), func(s *State) error {
			_, err := s.SetHosts(s.Groups[0], x.sign(t, serial, hosts...))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return view(t, p).Groups[0].Serverless
	}
	read := client.Position{{Signature: []byte("read"), Number: 2}}
	if err := p.Update(t.Context(), func(s *State) error {
		h := s.Groups[0].Serverless.Hosts[0]
		h.Read, h.Bridged = read, read
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	g := set(2, b, c)
	left := g.StillRead(time.Now())
	if len(left) != 1 || left[0].Board != a.Board || left[0].Read.Last().Number != 2 || time.Since(left[0].Left) > time.Minute {
		t.Fatalf("left: %+v", left)
	}
	if g.Host(a.Board) != nil || len(g.StillRead(left[0].Left.Add(LeftWindow))) != 0 {
		t.Error("it is in the group, or read for ever")
	}
	g = set(3, a, b, c)
	if h := g.Host(a.Board); len(g.Left) != 0 || !h.Left.IsZero() || h.Read.Last().Number != 2 || h.Bridged != nil {
		t.Errorf("after it came back: %+v", h)
	}
	for n := range uint64(maxLeft + 3) {
		g = set(4+n, newBundle(t, newServer(t)))
	}
	if len(g.Left) != maxLeft {
		t.Errorf("%d that left are kept", len(g.Left))
	}
}

// However many lists the manager signs, a profile keeps the servers of the last ones only,
// and those that are the person's own.
func TestServersOfListsAreBounded(t *testing.T) {
	p, x := newProfile(t), newServerlessTest(t)
	x.join(t, p, nil)
	imported, paid := newBundle(t, newServer(t)), newBundle(t, newServer(t))
	set := func(serial uint64, hosts ...bundle.Bundle) {
		t.Helper()
		err := p.Update(t.Context(), func(s *State) error {
			_, err := s.SetHosts(s.Groups[0], x.sign(t, serial, hosts...))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(2, imported, paid)
	if err := p.Update(t.Context(), func(s *State) error { _, err := s.AddServer(imported); return err }); err != nil {
		t.Fatal(err)
	}
	if err := p.AddTokens(t.Context(), paid.Board, make([]token.Token, 1)); err != nil {
		t.Fatal(err)
	}
	const lists = 20
	for n := range uint64(lists) {
		set(3+n, newBundle(t, newServer(t)))
	}
	s := view(t, p)
	if len(s.Servers) != 2+maxLeft+1 {
		t.Errorf("%d servers are kept", len(s.Servers))
	}
	for _, b := range []bundle.Bundle{imported, paid} {
		if _, err := s.Server(b.Board); err != nil {
			t.Error("a server of the person is forgotten")
		}
	}
	forgotten := x.hosts[0].Board
	r := client.NewReader(client.NewHistory(), nil)
	if err := s.AdvanceHost(s.Groups[0], forgotten, HostSession{Reader: r}); err != nil {
		t.Errorf("a reader of a server that is forgotten: %v", err)
	}
}
