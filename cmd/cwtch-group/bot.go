package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

const (
	// maxBridged bounds the messages that a bot holds because a host lacks them, of some
	// 3 kB each.
	maxBridged = 4096
	// bridgeWindow is how old a message may be, by its sender, that a bot brings to a
	// host. A host that joins the group gets as many days of it.
	bridgeWindow = 7 * 24 * time.Hour
	// bridgeBurst is how many messages a bot brings to a host at once, before the rate
	// limits it.
	bridgeBurst = 30
	// lastBridgeBackoff is the longest wait before a host is tried again that did not
	// take a message.
	lastBridgeBackoff = 10 * time.Minute
	// announceRetry is the wait after an announcement that no host took.
	announceRetry = time.Minute
)

// runBot follows a group on all its hosts, brings to each host the messages that it lacks,
// and announces the list of hosts from time to time, until ^C.
func (a *app) runBot(ctx context.Context, args []string) error {
	if a.settle < 0 || a.rate < 1 || a.announce < 0 {
		return usageError{"-settle and -announce cannot be negative, and -rate is at least 1", listHint}
	}
	s, err := a.profile.View()
	if err != nil {
		return err
	}
	g, err := findServerless(s, args[0])
	if err != nil {
		return fmt.Errorf("bot: %w", err)
	}
	kept, release, err := a.profile.OpenBot(g.Group.ID)
	if err != nil {
		return fmt.Errorf("bot: %w", err)
	}
	defer release()
	r, err := a.newHostReader(ctx, s, g, bridgeFrom(g))
	if err != nil {
		return err
	}
	defer r.network.Close()
	r.stay = true
	r.bridge = &bridge{kept: kept, settle: a.settle, messages: make(map[profile.MessageID]*bridgedMessage), changed: make(chan struct{})}
	err = r.run(ctx)
	if ctx.Err() != nil {
		err = nil // ^C
	}
	return errors.Join(err, r.save(ctx, true))
}

// bridgeFrom returns from where a bot reads each host. If one of them was never read, it is
// new to the group, and all are read from the beginning: it lacks what they have.
func bridgeFrom(g *profile.Group) func(*profile.Host) position {
	fresh := slices.ContainsFunc(g.Serverless.Hosts, func(h *profile.Host) bool { return h.Bridged == nil })
	return func(h *profile.Host) position {
		if fresh {
			return nil
		}
		return h.Bridged
	}
}

// bridge has the messages that some hosts of a group lack. The lock of its hostReader
// guards it.
type bridge struct {
	kept    *profile.Bot
	settle  time.Duration
	changed chan struct{} // closed, and replaced, when there is something new

	messages map[profile.MessageID]*bridgedMessage
	order    []profile.MessageID // oldest first
	dropped  bool                // messages were dropped because there were too many
	brought  map[identity.Onion]int
}

type bridgedMessage struct {
	envelope wire.Envelope
	due      time.Time // when replication had its chance
	expires  time.Time
	has      map[identity.Onion]bool
}

// note notes that a host has a message. It returns false if messages had to be dropped.
// Only verified messages are brought to others: nobody misses what no member signed.
func (b *bridge) note(o openedMessage, board identity.Onion, now time.Time) (ok bool) {
	if o.err != nil || !o.message.Verified {
		return true
	}
	b.kept.HadBy(board).Add([]profile.MessageID{o.id})
	if m := b.messages[o.id]; m != nil {
		m.has[board] = true
		return true
	}
	if o.message.Time.Before(now.Add(-bridgeWindow)) {
		return true
	}
	settle := b.settle + rand.N(b.settle/2+1) // so that two bots do not do the same
	b.messages[o.id] = &bridgedMessage{o.envelope, now.Add(settle), now.Add(bridgeWindow), map[identity.Onion]bool{board: true}}
	b.order = append(b.order, o.id)
	b.wake()
	if len(b.order) <= maxBridged {
		return true
	}
	delete(b.messages, b.order[0])
	b.order = b.order[1:]
	return false
}

// wake has all that wait look again.
func (b *bridge) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// forgetDone forgets messages that all hosts had, and those that are too old.
func (b *bridge) forgetDone(boards []identity.Onion, now time.Time) {
	b.order = slices.DeleteFunc(b.order, func(id profile.MessageID) bool {
		lacks := func(board identity.Onion) bool { return b.lacks(id, board) }
		if now.Before(b.messages[id].expires) && slices.ContainsFunc(boards, lacks) {
			return false
		}
		delete(b.messages, id)
		return true
	})
}

// lacks reports whether a host never had a message.
func (b *bridge) lacks(id profile.MessageID, board identity.Onion) bool {
	return !b.messages[id].has[board] && !b.kept.HadBy(board).Has(id)
}

// next returns the next message for a host, or how long to wait for one.
func (b *bridge) next(board identity.Onion, now time.Time) (id profile.MessageID, e wire.Envelope, wait time.Duration) {
	wait = time.Hour
	for _, id := range b.order {
		m := b.messages[id]
		if !b.lacks(id, board) {
			continue
		}
		if until := m.due.Sub(now); until > 0 {
			wait = min(wait, until)
			continue
		}
		return id, m.envelope, 0
	}
	return id, e, wait
}

