package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// peerFact is a core peer as JSON.
type peerFact struct {
	Board  identity.Onion `json:"board"`
	Seen   *time.Time     `json:"seen,omitempty"`   // when it last answered
	Failed *time.Time     `json:"failed,omitempty"` // when it last did not, if that is later
	Error  string         `json:"error,omitempty"`  // why
	Alone  int            `json:"alone"`            // messages that only it had when the group was last read
	Tokens int            `json:"tokens"`           // unspent
	Local  string         `json:"local,omitempty"`  // directory, if it is reached without Tor
}

// findServerless finds a group with several hosts.
func findServerless(s *profile.State, name string) (*profile.Group, error) {
	g, err := findGroup(s, name)
	if err == nil && g.Serverless == nil {
		err = profile.ErrNotServerless
	}
	return g, err
}

func (a *app) runPeerList(ctx context.Context, args []string) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := findServerless(s, args[0])
	if err != nil {
		return fmt.Errorf("list core peers: %w", err)
	}
	for _, h := range g.Serverless.Hosts {
		server, err := s.Server(h.Board)
		if err != nil {
			return fmt.Errorf("list core peers: %w", err)
		}
		f := peerFact{Board: h.Board, Alone: h.Alone, Tokens: len(server.Tokens), Local: server.Local}
		if !h.Seen.IsZero() {
			seen := h.Seen.UTC()
			f.Seen = &seen
		}
		if h.Down {
			failed := h.Failed.UTC()
			f.Failed, f.Error = &failed, h.Error
		}
		if err := a.printFact(f, "%s", f.formatLine()); err != nil {
			return err
		}
	}
	return nil
}

