package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// What commands print as JSON.
type (
	serverFact struct {
		Board        identity.Onion `json:"board"`
		TokenService identity.Onion `json:"token_service"`
		Tokens       int            `json:"tokens"` // unspent
	}
	groupFact struct {
		Name      string           `json:"name"`
		ID        string           `json:"id"`
		Server    identity.Onion   `json:"server,omitempty"`     // of a group with one
		CorePeers []identity.Onion `json:"core_peers,omitempty"` // of a server-less group
	}
)

func factOfServer(s *profile.Server) serverFact {
	return serverFact{s.Bundle.Board, s.Bundle.TokenService, len(s.Tokens)}
}

func factOfGroup(g *profile.Group) groupFact {
	f := groupFact{Name: g.Name, ID: fmt.Sprintf("%x", g.Group.ID)}
	if g.Serverless != nil {
		f.CorePeers = g.Boards()
	} else {
		f.Server = g.Group.Server
	}
	return f
}

// where says where the group is, for people.
func (f groupFact) where() string {
	if len(f.CorePeers) > 0 {
		return pluralOf(len(f.CorePeers), "core peer")
	}
	return string(f.Server)
}

func (a *app) runImportServer(ctx context.Context, args []string) error {
	text, err := a.readArgument(ctx, args[0], maxArgument)
	if err != nil {
		return fmt.Errorf("import server: %w", err)
	}
	b, err := bundle.Parse(strings.TrimSpace(text))
	if err != nil {
		return hinted{fmt.Errorf("import server: %w", err), "copy the whole text that cwtch-relay bundle prints; it begins with server:"}
	}
	var fact serverFact
	var added bool
	err = a.profile.Update(ctx, func(s *profile.State) (err error) {
		if added, err = s.AddServer(b); err != nil {
			return fmt.Errorf("import server: %w", err)
		}
		known, err := s.Server(b.Board)
		if err == nil {
			fact = factOfServer(known)
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.printFact(fact, "%s %s", map[bool]string{true: "imported", false: "already known:"}[added], b.Board)
}

func (a *app) runCreate(ctx context.Context, args []string) error {
	name := args[0]
	if err := checkName(name); err != nil {
		return fmt.Errorf("create group: %w", err)
	}
	if a.serverless || len(a.corePeers) > 0 {
		return a.createServerless(ctx, name)
	}
	var fact groupFact
	err := a.profile.Update(ctx, func(s *profile.State) error {
		server, err := s.FindServer(a.server)
		if err != nil {
			return fmt.Errorf("create group: %w", err)
		}
		g, err := group.New(name, server.Bundle.Board)
		if err != nil {
			return err
		}
		made := &profile.Group{Name: name, Group: g, Synced: server.Position, Read: server.Position}
		fact = factOfGroup(made)
		if err := s.AddGroup(made); err != nil {
			return fmt.Errorf("create group: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.printFact(fact, "created %q on %s", fact.Name, fact.Server)
}

// createServerless makes a group whose hosts are core peers. This profile is its manager.
func (a *app) createServerless(ctx context.Context, name string) error {
	switch {
	case !a.serverless:
		return usageError{"-core-peer is for groups that are made with -serverless", "add -serverless, or name one server with -server"}
	case a.server != "":
		return usageError{"-serverless and -server cannot be used together", "name each host with -core-peer"}
	case len(a.corePeers) == 0:
		return usageError{"-serverless needs core peers", "name each with -core-peer and its bundle, which begins with server:"}
	}
	manager, key := identity.NewKey(), [32]byte{}
	rand.Read(key[:]) // never fails
	var fact groupFact
	err := a.profile.Update(ctx, func(s *profile.State) error {
		var hosts []bundle.Bundle
		for _, arg := range a.corePeers {
			b, err := a.readPeer(ctx, s, arg)
			if err != nil {
				return fmt.Errorf("create group: core peer: %w", err)
			}
			hosts = append(hosts, b)
		}
		invite, err := bundle.NewInvite(name, key, manager.Onion())
		if err != nil {
			return fmt.Errorf("create group: %w", err)
		}
		list, err := bundle.SignHosts(manager, invite.GroupID, 1, hosts)
		if err != nil {
			return fmt.Errorf("create group: %w", err)
		}
		made := profile.NewServerless(name, invite, &manager)
		if err := s.JoinServerless(made, list); err != nil {
			return fmt.Errorf("create group: %w", err)
		}
		fact = factOfGroup(made)
		return nil
	})
	if err != nil {
		return err
	}
	return a.printFact(fact, "created %q on %s", fact.Name, fact.where())
}

func (a *app) runInvite(ctx context.Context, args []string) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := findGroup(s, args[0])
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	text := g.InviteText()
	if a.withServer && g.Serverless == nil { // the other kind always has its servers with it
		server, err := s.Server(g.Group.Server)
		if err != nil {
			return fmt.Errorf("invite: %w", err)
		}
		text = bundle.TOFU(server.Bundle, g.Group.Invite())
	}
	return a.printFact(struct {
		groupFact
		Invite string `json:"invite"`
	}{factOfGroup(g), text}, "%s", text)
}

func (a *app) runJoin(ctx context.Context, args []string) error {
	text, err := a.readArgument(ctx, args[0], maxArgument)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	text = strings.TrimSpace(text)
	if bundle.IsHostInvite(text) {
		return a.joinServerless(ctx, text)
	}
	invite, server, err := parseInvite(text)
	if err != nil {
		return err
	}
	name := a.name
	if name == "" {
		name = strings.TrimSpace(invite.GroupName)
	}
	if err := checkName(name); err != nil {
		return hinted{fmt.Errorf("join: %w", err), "choose a name for the group with -name"}
	}
	joined := &profile.Group{Name: name, Group: group.FromInvite(invite)}
	err = a.profile.Update(ctx, func(s *profile.State) error {
		if server != nil {
			if _, err := s.AddServer(*server); err != nil {
				return fmt.Errorf("join: %w", err)
			}
		}
		return s.AddGroup(joined)
	})
	switch {
	case errors.Is(err, profile.ErrNoServer):
		return hinted{fmt.Errorf("join: the group is on %s, which this profile does not know", invite.Server),
			"ask for the output of cwtch-group invite -with-server, or import the server: cwtch-group import-server server:…"}
	case errors.Is(err, profile.ErrNameTaken):
		return hinted{fmt.Errorf("join: %w", err), "choose a name for the group with -name"}
	case err != nil:
		return err
	}
	return a.printFact(factOfGroup(joined), "joined %q on %s", name, invite.Server)
}

// joinServerless joins a group with several hosts. The invite of a group that is joined
// already brings its newer list of hosts.
func (a *app) joinServerless(ctx context.Context, text string) error {
	invite, err := bundle.ParseHostInvite(text)
	switch {
	case errors.Is(err, bundle.ErrNewerFormat):
		return hinted{fmt.Errorf("join: %w", err), "use a newer cwtch-group"}
	case err != nil:
		return hinted{fmt.Errorf("join: %w", err), "copy the whole text that cwtch-group invite prints; it begins with serverless1:"}
	}
	var fact groupFact
	joined := true
	err = a.profile.Update(ctx, func(s *profile.State) error {
		if known, err := s.Group(invite.GroupID); err == nil {
			joined = false
			if _, err := s.SetHosts(known, invite.Hosts); err != nil {
				return fmt.Errorf("join: %w", err)
			}
			fact = factOfGroup(known)
			return nil
		}
		name := cmp.Or(a.name, strings.TrimSpace(invite.GroupName))
		if err := checkName(name); err != nil {
			return hinted{fmt.Errorf("join: %w", err), "choose a name for the group with -name"}
		}
		g := profile.NewServerless(name, invite.Invite, nil)
		if err := s.JoinServerless(g, invite.Hosts); err != nil {
			return fmt.Errorf("join: %w", err)
		}
		fact = factOfGroup(g)
		return nil
	})
	if err != nil {
		return err
	}
	if !joined {
		return a.printFact(fact, "already a member of this group, as %q on %s now", fact.Name, fact.where())
	}
	return a.printFact(fact, "joined %q on %s", fact.Name, fact.where())
}

// parseInvite parses either form of an invite; server is nil for the plain one.
func parseInvite(text string) (invite bundle.Invite, server *bundle.Bundle, err error) {
	if strings.HasPrefix(text, "tofubundle:") {
		var b bundle.Bundle
		b, invite, err = bundle.ParseTOFU(text)
		server = &b
	} else {
		invite, err = bundle.ParseInvite(text)
	}
	if err != nil {
		err = hinted{fmt.Errorf("join: %w", err), "copy the whole text that cwtch-group invite prints; it begins with torv3, tofubundle: or serverless1:"}
	}
	return invite, server, err
}

func (a *app) runRename(ctx context.Context, args []string) error {
	if err := checkName(args[1]); err != nil {
		return fmt.Errorf("rename group: %w", err)
	}
	var fact groupFact
	err := a.profile.Update(ctx, func(s *profile.State) error {
		if _, err := findGroup(s, args[0]); err != nil {
			return fmt.Errorf("rename group: %w", err)
		}
		g, err := s.RenameGroup(args[0], args[1])
		if err != nil {
			return fmt.Errorf("rename group: %w", err)
		}
		fact = factOfGroup(g)
		return nil
	})
	if err != nil {
		return err
	}
	return a.printFact(fact, "%q is %q now, in this profile only", args[0], fact.Name)
}

func (a *app) runLeave(ctx context.Context, args []string) error {
	var fact groupFact
	err := a.profile.Update(ctx, func(s *profile.State) error {
		g, err := findGroup(s, args[0])
		if err != nil {
			return fmt.Errorf("leave group: %w", err)
		}
		fact = factOfGroup(g)
		s.RemoveGroup(g)
		return nil
	})
	if err != nil {
		return err
	}
	return a.printFact(fact, "left %q; its key is gone from this profile, and only an invite brings it back", fact.Name)
}

func (a *app) runList(ctx context.Context, _ []string) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	facts := struct {
		You     identity.Onion `json:"you"`
		Servers []serverFact   `json:"servers"`
		Groups  []groupFact    `json:"groups"`
	}{s.Identity.Onion(), []serverFact{}, []groupFact{}}
	var text strings.Builder
	fmt.Fprintf(&text, "you     %s", facts.You)
	for _, server := range s.Servers {
		f := factOfServer(server)
		facts.Servers = append(facts.Servers, f)
		fmt.Fprintf(&text, "\nserver  %s, unspent tokens: %d", f.Board, f.Tokens)
	}
	for _, g := range s.Groups {
		f := factOfGroup(g)
		facts.Groups = append(facts.Groups, f)
		where := f.where()
		if f.Server != "" {
			where = shortServer(s, f.Server)
		}
		fmt.Fprintf(&text, "\ngroup   %q on %s", f.Name, where)
	}
	return a.printFact(facts, "%s", text.String())
}

// findGroup finds a group by its name. The hint of its error suggests a similar name.
func findGroup(s *profile.State, name string) (*profile.Group, error) {
	g, err := s.FindGroup(name)
	if err != nil {
		var known []string
		for _, x := range s.Groups {
			known = append(known, x.Name)
		}
		return nil, hinted{err, suggest.Name("", name, known) + "cwtch-group list prints the names of your groups"}
	}
	return g, nil
}

// shortServer returns the beginning of a board's address, long enough that no other
// server of the profile has the same.
func shortServer(s *profile.State, board identity.Onion) string {
	for n := 8; n < len(board); n++ {
		if _, err := s.FindServer(string(board[:n])); err == nil {
			return string(board[:n]) + "…"
		}
	}
	return string(board)
}

func (a *app) runVersion(context.Context, []string) error {
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return a.printFact(map[string]string{"version": version, "go": runtime.Version()}, "cwtch-group %s %s", version, runtime.Version())
}
