package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// waits are how long to wait for hosts of a server-less group.
type waits struct {
	// patience is how long messages wait for what other hosts send, so that all can be
	// printed in order.
	patience time.Duration
	// second is how long read waits for a second host once the first has sent
	// everything, and how long messages wait while none has. others is how long it waits
	// for the rest once two have.
	second, others time.Duration
	// whole is how long a whole read goes on while no host has sent everything. It is longer
	// than the largest board with the default limits takes over a slow circuit.
	whole time.Duration
	// attempt is how long a host may take for one step of a post.
	attempt time.Duration
}

var defaultWaits = waits{patience: 3 * time.Second, second: 30 * time.Second, others: 10 * time.Second, whole: 6 * time.Hour, attempt: client.Timeout}

// maxPending bounds the messages that wait to be printed in order, of some 3 kB each.
const maxPending = 16384

// enoughHosts is how many hosts have to answer: one alone decides what a member sees.
const enoughHosts = 2

// hostReader prints the messages of a server-less group, for read and follow. It reads
// all hosts at the same time. Each message is printed once, whichever host sends it, and
// in the order of [group.ChainOrder], as far as the hosts send it in time.
//
// A host that does not answer, or does not come to an end, does not hold up the others.
// Positions are saved only when everything that hosts sent up to them was printed.
type hostReader struct {
	app      *app
	group    [16]byte
	messages *messageReader
	printer  printer
	network  *memberNetwork
	waits    waits
	stay     bool // connected, until ctx ends
	limit    int  // messages to print; 0 is no limit
	// listsOnly: it looks for lists of hosts, and prints no messages.
	listsOnly bool

	running   sync.WaitGroup
	stop      context.CancelCauseFunc // ends all hosts
	startHost func(*hostSource)       // reads a host; r.mu is held

	mu        sync.Mutex
	ended     bool    // run is about to return
	bridge    *bridge // of a bot, which prints no messages; otherwise nil
	hosts     []*hostSource
	list      bundle.HostList
	pending   []openedMessage // not printed yet
	timer     *time.Timer     // prints them; nil while it does not run
	due       time.Time       // when it does
	waited    bool            // it ran once: each host had its chance to answer
	newest    uint64          // serial of a list that came: older ones are not taken over before it
	saidNewer bool            // that there is a list for a newer program
	headTime  time.Time
	sight     sightings
	saved     time.Time
	synced    int         // hosts that have sent everything, at least once, also those that left
	waitFor   int         // the number of the wait that the deadline ends; 0 if it ends no wait
	deadline  *time.Timer // ends a whole read
	lost      error       // why a connection ended last
	said      int         // how many hosts answered when that was last said; -1 before
}

// hostSource is one host of the group.
type hostSource struct {
	board  identity.Onion
	bundle bundle.Bundle
	label  string // beginning of the address
	reader *client.Reader
	stop   context.CancelFunc

	connecting bool // its first attempt has not ended
	replaying  bool
	whole      bool // it sends or has sent everything, not only what is new
	slow       bool // is not waited for
	up         bool // connected, and has sent everything
	synced     bool // was up once
	seen       time.Time
	failed     time.Time
	err        error
	alone      int // messages that no other host had
	gone       bool
	// until is how long it is read although it has left the group; zero if it is in it.
	until time.Time
}

// isMember reports whether the host is in the group.
func (h *hostSource) isMember() bool { return !h.gone && h.until.IsZero() }

// isAwaited reports whether messages wait for what the host sends.
func (h *hostSource) isAwaited() bool { return (h.connecting || h.replaying) && !h.slow && !h.gone }

// position is how far a host was read.
type position = client.Position

