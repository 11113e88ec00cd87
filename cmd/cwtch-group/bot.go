package main

import (
	"bytes"
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
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

const (
	// maxBridged bounds the messages that a bot holds because a host lacks them, of some
	// 3 kB each.
	maxBridged = 4096
	// bridgeWindow is how old a message may be, by its sender, that a bot finds when it
	// reads all that a host has. A host that joins the group gets as many days of it. What
	// a host sends later is brought to others whatever time it claims: clocks are wrong.
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
	r.bridge = newBridge(kept, a.settle)
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
	held     map[identity.Onion]int
	served   map[identity.Onion]identity.Onion // whose message each host got last, by from
	limiters map[identity.Onion]*rate.Limiter  // what may be posted to each host
	warned   map[error]bool                    // why messages were left out, where that was said
	brought  map[identity.Onion]int
	lists    [][]byte  // of hosts, the newest that came
	listsDue time.Time // when they are taken over at the latest
}

func newBridge(kept *profile.Bot, settle time.Duration) *bridge {
	return &bridge{
		kept: kept, settle: settle, changed: make(chan struct{}), messages: make(map[profile.MessageID]*bridgedMessage),
		held: make(map[identity.Onion]int), served: make(map[identity.Onion]identity.Onion),
		limiters: make(map[identity.Onion]*rate.Limiter), warned: make(map[error]bool), brought: make(map[identity.Onion]int),
	}
}

type bridgedMessage struct {
	envelope wire.Envelope
	from     identity.Onion // the host that sent it first
	due      time.Time      // when replication had its chance
	expires  time.Time
	has      map[identity.Onion]bool
	retries  map[identity.Onion]*bridgeRetry // hosts that did not take it
}

// bridgeRetry is when a host that did not take a message is asked again.
type bridgeRetry struct {
	at   time.Time
	wait backoff.Backoff
}

// Why a bot leaves out messages.
var (
	errBridgeFull = fmt.Errorf("more than %d messages wait for core peers that are away or slow; those of the core peer with the most are left out until the bot is started again", maxBridged)
	errBridgeOld  = errors.New("messages that are older than 7 days, by their senders, are not brought to core peers that are new; if they are not so old, check the clock of this machine")
	errBridgeSize = errors.New("a message that does not fit into a post is not brought to other core peers; a member or a core peer has made it so")
)

// note notes that a host has a message; old says that it came with everything that the
// host has. The error says why a message was left out, this one or another.
// Only verified messages are brought to others: nobody misses what no member signed.
func (b *bridge) note(o openedMessage, board identity.Onion, old bool, now time.Time) error {
	if o.err != nil || !o.message.Verified {
		return nil
	}
	b.kept.HadBy(board).Add([]profile.MessageID{o.id})
	if m := b.messages[o.id]; m != nil {
		m.has[board] = true
		return nil
	}
	switch {
	case old && o.message.Time.Before(now.Add(-bridgeWindow)):
		return errBridgeOld
	case !fitsPost(o.envelope):
		return errBridgeSize
	}
	settle := b.settle + rand.N(b.settle/2+1) // so that two bots do not do the same
	b.messages[o.id] = &bridgedMessage{
		envelope: o.envelope, from: board, due: now.Add(settle), expires: now.Add(bridgeWindow),
		has: map[identity.Onion]bool{board: true}, retries: make(map[identity.Onion]*bridgeRetry),
	}
	b.order = append(b.order, o.id)
	b.held[board]++
	b.wake()
	if len(b.order) <= maxBridged {
		return nil
	}
	b.dropOne(board)
	return errBridgeFull
}

// fitsPost reports whether a host can be sent an envelope in a post. One that another
// host sent can be a little too long for that.
func fitsPost(e wire.Envelope) bool {
	paid := wire.Token{T: make([]byte, 32), MAC: make([]byte, 64)}
	return len(wire.AppendRequest(nil, wire.Request{Post: &wire.Post{Token: paid, EGM: e}})) <= tapir.MaxPayload
}

// dropOne forgets the oldest message of the host from which the most came, so that one that
// floods the bot does that to itself. Among equals it is the one that sent the last message.
func (b *bridge) dropOne(most identity.Onion) {
	for board, n := range b.held {
		if n > b.held[most] {
			most = board
		}
	}
	i := slices.IndexFunc(b.order, func(id profile.MessageID) bool { return b.messages[id].from == most })
	b.forget(b.order[i])
	b.order = slices.Delete(b.order, i, i+1)
}

// forget forgets a message, which the caller takes out of b.order.
func (b *bridge) forget(id profile.MessageID) {
	from := b.messages[id].from
	if b.held[from]--; b.held[from] == 0 {
		delete(b.held, from)
	}
	delete(b.messages, id)
}

// noteFailed notes that a host did not take a message. Others go before it for a while.
func (b *bridge) noteFailed(id profile.MessageID, board identity.Onion, now time.Time) {
	m := b.messages[id]
	if m == nil {
		return
	}
	if m.retries[board] == nil {
		m.retries[board] = &bridgeRetry{wait: backoff.Backoff{Min: firstBackoff, Max: lastBridgeBackoff}}
	}
	r := m.retries[board]
	r.at = now.Add(r.wait.Next())
}

// limiter returns the limiter of what is posted to a host, hour by hour.
func (b *bridge) limiter(board identity.Onion, hourly int) *rate.Limiter {
	if b.limiters[board] == nil {
		b.limiters[board] = rate.NewLimiter(rate.Every(time.Hour/time.Duration(hourly)), bridgeBurst)
	}
	return b.limiters[board]
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
		b.forget(id)
		return true
	})
}

