package profile

import (
	"context"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

const (
	// shortName is how many characters of an onion a name has, and by how many a
	// name goes on behind what it shares with another.
	shortName = 8
	// maxNames bounds the names of a group: a member can make as many keys as
	// they like. Who comes later is shown by the whole onion.
	maxNames = 1024
)

// Names are the short names of a group's members: the beginning of their onion.
// Forty bits can be ground, so a name is kept for the first verified sender who
// was shown under it, for ever, and whoever begins alike gets a longer one.
type Names struct {
	order []identity.Onion
	names map[identity.Onion]string
	taken map[string]bool
	nicks map[identity.Onion]string // chosen by the reader
}

// Of returns the name that a member has.
func (n *Names) Of(from identity.Onion) (name string, ok bool) {
	name, ok = n.names[from]
	return name, ok
}

// Full reports that nobody gets a name any more.
func (n *Names) Full() bool { return len(n.order) >= maxNames }

// Twin returns the name of an earlier member whose onion begins alike, or the
// nickname of one that does, or "".
func (n *Names) Twin(from identity.Onion) string {
	for o, nick := range n.nicks {
		if o != from && sharedPrefix(lowerOnion(nick), from) >= shortName {
			return nick
		}
	}
	for _, o := range n.order {
		if o == from {
			break
		}
		if sharedPrefix(o, from) >= shortName {
			return n.names[o]
		}
	}
	return ""
}

// Give returns the name of a member. It gives them one where they have none; own
// is the reader's, who needs no name.
func (n *Names) Give(from, own identity.Onion) string {
	if name, ok := n.names[from]; ok {
		return name
	}
	if n.Full() {
		return string(from)
	}
	longest := sharedPrefix(from, own)
	for _, o := range n.order {
		longest = max(longest, sharedPrefix(from, o), sharedPrefix(from, lowerOnion(n.nicks[o])))
	}
	length := shortName
	if longest >= shortName {
		length = longest + shortName
	}
	name := string(from[:min(length, len(from))])
	n.putName(name, from)
	return name
}

func (n *Names) putName(name string, from identity.Onion) {
	if n.names == nil {
		n.names, n.taken = make(map[identity.Onion]string), make(map[string]bool)
	}
	n.names[from], n.taken[name] = name, true
	n.order = append(n.order, from)
}

// restoreName takes a name from the file; ok is false where nobody could have it.
func (n *Names) restoreName(name string, from identity.Onion) (ok bool) {
	_, twice := n.names[from]
	if twice || n.taken[name] || len(n.order) >= maxNames || len(name) < shortName || !strings.HasPrefix(string(from), name) {
		return false
	}
	n.putName(name, from)
	return true
}

// lowerOnion is a nickname as an onion that looks like it begins.
func lowerOnion(nick string) identity.Onion { return identity.Onion(strings.ToLower(nick)) }

// sharedPrefix is how many characters two onions have in common at the beginning.
func sharedPrefix(a, b identity.Onion) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// GiveName gives a member of a group a name, durably, so that no command gives
// it to somebody else. It returns all names of the group.
func (p *Profile) GiveName(ctx context.Context, group [16]byte, from identity.Onion) (Names, error) {
	var names Names
	err := p.Update(ctx, func(s *State) error {
		g, err := s.Group(group)
		if err != nil {
			return err
		}
		g.Names.Give(from, s.Identity.Onion())
		names = g.Names
		return nil
	})
	return names, err
}
