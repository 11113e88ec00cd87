package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// Reasons why a change is refused or something is not found.
var (
	// ErrServerChanged means that a bundle names another token service or token key
	// than the known one of the same board. Either its operator changed them, which
	// clients of Cwtch refuse as well, or somebody stole the board's key.
	ErrServerChanged = errors.New("the server has other keys than when it was imported")
	ErrNoServer      = errors.New("no such server")
	ErrWhichServer   = errors.New("more than one server matches")
	ErrNoGroup       = errors.New("no such group")
	ErrNameTaken     = errors.New("another group has this name")
	ErrMember        = errors.New("already a member of this group")
)

// State is the contents of a profile.
type State struct {
	Identity identity.Key // under which the person posts
	Servers  []*Server    // in the order in which they were imported
	Groups   []*Group     // in the order in which they were made or joined
}

// Server is a server that the person trusts with their envelopes.
type Server struct {
	Bundle bundle.Bundle
	Tokens []token.Token // unspent
	// Listed tells that the server came with a list of hosts, and nobody has imported it. It
	// is forgotten when no group needs it.
	Listed bool
	// Local is the directory of the server, if it runs on this machine and is reached
	// through the sockets in there; empty otherwise.
	Local string
	// Position is how far any command has read the board. A new group starts there:
	// no earlier envelope can belong to it.
	Position client.Position
	History  *client.History // shared by all positions on this board
}

// Group is a group that the person is a member of. Its positions on the board are
// at the last envelope of any group: a replay from a message of this group would tell
// the server that the two belong together.
type Group struct {
	Name  string // what the person calls it
	Group group.Group

	Head   []byte          // signature of the last verified message, to which the next one refers
	Synced client.Position // up to which Head is right
	Read   client.Position // up to which messages were printed

	Printed Printed // the last messages that were printed
	Names   Names   // of the members

	Unfinished *Unfinished // nil where the last post is complete

	// Serverless is nil for a group with one server. Otherwise it has the positions,
	// and Synced and Read are not used.
	Serverless *Serverless
}

// Session is what a command received from a board since it last saved.
type Session struct {
	Reader *client.Reader
	Head   []byte
	Read   bool        // the messages were printed
	Shown  []MessageID // the messages, in order
}

// Advance merges what a command received. Positions only move forward: another
// command, which runs at the same time, may be ahead.
func (s *State) Advance(g *Group, x Session) error {
	server, err := s.Server(g.Group.Server)
	if err != nil {
		return err
	}
	reached := x.Reader.MergeInto(server.History)
	advanceTo(&server.Position, reached)
	if advanceTo(&g.Synced, reached) {
		g.Head = x.Head
	}
	if x.Read && advanceTo(&g.Read, reached) {
		g.Printed.Add(x.Shown)
	}
	return nil
}

// advanceTo moves a position, unless it is further already.
func advanceTo(p *client.Position, reached client.Position) bool {
	if len(reached) == 0 || reached.Last().Number < p.Last().Number {
		return false
	}
	*p = reached
	return true
}

// AddServer trusts a bundle on first use; added is false if it was known.
func (s *State) AddServer(b bundle.Bundle) (added bool, err error) {
	before := len(s.Servers)
	known, err := s.trustServer(b, false)
	if err != nil {
		return false, err
	}
	known.Listed = false
	return len(s.Servers) > before, nil
}

// trustServer trusts a bundle on first use, and returns its server.
func (s *State) trustServer(b bundle.Bundle, listed bool) (*Server, error) {
	known, err := s.Server(b.Board)
	if err != nil {
		known = &Server{Bundle: b, History: client.NewHistory(), Listed: listed}
		s.Servers = append(s.Servers, known)
	}
	if !known.Bundle.SameKeys(b) {
		return nil, ErrServerChanged
	}
	return known, nil
}

// forgetListed forgets servers that came with a list of hosts, unless a group needs them or
// there is something of the person in them.
func (s *State) forgetListed(also *Group) {
	needed := make(map[identity.Onion]bool)
	for _, g := range append(slices.Clone(s.Groups), also) {
		for _, board := range g.Boards() {
			needed[board] = true
		}
		if g.Serverless != nil {
			for _, h := range g.Serverless.Left {
				needed[h.Board] = true
			}
		}
	}
	s.Servers = slices.DeleteFunc(s.Servers, func(x *Server) bool {
		return x.Listed && len(x.Tokens) == 0 && x.Local == "" && !needed[x.Bundle.Board]
	})
}

// Server finds a server by the full name of its board.
func (s *State) Server(board identity.Onion) (*Server, error) {
	i := slices.IndexFunc(s.Servers, func(x *Server) bool { return x.Bundle.Board == board })
	if i < 0 {
		return nil, ErrNoServer
	}
	return s.Servers[i], nil
}

// FindServer finds the only server whose board begins with prefix.
func (s *State) FindServer(prefix string) (*Server, error) {
	prefix = strings.TrimSuffix(strings.ToLower(prefix), ".onion")
	var found *Server
	for _, x := range s.Servers {
		if !strings.HasPrefix(string(x.Bundle.Board), prefix) {
			continue
		}
		if found != nil {
			return nil, ErrWhichServer
		}
		found = x
	}
	if found == nil {
		return nil, ErrNoServer
	}
	return found, nil
}

// AddGroup adds a group whose servers are known.
func (s *State) AddGroup(g *Group) error {
	for _, board := range g.Boards() {
		if _, err := s.Server(board); err != nil {
			return err
		}
	}
	for _, known := range s.Groups {
		if known.Group.ID == g.Group.ID {
			return fmt.Errorf("%w, as %q", ErrMember, known.Name)
		}
		if known.Name == g.Name {
			return ErrNameTaken
		}
	}
	s.Groups = append(s.Groups, g)
	return nil
}

// RenameGroup changes what the person calls a group.
func (s *State) RenameGroup(name, to string) (*Group, error) {
	g, err := s.FindGroup(name)
	if err != nil {
		return nil, err
	}
	if other, err := s.FindGroup(to); err == nil && other != g {
		return nil, ErrNameTaken
	}
	g.Name = to
	return g, nil
}

// RemoveGroup forgets a group, its key included.
func (s *State) RemoveGroup(g *Group) {
	s.Groups = slices.DeleteFunc(s.Groups, func(x *Group) bool { return x == g })
}

// Group finds a group by its ID, which stays when the group is renamed.
func (s *State) Group(id [16]byte) (*Group, error) {
	i := slices.IndexFunc(s.Groups, func(g *Group) bool { return g.Group.ID == id })
	if i < 0 {
		return nil, ErrNoGroup
	}
	return s.Groups[i], nil
}

// FindGroup finds a group by what the person calls it.
func (s *State) FindGroup(name string) (*Group, error) {
	i := slices.IndexFunc(s.Groups, func(g *Group) bool { return g.Name == name })
	if i < 0 {
		return nil, ErrNoGroup
	}
	return s.Groups[i], nil
}
