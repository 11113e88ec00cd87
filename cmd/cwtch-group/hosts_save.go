package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// save writes to the profile how far each host was read, and what became known of it.
// read tells whether the messages were printed and count as read.
func (r *hostReader) save(ctx context.Context, read bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saveLocked(ctx, read)
}

// saveLocked is save while r.mu is held. A position is saved only while nothing is
// pending: what was not printed must come again.
func (r *hostReader) saveLocked(ctx context.Context, read bool) error {
	r.sight.countAlone(r.hosts, time.Now().Add(-r.lag()))
	advance := read && len(r.pending) == 0
	if r.bridge != nil {
		done, err := r.saveBridge()
		if err != nil {
			return err
		}
		advance = done
	}
	err := r.app.profile.Update(context.WithoutCancel(ctx), func(s *profile.State) error {
		g, err := s.Group(r.group)
		if err != nil {
			return err
		}
		if r.synced > 0 {
			g.Serverless.Checked = time.Now()
		}
		if read {
			g.Printed.Add(r.messages.shown)
		}
		for _, h := range r.hosts {
			known := g.Serverless.Host(h.board)
			h.saveStatus(known)
			if known != nil && h.synced && len(r.sight.order) > 0 { // there was something to compare
				known.Alone = h.alone
			}
			if !advance {
				continue
			}
			if err := s.AdvanceHost(g, h.board, profile.HostSession{Reader: h.reader, Bridged: r.bridge != nil}); err != nil {
				return err
			}
		}
		g.Head, g.Serverless.HeadTime = r.messages.head, r.headTime
		return nil
	})
	if err == nil {
		r.messages.shown = nil
	}
	return err
}

// saveStatus writes down when a host answered. known is nil if it has left the group.
func (h *hostSource) saveStatus(known *profile.Host) {
	if known == nil {
		return
	}
	if h.up {
		h.seen = time.Now()
	}
	if !h.seen.IsZero() {
		known.NoteSeen(h.seen)
	}
	if !h.failed.IsZero() && !h.up {
		known.NoteFailed(h.failed, h.err)
	}
}

// noteList notes the serial of a list of hosts that waits to be taken over, so that of
// many only the newest is. r.mu is held.
func (r *hostReader) noteList(encoded []byte) (l bundle.HostList, err error) {
	l, err = bundle.DecodeHostList(encoded, r.messages.group.Server, r.group)
	if err == nil {
		r.newest = max(r.newest, l.Serial)
	}
	return l, err
}

