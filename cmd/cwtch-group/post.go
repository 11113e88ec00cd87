package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// postTries is how many tokens a post may cost: those of a profile that was
// restored from a backup may be spent already.
const postTries = 3

func (a *app) post(ctx context.Context, args []string) error {
	s, err := a.profile.View(ctx)
	if err != nil {
		return err
	}
	g, err := s.FindGroup(args[0])
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	server, err := s.Server(g.Group.Server)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	chat, err := a.argument(args[1], group.MaxText)
	if err != nil {
		return err
	}
	draft := group.Draft{Text: group.WrapText(chat), Time: time.Now()}
	if _, err := g.Group.Seal(s.Identity, draft); err != nil {
		return err // before the network is started for nothing
	}
	network, hangUp, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	p := poster{app: a, network: network, bundle: server.Bundle, talk: newConversation(g, server, g.Synced)}
	if err := p.post(ctx, s.Identity, draft); err != nil {
		return err
	}
	return a.fact(struct {
		Group string    `json:"group"`
		Time  time.Time `json:"time"`
	}{g.Name, draft.Time.UTC().Truncate(time.Second)}, "posted to %q", g.Name)
}

// poster posts one message.
type poster struct {
	app     *app
	network onion.Network
	bundle  bundle.Bundle
	talk    *conversation
}

// post finds out what the message follows, posts it and remembers its place.
func (p *poster) post(ctx context.Context, from identity.Key, d group.Draft) error {
	paid, err := p.token(ctx)
	if err != nil {
		return err
	}
	take := func(e client.Event) error {
		_, _, err := p.talk.take(e)
		return err
	}
	board, err := p.app.sync(ctx, p.network, p.bundle.Board, p.talk, take)
	if err != nil {
		return err
	}
	defer board.Close()
	d.Previous = p.talk.head
	e, err := p.talk.group.Seal(from, d)
	if err != nil {
		return err
	}
	if err := p.deliver(ctx, board, e, paid, take); err != nil {
		return err
	}
	return p.talk.save(ctx, p.app.profile, false)
}

// deliver posts the envelope, with another token where one is refused.
func (p *poster) deliver(ctx context.Context, board *client.Board, e wire.Envelope, paid token.Token, take func(client.Event) error) error {
	for try := 1; ; try++ {
		p.app.progress.Stage("posting")
		err := board.Post(ctx, e, paid, take)
		if !errors.Is(err, client.ErrRefused) || try == postTries {
			return err
		}
		if paid, err = p.token(ctx); err != nil {
			return err
		}
	}
}

// token takes a token out of the profile or, where there is none, buys some.
func (p *poster) token(ctx context.Context) (token.Token, error) {
	a := p.app
	paid, ok, err := a.profile.TakeToken(ctx, p.bundle.Board)
	if ok || err != nil {
		return paid, err
	}
	a.progress.Stage("buying tokens: connecting to the token service")
	solving := false
	tokens, err := client.Buy(ctx, p.network, p.bundle, token.DefaultBatch, func(tries int) {
		if !solving {
			a.progress.Stage("buying tokens: solving the proof of work")
			solving = true
		}
		a.progress.Detail("%d tries of some 65,536", tries)
	})
	if err != nil {
		return paid, unreachable(err)
	}
	// The one that is used at once never reaches the profile.
	return tokens[0], a.profile.AddTokens(ctx, p.bundle.Board, tokens[1:])
}

func (a *app) openBoard(ctx context.Context, network onion.Network, name identity.Onion) (*client.Board, error) {
	a.progress.Stage("connecting to the board")
	board, err := client.Open(ctx, network, name)
	if err != nil {
		return nil, unreachable(err)
	}
	return board, nil
}

// unreachable adds a hint to the error of a server that is not there.
func unreachable(err error) error {
	if errors.Is(err, onion.ErrNotPublished) {
		return hinted{err, "the server is offline or has just been started; try again in a minute"}
	}
	return err
}

// replaying shows how far a replay is, and hands on its events.
func (a *app) replaying(use func(client.Event) error) func(client.Event) error {
	total := 0
	return func(e client.Event) error {
		switch e.Kind {
		case client.Count:
			total = e.Left
			a.progress.Stage("replaying %s", plural(total, "envelope"))
		case client.Replayed:
			a.progress.Detail("%d to go", e.Left)
		}
		return use(e)
	}
}
