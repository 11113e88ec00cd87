package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// hostOrder returns in which order to try the hosts of a group: one on this machine
// first, which needs no Tor, then those that answered when they were last asked. Chance
// decides among equals, so that members spread their posts.
func hostOrder(g *profile.Group, isLocal func(identity.Onion) bool) []identity.Onion {
	hosts := slices.Clone(g.Serverless.Hosts)
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	rank := func(h *profile.Host) int {
		switch {
		case isLocal(h.Board):
			return 0
		case !h.Down:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(hosts, func(a, b *profile.Host) int { return rank(a) - rank(b) })
	var order []identity.Onion
	for _, h := range hosts {
		order = append(order, h.Board)
	}
	return order
}

// listAge is after what time a post looks for a newer list of hosts first. Hosts that have left
// are read by others for longer, see [profile.LeftWindow].
const listAge = 24 * time.Hour

// findNewerHosts takes over a newer list of hosts, unless somebody has looked for one lately. It
// prints no messages, and takes no longer than a step of a post. A host on this machine is asked
// alone, without Tor. It returns the profile as it is then.
func (p *postJob) findNewerHosts(ctx context.Context, s *profile.State, g *profile.Group) (*profile.State, *profile.Group, error) {
	x := g.Serverless
	if age := time.Since(x.Checked); x.Manager != nil || age >= 0 && age < listAge { // the manager makes the lists
		return s, g, nil
	}
	r, err := p.app.newHostReader(ctx, s, g, func(h *profile.Host) position { return h.Read })
	if err != nil {
		return nil, nil, err
	}
	r.network, r.listsOnly, r.waits.whole = p.network, true, r.waits.attempt
	isLocal := func(h *hostSource) bool { return p.network.isLocal(h.board) }
	if slices.ContainsFunc(r.hosts, isLocal) {
		r.hosts = slices.DeleteFunc(r.hosts, func(h *hostSource) bool { return !isLocal(h) })
	} else if err := p.network.start(ctx, r.hosts[0].board); err != nil { // takes longer than an attempt may
		return nil, nil, err
	}
	if err := r.run(ctx); err != nil {
		return nil, nil, err
	}
	if r.synced == 0 {
		p.app.progress.Note("no core peer has said within %v whether there is a newer list of them; if you were away for long, read first", r.waits.whole)
		return s, g, nil
	}
	err = p.app.profile.Update(ctx, func(s *profile.State) error {
		g, err := s.Group(r.group)
		if err == nil {
			g.Serverless.Checked = time.Now()
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if s, err = p.app.profile.View(); err != nil {
		return nil, nil, err
	}
	g, err = s.Group(r.group)
	return s, g, err
}

// postToHosts posts to the first host that takes it. If a host fails, even in the middle
// of a text, the next one gets what is not known to be stored. An envelope whose answer
// was lost goes to the next host as it is, so a board that gets it from both has it once.
func (p *postJob) postToHosts(ctx context.Context, s *profile.State, g *profile.Group) error {
	var failed []error
	for _, board := range hostOrder(g, p.network.isLocal) {
		err := p.postToHost(ctx, s, board)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if noteErr := p.noteHost(ctx, board, err); noteErr != nil {
			return noteErr
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", shortServer(s, board), err)
		p.app.progress.Note("not posted there: %v", err)
		failed = append(failed, err)
	}
	return fmt.Errorf("post: no core peer took it: %w", errors.Join(failed...))
}

// postToHost posts the rest of the text to one host, without reading its board.
func (p *postJob) postToHost(ctx context.Context, s *profile.State, name identity.Onion) error {
	server, err := s.Server(name)
	if err != nil {
		return err
	}
	p.bundle = server.Bundle
	if err := p.network.start(ctx, name); err != nil { // takes longer than an attempt may
		return err
	}
	if err := p.app.attempt(ctx, func(ctx context.Context) error { return p.buyTokens(ctx, len(p.parts)-p.progress.Done) }); err != nil {
		return err
	}
	var board *client.Board
	err = p.app.attempt(ctx, func(ctx context.Context) (err error) {
		board, err = p.app.openBoard(ctx, p.network, name)
		return err
	})
	if err != nil {
		return err
	}
	defer board.Close()
	for p.progress.Done < len(p.parts) && ctx.Err() == nil {
		if err := p.sealNext(ctx); err != nil {
			return err
		}
		e := *p.progress.Pending
		err := p.app.attempt(ctx, func(ctx context.Context) error {
			return p.deliverEnvelope(ctx, func(paid token.Token) error { return board.Deliver(ctx, e, paid) })
		})
		if err != nil {
			return err
		}
		p.messages.head = e.Signature
		p.progress.Done++
		p.progress.Pending = nil
	}
	return nil
}

// errSlow ends an attempt at a host that takes too long.
var errSlow = errors.New("it did not answer in time")

// attempt runs one step with a host, within the time that a host has for it.
func (a *app) attempt(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.waits.attempt, errSlow)
	defer cancel()
	err := step(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errSlow) {
		return errSlow
	}
	return err
}

// noteHost remembers whether a host took the post, and which message was the last.
func (p *postJob) noteHost(ctx context.Context, board identity.Onion, failed error) error {
	return p.app.profile.Update(context.WithoutCancel(ctx), func(s *profile.State) error {
		g, err := s.Group(p.messages.group.ID)
		if err != nil {
			return err
		}
		now := time.Now()
		if p.progress.Done > 0 && p.messages.head != nil {
			g.Head, g.Serverless.HeadTime = p.messages.head, now
		}
		noteAnswer(g, board, now, failed)
		return nil
	})
}

// noteAnswer notes whether a host of the group answered.
func noteAnswer(g *profile.Group, board identity.Onion, now time.Time, failed error) {
	h := g.Serverless.Host(board)
	switch {
	case h == nil: // has left the group
	case failed == nil:
		h.NoteSeen(now)
	default:
		h.NoteFailed(now, failed)
	}
}

// deliverToAll posts one message to every one of some hosts, and returns those that took
// it. The error says why others did not.
func (a *app) deliverToAll(ctx context.Context, s *profile.State, network *memberNetwork, g *profile.Group, text string, boards []identity.Onion) (took []identity.Onion, err error) {
	e, err := g.Group.Seal(s.Identity, group.Draft{Text: text, Time: time.Now(), Previous: g.Head})
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, board := range boards {
		server, err := s.Server(board)
		if err == nil {
			err = a.deliverTo(ctx, network, server.Bundle, e)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", shortServer(s, board), err))
			continue
		}
		took = append(took, board)
	}
	return took, errors.Join(failed...)
}

// deliverTo posts an envelope to one host, over a connection of its own.
func (a *app) deliverTo(ctx context.Context, network *memberNetwork, b bundle.Bundle, e wire.Envelope) error {
	if err := network.start(ctx, b.Board); err != nil {
		return err
	}
	p := &postJob{app: a, network: network, bundle: b, parts: []string{""}, progress: &profile.Unfinished{}}
	return a.attempt(ctx, func(ctx context.Context) error {
		if err := p.buyTokens(ctx, 1); err != nil {
			return err
		}
		board, err := a.openBoard(ctx, network, b.Board)
		if err != nil {
			return err
		}
		defer board.Close()
		return p.deliverEnvelope(ctx, func(paid token.Token) error { return board.Deliver(ctx, e, paid) })
	})
}
