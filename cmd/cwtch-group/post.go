package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// postTries is how many tokens a message may cost: those of a profile that was
// restored from a backup may be spent.
const postTries = 3

func (a *app) runPost(ctx context.Context, args []string) error {
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := findGroup(s, args[0])
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	chat, err := a.readChat(ctx, args[1])
	if err != nil {
		return err
	}
	release, recorded, err := a.profile.LockPosting()
	if err != nil {
		return err
	}
	defer release()
	if g, err = a.viewGroup(g.Group.ID); err != nil { // another command may have posted until now
		return err
	}
	p := &postJob{app: a, from: s.Identity, parts: group.SplitChat(chat), recorded: recorded, network: a.newNetwork(s)}
	defer p.network.Close()
	p.resumePost(g)
	if g.Serverless != nil {
		if s, g, err = p.findNewerHosts(ctx, s, g); err == nil {
			p.messages = newHostMessages(g)
			err = p.postToHosts(ctx, s, g)
		}
	} else {
		err = p.postToServer(ctx, s, g)
	}
	if err != nil {
		return p.explainFailure(ctx, err)
	}
	if err := p.printPosted(g.Name); err != nil {
		return p.explainFailure(ctx, err)
	}
	return p.recordProgress(ctx, nil) // only now: without that report the person may give the command again
}

// postToServer posts to the only server of a group.
func (p *postJob) postToServer(ctx context.Context, s *profile.State, g *profile.Group) error {
	server, err := s.Server(g.Group.Server)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	p.bundle = server.Bundle
	p.messages = newMessageReader(g, server, p.progress.Position)
	if err := p.network.start(ctx, p.bundle.Board); err != nil {
		return err
	}
	return p.postMessages(ctx)
}