// lacks reports whether a host never had a message.
func (b *bridge) lacks(id profile.MessageID, board identity.Onion) bool {
	return !b.messages[id].has[board] && !b.kept.HadBy(board).Has(id)
}

// next returns the next message for a host, or how long to wait for one. The hosts from
// which messages came take turns, so none of them can keep back what others sent.
func (b *bridge) next(board identity.Onion, now time.Time) (id profile.MessageID, e wire.Envelope, wait time.Duration) {
	wait = time.Hour
	oldest := make(map[identity.Onion]profile.MessageID) // by from
	for _, id := range b.order {
		m := b.messages[id]
		if _, ok := oldest[m.from]; ok || !b.lacks(id, board) {
			continue
		}
		due := m.due
		if r := m.retries[board]; r != nil && r.at.After(due) {
			due = r.at
		}
		if until := due.Sub(now); until > 0 {
			wait = min(wait, until)
			continue
		}
		oldest[m.from] = id
	}
	if len(oldest) == 0 {
		return id, e, wait
	}
	sources := slices.Sorted(maps.Keys(oldest))
	turn := sources[0]
	for _, from := range slices.Backward(sources) {
		if from > b.served[board] {
			turn = from
		}
	}
	b.served[board] = turn
	return oldest[turn], b.messages[oldest[turn]].envelope, 0
}

// noteBridged notes what a host has sent, for a bot. r.mu is held.
func (r *hostReader) noteBridged(h *hostSource, o openedMessage) error {
	if list, ok := group.UnwrapHosts(o.message.Text); ok && o.err == nil {
		r.noteBridgedList(list)
	}
	r.moveHead(o.message)
	if err := r.bridge.note(o, h.board, h.replaying && h.whole, time.Now()); err != nil && !r.bridge.warned[err] {
		r.bridge.warned[err] = true
		r.app.progress.Warn("warning: " + err.Error())
	}
	return nil
}

// maxBridgedLists bounds the lists that a bot holds: two under one number are a split.
const maxBridgedLists = 2