// takeHosts takes over a list of hosts that came in a message. Anybody in the group can
// send one, so a list that the manager did not sign is ignored. r.mu is held.
func (r *hostReader) takeHosts(encoded []byte) (taken bool, err error) {
	l, err := r.noteList(encoded)
	if errors.Is(err, bundle.ErrNewerFormat) && !r.saidNewer {
		r.saidNewer = true
		r.app.progress.Warn(fmt.Sprintf("a message in %q has a list of core peers for a newer program; who sent it cannot be checked, so ask the manager whether there is one before you look for it", r.messages.name))
	}
	if err != nil || l.Serial < max(r.list.Serial, r.newest) || l.Equal(r.list) {
		return false, nil
	}
	var state *profile.State
	err = r.app.profile.Update(context.Background(), func(s *profile.State) error {
		g, err := s.Group(r.group)
		if err != nil {
			return err
		}
		state = s
		_, err = s.SetHosts(g, l)
		return err
	})
	if errors.Is(err, profile.ErrSplit) || errors.Is(err, profile.ErrServerChanged) {
		r.app.progress.Warn(fmt.Sprintf("warning: a new list of the core peers of %q was not taken over: %v", r.messages.name, err))
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.changeHosts(state)
}

// changeHosts reads the hosts that the profile has now. r.mu is held.
func (r *hostReader) changeHosts(s *profile.State) error {
	g, err := s.Group(r.group)
	if err != nil {
		return err
	}
	r.list = g.Serverless.List
	from := func(h *profile.Host) position { return h.Read }
	if r.bridge != nil {
		from = bridgeFrom(g)
	}
	now, known := readHosts(g), make(map[identity.Onion]bool)
	for _, h := range r.hosts {
		i := slices.IndexFunc(now, func(x *profile.Host) bool { return x.Board == h.board })
		if !h.gone && (i < 0 || r.bridge != nil && from(now[i]) == nil) { // left long ago, or is read anew
			h.gone, h.up = true, false
			h.stop()
		}
		if !h.gone {
			known[h.board] = true
			h.until = readUntil(now[i])
		}
	}
	for _, h := range now {
		if known[h.Board] {
			continue
		}
		if err := r.addHost(s, h, from(h)); err != nil {
			return err
		}
		if !r.ended {
			r.startHost(r.hosts[len(r.hosts)-1])
		}
	}
	if r.bridge != nil {
		r.bridge.wake()
	}
	r.waitFor = 0
	r.limitRead()
	r.app.progress.Note("the core peers of %q have changed: there are %d now", r.messages.name, len(g.Serverless.Hosts))
	return nil
}

// errNoneRead ends a whole read in which no host has sent everything. Some may have sent
// messages, which were printed.
var errNoneRead = errors.New("no core peer could be read")

// result returns the error of a whole read if no host could be read, not even one that has
// left, and otherwise says which ones could not.
func (r *hostReader) result() error {
	var errs []error
	var names []string
	all := 0
	for _, h := range r.hosts {
		if !h.isMember() {
			continue
		}
		all++
		if !h.synced {
			err := h.err
			if err == nil {
				err = errStopWaiting
			}
			errs = append(errs, fmt.Errorf("%s: %w", h.label, err))
			names = append(names, fmt.Sprintf("%s: %v", h.label, err))
		}
	}
	switch read := all - len(errs); {
	case read == 0 && r.synced == 0:
		err := fmt.Errorf("read group: %w: %w", errNoneRead, errors.Join(errs...))
		if errors.As(err, new(noEndError)) {
			err = hinted{err, "what came until now is printed, and " + pathname.Command("cwtch-group", "read", "-new", r.messages.name) + " goes on from there; a core peer that never comes to an end may be hostile"}
		}
		return err
	case read == 0:
		r.app.progress.Warn(fmt.Sprintf("none of %s was read, only one that has left the group", pluralOf(all, "core peer")))
	case read < enoughHosts:
		r.app.progress.Warn(fmt.Sprintf("only 1 of %s was read: it alone decided which messages you see", pluralOf(all, "core peer")))
	}
	if len(names) > 0 {
		r.app.progress.Note("not read: %s", strings.Join(names, "; "))
	}
	return nil
}

// maxSightings bounds the messages of which it is remembered which host sent them.
const maxSightings = 8192

// sightings remember which messages only one host has sent.
type sightings struct {
	order []profile.MessageID // oldest first
	by    map[profile.MessageID]*sighting
}

type sighting struct {
	at     time.Time
	first  *hostSource
	shared bool // another host has sent it as well
}

// note notes that a host has sent a message, which is fresh if none had sent it.
func (x *sightings) note(id profile.MessageID, h *hostSource, fresh bool, now time.Time) {
	if s := x.by[id]; s != nil {
		s.shared = s.shared || s.first != h
	}
	if !fresh {
		return
	}
	if x.by == nil {
		x.by = make(map[profile.MessageID]*sighting)
	}
	if len(x.order) == maxSightings {
		delete(x.by, x.order[0])
		x.order = x.order[1:]
	}
	x.order = append(x.order, id)
	x.by[id] = &sighting{at: now, first: h}
}

// countAlone counts the messages that came before a time and that only one host has sent,
// although another one had sent everything that it has.
func (x *sightings) countAlone(hosts []*hostSource, before time.Time) {
	synced := 0
	for _, h := range hosts {
		h.alone = 0
		if h.synced && h.isMember() {
			synced++
		}
	}
	for _, id := range x.order {
		if s := x.by[id]; synced >= enoughHosts && !s.shared && !s.at.After(before) {
			s.first.alone++
		}
	}
}

// lag is how long another host may take to have what one has.
func (r *hostReader) lag() time.Duration {
	if r.stay {
		return time.Minute
	}
	return 0
}
