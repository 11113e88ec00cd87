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
	// they like. Later members are shown by their whole onion.
	maxNames = 1024
)

// Names are the short names of a group's members: the beginning of their onion.
// An attacker can find a key whose onion begins with given forty bits. So a name
// stays forever with the first verified sender who was shown under it, and an
// onion that begins alike gets a longer one.
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

// Full reports whether there are no names left to give.
func (n *Names) Full() bool { return len(n.order) >= maxNames }

// Twin returns the name of an earlier member whose onion begins like from, or
// another member's nickname that looks like its beginning, or "".
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

// Give returns the name of a member, and gives them one if they have none. own is
// the onion of the reader, who has no name and whose beginning nobody gets.
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

// restoreName adds a name from the file; ok is false if Give cannot have given it.
func (n *Names) restoreName(name string, from identity.Onion) (ok bool) {
	_, twice := n.names[from]
	if twice || n.taken[name] || len(n.order) >= maxNames || len(name) < shortName || !strings.HasPrefix(string(from), name) {
		return false
	}
	n.putName(name, from)
	return true
}

// lowerOnion returns the beginning of the onions that look like a nickname.
func lowerOnion(nick string) identity.Onion { return identity.Onion(strings.ToLower(nick)) }

// sharedPrefix returns the number of characters with which two onions begin alike.
func sharedPrefix(a, b identity.Onion) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// GiveName gives a member of a group a name, and writes it to disk so that no
// command gives it to somebody else. It returns all names of the group.
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