// formatLine returns what is known of a core peer, for people.
func (f peerFact) formatLine() string {
	local := func(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
	parts := []string{"never seen"}
	if f.Seen != nil {
		parts = []string{"seen " + local(*f.Seen)}
	}
	if f.Alone > 0 {
		parts = append(parts, pluralOf(f.Alone, "message")+" only here")
	}
	parts = append(parts, fmt.Sprintf("unspent tokens: %d", f.Tokens))
	if f.Local != "" {
		parts = append(parts, "on this machine")
	}
	if f.Failed != nil {
		parts = append(parts, fmt.Sprintf("failed %s: %s", local(*f.Failed), oneLine(f.Error)))
	}
	return string(f.Board) + "  " + strings.Join(parts, ", ")
}

func (a *app) runPeerAdd(ctx context.Context, args []string) error {
	return a.changePeers(ctx, args[0], func(s *profile.State, hosts []bundle.Bundle) ([]bundle.Bundle, error) {
		b, err := a.readPeer(ctx, s, args[1])
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(hosts, b.SameKeys) {
			return nil, errors.New("it is a core peer of the group already")
		}
		return append(slices.Clone(hosts), b), nil
	})
}

func (a *app) runPeerRemove(ctx context.Context, args []string) error {
	return a.changePeers(ctx, args[0], func(s *profile.State, hosts []bundle.Bundle) ([]bundle.Bundle, error) {
		prefix := strings.TrimSuffix(strings.ToLower(args[1]), ".onion")
		rest := slices.DeleteFunc(slices.Clone(hosts), func(b bundle.Bundle) bool { return strings.HasPrefix(string(b.Board), prefix) })
		switch len(hosts) - len(rest) {
		case 0:
			return nil, hinted{errors.New("no core peer of the group has this address"), pathname.Command("cwtch-group", "peer", "list", args[0]) + " prints them"}
		case 1:
			return rest, nil
		}
		return nil, errors.New("more than one core peer of the group matches")
	})
}

// readPeer returns the bundle that an argument gives, or that of a known server that it
// names.
func (a *app) readPeer(ctx context.Context, s *profile.State, arg string) (bundle.Bundle, error) {
	text, err := a.readArgument(ctx, arg, maxArgument)
	if err != nil {
		return bundle.Bundle{}, err
	}
	if text = strings.TrimSpace(text); strings.HasPrefix(text, "server:") {
		b, err := bundle.Parse(text)
		if err != nil {
			err = hinted{err, "copy the whole text that cwtch-relay bundle prints; it begins with server:"}
		}
		return b, err
	}
	server, err := s.FindServer(text)
	if err != nil {
		return bundle.Bundle{}, hinted{err, "give its bundle, which begins with server:, or the address of a server that you have imported"}
	}
	return server.Bundle, nil
}

// changePeers signs a new list of core peers and sends it to the old and the new ones.
func (a *app) changePeers(ctx context.Context, name string, change func(*profile.State, []bundle.Bundle) ([]bundle.Bundle, error)) error {
	var boards []identity.Onion // old and new
	var id [16]byte
	err := a.profile.Update(ctx, func(s *profile.State) error {
		g, err := findServerless(s, name)
		if err != nil {
			return err
		}
		x := g.Serverless
		if x.Manager == nil {
			return profile.ErrNotManager
		}
		hosts, err := change(s, x.List.Hosts)
		if err != nil {
			return err
		}
		l, err := bundle.SignHosts(*x.Manager, g.Group.ID, x.List.Serial+1, hosts)
		if err != nil {
			return err
		}
		boards, id = g.Boards(), g.Group.ID
		if _, err := s.SetHosts(g, l); err != nil {
			return err
		}
		for _, board := range g.Boards() {
			if !slices.Contains(boards, board) {
				boards = append(boards, board)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change core peers: %w", err)
	}
	return a.announcePeers(ctx, id, boards)
}

func (a *app) runPeerAnnounce(ctx context.Context, args []string) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := findServerless(s, args[0])
	if err != nil {
		return fmt.Errorf("announce core peers: %w", err)
	}
	return a.announcePeers(ctx, g.Group.ID, g.Boards())
}

// announceFact is an announcement of core peers as JSON.
type announceFact struct {
	Group     string           `json:"group"`
	Serial    uint64           `json:"serial"` // of the list
	CorePeers []identity.Onion `json:"core_peers"`
	Took      []identity.Onion `json:"took"` // core peers that have the announcement
}

// announcePeers posts the group's list of core peers to some boards.
func (a *app) announcePeers(ctx context.Context, id [16]byte, boards []identity.Onion) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := s.Group(id)
	if err != nil {
		return err
	}
	network := a.newNetwork(s)
	defer network.Close()
	list := g.Serverless.List
	took, failed := a.deliverToAll(ctx, s, network, g, group.WrapHosts(list.Encode()), boards)
	a.progress.Done()
	if len(took) == 0 {
		return hinted{fmt.Errorf("no core peer took the announcement of the list, which is kept in this profile: %w", failed),
			pathname.Command("cwtch-group", "peer", "announce", g.Name) + " sends it again"}
	}
	if failed != nil {
		a.progress.Warn("warning: not announced everywhere: " + oneLine(failed.Error()))
	}
	return a.printFact(announceFact{g.Name, list.Serial, g.Boards(), took}, "%q has %s now; announced to %d of %d",
		g.Name, pluralOf(len(list.Hosts), "core peer"), len(took), len(boards))
}

// runLocal sets how to reach a server that runs on this machine.
func (a *app) runLocal(ctx context.Context, args []string) error {
	dir := ""
	if args[1] != "tor" {
		var err error
		if dir, err = filepath.Abs(args[1]); err != nil {
			return fmt.Errorf("set directory of server: %w", err)
		}
		if !utf8.ValidString(dir) {
			return fmt.Errorf("set directory of server: the path %q is not UTF-8", dir)
		}
		if err := onion.CheckSocketDir(dir); err != nil {
			return hinted{fmt.Errorf("set directory of server: %w", err), "DIR is servers/NAME in the data directory of the relay, which the same user runs; start the relay once to have it made"}
		}
	}
	var board identity.Onion
	err := a.profile.Update(ctx, func(s *profile.State) error {
		server, err := s.FindServer(args[0])
		if err != nil {
			return fmt.Errorf("set directory of server: %w", err)
		}
		server.Local, board = dir, server.Bundle.Board
		return nil
	})
	if err != nil {
		return err
	}
	fact := struct {
		Board identity.Onion `json:"board"`
		Local string         `json:"local"`
	}{board, dir}
	if dir == "" {
		return a.printFact(fact, "%s is reached over Tor now", board)
	}
	return a.printFact(fact, "%s is reached on this machine now, in %s", board, printableText(dir))
}
