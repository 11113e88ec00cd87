package main

import (
	"context"
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
		Name   string         `json:"name"`
		ID     string         `json:"id"`
		Server identity.Onion `json:"server"`
	}
)

func factOfServer(s *profile.Server) serverFact {
	return serverFact{s.Bundle.Board, s.Bundle.TokenService, len(s.Tokens)}
}

func factOfGroup(g *profile.Group) groupFact {
	return groupFact{g.Name, fmt.Sprintf("%x", g.Group.ID), g.Group.Server}
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

func (a *app) runInvite(ctx context.Context, args []string) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := findGroup(s, args[0])
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	text := g.Group.Invite().String()
	if a.withServer {
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
	invite, server, err := parseInvite(strings.TrimSpace(text))
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
		err = hinted{fmt.Errorf("join: %w", err), "copy the whole text that cwtch-group invite prints; it begins with torv3 or tofubundle:"}
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
		fmt.Fprintf(&text, "\ngroup   %q on %s", f.Name, shortServer(s, f.Server))
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