// printPosted prints that the text is posted.
func (p *postJob) printPosted(name string) error {
	fact := postedFact{name, time.Now().UTC().Truncate(time.Second), len(p.parts)}
	where := fmt.Sprintf("posted to %q", name)
	if fact.Messages > 1 {
		where += fmt.Sprintf(" in %d messages", fact.Messages)
	}
	if err := p.app.printFact(fact, "%s", where); err != nil {
		return err
	}
	if err := p.app.out.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// postedFact is a post as JSON.
type postedFact struct {
	Group    string    `json:"group"`
	Time     time.Time `json:"time"`
	Messages int       `json:"messages"`
}

func (a *app) viewGroup(id [16]byte) (*profile.Group, error) {
	s, err := a.profile.View()
	if err != nil {
		return nil, err
	}
	g, err := s.Group(id)
	if err != nil {
		return nil, fmt.Errorf("post: %w", err)
	}
	return g, nil
}

// postJob posts a text as one or more messages.
type postJob struct {
	app      *app
	network  *memberNetwork
	bundle   bundle.Bundle
	messages *messageReader
	from     identity.Key
	parts    []string

	progress *profile.Unfinished
	recorded bool // progress is kept in the profile
	stored   bool // the board has the pending message
}

// resumePost goes on with an interrupted post of the same text, or begins a post.
func (p *postJob) resumePost(g *profile.Group) {
	now := time.Now()
	if u := g.Unfinished; p.recorded && u != nil {
		if u.Fits(p.parts, now) {
			p.progress = u
			p.app.progress.Note("going on with an interrupted post: %d of %d messages are known to be posted", u.Done, len(p.parts))
			return
		}
		p.app.progress.Note("dropping an interrupted post of another text")
	}
	p.progress = profile.NewUnfinished(p.parts, now, g.Synced)
}

// postMessages reads the board, posts the messages and saves the new position.
func (p *postJob) postMessages(ctx context.Context) error {
	if err := p.buyTokens(ctx, len(p.parts)-p.progress.Done); err != nil {
		return err
	}
	board, err := p.app.syncBoard(ctx, p.network, p.bundle.Board, p.messages, p.takeEvent)
	if err != nil {
		return err
	}
	defer board.Close()
	for p.progress.Done < len(p.parts) {
		if err := p.postNext(ctx, board); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return p.messages.saveProgress(ctx, p.app.profile, false)
}

// takeEvent processes an event and notes whether it shows the pending message.
func (p *postJob) takeEvent(e client.Event) error {
	if pending := p.progress.Pending; pending != nil && (e.Kind == client.Replayed || e.Kind == client.New) &&
		bytes.Equal(e.Envelope.Signature, pending.Signature) && bytes.Equal(e.Envelope.Ciphertext, pending.Ciphertext) {
		p.stored = true
	}
	_, _, err := p.messages.takeEvent(e)
	return err
}

// postNext posts the next message, unless the replay has shown that an earlier
// command did. It writes the envelope to the profile before it sends it: a board
// stores the same envelope only once.
func (p *postJob) postNext(ctx context.Context, board *client.Board) error {
	if err := p.sealNext(ctx); err != nil {
		return err
	}
	if !p.stored {
		e := *p.progress.Pending
		err := p.deliverEnvelope(ctx, func(paid token.Token) error { return board.Post(ctx, e, paid, p.takeEvent) })
		if err != nil {
			return err
		}
	}
	p.progress.Done++
	p.progress.Pending, p.stored = nil, false
	return nil
}

// sealNext seals the next message, unless it is sealed, and writes it to the profile.
func (p *postJob) sealNext(ctx context.Context) error {
	if p.progress.Pending != nil {
		return nil
	}
	text := group.WrapText(p.parts[p.progress.Done])
	e, err := p.messages.group.Seal(p.from, group.Draft{Text: text, Time: time.Now(), Previous: p.messages.head})
	if err != nil {
		return err
	}
	p.progress.Pending = &e
	return p.recordProgress(ctx, p.progress)
}

// recordProgress writes to the profile how far the post got; nil means complete.
func (p *postJob) recordProgress(ctx context.Context, u *profile.Unfinished) error {
	if !p.recorded {
		return nil
	}
	return p.app.profile.SaveUnfinished(context.WithoutCancel(ctx), p.messages.group.ID, u)
}

// explainFailure adds to an error how far the post got and how to go on. After an
// interruption it prints only that.
func (p *postJob) explainFailure(ctx context.Context, err error) error {
	begun := p.progress.Pending != nil || p.progress.Done > 0
	if !begun || !p.recorded {
		return err
	}
	const again = "give the same command again to go on: nothing is posted twice"
	posted := fmt.Sprintf("%d of %s known to be posted", p.progress.Done, pluralOf(len(p.parts), "message"))
	err = fmt.Errorf("post: %s: %w", posted, err)
	if ctx.Err() != nil {
		p.app.progress.Warn(posted + "; " + again)
		return err
	}
	hint := hintFor(err)
	if hint != "" {
		hint += "; "
	}
	return hinted{err, hint + again}
}

// deliverEnvelope posts an envelope, with another token if one is refused.
func (p *postJob) deliverEnvelope(ctx context.Context, post func(token.Token) error) error {
	for try := 1; ; try++ {
		paid, err := p.takeToken(ctx)
		if err != nil {
			return err
		}
		if len(p.parts) == 1 {
			p.app.progress.Stage("posting")
		} else {
			p.app.progress.Stage("posting message %d of %d", p.progress.Done+1, len(p.parts))
		}
		err = post(paid)
		if !errors.Is(err, client.ErrRefused) || try == postTries {
			return err
		}
	}
}

// takeToken takes a token out of the profile. It buys some first if the profile has none left.
func (p *postJob) takeToken(ctx context.Context) (token.Token, error) {
	for {
		paid, ok, err := p.app.profile.TakeToken(ctx, p.bundle.Board)
		if ok || err != nil {
			return paid, err
		}
		if err := p.buyTokens(ctx, 1); err != nil {
			return paid, err
		}
	}
}

// buyTokens buys tokens until the profile has n. That takes long: it is done before
// the board is connected.
func (p *postJob) buyTokens(ctx context.Context, n int) error {
	for {
		s, err := p.app.profile.View()
		if err != nil {
			return err
		}
		server, err := s.Server(p.bundle.Board)
		if err != nil || len(server.Tokens) >= n {
			return err
		}
		if err := p.buyBatch(ctx); err != nil {
			return err
		}
	}
}

func (p *postJob) buyBatch(ctx context.Context) error {
	a := p.app
	a.progress.Stage("buying tokens: connecting to the token service")
	solving := false
	tokens, err := client.Buy(ctx, p.network, p.bundle, token.DefaultBatch, func(tries int) {
		if !solving {
			a.progress.Stage("buying tokens: solving the proof of work")
			solving = true
		}
		a.progress.Detail("%d of some 65,536 tries", tries)
	})
	if err != nil {
		return err
	}
	return a.profile.AddTokens(ctx, p.bundle.Board, tokens)
}

func (a *app) openBoard(ctx context.Context, network client.Dialer, name identity.Onion) (*client.Board, error) {
	a.progress.Stage("connecting to the board")
	return client.Open(ctx, network, name)
}

// showReplay returns a function that shows how far a replay is and calls use.
func (a *app) showReplay(use func(client.Event) error) func(client.Event) error {
	total := 0
	return func(e client.Event) error {
		switch e.Kind {
		case client.Count:
			total = e.Left
			a.progress.Stage("replaying %s", pluralOf(total, "envelope"))
		case client.Replayed:
			a.progress.Detail("%d to go", e.Left)
		}
		return use(e)
	}
}