// newHostReader prepares to read a server-less group, each host from a position.
func (a *app) newHostReader(ctx context.Context, s *profile.State, g *profile.Group, from func(*profile.Host) position) (*hostReader, error) {
	r := &hostReader{
		app: a, group: g.Group.ID, messages: newHostMessages(g), network: a.newNetwork(s), waits: a.waits, said: -1,
		printer: printer{a, a.newNames(ctx, s.Identity.Onion(), g), time.Local},
		list:    g.Serverless.List, headTime: g.Serverless.HeadTime,
	}
	r.messages.printed = g.Printed.WithoutMessages()
	for _, h := range readHosts(g) {
		if err := r.addHost(s, h, from(h)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// readHosts returns the hosts of a group that are read: its own, and those that left it
// not long ago, where members post who do not know that.
func readHosts(g *profile.Group) []*profile.Host {
	return slices.Concat(g.Serverless.Hosts, g.Serverless.StillRead(time.Now()))
}

// readUntil returns how long to read a host that has left the group; zero if it is in it.
func readUntil(h *profile.Host) time.Time {
	if h.Left.IsZero() {
		return time.Time{}
	}
	return h.Left.Add(profile.LeftWindow)
}

// addHost adds a host of the profile. r.mu is held, or nothing runs yet.
func (r *hostReader) addHost(s *profile.State, h *profile.Host, from client.Position) error {
	server, err := s.Server(h.Board)
	if err != nil {
		return fmt.Errorf("read group: %w", err)
	}
	r.hosts = append(r.hosts, &hostSource{
		board: h.Board, bundle: server.Bundle, label: shortServer(s, h.Board), reader: client.NewReader(server.History, from),
		connecting: true, until: readUntil(h),
	})
	return nil
}

// run reads all hosts. It returns when all of them have ended: with nil after a whole
// read, or the cause. In between, what they send is printed.
func (r *hostReader) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.mu.Lock()
	r.stop, r.ended = stop, false
	r.startHost = func(h *hostSource) {
		ctx, cancel := context.WithCancel(ctx)
		h.stop = cancel
		r.running.Go(func() { r.readHost(ctx, h) })
		if r.bridge != nil {
			r.running.Go(func() { r.bringMessages(ctx, h) })
		}
	}
	if r.bridge != nil {
		r.running.Go(func() { r.announceHosts(ctx) })
	}
	for _, h := range r.hosts {
		if h.stop == nil {
			r.startHost(h)
		}
	}
	r.waitFor = 0
	r.limitRead()
	r.printIn(ctx, r.waits.second)
	r.mu.Unlock()
	if !r.stay {
		defer time.AfterFunc(r.waits.whole, func() { stop(noEndError(r.waits.whole)) }).Stop()
	}
	r.running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for _, t := range []*time.Timer{r.timer, r.deadline} {
		if t != nil {
			t.Stop()
		}
	}
	r.timer, r.deadline = nil, nil
	cause := context.Cause(ctx)
	if cause == nil || isStopWaiting(cause) {
		cause = r.printPending()
	}
	return cause
}

// maxReadRounds bounds how often a whole read goes on with hosts that it has just learned of.
const maxReadRounds = 3

func (r *hostReader) readAll(ctx context.Context) error {
	for range maxReadRounds {
		if err := r.run(ctx); err != nil {
			return err
		}
		if !slices.ContainsFunc(r.hosts, func(h *hostSource) bool { return h.stop == nil }) {
			break
		}
	}
	r.app.progress.Note("%s", r.messages.summaryText(r.printer.names))
	return r.result()
}

func (r *hostReader) followUntil(ctx context.Context, limit int) error {
	r.stay, r.limit = true, limit
	return r.run(ctx)
}

func (r *hostReader) connection() (bool, error) { return r.synced > 0, r.lost }
func (r *hostReader) counted() *messageReader   { return r.messages }

// errStopWaiting ends a read when enough hosts have sent everything.
var errStopWaiting = errors.New("it did not send everything while others did")

// noEndError ends a read in which no host has sent everything within this time.
type noEndError time.Duration

func (e noEndError) Error() string {
	return fmt.Sprintf("it did not come to an end within %v", time.Duration(e))
}

// isStopWaiting reports whether err ends a read that has waited long enough.
func isStopWaiting(err error) bool {
	return errors.Is(err, errStopWaiting) || errors.As(err, new(noEndError))
}

// readHost reads a host over one connection or, if r.stay, one after the other.
func (r *hostReader) readHost(ctx context.Context, h *hostSource) {
	retry := backoff.Backoff{Min: firstBackoff, Max: lastBackoff}
	for r.isRead(h, time.Now()) {
		err := r.readConnection(ctx, h, &retry)
		if errors.As(err, new(final)) {
			r.stop(err)
		}
		r.noteEnded(ctx, h, err)
		if ctx.Err() != nil || !r.stay {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry.Next()):
		}
	}
}

// isRead reports whether to go on with a host. One that left the group long ago is given
// up.
func (r *hostReader) isRead(h *hostSource, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.gone = h.gone || !h.until.IsZero() && !now.Before(h.until)
	return !h.gone
}

// readConnection reads a host until it has sent everything or, if r.stay, until the
// connection ends.
func (r *hostReader) readConnection(ctx context.Context, h *hostSource, retry *backoff.Backoff) error {
	board, err := r.syncHost(ctx, h)
	if err != nil {
		return err
	}
	defer board.Close()
	retry.Reset()
	for r.stay {
		r.mu.Lock()
		last := h.reader.Position().Last().Signature
		r.mu.Unlock()
		probe := time.AfterFunc(quietLimit, func() {
			board.Replay(last) //nolint:errcheck // its answer, or its absence, is for Next
		})
		e, err := board.Next(ctx)
		probe.Stop()
		if err != nil {
			return err
		}
		if err := r.takeEvent(ctx, h, e); err != nil {
			return err
		}
	}
	return nil
}

// syncHost connects and takes in everything after the position. After a wrong start it
// connects again, from another of the few checkpoints.
func (r *hostReader) syncHost(ctx context.Context, h *hostSource) (*client.Board, error) {
	for {
		r.app.progress.Stage("connecting to %s", h.label)
		board, err := client.Open(ctx, r.network, h.board)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		from := h.reader.ReplayFrom()
		h.replaying, h.whole = true, from == nil
		r.mu.Unlock()
		if err = board.Sync(ctx, from, func(e client.Event) error { return r.takeEvent(ctx, h, e) }); err == nil {
			return board, nil
		}
		board.Close()
		if !errors.Is(err, client.ErrWrongStart) {
			return nil, err
		}
	}
}

// takeEvent takes in what a host sent. Its errors are final, except
// [client.ErrWrongStart].
func (r *hostReader) takeEvent(ctx context.Context, h *hostSource, e client.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.gone {
		return errStopWaiting
	}
	if err := h.reader.Accept(e); err != nil {
		return err
	}
	if o, ok := r.messages.openEvent(e); ok {
		if err := r.takeMessage(h, o); err != nil {
			return err
		}
	}
	if (e.Kind == client.Count || e.Kind == client.Replayed) && e.Left == 0 {
		r.noteSynced(h)
	}
	if err := r.takeBridgedLists(); err != nil {
		return err
	}
	return r.printInTime(ctx)
}

// takeMessage takes in a message, unless another host has sent it or it was printed.
// Its errors are final.
func (r *hostReader) takeMessage(h *hostSource, o openedMessage) error {
	if r.messages.printed.Has(o.id) {
		return nil
	}
	fresh := r.messages.noteSeen(o.id)
	r.sight.note(o.id, h, fresh, time.Now())
	if r.bridge != nil {
		return r.noteBridged(h, o)
	}
	if fresh {
		if list, ok := group.UnwrapHosts(o.message.Text); ok && o.err == nil {
			r.noteList(list) //nolint:errcheck // takeHosts says what is wrong with it
		}
		r.pending = append(r.pending, o)
	}
	return nil
}

// noteSynced notes that a host has sent everything. r.mu is held.
func (r *hostReader) noteSynced(h *hostSource) {
	h.connecting, h.replaying, h.slow, h.up, h.err, h.seen = false, false, false, true, nil, time.Now()
	r.sayHosts()
	if r.bridge != nil {
		r.bridge.wake()
	}
	if h.synced {
		return
	}
	h.synced = true
	r.synced++
	r.limitRead()
}

// limitRead bounds how long a whole read waits for hosts that have not sent everything. r.mu
// is held.
func (r *hostReader) limitRead() {
	synced, all := 0, 0
	for _, h := range r.hosts {
		if h.isMember() {
			all++
			if h.synced {
				synced++
			}
		}
	}
	waitFor, wait := 1, r.waits.second
	if synced >= min(enoughHosts, all) {
		waitFor, wait = 2, r.waits.others
	}
	if r.stay || r.ended || r.synced == 0 || waitFor == r.waitFor {
		return
	}
	if r.deadline != nil {
		r.deadline.Stop()
	}
	var deadline *time.Timer
	deadline = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.deadline == deadline { // not one that is stopped too late
			r.stop(errStopWaiting)
		}
	})
	r.waitFor, r.deadline = waitFor, deadline
}