// noteBridged notes what a host has sent, for a bot. r.mu is held.
func (r *hostReader) noteBridged(h *hostSource, o openedMessage) error {
	if list, ok := group.UnwrapHosts(o.message.Text); ok && o.err == nil {
		if err := r.takeHosts(list); err != nil {
			return final{err}
		}
	}
	r.moveHead(o.message)
	if !r.bridge.note(o, h.board, time.Now()) && !r.bridge.dropped {
		r.bridge.dropped = true
		r.app.progress.Warn(fmt.Sprintf("warning: more than %d messages wait for core peers that are away or slow; the oldest are left out until the bot is started again", maxBridged))
	}
	return nil
}

// bringMessages brings to a host what it lacks, within the rate, until ctx ends.
func (r *hostReader) bringMessages(ctx context.Context, h *hostSource) {
	limiter := rate.NewLimiter(rate.Every(time.Hour/time.Duration(r.app.rate)), bridgeBurst)
	retry := backoff.Backoff{Min: firstBackoff, Max: lastBridgeBackoff}
	for {
		r.mu.Lock()
		id, e, wait := r.bridge.next(h.board, time.Now())
		changed := r.bridge.changed
		if !h.up || !h.isMember() {
			wait = time.Hour // noteSynced or changeHosts wakes it
		}
		r.mu.Unlock()
		if wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-time.After(wait):
			}
			continue
		}
		if limiter.Wait(ctx) != nil {
			return
		}
		if err := r.app.deliverTo(ctx, r.network, h.bundle, e); err != nil {
			r.app.progress.Stage("%s did not take a message, trying again: %v", h.label, err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retry.Next()):
			}
			continue
		}
		retry.Reset()
		r.noteBrought(h, id)
	}
}

// noteBrought notes that a host has taken a message from the bot.
func (r *hostReader) noteBrought(h *hostSource, id profile.MessageID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bridge.kept.HadBy(h.board).Add([]profile.MessageID{id})
	if r.bridge.brought == nil {
		r.bridge.brought = make(map[identity.Onion]int)
	}
	r.bridge.brought[h.board]++
	if err := r.saveLocked(context.Background(), true); err != nil {
		r.stop(final{err})
	}
}

// bridgeFact tells how many messages a bot brought to a core peer, as JSON.
type bridgeFact struct {
	Board    identity.Onion `json:"board"`
	Messages int            `json:"messages"`
}

// saveBridge keeps what the bot knows, and reports what it did. It returns whether the
// positions may be saved: what a host still lacks has to be read again after a restart.
// r.mu is held.
func (r *hostReader) saveBridge() (done bool, err error) {
	b := r.bridge
	var boards, left []identity.Onion
	synced := true
	for _, h := range r.hosts {
		switch {
		case h.isMember():
			boards = append(boards, h.board)
			synced = synced && h.synced
		case !h.gone:
			left = append(left, h.board)
		}
	}
	b.forgetDone(boards, time.Now())
	if err := b.kept.Save(slices.Concat(boards, left)); err != nil {
		return false, err
	}
	for _, board := range slices.Sorted(maps.Keys(b.brought)) {
		n := b.brought[board]
		if err := r.app.printFact(bridgeFact{board, n}, "brought %s to %s", pluralOf(n, "message"), board); err != nil {
			return false, err
		}
	}
	b.brought = nil
	if err := r.app.out.Flush(); err != nil {
		return false, fmt.Errorf("write output: %w", err)
	}
	return synced && len(b.order) == 0 && !b.dropped, nil
}

// announceHosts announces the list of hosts whenever it has changed, and from time to
// time for members who come late, until ctx ends.
func (r *hostReader) announceHosts(ctx context.Context) {
	for {
		wait, changed := r.announceDue(time.Now())
		if wait <= 0 {
			if err := r.announceOnce(ctx); err == nil {
				continue
			}
			wait = announceRetry
			changed = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-changed: // the list, perhaps
		case <-time.After(wait):
		}
	}
}

// announceDue returns how long to wait for the next announcement, unless something
// changes meanwhile.
func (r *hostReader) announceDue(now time.Time) (wait time.Duration, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.bridge.kept
	switch {
	case r.synced == 0: // noteSynced wakes it
		wait = time.Hour
	case r.list.Serial > kept.Announced:
	case r.app.announce == 0:
		wait = time.Hour
	default:
		wait = kept.AnnouncedAt.Add(r.app.announce).Sub(now)
	}
	return wait, r.bridge.changed
}

// announceOnce posts the list to one host. The bridge, or replication, does the rest.
func (r *hostReader) announceOnce(ctx context.Context) error {
	s, err := r.app.profile.View()
	if err != nil {
		return err
	}
	g, err := s.Group(r.group)
	if err != nil {
		return err
	}
	list := g.Serverless.List
	var failed []error
	for _, board := range hostOrder(g, r.network.isLocal) {
		took, err := r.app.deliverToAll(ctx, s, r.network, g, group.WrapHosts(list.Encode()), []identity.Onion{board})
		if len(took) == 0 {
			failed = append(failed, err)
			continue
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bridge.kept.Announced, r.bridge.kept.AnnouncedAt = list.Serial, time.Now()
		if err := r.app.printFact(announceFact{g.Name, list.Serial, g.Boards(), took}, "announced %s of %q", pluralOf(len(list.Hosts), "core peer"), g.Name); err != nil {
			r.stop(final{err})
		}
		return r.saveLocked(ctx, true)
	}
	return errors.Join(failed...)
}
