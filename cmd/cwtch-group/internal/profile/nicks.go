package profile

import (
	"errors"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// Reasons for which a nickname is refused.
var (
	errNoMember    = errors.New("no such member")
	errWhichMember = errors.New("more than one member matches")
	ErrNickTaken   = errors.New("another member has this name")
)

// Member is a member of a group as its reader knows them.
type Member struct {
	Onion identity.Onion
	Name  string // see [Names]
	Nick  string // chosen by the reader; may be empty
}

// Members returns everybody who has a name, in the order in which they got it.
func (n *Names) Members() []Member {
	var members []Member
	for _, o := range n.order {
		members = append(members, Member{o, n.names[o], n.nicks[o]})
	}
	return members
}

// Nick returns the nickname that the reader gave a member, or "".
func (n *Names) Nick(o identity.Onion) string { return n.nicks[o] }

// Find finds a member by nickname, by name, or by a beginning of the onion that is
// at least as long as a name.
func (n *Names) Find(word string) (Member, error) {
	var found []Member
	for _, m := range n.Members() {
		if strings.EqualFold(m.Nick, word) || m.Name == word || string(m.Onion) == word {
			return m, nil
		}
		if len(word) >= shortName && strings.HasPrefix(string(m.Onion), word) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return Member{}, errNoMember
	case 1:
		return found[0], nil
	}
	return Member{}, errWhichMember
}

// SetNick sets the nickname of a member who has a name; an empty one removes it.
// No two members have the same nickname, in any case of letters, and nobody has
// one that looks like the beginning of another member's onion.
func (n *Names) SetNick(o identity.Onion, nick string) error {
	if nick == "" {
		delete(n.nicks, o)
		return nil
	}
	lower := strings.ToLower(nick)
	taken := slices.ContainsFunc(n.Members(), func(m Member) bool {
		if m.Onion == o {
			return false
		}
		return strings.EqualFold(m.Nick, nick) || strings.HasPrefix(lower, m.Name) ||
			len(lower) >= shortName && strings.HasPrefix(string(m.Onion), lower)
	})
	if taken {
		return ErrNickTaken
	}
	n.putNick(o, nick)
	return nil
}

func (n *Names) putNick(o identity.Onion, nick string) {
	if n.nicks == nil {
		n.nicks = make(map[identity.Onion]string)
	}
	n.nicks[o] = nick
}