// noteEnded notes that a connection to a host has ended, or could not be made.
func (r *hostReader) noteEnded(ctx context.Context, h *hostSource, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.connecting, h.replaying = false, false
	if cause := context.Cause(ctx); isStopWaiting(cause) && err != nil {
		err = cause
	} else if ctx.Err() != nil {
		err = nil
	}
	if err != nil && !h.gone {
		h.up, h.err, h.failed, r.lost = false, err, time.Now(), err
		if r.stay {
			r.app.progress.Stage("no connection to %s, trying again: %v", h.label, err)
		}
		r.sayHosts()
	}
	if err := r.printInTime(ctx); err != nil {
		r.stop(err)
	}
}

// sayHosts says how many hosts answer, if that has changed and is worth a line. r.mu is
// held.
func (r *hostReader) sayHosts() {
	up, all := 0, 0
	for _, h := range r.hosts {
		switch {
		case !h.isMember():
			continue
		case h.isAwaited() && r.said < 0 && !r.waited:
			return // at the beginning, each has a chance
		case h.up:
			up++
		}
		all++
	}
	if !r.stay || up == r.said {
		return
	}
	before := r.said
	r.said = up
	switch {
	case up == 0:
		r.app.progress.Warn(fmt.Sprintf("none of %s answers; trying again", pluralOf(all, "core peer")))
	case up < enoughHosts:
		r.app.progress.Warn(fmt.Sprintf("only 1 of %s answers: it alone decides which messages you see", pluralOf(all, "core peer")))
	case before < enoughHosts:
		r.app.progress.Note("following %q on %d of %s", r.messages.name, up, pluralOf(all, "core peer"))
	}
}