// noteBridgedList holds a list of hosts until its host has sent everything, unless another
// one is newer. r.mu is held.
func (r *hostReader) noteBridgedList(list []byte) {
	b, before := r.bridge, r.newest
	l, err := r.noteList(list)
	if err == nil && l.Serial < before {
		return
	}
	if err == nil && l.Serial > before {
		b.lists = nil
	}
	if len(b.lists) < maxBridgedLists && !slices.ContainsFunc(b.lists, func(x []byte) bool { return bytes.Equal(x, list) }) {
		b.lists = append(b.lists, list)
	}
	if b.listsDue.IsZero() {
		b.listsDue = time.Now().Add(r.waits.second)
	}
}

// takeBridgedLists takes over the lists that wait, if no host is still sending what it has,
// or they have waited long enough. r.mu is held. Its errors are final.
func (r *hostReader) takeBridgedLists() error {
	b := r.bridge
	if b == nil || len(b.lists) == 0 {
		return nil
	}
	sending := slices.ContainsFunc(r.hosts, func(h *hostSource) bool { return h.replaying })
	if sending && time.Now().Before(b.listsDue) {
		return nil
	}
	lists := b.lists
	b.lists, b.listsDue = nil, time.Time{}
	b.wake()
	for _, list := range lists {
		if _, err := r.takeHosts(list); err != nil {
			return final{err}
		}
	}
	return nil
}

// awaitLists returns how long nothing is announced or brought because a list waits: it may say
// that a host has left.
func (b *bridge) awaitLists(now time.Time) time.Duration {
	if len(b.lists) == 0 {
		return 0
	}
	return max(0, b.listsDue.Sub(now))
}

// bringMessages brings to a host what it lacks, within the rate, until ctx ends.
func (r *hostReader) bringMessages(ctx context.Context, h *hostSource) {
	r.mu.Lock()
	limiter := r.bridge.limiter(h.board, r.app.rate)
	r.mu.Unlock()
	retry := backoff.Backoff{Min: firstBackoff, Max: lastBridgeBackoff}
	for {
		r.mu.Lock()
		id, e, wait := r.bridge.next(h.board, time.Now())
		changed := r.bridge.changed
		if !h.up || !h.isMember() {
			wait = time.Hour // noteSynced or changeHosts wakes it
		}
		wait = max(wait, r.bridge.awaitLists(time.Now()))
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
			r.mu.Lock()
			r.bridge.noteFailed(id, h.board, time.Now())
			r.mu.Unlock()
			if errors.Is(err, client.ErrRefused) {
				continue // it answers, and may take another one
			}
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
	maps.DeleteFunc(b.limiters, func(board identity.Onion, _ *rate.Limiter) bool { return !slices.Contains(boards, board) })
	maps.DeleteFunc(b.served, func(board, _ identity.Onion) bool { return !slices.Contains(boards, board) })
	if err := b.kept.Save(slices.Concat(boards, left)); err != nil {
		return false, err
	}
	for _, board := range slices.Sorted(maps.Keys(b.brought)) {
		n := b.brought[board]
		if err := r.app.printFact(bridgeFact{board, n}, "brought %s to %s", pluralOf(n, "message"), board); err != nil {
			return false, err
		}
	}
	clear(b.brought)
	if err := r.app.out.Flush(); err != nil {
		return false, fmt.Errorf("write output: %w", err)
	}
	return synced && len(b.order) == 0 && !b.warned[errBridgeFull], nil
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
	lists := r.bridge.awaitLists(now)
	switch {
	case lists > 0:
		wait = lists
	case r.synced == 0: // noteSynced wakes it
		wait = time.Hour
	case r.list.Serial > kept.Announced:
	case r.app.announce == 0:
		wait = time.Hour
	case kept.AnnouncedAt.After(now): // by a clock that was wrong
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
		r.mu.Lock()
		limiter := r.bridge.limiter(board, r.app.rate)
		r.mu.Unlock()
		if err := limiter.Wait(ctx); err != nil {
			return err
		}
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
