package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// memberFact is a member as JSON.
type memberFact struct {
	Onion identity.Onion `json:"onion"`
	Name  string         `json:"name"`
	Nick  string         `json:"nick,omitempty"`
	You   bool           `json:"you"`
}

// runMembers prints the members whose messages the person has read.
func (a *app) runMembers(ctx context.Context, args []string) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := findGroup(s, args[0])
	if err != nil {
		return fmt.Errorf("list members: %w", err)
	}
	own := s.Identity.Onion()
	facts := []memberFact{{Onion: own, Name: "you", You: true}}
	for _, m := range g.Names.Members() {
		facts = append(facts, memberFact{Onion: m.Onion, Name: m.Name, Nick: m.Nick})
	}
	for _, f := range facts {
		if err := a.printFact(f, "%s", strings.TrimRight(fmt.Sprintf("%-8s  %s  %s", f.Name, f.Onion, printableText(f.Nick)), " ")); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) runNick(ctx context.Context, args []string) error {
	var fact memberFact
	err := a.profile.Update(ctx, func(s *profile.State) error {
		g, err := findGroup(s, args[0])
		if err != nil {
			return err
		}
		m, err := findMember(s, g, args[1])
		if err != nil {
			return err
		}
		nick := args[2]
		if nick == m.Name {
			nick = "" // as members prints them without one
		} else if err := checkNick(nick); err != nil {
			return err
		}
		if err := g.Names.SetNick(m.Onion, nick); err != nil {
			return err
		}
		fact = memberFact{Onion: m.Onion, Name: m.Name, Nick: nick}
		return nil
	})
	if errors.Is(err, profile.ErrNameTaken) || errors.Is(err, profile.ErrNickTaken) {
		err = hinted{err, "choose another nickname"}
	}
	if err != nil {
		return fmt.Errorf("set nickname: %w", err)
	}
	if fact.Nick == "" {
		return a.printFact(fact, "%s has no nickname now", fact.Name)
	}
	return a.printFact(fact, "%s is %q now, in this profile only", fact.Name, fact.Nick)
}

// findMember finds a member. A whole onion may be of somebody whose messages were not
// read yet: it came another way, which is the best reason for a nickname.
func findMember(s *profile.State, g *profile.Group, word string) (profile.Member, error) {
	m, err := g.Names.Find(word)
	address := strings.TrimSuffix(strings.ToLower(word), ".onion")
	if err != nil {
		if known, addressErr := g.Names.Find(address); addressErr == nil {
			return known, nil
		}
	}
	own := s.Identity.Onion()
	switch onion, parsed := identity.ParseOnion(address); {
	case err == nil:
		return m, nil
	case word == "you" || parsed == nil && onion == own:
		return m, errors.New("you are always \"you\" here; others choose what they call you")
	case parsed == nil && !g.Names.Full():
		return profile.Member{Onion: onion, Name: g.Names.Give(onion, own)}, nil
	}
	return m, hinted{err, pathname.Command("cwtch-group", "members", g.Name) + " prints their names"}
}

// checkNick refuses nicknames that mean something else in front of a message.
func checkNick(nick string) error {
	if err := checkLabel(nick, maxNick); err != nil {
		return err
	}
	switch strings.ToLower(nick) {
	case "you", "nobody":
		return fmt.Errorf("%q cannot be a nickname: cwtch-group uses it itself", nick)
	}
	if strings.HasPrefix(nick, "[") {
		return fmt.Errorf("the nickname %q begins with [, as remarks like [unverified] do", nick)
	}
	return nil
}
