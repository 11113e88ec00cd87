package profile

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// maxHostPrinted is how many printed messages a server-less group remembers, in place
// of [MaxPrinted]: a host that was away for months gets all of them from the others,
// and sends them behind the position where reading ended.
const maxHostPrinted = 32768

// LeftWindow is how long a host is still read that has left the group: members who do not
// know that yet post there.
const LeftWindow = 7 * 24 * time.Hour

// maxLeft bounds the hosts that have left and are still read.
const maxLeft = bundle.MaxHosts

// maxHostError bounds the error that is kept of a host, in bytes.
const maxHostError = 200

// Reasons why a change of a server-less group is refused.
var (
	ErrNotServerless = errors.New("the group has one server, which it keeps")
	ErrNotManager    = errors.New("this profile did not make the group, and only the one that did can change its core peers")
	// ErrSplit means that the manager has signed two lists with one serial, and may
	// show different lists to different members.
	ErrSplit = errors.New("the manager of the group has signed two different lists of core peers under one number")
)

// Serverless is what a profile knows of a group with several hosts.
type Serverless struct {
	List    bundle.HostList
	Manager *identity.Key // signs the list; nil unless this profile made the group
	Hosts   []*Host       // those of List, in its order
	Left    []*Host       // those that left the group, the last one last; see [Serverless.StillRead]
	// HeadTime is the time of the group's Head.
	HeadTime time.Time
	// Checked is when a host was last read to its end, so that a newer list would have been
	// found; zero if never.
	Checked time.Time
}

// Host is what a profile knows of one host of a group.
type Host struct {
	Board   identity.Onion
	Read    client.Position // up to which messages were printed
	Bridged client.Position // up to which the bot has brought messages to the other hosts

	Seen   time.Time // when it last answered; zero if never
	Failed time.Time // when it last did not; zero if never
	Down   bool      // it did not when it was last asked
	Error  string    // why
	Alone  int       // messages that no other host had when they were read
	Left   time.Time // when this profile learned that it left the group; zero if it is in it
}

// NoteSeen notes that the host answered.
func (h *Host) NoteSeen(now time.Time) { h.Seen, h.Down = now.Truncate(time.Second), false }

// NoteFailed notes that the host did not answer as it should.
func (h *Host) NoteFailed(now time.Time, err error) {
	h.Failed, h.Down, h.Error = now.Truncate(time.Second), true, err.Error()
	for len(h.Error) > maxHostError {
		_, size := utf8.DecodeLastRuneInString(h.Error)
		h.Error = h.Error[:len(h.Error)-size]
	}
}

// NewServerless returns a group with several hosts for [State.JoinServerless]. manager is
// nil unless this profile makes the group.
func NewServerless(name string, i bundle.Invite, manager *identity.Key) *Group {
	return &Group{Name: name, Group: group.FromInvite(i), Printed: Printed{large: true}, Serverless: &Serverless{Manager: manager}}
}

// JoinServerless adds a group that NewServerless returned, and trusts its hosts.
func (s *State) JoinServerless(g *Group, l bundle.HostList) error {
	if _, err := s.SetHosts(g, l); err != nil {
		return err
	}
	return s.AddGroup(g)
}

// KnownHost returns what is known of a host, also of one that left, or nil.
func (x *Serverless) KnownHost(board identity.Onion) *Host {
	for _, h := range x.Left {
		if h.Board == board {
			return h
		}
	}
	return x.Host(board)
}

// Host returns what is known of a host of the group, or nil.
func (x *Serverless) Host(board identity.Onion) *Host {
	for _, h := range x.Hosts {
		if h.Board == board {
			return h
		}
	}
	return nil
}

// StillRead returns the hosts that left the group so short a time ago that they are read.
// Nothing is posted to them.
func (x *Serverless) StillRead(now time.Time) []*Host {
	return slices.DeleteFunc(slices.Clone(x.Left), func(h *Host) bool { return !now.Before(h.Left.Add(LeftWindow)) })
}

