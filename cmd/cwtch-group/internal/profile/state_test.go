package profile

import (
	"errors"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

func newGroup(t *testing.T, name string, server identity.Onion) group.Group {
	t.Helper()
	g, err := group.New(name, server)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestTrustOnFirstUse(t *testing.T) {
	keys := newServer(t)
	first := newBundle(t, keys)
	s := &State{}
	if added, err := s.AddServer(first); !added || err != nil {
		t.Fatalf("first import: %t, %v", added, err)
	}
	if added, err := s.AddServer(first); added || err != nil {
		t.Errorf("the same again: %t, %v", added, err)
	}
	otherScalar, otherService := *keys, *keys
	otherScalar.Scalar = [32]byte{8}
	otherService.Token = identity.NewKey()
	for name, k := range map[string]*identity.Server{"token key": &otherScalar, "token service": &otherService} {
		if _, err := s.AddServer(newBundle(t, k)); !errors.Is(err, ErrServerChanged) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if len(s.Servers) != 1 || s.Servers[0].Bundle.TokenKey != first.TokenKey {
		t.Error("the keys of first use are gone")
	}
}

func TestFindServer(t *testing.T) {
	s := &State{}
	if _, err := s.FindServer(""); !errors.Is(err, ErrNoServer) {
		t.Errorf("without servers: %v", err)
	}
	b := newBundle(t, newServer(t))
	s.AddServer(b)
	for _, name := range []string{"", string(b.Board[:5]), string(b.Board), string(b.Board) + ".onion"} {
		if x, err := s.FindServer(name); err != nil || x.Bundle.Board != b.Board {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := s.FindServer("0"); !errors.Is(err, ErrNoServer) {
		t.Errorf("an invalid name: %v", err)
	}
	s.AddServer(newBundle(t, newServer(t)))
	if _, err := s.FindServer(""); !errors.Is(err, ErrWhichServer) {
		t.Errorf("of two servers: %v", err)
	}
}

func TestGroups(t *testing.T) {
	b := newBundle(t, newServer(t))
	s := &State{}
	club := &Group{Name: "book club", Group: newGroup(t, "book club", b.Board)}
	if err := s.AddGroup(club); !errors.Is(err, ErrNoServer) {
		t.Errorf("on an unknown server: %v", err)
	}
	s.AddServer(b)
	if err := s.AddGroup(club); err != nil {
		t.Fatal(err)
	}
	if err := s.AddGroup(&Group{Name: "again", Group: club.Group}); !errors.Is(err, ErrMember) {
		t.Errorf("the same group: %v", err)
	}
	if err := s.AddGroup(&Group{Name: "book club", Group: newGroup(t, "x", b.Board)}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a second of the name: %v", err)
	}
	if _, err := s.FindGroup("Book Club"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("another name: %v", err)
	}
}