// printInTime prints what is pending if no host is waited for, and otherwise has it
// printed a little later. Now and then it saves. r.mu is held. Its errors are final.
func (r *hostReader) printInTime(ctx context.Context) error {
	awaited := slices.ContainsFunc(r.hosts, (*hostSource).isAwaited)
	switch {
	case len(r.pending) == 0:
	case !awaited || len(r.pending) >= maxPending:
		if err := r.printPending(); err != nil {
			return err
		}
	case r.synced > 0:
		r.printIn(ctx, r.waits.patience)
	default:
		r.printIn(ctx, r.waits.second)
	}
	if !r.stay || time.Since(r.saved) < saveEvery {
		return nil
	}
	r.saved = time.Now()
	if err := r.saveLocked(ctx, true); err != nil {
		return final{err}
	}
	return nil
}

// printIn has printed what is pending after a wait, or earlier if that is due. r.mu is held.
func (r *hostReader) printIn(ctx context.Context, wait time.Duration) {
	due := time.Now().Add(wait)
	if r.timer != nil && !due.Before(r.due) {
		return
	}
	if r.timer != nil {
		r.timer.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.timer == timer { // not one that is stopped too late
			r.timer = nil
			r.printLate(ctx)
		}
	})
	r.timer, r.due = timer, due
}

// printLate prints what is pending when patience has ended. The hosts that it waited for
// are not waited for any more until they have sent everything. While no host has, all go
// on to be waited for: their messages are printed in parts, each in order. r.mu is held.
func (r *hostReader) printLate(ctx context.Context) {
	r.waited = true
	for _, h := range r.hosts {
		h.slow = h.slow || r.synced > 0 && h.isAwaited()
	}
	r.sayHosts()
	err := r.printPending()
	if err == nil {
		err = r.printInTime(ctx) // saves
	}
	if err != nil {
		r.stop(err)
	}
}

// printPending prints the pending messages in order. Those that it could not print stay
// pending. r.mu is held. Its errors are final.
func (r *hostReader) printPending() error {
	messages := make([]group.Message, len(r.pending))
	for i, o := range r.pending {
		messages[i] = o.message
	}
	order := group.ChainOrder(messages)
	for n, i := range order {
		if r.hasEnough() {
			return r.keepPending(order[n:], errEnough)
		}
		if err := r.printOne(r.pending[i]); err != nil {
			return r.keepPending(order[n:], err)
		}
	}
	r.pending = nil
	if r.hasEnough() {
		return errEnough
	}
	return nil
}

func (r *hostReader) hasEnough() bool { return r.limit > 0 && r.messages.messageCount() >= r.limit }

// keepPending keeps only some of the pending messages, and returns err.
func (r *hostReader) keepPending(indexes []int, err error) error {
	var rest []openedMessage
	for _, i := range indexes {
		rest = append(rest, r.pending[i])
	}
	r.pending = rest
	return err
}

// printOne prints a message. A list of hosts is taken over instead. Only what was printed or
// taken over is not looked at again.
func (r *hostReader) printOne(o openedMessage) error {
	shown := false
	if list, ok := group.UnwrapHosts(o.message.Text); ok && o.err == nil {
		var err error
		if shown, err = r.takeHosts(list); err != nil {
			return final{err}
		}
	} else if r.listsOnly {
		return nil
	} else if shown = r.messages.countMessage(o); shown {
		r.app.progress.Done()
		if err := r.printer.printMessage(o.message); err != nil {
			return final{err}
		}
		if err := r.app.out.Flush(); err != nil {
			return final{fmt.Errorf("write output: %w", err)}
		}
	}
	if shown {
		r.messages.noteShown(o.id)
	}
	r.moveHead(o.message)
	return nil
}

// moveHead makes a message the one to which the next post refers, if it follows the
// present one or is not older. What a host sends late is older.
func (r *hostReader) moveHead(m group.Message) {
	if m.Verified && (string(m.Previous) == string(r.messages.head) || !m.Time.Before(r.headTime)) {
		r.messages.head, r.headTime = m.Signature, m.Time
	}
}