// takeLeft removes a host from those that left, and returns it, or nil.
func (x *Serverless) takeLeft(board identity.Onion) *Host {
	i := slices.IndexFunc(x.Left, func(h *Host) bool { return h.Board == board })
	if i < 0 {
		return nil
	}
	h := x.Left[i]
	x.Left = slices.Delete(x.Left, i, i+1)
	h.Left, h.Bridged = time.Time{}, nil // nothing was brought to it meanwhile
	return h
}

// setLeft notes which hosts leave with a change to other ones, and forgets those that left
// long ago.
func (x *Serverless) setLeft(hosts []*Host, now time.Time) {
	for _, h := range x.Hosts {
		if !slices.Contains(hosts, h) {
			h.Left = now.Truncate(time.Second)
			x.Left = append(x.Left, h)
		}
	}
	x.Left = x.StillRead(now)
	x.Left = x.Left[max(0, len(x.Left)-maxLeft):]
}

// InviteText returns the invite to the group, which is a secret.
func (g *Group) InviteText() string {
	if g.Serverless != nil {
		return bundle.HostInvite{Invite: g.Group.Invite(), Hosts: g.Serverless.List}.String()
	}
	return g.Group.Invite().String()
}

// Boards returns the boards of the group.
func (g *Group) Boards() []identity.Onion {
	if g.Serverless == nil {
		return []identity.Onion{g.Group.Server}
	}
	var boards []identity.Onion
	for _, h := range g.Serverless.Hosts {
		boards = append(boards, h.Board)
	}
	return boards
}

// SetHosts takes over a list of hosts that the group's manager has signed, and trusts
// its servers as [State.AddServer] does, for as long as a group needs them. changed is false if the list is not newer. Two
// lists with one serial are [ErrSplit]. Hosts that leave are still read for [LeftWindow].
func (s *State) SetHosts(g *Group, l bundle.HostList) (changed bool, err error) {
	x := g.Serverless
	if x == nil {
		return false, ErrNotServerless
	}
	if err := l.Verify(g.Group.Server, g.Group.ID); err != nil {
		return false, err
	}
	switch {
	case len(x.Hosts) == 0: // of a group that is new
	case l.Serial < x.List.Serial || l.Serial == x.List.Serial && l.Equal(x.List):
		return false, nil
	case l.Serial == x.List.Serial:
		return false, ErrSplit
	}
	var hosts []*Host
	for _, b := range l.Hosts {
		if _, err := s.trustServer(b, true); err != nil {
			return false, fmt.Errorf("%s: %w", b.Board, err)
		}
		h := x.Host(b.Board)
		if h == nil {
			h = x.takeLeft(b.Board)
		}
		if h == nil {
			h = &Host{Board: b.Board}
		}
		hosts = append(hosts, h)
	}
	x.setLeft(hosts, time.Now())
	x.List, x.Hosts = l, hosts
	s.forgetListed(g)
	return true, nil
}

// HostSession is what a command received from one host since it last saved.
type HostSession struct {
	Reader  *client.Reader
	Bridged bool // the bot took care of the messages; otherwise they were printed
}

// AdvanceHost merges what a command received from a host. Positions only move forward.
// A host that has left the group meanwhile, or is forgotten, is no error.
func (s *State) AdvanceHost(g *Group, board identity.Onion, x HostSession) error {
	server, err := s.Server(board)
	if err != nil && (g.Serverless == nil || g.Serverless.KnownHost(board) == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	reached := x.Reader.MergeInto(server.History)
	advanceTo(&server.Position, reached)
	if g.Serverless == nil {
		return nil
	}
	h := g.Serverless.KnownHost(board)
	if h == nil {
		return nil
	}
	if x.Bridged {
		advanceTo(&h.Bridged, reached)
	} else {
		advanceTo(&h.Read, reached)
	}
	return nil
}
